"""Images from seeds and from projections."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invert.api.arguments import Network, OnMessage, silent
from invert.api.latents import Latent, prepare
from invert.errors import UsageError
from invert.sheets.references import Reference, Seed

if TYPE_CHECKING:
    from torch import Tensor

    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator
    from invert.projection.motion import Motion
    from invert.sheets.sources import Source

__all__ = ["generate"]


def generate(
    network: Network,
    latents: Iterable[Latent],
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    class_index: int | None = None,
    noise: str = "kept",
    translate: tuple[float, float] = (0.0, 0.0),
    rotate: float = 0.0,
    batch: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    on_warning: OnMessage | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Generate an image for each seed or projection.

    Args:
        network: From `load`, or its file.
        latents: Seeds in 0..2^32 - 1, and projections: a .npz, or a row such as "latents.h5:3"; latents of other
            programs, such as "projected_w.npz" or "latents.pt:3". Seed S is the z
            numpy.random.RandomState(S).randn(1, z_dim), as in the published code.
        truncation_psi: 1 leaves w as it is, 0 gives the mean w.
        truncation_cutoff: How many styles, from the coarsest, are truncated; None is all.
        class_index: Class of the seeds of a conditional network, from 0.
        noise: "kept" (a projection's own maps where they were kept, else those stored in the network), "fixed" (those
            stored in the network), "random" (fresh ones for each seed), "zero", or "stream" (for seeds: those that the
            StyleGAN2 program for TensorFlow draws from the seed's stream after z).
        translate: Shift to the right and down, in shares of the image's side, of a StyleGAN3 network's images; after
            the motion that was found with a projection.
        rotate: Rotation counter-clockwise about the centre in degrees, before the shift.
        batch: How many are synthesised together; by default 1 on processors, and more on a GPU. With another number
            the last bits differ, which shows in few pixels, by one level.
        threads: CPU threads; by default as torch has them.
        device: "auto", "cpu", "cuda", "cuda:1", "mps" ...
        on_warning: Called with a line on what should be known.

    Returns:
        An iterator over images, uint8 `[H, W, C]`; none depends on the others.

    Raises:
        NetworkError: The file cannot be read, or is not a network.
        NoInputError: A projection cannot be read, or does not fit the network.
        UsageError: The class, the truncation, the noise or the device does not fit.
    """
    warn = on_warning or silent
    motion = (*translate, rotate)
    if len(motion) != 3 or not np.isfinite(motion).all():
        raise UsageError(f"the shift {translate} and rotation {rotate} are not three finite numbers")
    prepared = prepare(
        network,
        latents,
        truncation_psi=truncation_psi,
        truncation_cutoff=truncation_cutoff,
        class_index=class_index,
        threads=threads,
        device=device,
        on_warning=warn,
    )
    from invert.projection.config import SEED_NOISE
    from invert.projection.motion import check_movable
    from invert.projection.session import default_batch
    from invert.projection.synthesis import noise_word

    references, chosen = prepared.references, prepared.device
    noise = noise_word(noise, "kept", *SEED_NOISE)
    if noise == "stream" and not all(isinstance(one, Seed) for one in references):
        raise UsageError("--noise stream is the stream of a seed, which a projection has not", advice="Name seeds.")
    resolution = prepared.generator.config.synthesis.img_resolution
    size = batch or (1 if chosen == "cpu" else default_batch(resolution, chosen))
    truncation = {"truncation_psi": truncation_psi, "truncation_cutoff": truncation_cutoff}
    if any(motion):
        check_movable(prepared.generator, "--translate or --rotate")
    return _generate(prepared.loaded, references, class_index, noise, size, truncation, motion, warn)


def _generate(
    loaded: "LoadedNetwork",
    references: Sequence[Reference],
    class_index: int | None,
    noise: str,
    batch: int,
    truncation: dict[str, Any],
    motion: "Motion",
    on_warning: OnMessage,
) -> Iterator[NDArray[np.uint8]]:
    import torch

    from invert.projection.synthesis import synthesise_images
    from invert.sheets.sources import open_sources, own_maps

    generator = loaded.generator
    with open_sources(loaded, class_index, on_warning) as find:
        stream = iter(references)
        while group := [find(reference) for reference in itertools.islice(stream, batch)]:
            padded = [*group, *[group[-1]] * (batch - len(group))]  # so that none depends on how many there are
            with torch.inference_mode():
                ws = torch.cat([source.ws for source in padded])
                ws = generator.truncate(ws, truncation["truncation_psi"], truncation["truncation_cutoff"])
            kept = noise == "kept"
            maps = [own_maps(source, generator, on_warning) if kept else {} for source in padded]
            word = "fixed" if noise == "kept" else noise
            seeds, transform = [source.seed for source in padded], _transform(padded, motion, generator)
            yield from synthesise_images(generator, ws, word, seeds, maps, transform)[: len(group)]


def _transform(sources: Sequence["Source"], motion: "Motion", generator: "Generator") -> "Tensor | None":
    """Return what moves the images `[N, 3, 3]`: as their projections found them, and then as the user wants them."""
    from invert.projection.motion import inverse_matrices

    device = generator.mapping.w_avg.device
    own = [source.transform if generator.synthesis.is_movable else None for source in sources]
    found, wanted = inverse_matrices(own, device), inverse_matrices([motion], device) if any(motion) else None
    return found @ wanted if found is not None and wanted is not None else wanted if found is None else found
