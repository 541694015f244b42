"""Images of styles and noise maps, as `invert generate` and every sheet have them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from generator.networks import Generator
from generator.ops.seeded_normal import seeded_normal
from generator.settings import map_shape
from invert.errors import UsageError
from invert.images.arrays import to_uint8
from invert.projection.config import NOISE_ALIASES, SEED_NOISE, SYNTHESIS_NOISE

__all__ = ["KeptMaps", "noise_word", "random_maps", "stream_maps", "synthesise_image", "synthesise_images"]

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


def stream_maps(generator: Generator, seed: int) -> dict[str, Tensor]:
    """Return the noise maps `[1, 1, H, W]` of a seed as the StyleGAN2 program for TensorFlow draws them.

    They follow z in the stream of numpy.random.RandomState(seed), those of the first layer first.

    Args:
        generator: Its sizes are used.
        seed: In 0..2^32 - 1.
    """
    synthesis, z_dim = generator.synthesis, generator.config.mapping.z_dim
    shapes = {name: map_shape(synthesis.config, r) for name, r in synthesis.noise_sizes.items()}
    numbers = [height * width for height, width in shapes.values()]
    drawn = seeded_normal(torch.tensor([seed]), z_dim + sum(numbers))[0, z_dim:].to(generator.mapping.w_avg.device)
    pieces = torch.split(drawn, numbers)
    return {name: piece.reshape(1, 1, *shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


def random_maps(generator: Generator, seed: int) -> dict[str, Tensor]:
    """Return the fresh noise maps `[1, 1, r, r]` of a seed, as `--noise random` draws them."""
    found = generator.synthesis.noise_maps("random", 1, torch.Generator().manual_seed(seed))
    return {name: maps for name, maps in found.items() if maps is not None}


def synthesise_image(generator: Generator, ws: Tensor, noise: str, seed: int) -> npt.NDArray[np.uint8]:
    """Synthesise the image `[H, W, C]` of styles; alone, for at another batch size its last bits would be others.

    Args:
        generator: In evaluation mode.
        ws: `[1, styles, w_dim]`.
        noise: "fixed" (the maps stored in the network), "random" (fresh ones, from `seed`), "stream" (see
            `stream_maps`) or "zero".
        seed: Seed of fresh noise.
    """
    image: npt.NDArray[np.uint8] = synthesise_images(generator, ws, noise, [seed], [{}])[0]
    return image


@torch.inference_mode()
def synthesise_images(
    generator: Generator,
    ws: Tensor,
    noise: str,
    seeds: Sequence[int],
    kept: Sequence[KeptMaps],
    transform: Tensor | None = None,
) -> npt.NDArray[np.uint8]:
    """Synthesise images `[N, H, W, C]` of styles together.

    Args:
        generator: In evaluation mode.
        ws: `[N, styles, w_dim]`.
        noise: As for `synthesise_image`.
        seeds: Seed of the fresh noise of each.
        kept: Maps of each, in place of `noise` where there are any.
        transform: The inverse of a motion of each image `[N, 3, 3]`, of a network that is movable; None: no motion.
    """
    synthesis, device = generator.synthesis, ws.device
    moved = {} if transform is None else {"transform": transform}
    noise = noise_word(noise, *SEED_NOISE)
    if not any(kept) and noise != "stream":
        word = _NETWORK_WORDS[noise]
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        if len(seeds) == 1 or word != "random":
            return to_uint8(synthesis(ws, word, rngs[0], **moved))
    each = [_maps(generator, noise, seed) for seed in seeds]
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
    return to_uint8(synthesis(ws, maps, **moved))


def _maps(generator: Generator, noise: str, seed: int) -> Mapping[str, Tensor | None]:
    """Return the noise maps of one image."""
    if noise in ("stream", "random"):
        return (stream_maps if noise == "stream" else random_maps)(generator, seed)
    return generator.synthesis.noise_maps(_NETWORK_WORDS[noise], 1)
