"""The search for the seeds of images: one sweep for all of them, then the hypotheses of each.

found = search(generator, [Recovered.of(projection), ...], 1_000_000)
found[0].named, found[0].seed, found[0].truncation_psi, found[0].command("network.safetensors")
"""

import math
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from generator.networks import Generator
from generator.ops.dual import Dual
from invert.errors import UsageError
from invert.projection.latents import class_label, seed_latent
from invert.projection.synthesis import synthesise_image
from invert.seeds.hypotheses import Hypothesis, accepted, likeliest, rank, round_psi
from invert.seeds.recovered import Recovered, View
from invert.seeds.sweep import MOST_SEEDS, sweep

__all__ = ["NO_EVIDENCE", "Regeneration", "SeedAnswer", "check_maximum", "classes_of", "search"]

NO_EVIDENCE = (
    "No seed found is no evidence against a network: the image may come from a larger seed, from another program's "
    "random numbers, or have been changed in a way that is not modelled."
)

_NEAR = 4.0  # times the expected difference, up to which a projection has recovered the image


@dataclass(frozen=True, eq=False)
class Regeneration:
    """How an image was generated, and the image that this gives.

    Attributes:
        seed: Seed of z, as in numpy.random.RandomState(seed).randn(1, z_dim).
        class_index: Class of a conditional network, from 0; None for a network without.
        truncation_psi: 1 for no truncation.
        truncation_cutoff: How many styles are truncated, from the coarsest; None for all.
        noise: "fixed", "random", "zero" or "stream", as `invert generate --noise` has them.
        image: What the network generates from these, uint8 `[H, W, C]`.
        rms: Root of the mean squared difference between the image and this one after the processing, in levels.
        expected_rms: What rounding and the processing leave of it.
        differing: How many numbers of the image are others in this one, without processing.
        largest: The largest of these differences, in levels.
    """

    seed: int
    class_index: int | None
    truncation_psi: float
    truncation_cutoff: int | None
    noise: str
    image: npt.NDArray[np.uint8]
    rms: float
    expected_rms: float
    differing: int
    largest: int

    def command(self, network: str | os.PathLike[str]) -> str:
        """Return the command that generates the image again, for a shell."""
        words = ["invert", "generate", "--network", os.fspath(network), "--seeds", str(self.seed)]
        if self.truncation_psi != 1:
            words += ["--psi", f"{self.truncation_psi:g}"]
            words += [] if self.truncation_cutoff is None else ["--cutoff", str(self.truncation_cutoff)]
        words += [] if self.class_index is None else ["--class", str(self.class_index)]
        return shlex.join([*words, "--noise", self.noise, "--out", f"seed{self.seed}.png"])

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types, without the image."""
        return {
            "seed": self.seed,
            "class": self.class_index,
            "truncation_psi": self.truncation_psi,
            "truncation_cutoff": self.truncation_cutoff,
            "noise": self.noise,
            "rms": self.rms,
            "expected_rms": self.expected_rms,
            "differing": self.differing,
            "largest": self.largest,
        }


@dataclass(frozen=True, eq=False)
class SeedAnswer:
    """What a search found of one image.

    Attributes:
        path: The image's file, or what it is called.
        target: The image as the network sees it, uint8 `[H, W, C]`.
        processing: What happened to the image, as it is written for `--processing`.
        projection_rms: What the projection missed the image by, in levels; NaN where nothing can be told.
        searched: How many seeds were tried, from 0.
        named: How the image was generated; None where no seed gives it.
        reason: Why no seed is named; empty where one is.
    """

    path: Path
    target: npt.NDArray[np.uint8]
    processing: str
    projection_rms: float
    searched: int
    named: Regeneration | None
    reason: str = ""

    @property
    def name(self) -> str:
        """The image's path as text."""
        return os.fspath(self.path)

    def to_record(self, network: str | os.PathLike[str]) -> dict[str, Any]:
        """Return it as JSON types, without images.

        Args:
            network: The network's file, as the command names it.
        """
        rms = self.projection_rms
        record: dict[str, Any] = {
            "code": "no-seed" if self.named is None else "named",
            "path": self.name,
            "searched": self.searched,
            "processing": self.processing,
            "projection_rms": rms if math.isfinite(rms) else None,
        }
        if self.named is None:
            return {**record, "reason": self.reason}
        return {**record, **self.named.to_record(), "command": self.named.command(network)}


def check_maximum(maximum: int) -> None:
    """Validate how many seeds are tried.

    Raises:
        UsageError: There are no such seeds.
    """
    if not 1 <= maximum <= MOST_SEEDS:
        raise UsageError(f"{maximum} seeds: there are 1 to 2^32", advice="Choose a number in between.")


def classes_of(generator: Generator, class_index: int | None) -> list[int | None]:
    """Return the classes with which every seed is tried: the one named, or all of a conditional network.

    Raises:
        UsageError: The network takes no z.
    """
    mapping = generator.config.mapping
    if not mapping.z_dim:
        raise UsageError("the network maps classes alone: it has no seeds")
    if class_index is not None or not mapping.c_dim:
        return [class_index]
    return list(range(mapping.c_dim))


def search(
    generator: Generator,
    images: Sequence[Recovered],
    maximum: int,
    *,
    class_index: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Iterator[SeedAnswer]:
    """Search the seeds 0 to maximum - 1 for those of images.

    Args:
        generator: A frozen network.
        images: What was recovered of each image.
        maximum: How many seeds are tried.
        class_index: Class of a conditional network; None for all.
        on_progress: Called with how many more seeds were tried.

    Yields:
        An answer to each image, in their order.
    """
    check_maximum(maximum)
    classes = classes_of(generator, class_index)
    views = [View(generator, image) for image in images]
    told = [view for view in views if math.isfinite(view.recovered.rms)]
    shortlists = sweep(generator, told, maximum, classes, on_progress) if told else []
    by_view = dict(zip(told, shortlists, strict=True))
    for view in views:
        shortlist = by_view.get(view)
        if shortlist is None:
            yield _unnamed(view, maximum, "the image is black and white, or the network gives nothing finite")
            continue
        seen, found = likeliest(view, rank(view, shortlist, classes))
        if accepted(seen, found):
            recovered = seen.recovered
            named = _regenerate(seen, round_psi(seen, found[0]))
            yield SeedAnswer(recovered.path, recovered.image, recovered.processing.text, recovered.rms, maximum, named)
        else:
            yield _unnamed(view, maximum, _reason(view))


def _unnamed(view: View, maximum: int, reason: str) -> SeedAnswer:
    one = view.recovered
    return SeedAnswer(one.path, one.image, one.processing.text, one.rms, maximum, None, reason)


def _reason(view: View) -> str:
    if view.recovered.misses > _NEAR:
        return "the network does not explain the image to the last level"
    return "none of these seeds gives the image"


@torch.no_grad()
def _regenerate(view: View, one: Hypothesis) -> Regeneration:
    """Generate the image as the command does, and compare it."""
    generator = view.generator
    label = class_label(one.class_index, generator.config.mapping.c_dim)
    z = seed_latent(one.seed, generator.config.mapping.z_dim).to(view.device)
    c = None if label is None else label.to(view.device)
    image = synthesise_image(generator, generator.mapping_ws(z, c, one.psi, one.cutoff), one.noise, one.seed)
    levels = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None].to(view.device)
    seen = view.processing.carry(Dual(levels)).value
    differences = np.abs(image.astype(np.int16) - view.recovered.image)
    return Regeneration(
        seed=one.seed,
        class_index=one.class_index,
        truncation_psi=one.psi,
        truncation_cutoff=one.cutoff,
        noise=one.noise,
        image=image,
        rms=float((seen - view.image).square().mean().sqrt()),
        expected_rms=view.recovered.expected_rms,
        differing=int(np.count_nonzero(differences)),
        largest=int(differences.max()),
    )
