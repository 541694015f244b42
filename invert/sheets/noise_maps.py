"""The noise maps of projections as images, and how much structure is in them.

Reference: Karras et al. 2020, figure 18.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from invert.images.arrays import Pixels, enlarge
from invert.projection.synthesis import KeptMaps
from invert.sheets.layout import Grid

__all__ = ["map_grid", "map_image", "structure"]

_RANGE = 3.0
"""Deviations of N(0, 1) from mid-grey to black and to white."""


def map_image(values: NDArray[np.floating], side: int) -> Pixels:
    """Return a noise map as a grey image.

    Args:
        values: `[r, r]`, about N(0, 1); -3 is black, 3 white.
        side: What it is enlarged to, a multiple of r, in pixels.

    Returns:
        `[side, side, 1]`.
    """
    levels = np.clip(127.5 + np.asarray(values, np.float64) * (127.5 / _RANGE), 0, 255)
    return enlarge(np.floor(levels + 0.5).astype(np.uint8)[..., None], side // len(values))


def structure(values: NDArray[np.floating]) -> float:
    """Return the correlation of neighbours in a noise map `[r, r]`, the mean of both directions: 0 in white noise.

    Neighbours are those of the paper's regulariser, across the edges too. A map without any noise has none.

    Reference: Karras et al. 2020, appendix D.
    """
    centred = np.asarray(values, np.float64) - np.mean(values, dtype=np.float64)
    variance = float(np.square(centred).mean())
    if not variance:
        return 0.0
    return float(np.mean([(centred * np.roll(centred, 1, axis)).mean() for axis in (0, 1)])) / variance


def map_grid(maps: Sequence[tuple[str, KeptMaps]], sizes: Mapping[str, int]) -> Grid:
    """Return a row of maps of each projection, those of the first layers first, all as large as the largest.

    Args:
        maps: What each projection is called, and its map `[r, r]` of each noise input.
        sizes: Side of each input's map by name, in the network's order.
    """
    side = max(sizes.values())
    cells = [[map_image(found[name], side) for name in sizes] for _, found in maps]
    title = f"Noise maps: mid-grey is 0, black and white are {-_RANGE:g} and {_RANGE:g} deviations"
    return Grid(title, cells, [f"{r} px" for r in sizes.values()], [label for label, _ in maps])
