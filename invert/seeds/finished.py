"""Finished projections, as the search for seeds takes them: rows of HDF5 files, a NAME.npz, and folders of these."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from invert.errors import ImageError, NoInputError, UnreadableError, UsageError
from invert.hdf5.reading import open_latents
from invert.images.opening import read_regular
from invert.images.target import pixel_sha256
from invert.store.index import EARLIER_INDEX, INDEX, read_index
from invert.store.npz import MAX_BYTES, decode_sheet, read_projection
from invert.store.result import Result

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["is_finished", "read_finished"]

Array = npt.NDArray[np.uint8]

_HDF5 = (".h5", ".hdf5")


def is_finished(path: Path) -> bool:
    """Tell whether a path stands for finished projections rather than for images."""
    if path.is_dir():
        return any((path / name).is_file() for name in (INDEX, EARLIER_INDEX))
    return path.suffix.lower() in (".npz", *_HDF5)


def read_finished(
    paths: Sequence[Path], network: "LoadedNetwork", on_warning: Callable[[str], None]
) -> Iterator[tuple[Path, Result, Array]]:
    """Yield what the image of each projection is called, the projection, and the image `[H, W, C]` itself.

    Args:
        paths: What `is_finished` said yes to.
        network: The network of the projections.
        on_warning: Called with a line for each image without a projection.

    Raises:
        NoInputError: A file cannot be read, is damaged, or keeps no images.
        UsageError: It has projections into another network.
    """
    for path in paths:
        if path.is_dir():
            index = read_index(path)
            for entry in [] if index is None else index.entries.values():
                yield _of_npz(path / f"{entry.name}.npz", network)
        elif path.suffix.lower() == ".npz":
            yield _of_npz(path, network)
        else:
            yield from _of_rows(path, network, on_warning)


def _of_npz(path: Path, network: "LoadedNetwork") -> tuple[Path, Result, Array]:
    stored = read_projection(path)
    _check(path, stored.method, network)
    side = network.generator.config.synthesis.img_resolution
    picture = path.with_suffix(".png")
    try:
        image = np.ascontiguousarray(decode_sheet(read_regular(picture, MAX_BYTES))[:side, :side])
    except (ImageError, UnreadableError, ValueError) as error:
        reason = f"'{picture.name}', which has the image, cannot be read"
        advice = "Keep both files of a projection in one folder."
        raise NoInputError(reason, path=path, advice=advice, code="projection-damaged") from error
    if pixel_sha256(image) != stored.pixel_sha256:
        reason = f"'{picture.name}' beside it has another image"
        raise NoInputError(reason, path=path, advice="Project the image again.", code="projection-damaged")
    return Path(os.fsdecode(stored.name)), stored, image


def _of_rows(
    path: Path, network: "LoadedNetwork", on_warning: Callable[[str], None]
) -> Iterator[tuple[Path, Result, Array]]:
    with open_latents(path) as latents:
        _check(path, latents.manifest.method, network)
        if not latents.manifest.images:
            advice = "Project with --save-images, or name the images themselves."
            raise UsageError(
                "keeps no images, with which a seed is compared", path=path, advice=advice, code="no-images"
            )
        for row in range(len(latents)):
            result = latents[row]
            if result.target is not None:
                yield Path(os.fsdecode(result.name)), result, result.target
        for _, failure in latents.failures:
            on_warning(f"image '{os.fsdecode(failure.name)}' has no projection: {failure.reason}")


def _check(path: Path, method: Mapping[str, Any], network: "LoadedNetwork") -> None:
    if method.get("network_sha256") not in (network.provenance.sha256, network.provenance.source_sha256):
        reason = "has projections into another network"
        raise UsageError(reason, path=path, advice="Name its network with --network.", code="other-network")
