"""Populations of images: folders that a user names, and fresh samples of a network.

Samples are written as 8-bit PNG, like any image that is compared with the network.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from generator.networks import Generator
from invert.attribution.calibration import Calibration
from invert.attribution.kind import ImageKind
from invert.attribution.measurements import MeasurementStore
from invert.attribution.settings import OWN
from invert.batch.images import Listed, list_images, read_image
from invert.durable import ensure_folder, write_atomic
from invert.errors import ImageError, NoInputError, UsageError
from invert.images.decoding import to_png_bytes
from invert.projection.latents import class_label, seed_latent
from invert.projection.records import differing_keys
from invert.projection.session import Session
from invert.projection.synthesis import synthesise_image
from invert.store.locks import Shard
from invert.store.names import in_shard

__all__ = [
    "FIRST_SEED",
    "SAMPLES_VERSION",
    "check_names",
    "check_same",
    "generate_samples",
    "list_population",
    "reuse",
    "sample_source",
]

SAMPLES_VERSION = 2  # raised when a seed gives another image

FIRST_SEED = 1_000_000_000
"""Seed of the first sample, far from the seeds that people use: what is calibrated on must not be what is judged."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}", re.ASCII)


def check_names(names: Sequence[str], advice: str = "") -> None:
    """Refuse names of populations that cannot be those of folders, or that mean two things.

    Args:
        names: Names of the populations that are not the network's own.
        advice: How to give another name, a whole sentence.

    Raises:
        UsageError: One is `OWN`, there twice, or is more than letters and digits.
    """
    for number, name in enumerate(names):
        if not _NAME.fullmatch(name) or name == OWN or name in names[:number]:
            reason = f"population {name!r} needs another name: letters and digits, not {OWN!r}, each name once"
            raise UsageError(reason, advice=advice)


def list_population(folder: Path) -> list[Listed]:
    """Return the images of a folder.

    Raises:
        NoInputError: There are none, or there is no such folder.
    """
    if not folder.exists():
        raise NoInputError("there is no such folder", path=folder)
    found = [one for one in list_images([folder]) if one.error is None or not one.error.by_rule]
    if not found:
        raise NoInputError("there are no images", path=folder)
    return found


def sample_source(count: int) -> str:
    """Say where the samples of `generate_samples` are from."""
    seeds = f"seeds {FIRST_SEED} to {FIRST_SEED + count - 1} of the network"
    # Programs synthesise with the maps in the file or with fresh ones: images of both kinds are the network's own.
    return f"{seeds}, no truncation; stored and random noise maps in turn"


def generate_samples(
    generator: Generator, folder: Path, count: int, class_index: int | None = None, shard: Shard | None = None
) -> Iterator[Path]:
    """Synthesise samples without truncation and write them, unless they are there already; yield their paths.

    Even ones have the noise maps that the network stores, odd ones random maps.

    Args:
        generator: The network.
        folder: Where they go.
        count: How many, from seed `FIRST_SEED` on; seeds are those of `invert generate`.
        class_index: Class of a conditional network; None takes the classes in turn.
        shard: Share I of N of them, (I, N), by their names; None is all of them.

    Raises:
        OutputError: A file cannot be written.
    """
    ensure_folder(folder)
    mapping = generator.config.mapping
    for number in range(count):
        seed = FIRST_SEED + number
        path = folder / f"seed{seed}.png"
        if not in_shard(os.fsencode(path.name), shard):
            continue
        if not path.exists():
            chosen = class_index
            if chosen is None and mapping.c_dim:
                chosen = number // 2 % mapping.c_dim  # each class with both kinds of noise
            with torch.inference_mode():
                ws = generator.mapping_ws(seed_latent(seed, mapping.z_dim), class_label(chosen, mapping.c_dim))
            noise = "random" if number % 2 else "const"
            write_atomic(path, to_png_bytes(synthesise_image(generator, ws, noise, seed)))
        yield path


def check_same(earlier: Calibration, path: Path, method: dict[str, object], run: dict[str, object]) -> None:
    """Refuse a calibration whose numbers would not be those of this method and run.

    Raises:
        UsageError: They differ; the message has the keys.
    """
    differing = differing_keys(dict(earlier.method), method) + differing_keys(dict(earlier.run), run)
    if differing:
        reason = f"was made with other settings ({'; '.join(differing)})"
        raise UsageError(reason, path=path, advice="Use the same, or leave out --from.", code="settings-differ")


def reuse(earlier: Calibration, images: Iterable[Listed], folder: Path, session: Session) -> int:
    """Write the measurements of those images that an earlier calibration has; return how many.

    Args:
        earlier: A calibration of the same method and run, see `check_same`.
        images: Images of a population.
        folder: Folder of its measurements.
        session: What would project the others.

    Raises:
        OutputError: One cannot be written.
    """
    # what was scaled and back may have the pixels of what was left small, and is measured as another image
    known = {(one.pixel_sha256, one.upsampled): one for part in earlier.populations for one in part.measurements}
    store = MeasurementStore(None, folder)
    taken = 0
    for image in images:
        target = read_image(image, session.resolution, session.channels, session.policy)
        if isinstance(target, ImageError):
            continue
        found = known.get((target.pixel_sha256, target.upsampled))
        if found is None:
            continue
        if store.finished(image.name, target.file_sha256) is None:
            kind = ImageKind.of(target)
            store.put(dataclasses.replace(found, name=image.name, file_sha256=target.file_sha256, kind=kind))
        taken += 1
    return taken
