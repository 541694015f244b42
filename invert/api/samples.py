"""Images from seeds and from projections."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from invert.api.arguments import Network, OnMessage, load, silent
from invert.errors import NoInputError, UsageError
from invert.sheets.references import ProjectedLatent, Reference, Seed, parse_references

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["generate"]

Latent: TypeAlias = "int | str | os.PathLike[str] | Seed | ProjectedLatent"


def generate(
    network: Network,
    latents: Iterable[Latent],
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    class_index: int | None = None,
    noise: str = "kept",
    batch: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    on_warning: OnMessage | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Generate an image for each seed or projection.

    Args:
        network: From `load`, or its file.
        latents: Seeds in 0..2^32 - 1, and projections: a .npz, or a row such as "latents.h5:3". Seed S is the z
            numpy.random.RandomState(S).randn(1, z_dim), as in the published code.
        truncation_psi: 1 leaves w as it is, 0 gives the mean w.
        truncation_cutoff: How many styles, from the coarsest, are truncated; None is all.
        class_index: Class of the seeds of a conditional network, from 0.
        noise: "kept" (a projection's own maps where they were kept, else those stored in the network), "fixed" (those
            stored in the network), "random" (fresh ones for each seed), "zero", or "stream" (for seeds: those that the
            StyleGAN2 program for TensorFlow draws from the seed's stream after z).
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
    references = [_reference(latent) for latent in latents]
    for path in {one.path for one in references if isinstance(one, ProjectedLatent)}:
        if not path.exists():
            raise NoInputError("there is no such file", path=path, advice="Check the name.", code="file-missing")
    if not np.isfinite(truncation_psi):
        raise UsageError(f"the truncation {truncation_psi} is not a finite number")
    # Only now: what is above must be quick, and this imports torch.
    from invert.projection.config import SEED_NOISE
    from invert.projection.latents import check_class, check_cutoff
    from invert.projection.session import default_batch, prepare_process, settle_device
    from invert.projection.synthesis import noise_word

    noise = noise_word(noise, "kept", *SEED_NOISE)
    if noise == "stream" and not all(isinstance(one, Seed) for one in references):
        raise UsageError("--noise stream is the stream of a seed, which a projection has not", advice="Name seeds.")
    warn = on_warning or silent
    loaded = load(network, on_warning=warn) if isinstance(network, str | os.PathLike) else network
    generator = loaded.generator
    needs_class = any(isinstance(one, Seed) for one in references)
    check_class(class_index, generator.config.mapping.c_dim, required=needs_class)
    check_cutoff(truncation_cutoff, generator.num_ws)
    chosen = settle_device(device)
    prepare_process(chosen, threads, silent)
    generator.eval().to(chosen)
    size = batch or (1 if chosen == "cpu" else default_batch(generator.config.synthesis.img_resolution, chosen))
    truncation = {"truncation_psi": truncation_psi, "truncation_cutoff": truncation_cutoff}
    return _generate(loaded, references, class_index, noise, size, truncation, warn)


def _reference(latent: Latent) -> Reference:
    if isinstance(latent, Seed | ProjectedLatent):
        return latent
    try:
        (found,) = parse_references(os.fspath(latent) if isinstance(latent, str | os.PathLike) else str(latent))
    except ValueError as error:
        raise UsageError(f"{latent!r} is neither a seed nor a projection ({error})") from None
    return found


def _generate(
    loaded: "LoadedNetwork",
    references: Sequence[Reference],
    class_index: int | None,
    noise: str,
    batch: int,
    truncation: dict[str, Any],
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
            yield from synthesise_images(generator, ws, word, [source.seed for source in padded], maps)[: len(group)]
