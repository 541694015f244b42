"""Contact sheets: many pictures as one."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["contact_sheet"]

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
