"""Latents to synthesise: what seeds and earlier projections stand for in a network.

"Source" is the word of Karras et al. 2019, figure 3.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from invert.errors import NoInputError, UsageError, display_path
from invert.projection.latents import class_label, seed_latent
from invert.projection.synthesis import KeptMaps
from invert.sheets.references import ProjectedLatent, Reference, Seed
from invert.store.npz import read_projection
from invert.store.result import Result

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.hdf5.reading import Latents

__all__ = ["Source", "find_sources", "open_sources"]


@dataclass(frozen=True, eq=False)
class Source:
    """A latent to synthesise.

    Attributes:
        label: Which latent it is, for a person.
        ws: Styles `[1, num_ws, w_dim]`, not truncated.
        z: `[1, z_dim]`; None for a projection, which is found in W.
        seed: Seed of its random noise: the seed itself, or 0 for a projection.
        noise: Map `[r, r]` of each layer that a projection has kept.
        method: Noise of a projection's method: "optimise", "fixed" or "zero"; None for a seed.
    """

    label: str
    ws: Tensor
    z: Tensor | None
    seed: int
    noise: KeptMaps = field(default_factory=dict)
    method: str | None = None


def find_sources(
    references: Sequence[Reference],
    loaded: "LoadedNetwork",
    class_index: int | None = None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> list[Source]:
    """Return the latents that a user named, in their order; see `open_sources`."""
    with open_sources(loaded, class_index, on_warning) as find:
        return [find(reference) for reference in references]


@contextlib.contextmanager
def open_sources(
    loaded: "LoadedNetwork",
    class_index: int | None = None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Iterator[Callable[[Reference], Source]]:
    """Give a function that finds latents one by one; files stay open for the length of the block.

    Args:
        loaded: The network, in evaluation mode.
        class_index: Class of the seeds of a conditional network.
        on_warning: Called with a line for each file whose latents were found in another network.

    Raises:
        NoInputError: A file cannot be read, is damaged, or its w does not fit the network.
        UsageError: A file has no such row.
    """
    generator, mapping = loaded.generator, loaded.generator.config.mapping
    device = generator.mapping.w_avg.device
    label = class_label(class_index, mapping.c_dim)
    c = None if label is None else label.to(device)

    with contextlib.ExitStack() as stack:
        projections = _Projections(loaded, on_warning, stack)

        @torch.inference_mode()
        def find(reference: Reference) -> Source:
            if isinstance(reference, Seed):
                z = seed_latent(reference.number, mapping.z_dim).to(device)
                return Source(reference.label, generator.mapping_ws(z, c), z, reference.number)
            kept, method = projections.find(reference)
            w = torch.from_numpy(kept.w).to(device)[None]  # [1, 1 or num_ws, w_dim]
            return Source(reference.label, generator.broadcast(w), None, 0, kept.noise, method)

        yield find


class _Projections:
    """Files of latents, each opened and compared with the network once."""

    def __init__(self, loaded: "LoadedNetwork", on_warning: Callable[[str], None], stack: contextlib.ExitStack) -> None:
        self._loaded, self._on_warning, self._stack = loaded, on_warning, stack
        self._rows: dict[Path, Latents] = {}
        self._files: dict[Path, tuple[Result, str]] = {}

    def find(self, reference: ProjectedLatent) -> tuple[Result, str]:
        """Return a projection whose w `[1 or num_ws, w_dim]` fits the network, and the noise of its method."""
        path, row = reference.path, reference.row
        found, method = self._of_npz(path) if row is None else self._of_row(path, row)
        generator, w = self._loaded.generator, found.w
        w_dim = generator.config.mapping.w_dim
        if w.shape not in ((1, w_dim), (generator.num_ws, w_dim)):
            size = w.shape[1] if w.ndim == 2 and len(w) == 1 else list(w.shape)
            network = display_path(self._loaded.provenance.path)
            raise NoInputError(
                f"its w has size {size}, that of network '{network}' {w_dim}",
                path=path,
                advice="Name the network that it was found in.",
                code="latents-other-network",
            )
        if w.dtype != np.float32 or not np.isfinite(w).all():
            raise NoInputError("its w is damaged: not finite, or of another type", path=path, code="latents-damaged")
        return found, method

    def _of_npz(self, path: Path) -> tuple[Result, str]:
        if path not in self._files:
            stored = read_projection(path)
            provenance = self._loaded.provenance
            # The record has the file's hash only; a converted or tuned network knows that of its source.
            known = [provenance.sha256, provenance.source_sha256]
            if provenance.tuned is not None:
                known.append(provenance.tuned.network_sha256)
            self._compare(path, stored.method.get("network_sha256"), known, "sha256")
            self._files[path] = stored, str(stored.method.get("noise"))
        return self._files[path]

    def _of_row(self, path: Path, row: int) -> tuple[Result, str]:
        from invert.hdf5.reading import open_latents

        if path not in self._rows:
            latents = self._stack.enter_context(open_latents(path))
            known = (self._loaded.provenance.weights_sha256,)
            self._compare(path, latents.manifest.network["weights_sha256"], known, "weights")
            self._rows[path] = latents
        latents = self._rows[path]
        if row >= len(latents):
            raise UsageError(f"row {row}: there are {len(latents)} rows, counted from 0", path=path)
        return latents[row], str(latents.manifest.method.get("noise"))

    def _compare(self, path: Path, recorded: object, known: Sequence[str], what: str) -> None:
        if isinstance(recorded, str) and recorded not in known:
            self._on_warning(
                f"latents '{display_path(path)}': found in another network ({what} {recorded[:12]}...), "
                "whose W this network does not share"
            )
