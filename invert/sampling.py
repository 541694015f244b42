"""Pictures of a network, one at a time: the latent of a seed, the label of a class, the picture of styles."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from generator.networks import Generator
from invert.drawing import to_uint8

__all__ = ["class_label", "draw_picture", "seed_latent"]


def seed_latent(seed: int, z_dim: int) -> Tensor:
    """Return z `[1, z_dim]` of a seed, as in the published code: numpy.random.RandomState(seed).randn(1, z_dim).

    Args:
        seed: In 0..2^32 - 1. z_dim: Of the network.
    """
    return torch.from_numpy(np.random.RandomState(seed).randn(1, z_dim)).float()


def class_label(class_index: int | None, c_dim: int) -> Tensor | None:
    """Return the label `[1, c_dim]` of a class; None for None."""
    if class_index is None:
        return None
    return torch.nn.functional.one_hot(torch.tensor([class_index]), c_dim).float()


@torch.inference_mode()
def draw_picture(generator: Generator, ws: Tensor, noise: str, seed: int) -> npt.NDArray[np.uint8]:
    """Draw the picture `[H, W, C]` of styles; alone, for at another batch size its last bits would be others.

    Args:
        generator: In evaluation mode. ws: `[1, num_ws, w_dim]`.
        noise: "const" (the maps stored in the network), "random" (fresh ones, from `seed`) or "none".
    """
    image = generator.synthesis(ws, noise, torch.Generator().manual_seed(seed))  # [1, C, H, W]
    picture: npt.NDArray[np.uint8] = to_uint8(image)[0]
    return picture
