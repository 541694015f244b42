"""From what a network draws to 8-bit pictures."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["to_uint8"]


def to_uint8(images: Tensor) -> npt.NDArray[np.uint8]:
    """Return `[N, H, W, C]` 8-bit pictures of `[N, C, H, W]` in [-1, 1], rounded half up; NaN becomes mid-grey."""
    scaled = (images.nan_to_num() * 127.5 + 128).clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
