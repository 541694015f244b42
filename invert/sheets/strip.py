"""Frames of an interpolation as a sheet: a row from each latent to the next."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from invert.sheets import drawing
from invert.sheets.interpolation import Frame, Space
from invert.sheets.layout import Grid

__all__ = ["Strip"]

_COLUMNS = 11
_TITLES = {
    "z": "Interpolation along the sphere in Z (slerp), at t",
    "w": "Interpolation along the straight line in W (lerp), at t",
}


class Strip:
    """Keep at most eleven frames of each segment, evenly spaced, both ends among them.

    Args:
        segments: Ways from a latent to the next. steps: Frames of each, both ends included.
    """

    def __init__(self, segments: int, steps: int) -> None:
        columns = min(steps, _COLUMNS)
        self._last = steps - 1
        self._steps = [round(i * self._last / (columns - 1)) for i in range(columns)]
        self._rows: list[list[NDArray[np.uint8]]] = [[] for _ in range(segments)]

    def hold_size(self, resolution: int, scale: int) -> None:
        """See `invert.sheets.drawing.hold_size`."""
        drawing.hold_size(len(self._rows), len(self._steps), resolution, scale)

    def add(self, frame: Frame, picture: NDArray[np.uint8]) -> None:
        """Keep a frame's picture `[H, W, C]` if it is one of those; frames come in their order."""
        if frame.step in self._steps:
            self._rows[frame.segment].append(picture)
        # A latent ends one row and begins the next.
        if frame.step == self._last and frame.segment + 1 < len(self._rows):
            self._rows[frame.segment + 1].append(picture)

    def grid(self, labels: Sequence[str], space: Space) -> Grid:
        """Return the table, once all frames were added.

        Args:
            labels: Of the latents, one more than there are segments.
        """
        rows = [f"{first}\nto {last}" for first, last in itertools.pairwise(labels)]
        columns = [f"{step / self._last:.3g}" for step in self._steps]
        return Grid(_TITLES[space], self._rows, columns, rows)
