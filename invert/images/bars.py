"""Black bars of images: where an image of other proportions was put whole on black before."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from invert.images.arrays import Pixels

__all__ = ["Bars", "bars_of"]

_BLACK = 16
"""Highest level that counts as black: compression leaves its traces in bars too."""

_LEAST = 1 / 32  # of a side
_UNEVEN = 1 / 64  # of a side, by which two bars may differ


class Bars(NamedTuple):
    """Two black bars that lie opposite each other.

    Attributes:
        first: Width of that above, or on the left, in pixels.
        second: Width of that below, or on the right.
        axis: 0 for bars above and below, 1 for those on the left and on the right.
    """

    first: int
    second: int
    axis: int

    @property
    def words(self) -> str:
        """Where they are."""
        return "above and below" if self.axis == 0 else "on the left and on the right"

    def inside(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return where an image of a height and a width is none of them, bool `[H, W]`."""
        found = np.ones(shape, bool)
        along = np.moveaxis(found, self.axis, 0)
        along[: self.first] = along[len(along) - self.second :] = False
        return found


def bars_of(image: Pixels) -> Bars | None:
    """Return the black bars of an image; None where it has none.

    Bars lie above and below, or on the left and on the right, are about equally wide, and leave something between
    them. What is black all around is a background, and no bars.

    Args:
        image: uint8 `[H, W, C]`; a fourth channel does not count.
    """
    black = image[..., :3].max(axis=2) <= _BLACK  # [H, W]
    found = [_ends(black.all(axis=1)), _ends(black.all(axis=0))]
    wide = [min(ends) >= _LEAST * side for ends, side in zip(found, black.shape, strict=True)]
    if wide[0] == wide[1]:
        return None
    axis = wide.index(True)
    first, second = found[axis]
    if abs(first - second) > max(1, _UNEVEN * black.shape[axis]):
        return None
    return Bars(first, second, axis)


def _ends(black: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many of a row are true at its start and at its end; none where all of them are."""
    if black.all():
        return 0, 0
    return int(np.argmin(black)), int(np.argmin(black[::-1]))
