"""Images of styles and noise maps, as `invert generate` and every sheet have them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from generator.networks import Generator
from generator.settings import map_shape
from invert.errors import UsageError
from invert.images.arrays import to_uint8
from invert.projection.config import NOISE_ALIASES, SYNTHESIS_NOISE

__all__ = ["KeptMaps", "noise_word", "synthesise_image", "synthesise_images"]

KeptMaps = Mapping[str, npt.NDArray[Any]]
"""Map `[r, r]` of each layer, as a projection keeps them."""

_NETWORK_WORDS = {"fixed": "const", "random": "random", "zero": "none"}


def noise_word(noise: str, *others: str) -> str:
    """Return a word for noise maps as it is today.

    Args:
        noise: One of `SYNTHESIS_NOISE`, of `others`, or a word of earlier versions.
        others: Further words.

    Raises:
        UsageError: It is none of them.
    """
    known = (*others, *SYNTHESIS_NOISE)
    word = NOISE_ALIASES.get(noise, noise)
    if word not in known:
        raise UsageError(f"noise {noise!r} is not one of {', '.join(known)}")
    return word


def synthesise_image(generator: Generator, ws: Tensor, noise: str, seed: int) -> npt.NDArray[np.uint8]:
    """Synthesise the image `[H, W, C]` of styles; alone, for at another batch size its last bits would be others.

    Args:
        generator: In evaluation mode.
        ws: `[1, styles, w_dim]`.
        noise: "fixed" (the maps stored in the network), "random" (fresh ones, from `seed`) or "zero".
        seed: Seed of fresh noise.
    """
    image: npt.NDArray[np.uint8] = synthesise_images(generator, ws, noise, [seed], [{}])[0]
    return image


@torch.inference_mode()
def synthesise_images(
    generator: Generator, ws: Tensor, noise: str, seeds: Sequence[int], kept: Sequence[KeptMaps]
) -> npt.NDArray[np.uint8]:
    """Synthesise images `[N, H, W, C]` of styles together.

    Args:
        generator: In evaluation mode.
        ws: `[N, styles, w_dim]`.
        noise: As for `synthesise_image`.
        seeds: Seed of the fresh noise of each.
        kept: Maps of each, in place of `noise` where there are any.
    """
    synthesis, device = generator.synthesis, ws.device
    word = _NETWORK_WORDS[noise_word(noise)]
    if not any(kept):
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        if len(seeds) == 1 or word != "random":
            return to_uint8(synthesis(ws, word, rngs[0]))
    each = [synthesis.noise_maps(word, 1, torch.Generator().manual_seed(seed)) for seed in seeds]
    maps = {}
    for name, r in synthesis.noise_sizes.items():
        rows = []
        for own, given in zip(kept, each, strict=True):
            found = given[name]
            if name in own:
                found = torch.from_numpy(np.asarray(own[name], np.float32))[None, None].to(device)
            shape = map_shape(synthesis.config, r)
            rows.append(torch.zeros([1, 1, *shape], device=device) if found is None else found)
        maps[name] = torch.cat(rows)  # [N, 1, H, W]
    return to_uint8(synthesis(ws, maps))
