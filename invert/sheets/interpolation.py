"""Ways from one latent to another, and to the next.

Reference: Karras et al. 2019, section 4.1: slerp in Z (equation 2), lerp in W (equation 3).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from invert.sheets.sources import Source

__all__ = ["Frame", "Space", "interpolate", "slerp"]

Space = Literal["z", "w"]


@dataclass(frozen=True, eq=False)
class Frame:
    """Styles `[1, num_ws, w_dim]` of frame `step` of a segment, at `t` in [0, 1] from key `segment` to the next."""

    segment: int
    step: int
    t: float
    ws: Tensor


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the point at the share `t` of the shorter arc from the direction of a to that of b.

    Args:
        a, b: `[d]`, of any length but zero.
        t: In [0, 1]; 0 gives a's direction, 1 gives b's.

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


def interpolate(keys: Sequence[Source], steps: int, space: Space, to_ws: Callable[[Tensor], Tensor]) -> Iterator[Frame]:
    """Yield the frames of the way through all keys, each key once, with its own styles to the bit.

    Args:
        keys: Two or more; all with a z for space "z".
        steps: Frames of a segment, both of its keys among them; 2 or more.
        space: "z": slerp, with the length changing evenly (it counts for networks that join z and label before they
            normalise). "w": lerp of each style.
        to_ws: Maps z `[1, z_dim]` to styles; of the space "z".

    Raises:
        ValueError: See `slerp`.
    """
    yield Frame(0, 0, 0.0, keys[0].ws)
    for segment in range(len(keys) - 1):
        first, last = keys[segment], keys[segment + 1]
        for step in range(1, steps - 1):
            t = step / (steps - 1)
            if space == "w":
                yield Frame(segment, step, t, first.ws.lerp(last.ws, t))
            else:
                yield Frame(segment, step, t, to_ws(_between(first, last, t)))
        yield Frame(segment, steps - 1, 1.0, last.ws)


def _between(first: Source, last: Source, t: float) -> Tensor:
    if first.z is None or last.z is None:
        raise ValueError("a projection is found in W and has no z")
    length = (1 - t) * first.z.double().norm() + t * last.z.double().norm()
    z: Tensor = (length * slerp(first.z[0], last.z[0], t))[None].to(first.z.dtype)  # [1, z_dim]
    return z
