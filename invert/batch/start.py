"""Latents that optimisations start from, out of the files of earlier projections."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invert.batch.job import is_file
from invert.errors import NoInputError, UsageError, display_path
from invert.hdf5.reading import open_latents
from invert.projection.config import ProjectConfig
from invert.store.npz import read_projection

if TYPE_CHECKING:
    from torch import Tensor

    from generator.files.reading import LoadedNetwork
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
        network: Hash of the network that they were found in.
    """

    w: NDArray[np.float32]
    rows: Mapping[str, int] | None
    network: str

    @property
    def digest(self) -> str:
        """Digest of all that a start depends on."""
        names = [] if self.rows is None else sorted(self.rows.items())
        return hashlib.sha256(f"{self.w.shape} {names}\n".encode() + self.w.tobytes()).hexdigest()

    def __call__(self, statistics: "LatentStatistics", targets: "Targets", restart: int) -> "Tensor":
        """Return w `[N, 1 or num_ws, w_dim]`."""
        import torch

        w = torch.from_numpy(self.w).to(statistics.centre)
        found = [0 if self.rows is None else self.rows.get(digest) for digest in targets.digests]
        return torch.stack([statistics.centre.expand_as(w[0]) if row is None else w[row] for row in found])


def read_start(
    config: ProjectConfig, network: "LoadedNetwork", on_warning: Callable[[str], None] = lambda _: None
) -> FileStart | None:
    """Return the latents of the file that `--start` names; None where it names none.

    Args:
        config: Settings.
        network: The network of the projection that starts.
        on_warning: Called with a line where the latents are of another network.

    Raises:
        NoInputError: The file cannot be read, is damaged, or its latents do not fit the network.
        UsageError: It has no such row, or a w per layer where W is searched.
    """
    if config.start_file is None:
        return None
    named = _ROW.fullmatch(config.start_file)
    path, row = (Path(config.start_file), None) if named is None else (Path(named[1]), int(named[2]))
    found = _of_rows(path, row) if is_file(path) else _of_npz(path)
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


def _of_npz(path: Path) -> FileStart:
    stored = read_projection(path)
    return FileStart(np.ascontiguousarray(stored.w[None]), None, str(stored.method.get("network_sha256")))


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
