"""Latents to synthesise: what seeds, projections and latents of other programs stand for in a network.

"Source" is the word of Karras et al. 2019, figure 3.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generator.settings import map_shape
from invert.errors import NoInputError, UsageError, display_path
from invert.projection.latents import class_label, seed_latent
from invert.projection.motion import Motion, inverse_matrices
from invert.projection.synthesis import KeptMaps, synthesise_images
from invert.sheets.photos import Cut, cut_of
from invert.sheets.references import ARRAY_FILES, ProjectedLatent, Reference, Seed
from invert.store.latent_files import OtherLatent, read_other_latents
from invert.store.npz import read_projection

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator
    from invert.hdf5.reading import Latents

__all__ = ["Source", "Synthesise", "all_maps", "find_sources", "image_maker", "open_sources", "own_maps"]


@dataclass(frozen=True, eq=False)
class Source:
    """A latent to synthesise.

    Attributes:
        label: Which latent it is, for a person.
        ws: Styles `[1, num_ws, w_dim]`, not truncated.
        z: `[1, z_dim]`; None for a projection, which is found in W or W+.
        seed: Seed of its random noise: the seed itself, or 0 for a projection.
        noise: Map `[r, r]` of each layer that a projection has kept.
        method: Noise of a projection's method: "optimise", "fixed" or "zero"; None for a seed, and for a file of
            another program that has no maps.
        transform: Shift and rotation of a projection where they were optimised.
        cut: What part of a photo a projection is of, where that was aligned.
    """

    label: str
    ws: Tensor
    z: Tensor | None
    seed: int
    noise: KeptMaps = field(default_factory=dict)
    method: str | None = None
    transform: Motion | None = None
    cut: Cut | None = None


Synthesise = Callable[[Tensor, Source], NDArray[np.uint8]]
"""Synthesises the image `[H, W, C]` of styles `[1, num_ws, w_dim]`, with the noise of a source."""


def image_maker(
    generator: "Generator",
    noise: str,
    on_warning: Callable[[str], None] = lambda _: None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
) -> Synthesise:
    """Return what synthesises images one by one, as `invert generate` does.

    Args:
        generator: In evaluation mode.
        noise: "kept" (see `own_maps`), "fixed", "random" or "zero".
        on_warning: Called with a line for a projection whose maps were not kept.
        truncation_psi: 1 leaves w as it is, 0 gives the mean w.
        truncation_cutoff: How many styles, from the coarsest, are truncated; None is all.
    """
    word = "fixed" if noise == "kept" else noise
    told: set[str] = set()

    def warn(text: str) -> None:
        if text not in told:
            told.add(text)
            on_warning(text)

    @torch.inference_mode()
    def synthesise(ws: Tensor, source: Source) -> NDArray[np.uint8]:
        own = own_maps(source, generator, warn) if noise == "kept" else {}
        truncated = generator.truncate(ws, truncation_psi, truncation_cutoff)
        motion = source.transform if generator.synthesis.is_movable else None
        moved = inverse_matrices([motion], truncated.device)
        image: NDArray[np.uint8] = synthesise_images(generator, truncated, word, [source.seed], [own], moved)[0]
        return image

    return synthesise


def own_maps(source: Source, generator: "Generator", on_warning: Callable[[str], None]) -> KeptMaps:
    """Return the noise maps that a latent was found with; empty for those stored in the network.

    Args:
        source: The latent.
        generator: The network.
        on_warning: Called with a line where they were optimised and not kept.

    Raises:
        NoInputError: They do not fit the network, or are damaged.
    """
    synthesis = generator.synthesis
    shapes = {name: map_shape(synthesis.config, r) for name, r in synthesis.noise_sizes.items()}
    if not source.noise:
        if source.method == "zero":
            return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        if source.method == "optimise":
            on_warning(f"{source.label}: its noise maps were not kept; those stored in the network are taken")
        return {}
    fit = all(one.shape == shapes.get(name) and np.isfinite(one).all() for name, one in source.noise.items())
    if not fit:
        reason = f"{source.label}: its noise maps are damaged, or of another network"
        raise NoInputError(reason, advice="Use --noise fixed.", code="latents-other-network")
    return source.noise


def all_maps(own: KeptMaps, generator: "Generator") -> KeptMaps:
    """Return a map for every noise input of a network: that of `own`, else the one stored in the network."""
    stored = generator.synthesis.noise_maps("const", 1)
    return {name: value[0, 0].cpu().numpy() for name, value in stored.items() if value is not None} | dict(own)


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
            found = projections.find(reference)
            w = torch.from_numpy(found.w).to(device)[None]  # [1, 1 or num_ws, w_dim]
            ws = generator.broadcast(w)
            return Source(reference.label, ws, None, 0, found.noise, found.method, found.transform, found.cut)

        yield find


@dataclass(frozen=True, eq=False)
class _Found:
    """What a file holds of a latent: its w `[1 or num_ws, w_dim]`, noise maps, noise of its method, motion, and cut."""

    w: NDArray[Any]
    noise: KeptMaps = field(default_factory=dict)
    method: str | None = None
    transform: Motion | None = None
    cut: Cut | None = None


class _Projections:
    """Files of latents, each opened and compared with the network once."""

    def __init__(self, loaded: "LoadedNetwork", on_warning: Callable[[str], None], stack: contextlib.ExitStack) -> None:
        self._loaded, self._on_warning, self._stack = loaded, on_warning, stack
        self._rows: dict[Path, Latents] = {}
        self._files: dict[Path, list[_Found]] = {}

    def find(self, reference: ProjectedLatent) -> _Found:
        """Return a latent whose w fits the network."""
        path, row = reference.path, reference.row
        in_arrays = row is None or path.suffix.lower() in ARRAY_FILES
        found = self._of_arrays(path, row) if in_arrays else self._of_row(path, row or 0)
        generator, w = self._loaded.generator, found.w
        w_dim = generator.config.mapping.w_dim
        if w.shape not in ((1, w_dim), (generator.num_ws, w_dim)):
            network = display_path(self._loaded.provenance.path)
            reason = f"its w has size {w.shape[-1]}, that of network '{network}' {w_dim}"
            if w.ndim != 2 or len(w) != 1:
                size = f"{len(w)} styles of size {w.shape[1]}" if w.ndim == 2 else f"shape {list(w.shape)}"
                reason = f"its w has {size}, network '{network}' {generator.num_ws} styles of size {w_dim}"
            advice = "Name the network that it was found in."
            raise NoInputError(reason, path=path, advice=advice, code="latents-other-network")
        if w.dtype != np.float32 or not np.isfinite(w).all():
            raise NoInputError("its w is damaged: not finite, or of another type", path=path, code="latents-damaged")
        return found

    def _of_arrays(self, path: Path, row: int | None) -> _Found:
        if path not in self._files:
            self._files[path] = self._read(path)
        latents = self._files[path]
        if row is None and len(latents) > 1:
            advice = f"Name one of them, such as {display_path(path.name)}:0."
            raise UsageError(f"holds {len(latents)} latents", path=path, advice=advice)
        if (row or 0) >= len(latents):
            count = "is 1 latent" if len(latents) == 1 else f"are {len(latents)} latents"
            raise UsageError(f"row {row}: there {count}, counted from 0", path=path)
        return latents[row or 0]

    def _read(self, path: Path) -> list[_Found]:
        """Read a projection, or latents of another program."""
        damaged: NoInputError | None = None
        if path.suffix.lower() == ".npz":
            try:
                stored = read_projection(path)
            except NoInputError as error:
                if error.code != "projection-damaged":
                    raise
                damaged = error
            else:
                provenance = self._loaded.provenance
                # The record has the file's hash only; a converted or tuned network knows that of its source.
                known = [provenance.sha256, provenance.source_sha256]
                if provenance.tuned is not None:
                    known.append(provenance.tuned.network_sha256)
                self._compare(path, stored.method.get("network_sha256"), known, "sha256")
                noise = str(stored.method.get("noise"))
                return [_Found(stored.w, stored.noise, noise, stored.transform, cut_of(stored))]
        others = read_other_latents(path, self._loaded.generator.num_ws)
        if others is None:
            raise damaged or NoInputError("holds no latents", path=path, code="latents-other")
        return [self._of_other(path, other) for other in others]

    def _of_other(self, path: Path, other: OtherLatent) -> _Found:
        names = list(self._loaded.generator.synthesis.noise_sizes)
        if not other.noise:
            return _Found(other.w)
        if len(other.noise) != len(names):
            reason = f"its {len(other.noise)} noise maps are not the network's {len(names)}"
            self._on_warning(f"latents '{display_path(path)}': {reason}; those stored in the network are taken")
            return _Found(other.w)
        return _Found(other.w, dict(zip(names, other.noise, strict=True)), "optimise")

    def _of_row(self, path: Path, row: int) -> _Found:
        from invert.hdf5.reading import open_latents

        if path not in self._rows:
            latents = self._stack.enter_context(open_latents(path))
            known = (self._loaded.provenance.weights_sha256,)
            self._compare(path, latents.manifest.network["weights_sha256"], known, "weights")
            self._rows[path] = latents
        latents = self._rows[path]
        if row >= len(latents):
            raise UsageError(f"row {row}: there are {len(latents)} rows, counted from 0", path=path)
        kept = latents[row]
        noise = str(latents.manifest.method.get("noise"))
        return _Found(kept.w, kept.noise, noise, kept.transform, cut_of(kept))

    def _compare(self, path: Path, recorded: object, known: Sequence[str], what: str) -> None:
        if isinstance(recorded, str) and recorded not in known:
            self._on_warning(
                f"latents '{display_path(path)}': found in another network ({what} {recorded[:12]}...), "
                "whose W this network does not share"
            )
