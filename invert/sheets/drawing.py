"""What draws the pictures of a sheet, and how large a sheet may be."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invert.errors import UsageError

__all__ = ["Draw", "fitting_scale", "hold_size"]

Draw = Callable[[Tensor, int], NDArray[np.uint8]]
"""Of styles `[1, num_ws, w_dim]` and the seed of their random noise: the picture `[H, W, C]`."""

_VISIBLE = 128  # px
_MAX_PIXELS = 100_000_000


def fitting_scale(resolution: int) -> int:
    """Return by which whole factor pictures of so many pixels are enlarged to be seen well: to 128 px or more."""
    return -(-_VISIBLE // resolution)


def hold_size(rows: int, columns: int, resolution: int, scale: int) -> None:
    """Hold the size of a sheet against what memory and viewers can be asked to bear, before anything is drawn.

    Raises:
        UsageError: Its pictures have more than 100 million pixels.
    """
    pixels = rows * columns * (resolution * scale) ** 2
    if pixels > _MAX_PIXELS:
        reason = f"a sheet of {rows} x {columns} pictures of {resolution * scale} px would have {pixels // 10**6} Mpx"
        raise UsageError(f"{reason}, more than {_MAX_PIXELS // 10**6}", advice="Ask for fewer, or a smaller --scale.")
