"""Faces put back into the photos that they were cut out of."""

import os
from collections.abc import Sequence

import numpy as np

from invert.errors import UsageError
from invert.images.alignment import paste_square, square_of
from invert.images.arrays import ImageLike, Pixels
from invert.sheets.photos import read_photo

__all__ = ["paste"]


def paste(photo: str | os.PathLike[str] | ImageLike, quad: Sequence[float], image: Pixels) -> Pixels:
    """Put an image into the square of a photo that was aligned, with a soft seam along its rim.

    Args:
        photo: The photo's file; or a PIL image, an array or a tensor, as for `project`.
        quad: Corners of the square, as the `quad` of a result has them.
        image: What a network synthesised, uint8 `[S, S, C]`, such as the `image` of a result or of an edit.

    Returns:
        The photo, uint8 `[H, W, C]`.

    Raises:
        ImageError: The photo cannot be used.
        UsageError: The corners are of no square, or the image is no square one.
    """
    image = np.asarray(image)
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[0] != image.shape[1]
        or image.shape[2] not in (1, 3, 4)
    ):
        raise UsageError(f"the image is {image.dtype} {list(image.shape)}, not uint8 [S, S, 1 | 3 | 4]")
    try:
        square = square_of(quad)
    except (TypeError, ValueError) as error:
        raise UsageError(f"quad is no square: {error}", advice="Give the quad of a result.") from error
    return paste_square(read_photo(photo, image.shape[2])[0], square, image)
