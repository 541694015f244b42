"""Latents that optimisations start from, out of the files of earlier projections and of other programs."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from invert.batch.job import is_file
from invert.errors import NoInputError, UsageError, display_path
from invert.hdf5.reading import open_latents
from invert.projection.config import ProjectConfig
from invert.store.latent_files import read_other_latents
from invert.store.npz import read_projection

if TYPE_CHECKING:
    from torch import Tensor

    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator
    from invert.batch.images import Found
    from invert.projection.latents import LatentStatistics, Targets

__all__ = ["FileStart", "read_start"]

_ROW = re.compile(r"(.+):(\d{1,9})", re.DOTALL)


@dataclass(frozen=True, eq=False)
class FileStart:
    """Start images at latents of earlier projections, an `invert.projection.latents.Start`.

    Attributes:
        w: float32 `[M, 1 or num_ws, w_dim]`.
        rows: Which of them is of an image, by `pixel_sha256` of its pixels; images that are not there start at the
            mean w. None where the first is for all images.
        network: Hash of the network that they were found in; empty where the file does not say.
        places: Where the images lie that are called as the rows are, if those are no digests.
    """

    w: NDArray[np.float32]
    rows: Mapping[str, int] | None
    network: str
    places: Mapping[str, str] | None = None

    @property
    def digest(self) -> str:
        """Digest of all that a start depends on."""
        names = [] if self.rows is None else sorted(self.rows.items())
        return hashlib.sha256(f"{self.w.shape} {names}\n".encode() + self.w.tobytes()).hexdigest()

    def __call__(self, statistics: "LatentStatistics", targets: "Targets", restart: int) -> "Tensor":
        """Return w `[N, 1 or num_ws, w_dim]`."""
        import torch

        w = torch.from_numpy(self.w).to(statistics.centre)
        keys = targets.digests if self.places is None else [self.places.get(path, "") for path in targets.paths]
        found = [0 if self.rows is None else self.rows.get(key) for key in keys]
        return torch.stack([statistics.centre.expand_as(w[0]) if row is None else w[row] for row in found])


def read_start(
    config: ProjectConfig,
    network: "LoadedNetwork",
    on_warning: Callable[[str], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    images: "Found | None" = None,
) -> FileStart | None:
    """Return the latents of the file that `--start` names; None where it names none.

    Args:
        config: Settings.
        network: The network of the projection that starts.
        on_warning: Called with a line where the latents are of another network.
        on_note: Called with a line on how latents of another program are taken.
        images: The images that start; latents of another program are theirs by name or in their order.

    Raises:
        NoInputError: The file cannot be read, is damaged, or its latents do not fit the network.
        UsageError: It has no such row, or a w per layer where W is searched.
    """
    if config.start_file is None:
        return None
    named = _ROW.fullmatch(config.start_file)
    path, row = (Path(config.start_file), None) if named is None else (Path(named[1]), int(named[2]))
    found = _of_rows(path, row) if is_file(path) else _of_npz(path)
    if found is None:
        return _of_others(_Given(path, row, config.space == "w+"), network.generator, images, on_note)
    generator, provenance = network.generator, network.provenance
    w_dim, shape = generator.config.mapping.w_dim, found.w.shape[1:]
    if shape not in ((1, w_dim), (generator.num_ws, w_dim)):
        reason = f"its w is {list(shape)}, that of the network [1, {w_dim}] or [{generator.num_ws}, {w_dim}]"
        advice = "Start from a projection into the same network."
        raise NoInputError(reason, path=path, advice=advice, code="latents-other-network")
    if shape[0] > 1 and config.space != "w+":
        raise UsageError("has a w for each layer", path=path, advice="Add --space w+.", code="latents-space")
    tuned_from = None if provenance.tuned is None else provenance.tuned.network_sha256
    if found.network not in (provenance.sha256, provenance.source_sha256, tuned_from):
        on_warning(
            f"latents '{display_path(path)}': found in another network (sha256 {found.network[:12]}...), "
            "whose W this network does not share"
        )
    return found


def _of_npz(path: Path) -> FileStart | None:
    """Read a projection; None where another program wrote the file."""
    if path.suffix.lower() != ".npz":
        return None
    try:
        stored = read_projection(path)
    except NoInputError as error:
        if error.code != "projection-damaged":
            raise
        return None
    return FileStart(np.ascontiguousarray(stored.w[None]), None, str(stored.method.get("network_sha256")))


class _Given(NamedTuple):
    """A file of another program, which of its latents is meant, and whether a w for each layer is searched."""

    path: Path
    row: int | None
    is_wide: bool


def _of_others(
    given: _Given, generator: "Generator", images: "Found | None", on_note: Callable[[str], None]
) -> FileStart:
    """Return the start that latents of another program give; see `read_start`.

    One latent is for all images. Several with names are those of the images that are called so, and others start at
    the mean w; without names there are as many as images, in the same order.
    """
    path = given.path
    latents = read_other_latents(path, generator.num_ws)
    if latents is None:
        raise NoInputError("is no projection, or damaged", path=path, code="projection-damaged")
    if given.row is not None:
        if given.row >= len(latents):
            raise UsageError(f"row {given.row}: there are {len(latents)} latents, counted from 0", path=path)
        latents = [latents[given.row]]
    w = _fitting([one.w for one in latents], given, generator, on_note)
    if len(latents) == 1:
        return FileStart(w, None, "")
    if images is None or images.count is None:
        advice = f"Name one of them, such as {display_path(path.name)}:0."
        raise UsageError(f"holds {len(latents)} latents, for images that come one by one", path=path, advice=advice)
    names = [os.fsdecode(name) for name in images.names]
    shown = display_path(path)
    if all(one.name for one in latents):
        of_name = {name: row for row, one in enumerate(latents) for name in {one.name, Path(one.name).name}}
        of_stem = {Path(one.name).stem: row for row, one in enumerate(latents)}
        found = (
            (name, of_name.get(name, of_name.get(Path(name).name, of_stem.get(Path(name).stem)))) for name in names
        )
        rows = {name: row for name, row in found if row is not None}
        if not rows:
            called = ", ".join(display_path(one.name) for one in latents[:3])
            raise UsageError(f"no image is called as its latents are ({called} ...)", path=path)
        on_note(f"latents '{shown}': {len(rows)} of {len(names)} images start at those of their name")
    elif len(latents) == len(names):
        rows = {name: row for row, name in enumerate(names)}
        on_note(f"latents '{shown}': its {len(names)} latents are those of the images in their order")
    else:
        advice = f"Give as many images in the same order, or name one, such as {display_path(path.name)}:0."
        raise UsageError(f"holds {len(latents)} latents, for {len(names)} images", path=path, advice=advice)
    places = {os.fspath(listed.path): os.fsdecode(listed.name) for listed in images.mine}
    return FileStart(w, rows, "", places)


def _by_name(latents: Sequence[str], images: Sequence[str]) -> dict[str, int]:
    """Return which latent is of which image: by path, else by the file's name, else by that without its suffix."""
    whole = {name: row for row, name in enumerate(latents)}
    files = {Path(name).name: row for name, row in whole.items()}
    stems = {Path(name).stem: row for name, row in whole.items()}
    found = ((one, whole.get(one, files.get(Path(one).name, stems.get(Path(one).stem)))) for one in images)
    return {name: row for name, row in found if row is not None}


def _fitting(
    latents: Sequence[NDArray[np.float32]], given: _Given, generator: "Generator", on_note: Callable[[str], None]
) -> NDArray[np.float32]:
    """Return latents `[M, 1 or num_ws, w_dim]` for the space that is searched, and say what became of them."""
    w_dim, num_ws = generator.config.mapping.w_dim, generator.num_ws
    for one in latents:
        if one.shape not in ((1, w_dim), (num_ws, w_dim)) or not np.isfinite(one).all():
            reason = f"its w is {list(one.shape)}, that of the network [1, {w_dim}] or [{num_ws}, {w_dim}]"
            if np.isfinite(one).all():
                raise NoInputError(reason, path=given.path, code="latents-other-network")
            raise NoInputError("its w is damaged: not finite", path=given.path, code="latents-damaged")
    shown = display_path(given.path)
    if given.is_wide:
        on_note(f"latents '{shown}': taken as a w for each layer")
        return np.stack([np.broadcast_to(one, (num_ws, w_dim)) for one in latents])
    if all((one == one[0]).all() for one in latents):
        on_note(f"latents '{shown}': taken as one w, which is the same for all layers")
        return np.stack([one[:1] for one in latents])
    on_note(f"latents '{shown}': a w for each layer, of which the mean is taken; --space w+ takes each as it is")
    return np.stack([one.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32) for one in latents])


def _of_rows(path: Path, row: int | None) -> FileStart:
    with open_latents(path) as latents:
        network = str(latents.manifest.method["network_sha256"])
        if row is not None:
            if row >= len(latents):
                raise UsageError(f"row {row}: there are {len(latents)} rows, counted from 0", path=path)
            return FileStart(np.ascontiguousarray(latents[row].w[None]), None, network)
        w = latents.column("w")
        w = np.ascontiguousarray(w.reshape(len(w), -1, w.shape[-1]))  # one style has no axis of its own in version 1
        digests = [digest.decode() for digest in latents.column("pixel_sha256").tolist()]
    if not digests:
        raise NoInputError("has no latents", path=path)
    return FileStart(w, {digest: number for number, digest in enumerate(digests)}, network)
