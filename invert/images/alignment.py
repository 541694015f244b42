"""The crop of FFHQ and CelebA-HQ: a square around a face, turned so that its eyes are level; and the way back.

A square is given by its corners in the photo, float64 `[4, 2]` of x and y in pixels, where the first pixel reaches from
0 to 1: top left, bottom left, bottom right and top right of what is cut out.

Reference: Karras et al. 2018 (progressive growing), appendix C; Karras et al. 2019, appendix A.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from invert.images.arrays import Pixels

__all__ = ["Square", "cut_square", "face_square", "paste_square", "share_beyond", "side_of", "square_of"]

Square = NDArray[np.float64]

_EYES, _MOUTH = 4.0, 3.6  # sides of the square, in distances between the eyes, and from eyes to mouth
_DOWN = 0.1  # the middle of the square below the eyes, in distances from eyes to mouth
_SUPERSAMPLING = 4
_BLUR = 0.02  # deviation of what is around the photo, in sides
_BLURRED = 0.1  # where it is blurred in full, in sides from the photo
_SEAM = 0.08  # width of the seam, in sides
_FAR = 1e8  # px; no corner of a file is further out


def face_square(left_eye: ArrayLike, right_eye: ArrayLike, mouth_left: ArrayLike, mouth_right: ArrayLike) -> Square:
    """Return the square around a face: its corners `[4, 2]`.

    Args:
        left_eye: Middle of the eye that is left in the photo, x and y.
        right_eye: Middle of the other.
        mouth_left: Corner of the mouth that is left in the photo.
        mouth_right: The other.

    Raises:
        ValueError: The points are no face: not finite, or all in one place.

    Reference: Karras et al. 2018, appendix C, where x' is `across` and y' is `-down`.
    """
    left, right, *corners = (np.asarray(point, np.float64) for point in (left_eye, right_eye, mouth_left, mouth_right))
    eyes, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    across, down = right - left, mouth - eyes
    # Both say which way the face is turned: the line between the eyes, and the one from eyes to mouth turned by 90
    # degrees.
    direction = across + np.array([down[1], -down[0]])
    length = float(np.hypot(*direction))
    side = max(_EYES * float(np.hypot(*across)), _MOUTH * float(np.hypot(*down)))
    if not (math.isfinite(side) and side > 0 and length > 1e-9 * side):
        raise ValueError("the landmarks are no face")
    x = direction / length * (side / 2)
    y = np.array([-x[1], x[0]])
    middle = eyes + _DOWN * down
    return np.stack([middle - x - y, middle - x + y, middle + x + y, middle + x - y])


def square_of(quad: Sequence[float]) -> Square:
    """Return the square `[4, 2]` that eight numbers of a result are the corners of.

    Raises:
        ValueError: They are of no square.
    """
    square = np.array(quad, np.float64).reshape(4, 2)
    if not (np.abs(square) <= _FAR).all():
        raise ValueError("the corners are of no square")
    x = square[3] - square[0]
    side = float(np.hypot(*x))
    y = np.array([-x[1], x[0]])
    expected = square[0] + np.stack([np.zeros(2), y, x + y, x])
    if side < 1 or np.abs(square - expected).max() > 1e-6 * side:
        raise ValueError("the corners are of no square")
    return square


def side_of(square: Square) -> float:
    """Return the side of a square in pixels of the photo."""
    return float(np.hypot(*(square[3] - square[0])))


def share_beyond(square: Square, size: tuple[int, int]) -> float:
    """Return about which share of a square, from 0 to 1, lies beyond a photo of this width and height."""
    steps = (np.arange(64) + 0.5) / 64
    x, y = square[3] - square[0], square[1] - square[0]
    places = square[0] + steps[:, None, None] * x + steps[:, None] * y
    return float(1 - ((places > 0) & (places < size)).all(axis=-1).mean())


def cut_square(photo: Image.Image, square: Square, size: int) -> Pixels:
    """Cut a square out of a photo: reduced first where it is large, then sampled four times as densely as asked for.

    What is beyond the photo is mirrored, and the more blurred the further out; the photo's own pixels are not.

    Args:
        photo: Mode L, RGB or RGBA.
        square: Corners `[4, 2]`.
        size: Side of the result in pixels.

    Returns:
        `[size, size, C]`, read-only.
    """
    shrink = math.floor(side_of(square) / size / 2)
    if shrink > 1:
        width, height = (max(1, round(length / shrink)) for length in photo.size)
        square = square * [width / photo.width, height / photo.height]
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
    part, origin = _surroundings(photo, square)
    square = square - origin
    dense = _SUPERSAMPLING * size
    x, y = (square[3] - square[0]) / dense, (square[1] - square[0]) / dense
    sampled = part.transform(
        (dense, dense),
        Image.Transform.AFFINE,
        (x[0], y[0], square[0, 0], x[1], y[1], square[0, 1]),
        Image.Resampling.BILINEAR,
    )
    array = np.array(sampled.resize((size, size), Image.Resampling.LANCZOS)).reshape(size, size, -1)
    array.flags.writeable = False
    return array


def _surroundings(photo: Image.Image, square: Square) -> tuple[Image.Image, Square]:
    """Return the part of a photo that a square lies in, with what is beyond the photo made up, and where it begins."""
    margin = 2  # px; interpolation looks at neighbours
    low = np.floor(square.min(axis=0)).astype(int) - margin
    high = np.ceil(square.max(axis=0)).astype(int) + margin
    size = np.array(photo.size)
    # A square that lies wholly outside is made of the nearest edge.
    inner_low, inner_high = np.clip(low, 0, size - 1), np.clip(high, 1, size)
    pixels = np.asarray(photo)[inner_low[1] : inner_high[1], inner_low[0] : inner_high[0]]
    left, top = inner_low - low
    right, bottom = high - inner_high
    if max(left, top, right, bottom) <= 0:
        return Image.fromarray(pixels), low.astype(np.float64)
    sides = ((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)))
    padded = np.pad(pixels, sides + ((0, 0),) * (pixels.ndim - 2), "symmetric")
    begin = inner_low - [sides[1][0], sides[0][0]]
    return Image.fromarray(_blurred(padded, sides, side_of(square))), begin.astype(np.float64)


def _blurred(padded: Pixels, sides: tuple[tuple[int, int], tuple[int, int]], side: float) -> Pixels:
    """Return an image whose padding is the more blurred the further it is from what was padded."""
    from scipy.ndimage import gaussian_filter  # only now: the module is imported where nothing is aligned, too

    outside = []
    for length, (before, after) in zip(padded.shape, sides, strict=False):
        place = np.arange(length)
        outside.append(np.maximum(np.maximum(before - place, place - (length - after - 1)), 0))
    distance = np.hypot(outside[0][:, None], outside[1][None])
    share = np.clip(distance / (_BLURRED * side), 0, 1)
    share = share.reshape(*share.shape, *[1] * (padded.ndim - 2))
    deviation = (_BLUR * side, _BLUR * side, 0.0)[: padded.ndim]
    levels = padded.astype(np.float32)
    soft = gaussian_filter(levels, deviation, mode="nearest")
    return np.asarray(np.floor(levels + share * (soft - levels) + 0.5).clip(0, 255), np.uint8)


def paste_square(photo: Pixels, square: Square, image: Pixels) -> Pixels:
    """Put an image into the square of a photo that another one was cut out of, with a soft seam along its rim.

    Args:
        photo: uint8 `[H, W, C]`.
        square: Corners `[4, 2]`.
        image: uint8 `[S, S, C]`.

    Returns:
        uint8 `[H, W, C]`; outside the square the photo as it was.
    """
    height, width, channels = photo.shape
    left, top = np.clip(np.floor(square.min(axis=0)).astype(int), 0, [width, height])
    right, bottom = np.clip(np.ceil(square.max(axis=0)).astype(int), 0, [width, height])
    result = photo.copy()
    if left >= right or top >= bottom:
        return result
    side = side_of(square)
    size = max(1, round(min(side, image.shape[0])))  # larger images are reduced first, so that nothing is left out
    opened = Image.fromarray(image[..., 0] if channels == 1 else image)
    if size != image.shape[0]:
        opened = opened.resize((size, size), Image.Resampling.LANCZOS)
    # From the photo's pixels to those of the image: along both sides of the square.
    x, y = (edge / side**2 for edge in (square[3] - square[0], square[1] - square[0]))
    start = np.array([left, top]) - square[0]
    across, down = (size * np.array([*axis, start @ axis]) for axis in (x, y))
    box = (int(right - left), int(bottom - top))
    moved = opened.transform(box, Image.Transform.AFFINE, (*across, *down), Image.Resampling.BICUBIC)
    there = np.asarray(moved).reshape(box[1], box[0], channels).astype(np.float32)
    share = _seam(box, across / size, down / size)[..., None]
    here = result[top:bottom, left:right].astype(np.float32)
    mixed = here + share * (there - here)
    result[top:bottom, left:right] = np.floor(mixed + 0.5).clip(0, 255).astype(np.uint8)
    return result


def _seam(box: tuple[int, int], across: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return how much of an image is to be seen `[H, W]`: all of it inside, nothing on its rim and beyond."""
    columns, rows = np.arange(box[0]) + 0.5, np.arange(box[1]) + 0.5
    inside = np.inf
    for axis in (across, down):
        place = axis[0] * columns[None] + axis[1] * rows[:, None] + axis[2]
        inside = np.minimum(inside, np.minimum(place, 1 - place))
    t = np.clip(inside / _SEAM, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
