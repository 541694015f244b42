"""Images from seeds."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invert.api.arguments import Network, load
from invert.errors import UsageError

__all__ = ["generate"]


def generate(
    network: Network,
    seeds: Iterable[int],
    *,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    class_index: int | None = None,
    noise: str = "const",
) -> Iterator[NDArray[np.uint8]]:
    """Generate an image for each seed.

    Args:
        network: From `load`, or its file.
        seeds: In 0..2^32 - 1. Seed S is the z numpy.random.RandomState(S).randn(1, z_dim), as in the published code.
        truncation_psi: 1 leaves w as it is, 0 gives the mean w.
        truncation_cutoff: How many styles, from the coarsest, are truncated; None is all.
        class_index: Class of a conditional network, from 0.
        noise: "const" (the maps stored in the network), "random" (fresh ones for each seed) or "none".

    Returns:
        An iterator over images, uint8 `[H, W, C]`; none depends on the other seeds.

    Raises:
        NetworkError: The file cannot be read, or is not a network.
        UsageError: The class, the truncation or the noise does not fit.
    """
    from invert.projection.latents import check_class, check_cutoff

    if not np.isfinite(truncation_psi):
        raise UsageError(f"the truncation {truncation_psi} is not a finite number")
    if noise not in ("const", "random", "none"):
        raise UsageError(f"noise {noise!r} is not one of const, random, none")
    loaded = load(network) if isinstance(network, str | os.PathLike) else network
    generator = loaded.generator
    check_class(class_index, generator.config.mapping.c_dim, required=True)
    check_cutoff(truncation_cutoff, generator.num_ws)
    truncation = {"truncation_psi": truncation_psi, "truncation_cutoff": truncation_cutoff}
    return _generate(generator, seeds, class_index, noise, truncation)


def _generate(
    generator: Any, seeds: Iterable[int], class_index: int | None, noise: str, truncation: dict[str, Any]
) -> Iterator[NDArray[np.uint8]]:
    import torch

    from invert.projection.latents import class_label, draw_image, seed_latent

    mapping = generator.config.mapping
    label = class_label(class_index, mapping.c_dim)
    generator.eval()
    device = generator.mapping.w_avg.device
    for seed in seeds:
        z = seed_latent(seed, mapping.z_dim).to(device)
        with torch.inference_mode():
            styles = generator.mapping_ws(z, None if label is None else label.to(device), **truncation)
        yield draw_image(generator, styles, noise, seed)
