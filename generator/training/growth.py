"""A network while it grows: which of its parameters a stage trains, and the part of it that gives images.

References: Karras et al. 2018, section 2 and figure 2.
"""

import dataclasses
import re
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.config import SynthesisSettings
from generator.networks import Generator

__all__ = [
    "blend_reals",
    "grown_part",
    "is_used",
    "require_used_gradients",
    "styles_at",
]

_BLOCK = re.compile(r"(?:^|\.)b([0-9]+)\.(.*)")
_COLOUR_LAYERS = ("torgb.", "fromrgb.")


def is_used(name: str, resolution: int, alpha: float) -> bool:
    """Tell whether a parameter of a network that grows has a part in what it does at a resolution.

    Args:
        name: Name of the parameter, such as "synthesis.b8.torgb.weight".
        resolution: Side of the images in pixels.
        alpha: How far the layers at that resolution have faded in, in [0, 1].
    """
    found = _BLOCK.search(name)
    if found is None:
        return True
    at, rest = int(found[1]), found[2]
    if rest.startswith(_COLOUR_LAYERS):
        # while layers fade in, the image of half the side is blended in, through its own colour layer
        return at == resolution or (alpha < 1 and at == resolution // 2)
    return at <= resolution


def require_used_gradients(
    network: nn.Module, growing: bool, resolution: int, alpha: float, frozen: tuple[str, ...] = ()
) -> None:
    """Let the parameters that a stage trains have gradients, and no others.

    Args:
        network: The generator or the discriminator.
        growing: Whether the networks grow; all parameters are trained where they do not.
        resolution: Side of the images in pixels.
        alpha: How far the layers at that resolution have faded in, in [0, 1].
        frozen: How the names of those begin that are never trained.
    """
    for name, parameter in network.named_parameters():
        used = not growing or is_used(name, resolution, alpha)
        parameter.requires_grad_(used and not name.startswith(frozen))


def styles_at(config: SynthesisSettings, resolution: int) -> int:
    """Return how many of a network's style inputs have a part in images of a resolution."""
    return min(config.num_ws, 2 * (resolution.bit_length() - 1) - 2) if config.growing else config.num_ws


def blend_reals(images: Tensor, resolution: int, alpha: float) -> Tensor:
    """Return training images as a network that grows sees them, so that they fade as what it generates does.

    Args:
        images: Training images `[N, C, R, R]`.
        resolution: Side r, to which they are averaged (box filter).
        alpha: Share of the details at r; for the rest the image is that of r / 2 px, each pixel repeated.

    Returns:
        Images `[N, C, r, r]`.
    """
    if images.shape[-1] != resolution:
        images = functional.avg_pool2d(images, images.shape[-1] // resolution)
    if alpha == 1:
        return images
    # halved and enlarged as the networks do it, so that no detail tells a real image that generated ones lack yet
    coarse = functional.interpolate(functional.avg_pool2d(images, 2), scale_factor=2)
    return torch.lerp(coarse, images, alpha)


def grown_part(generator: Generator, resolution: int, alpha: float) -> Generator:
    """Return a network of the layers up to a resolution, which gives by itself what a growing one gives there.

    Args:
        generator: The network that grows.
        resolution: Side of the images that it has come to.
        alpha: How far the layers there have faded in, in [0, 1]; it is kept in the settings of the result.
    """
    whole = cast(Any, generator.config.synthesis)  # a dataclass, of whichever family
    widths = tuple(width for r, width in whole.widths.items() if r <= resolution)
    synthesis = dataclasses.replace(
        whole, img_resolution=resolution, alpha=alpha, channels=None if whole.channels is None else widths
    )
    with torch.random.fork_rng(devices=[]):  # the weights that it begins with are replaced
        part = Generator(dataclasses.replace(generator.config, synthesis=synthesis))
    state = generator.state_dict()
    part.load_state_dict({name: state[name] for name in part.state_dict()})
    part.to(next(generator.parameters()).device).to(memory_format=torch.channels_last)
    return part.eval().requires_grad_(False)
