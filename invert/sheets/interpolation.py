"""Ways from one latent to another, and to the next.

Reference: Karras et al. 2019, section 4.1: slerp in Z (equation 2), lerp in W (equation 3).
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generator.networks import Generator
from invert.projection.motion import NO_MOTION, Motion
from invert.projection.synthesis import KeptMaps
from invert.sheets.layout import Grid, check_size
from invert.sheets.sources import Source, all_maps, own_maps

__all__ = [
    "Easing",
    "Frame",
    "PathSpace",
    "Strip",
    "blend_maps",
    "blend_motions",
    "frames_between",
    "maps_of_keys",
    "slerp",
]

PathSpace = Literal["z", "w"]
Easing = Literal["linear", "smooth"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One image on the way through the keys.

    Attributes:
        segment: Index of the key that its segment begins with.
        step: Its number within the segment, from 0.
        t: Where it lies between the segment's two keys, in [0, 1].
        ws: Its styles `[1, num_ws, w_dim]`.
        source: What gives its noise: the first key, or maps between those of both keys.
    """

    segment: int
    step: int
    t: float
    ws: Tensor
    source: Source


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the point at the share `t` of the shorter arc from the direction of a to that of b.

    Args:
        a: `[d]`, of any length but zero.
        b: `[d]`, of any length but zero.
        t: Share of the arc in [0, 1]; 0 gives a's direction, 1 gives b's.

    Returns:
        float64 `[d]` of length 1.

    Raises:
        ValueError: A vector is zero, or the two are opposite: then there is no shorter arc.
    """
    a, b = a.double(), b.double()
    if not a.norm() > 0 or not b.norm() > 0:
        raise ValueError("a latent of length zero has no direction")
    a, b = a / a.norm(), b / b.norm()
    # Exact for small angles too, where the arc cosine of a . b is not.
    angle = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    if (a + b).norm() < 1e-9:
        raise ValueError("the latents are opposite: there is no shortest way between them")
    if angle == 0:
        return a
    point = torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b
    point /= point.norm()
    return point


def blend_maps(first: KeptMaps, last: KeptMaps, t: float) -> KeptMaps:
    """Return noise maps between two sets of maps; what lies between is as rough as they are.

    The mean of two independent maps has half their variance, and its image is smoother than either: the maps move on a
    quarter of a circle in place of the straight line.

    Args:
        first: Map `[r, r]` of each layer at t = 0.
        last: Map `[r, r]` of each layer at t = 1.
        t: Share of the way in [0, 1].
    """
    if t in (0, 1):
        return last if t else first
    angle = t * math.pi / 2
    return {name: (math.cos(angle) * first[name] + math.sin(angle) * last[name]).astype(np.float32) for name in first}


def blend_motions(first: Motion | None, last: Motion | None, t: float) -> Motion | None:
    """Return the motion between those of two latents, changing evenly; None where neither has any.

    Args:
        first: That of the first latent.
        last: That of the second.
        t: Share of the way in [0, 1].
    """
    if first is None and last is None:
        return None
    one, other = first or NO_MOTION, last or NO_MOTION
    x, y, degrees = ((1 - t) * a + t * b for a, b in zip(one, other, strict=True))
    return x, y, degrees


def maps_of_keys(
    keys: Sequence[Source], generator: Generator, on_warning: Callable[[str], None]
) -> list[KeptMaps] | None:
    """Return all noise maps of each latent, its own or those stored in the network; None where none has any.

    Raises:
        NoInputError: Maps do not fit the network.
    """
    own = [own_maps(key, generator, on_warning) for key in keys]
    if not any(own):
        return None
    return [all_maps(maps, generator) for maps in own]


def frames_between(
    keys: Sequence[Source],
    steps: int,
    space: PathSpace,
    to_ws: Callable[[Tensor], Tensor],
    *,
    maps: Sequence[KeptMaps] | None = None,
    easing: Easing = "linear",
) -> Iterator[Frame]:
    """Yield the frames of the way through all keys, each key once, with its own styles to the bit.

    Args:
        keys: Two or more latents; all with a z for space "z".
        steps: Frames of a segment, both of its keys among them; 2 or more.
        space: "z": slerp, with the length changing evenly (it counts for networks that join z and label before they
            normalise). "w": lerp of each style.
        to_ws: Maps z `[1, z_dim]` to styles `[1, num_ws, w_dim]`; used for space "z".
        maps: Noise maps of each key, see `maps_of_keys`; None: all frames have the noise of the first key.
        easing: "linear": all steps are alike. "smooth": each segment begins and ends slowly.

    Raises:
        ValueError: See `slerp`.
    """

    def source(segment: int, t: float) -> Source:
        motion = blend_motions(keys[segment].transform, keys[segment + 1].transform, t)
        between = replace(keys[0], transform=motion)
        if maps is None:
            return between
        return replace(between, noise=blend_maps(maps[segment], maps[segment + 1], t), method="optimise")

    yield Frame(0, 0, 0.0, keys[0].ws, source(0, 0))
    for segment in range(len(keys) - 1):
        first, last = keys[segment], keys[segment + 1]
        for step in range(1, steps - 1):
            t = step / (steps - 1)
            if easing == "smooth":
                t = t * t * (3 - 2 * t)
            ws = first.ws.lerp(last.ws, t) if space == "w" else to_ws(_between(first, last, t))
            yield Frame(segment, step, t, ws, source(segment, t))
        yield Frame(segment, steps - 1, 1.0, last.ws, source(segment, 1))


def _between(first: Source, last: Source, t: float) -> Tensor:
    if first.z is None or last.z is None:
        raise ValueError("a projection is found in W and has no z")
    length = (1 - t) * first.z.double().norm() + t * last.z.double().norm()
    z: Tensor = (length * slerp(first.z[0], last.z[0], t))[None].to(first.z.dtype)  # [1, z_dim]
    return z


_COLUMNS = 11
_TITLES = {
    "z": "Interpolation along the sphere in Z (slerp), at t",
    "w": "Interpolation along the straight line in W (lerp), at t",
}


class Strip:
    """Keep at most eleven frames of each segment, evenly spaced, both ends among them.

    Args:
        segments: Number of ways from a latent to the next.
        steps: Frames of each, both ends included.
    """

    def __init__(self, segments: int, steps: int) -> None:
        columns = min(steps, _COLUMNS)
        self._last = steps - 1
        self._steps = [round(i * self._last / (columns - 1)) for i in range(columns)]
        self._rows: list[list[NDArray[np.uint8]]] = [[] for _ in range(segments)]
        self._shares: dict[int, float] = {}

    def check_size(self, resolution: int, scale: int) -> None:
        """See `invert.sheets.layout.check_size`."""
        check_size(len(self._rows), len(self._steps), resolution, scale)

    def add(self, frame: Frame, image: NDArray[np.uint8]) -> None:
        """Keep a frame's image `[H, W, C]` if it is one of the strip; frames come in their order."""
        self._shares[frame.step] = frame.t
        if frame.step in self._steps:
            self._rows[frame.segment].append(image)
        # A latent ends one row and begins the next.
        if frame.step == self._last and frame.segment + 1 < len(self._rows):
            self._rows[frame.segment + 1].append(image)

    def grid(self, labels: Sequence[str], space: PathSpace) -> Grid:
        """Return the table, once all frames were added.

        Args:
            labels: Labels of the latents, one more than there are segments.
            space: The space of the interpolation.
        """
        rows = [f"{first}\nto {last}" for first, last in itertools.pairwise(labels)]
        columns = [f"{self._shares[step]:.3g}" for step in self._steps]
        return Grid(_TITLES[space], self._rows, columns, rows)
