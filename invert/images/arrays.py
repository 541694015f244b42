"""From what a network draws to 8-bit pictures."""

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
    """Return `[N, H, W, C]` 8-bit pictures of `[N, C, H, W]` in [-1, 1], rounded half up; NaN becomes mid-grey."""
    scaled = (images.nan_to_num() * 127.5 + 128).clamp(0, 255)
    return scaled.byte().permute(0, 2, 3, 1).cpu().numpy()


Picture = NDArray[np.uint8]


def contact_sheet(pictures: Sequence[Picture], columns: int | None = None) -> Picture:
    """Lay pictures `[H, W, C]` out row by row; what is left of the last row is black.

    Args:
        pictures: All of one shape.
        columns: How many side by side; None: about a square.
    """
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = -(-len(pictures) // columns)
    height, width, channels = pictures[0].shape
    cells = np.zeros([rows * columns, height, width, channels], np.uint8)
    cells[: len(pictures)] = np.stack(list(pictures))
    cells = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return cells.reshape(rows * height, columns * width, channels)
