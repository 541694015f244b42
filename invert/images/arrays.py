"""From what a network draws to 8-bit images."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["contact_sheet", "to_uint8"]


def to_uint8(images: "Tensor") -> npt.NDArray[np.uint8]:
    """Return `[N, H, W, C]` 8-bit images of `[N, C, H, W]` in [-1, 1], rounded half up; NaN becomes mid-grey."""
    scaled = (images.nan_to_num() * 127.5 + 128).clamp(0, 255)
    return scaled.byte().permute(0, 2, 3, 1).cpu().numpy()


Pixels = NDArray[np.uint8]


def contact_sheet(images: Sequence[Pixels], columns: int | None = None) -> Pixels:
    """Lay images `[H, W, C]` out row by row; what is left of the last row is black.

    Args:
        images: All of one shape.
        columns: How many side by side; None: about a square.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    height, width, channels = images[0].shape
    cells = np.zeros([rows * columns, height, width, channels], np.uint8)
    cells[: len(images)] = np.stack(list(images))
    cells = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return cells.reshape(rows * height, columns * width, channels)
