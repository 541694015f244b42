"""How images are moved in the plane: turned about their centre first, then shifted.

Reference: Karras et al. 2021, section 3.1 (the user's transform of the Fourier input).
"""

import math

import torch
from torch import Tensor

__all__ = ["inverse_motion"]


def inverse_motion(motion: Tensor) -> Tensor:
    """Return the inverse of motions of an image, as `SynthesisBase.forward` takes it where `is_movable`.

    Args:
        motion: `[N, 3]`: shifts to the right and down in shares of the image's side, and rotations counter-clockwise in
            degrees.

    Returns:
        Matrices `[N, 3, 3]` from a point of the moved image to the one it came from, counted from the centre.
    """
    x, y, degrees = motion.unbind(1)
    angle = degrees * (math.pi / 180)
    cosine, sine = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    # Counter-clockwise as one sees it, with y downwards: forwards (c x + s y, c y - s x).
    turned = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1).reshape(-1, 3, 3)
    shifted = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).reshape(-1, 3, 3)
    return turned @ shifted
