"""What can be seen of an optimisation on its way: moments, which are synthesised only when somebody looks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from invert.images.arrays import to_uint8
from invert.images.target import Target
from invert.projection.objective import Comparison

__all__ = ["Look", "Moment", "Watcher", "looks"]


class Look(NamedTuple):
    """An image on its way.

    Attributes:
        image: What is compared with the target now, without latent noise: uint8 `[H, W, C]`.
        distance: How far it is from it: LPIPS; the root mean squared difference in levels of 255 with preset exact.
    """

    image: NDArray[np.uint8]
    distance: float


@dataclass(frozen=True, eq=False)
class Moment:
    """Where a search for the latents of some images has come to.

    Attributes:
        targets: The images.
        restart: Which of the restarts this is, from 0.
        done: Steps that were made, 0 to `total`.
        searched: After how many steps latents are found; the others tune the network.
        total: How many steps there are.
        look: Synthesises the images, one for each target. It draws no random numbers and changes nothing.
        unit: What distances are.
    """

    targets: Sequence[Target]
    restart: int
    done: int
    searched: int
    total: int
    look: Callable[[], Sequence[Look]]
    unit: str = "LPIPS"


Watcher = Callable[[Moment], None]
"""Is shown the start of each search and what each step led to, while the search waits."""


def looks(compare: Callable[[], Comparison], count: int) -> Callable[[], list[Look]]:
    """Return what synthesises the first `count` images of a comparison, the others being padding."""

    def look() -> list[Look]:
        distances, _, images = compare()
        pixels = to_uint8(images[:count])
        return [Look(one.copy(), float(distance)) for one, distance in zip(pixels, distances, strict=False)]

    return look
