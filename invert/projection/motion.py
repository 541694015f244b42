"""Shift and rotation of images that are optimised together with their latents.

Images that were not aligned as those that a network was trained with lie far from all that it generates where they are;
a network whose input can be moved (StyleGAN3) generates them where they lie.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from generator.motion import inverse_motion
from generator.networks import Generator
from invert.errors import UsageError

__all__ = ["NO_MOTION", "Motion", "Motions", "check_movable", "inverse_matrices"]

Motion = tuple[float, float, float]
"""Shift to the right and down in shares of the image's side, and rotation counter-clockwise in degrees."""

NO_MOTION: Motion = (0.0, 0.0, 0.0)

# What one unit of a parameter is, so that a step of Adam that suits w moves an image by little: at a rate of 0.1 a step
# shifts by half a hundredth of the side, and turns by half a degree.
_UNITS = (0.05, 0.05, 5.0)


def check_movable(generator: Generator, what: str) -> None:
    """Check that a network's images can be moved.

    Raises:
        UsageError: They cannot.
    """
    if not generator.synthesis.is_movable:
        reason = f"{what} moves the input of a StyleGAN3 network, and this network is {_name(generator)}"
        raise UsageError(reason, advice="Leave it out.")


def _name(generator: Generator) -> str:
    return f"a '{generator.config.synthesis.architecture}' one"


def inverse_matrices(motions: Sequence[Motion | None], device: torch.device | str) -> Tensor | None:
    """Return what moves images `[N, 3, 3]`; None where none is moved.

    Args:
        motions: Of each image; None: it is not moved.
        device: Where to.
    """
    if not any(motions):
        return None
    each = np.array([motion or NO_MOTION for motion in motions])
    return inverse_motion(torch.from_numpy(each)).to(device, torch.float32)


class Motions:
    """Motions of N images, changed in place by an optimiser; all begin at rest.

    Args:
        images: Number N of images.
        device: Where the parameters live.
    """

    def __init__(self, images: int, device: torch.device) -> None:
        self._steps = torch.zeros([images, 3], device=device)
        self._units = torch.tensor(_UNITS, device=device)

    def parameters(self) -> list[Tensor]:
        """Return what an optimiser varies, `[N, 3]`."""
        return [self._steps]

    def matrices(self) -> Tensor:
        """Return what moves the images, `[N, 3, 3]`, differentiable in the parameters."""
        return inverse_motion(self._steps * self._units)

    def values(self) -> list[Motion]:
        """Return the motions as they are now."""
        moved = (self._steps.detach() * self._units).cpu().double().tolist()
        return [(x, y, degrees) for x, y, degrees in moved]
