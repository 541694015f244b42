"""Bring images to a network's size: cut to its proportions, put whole on black, or distorted."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["FITS", "Size", "centre_of", "fit", "fit_whole", "height_and_width", "inside_of", "stretch"]

FITS = ("crop", "pad", "stretch")
"""What is done with images of other proportions: the centre is cut out, they are put whole on black, or distorted."""

Size = int | tuple[int, int]
"""Side of square images in pixels, or height and width."""


def height_and_width(size: Size) -> tuple[int, int]:
    """Return height and width of images, which are square where one side is given."""
    return (size, size) if isinstance(size, int) else size


def centre_of(image: tuple[int, int], size: Size) -> tuple[int, int]:
    """Return width and height of the largest part of an image that has the proportions of `size`.

    Args:
        image: Width and height of the image.
        size: What it is brought to.
    """
    (width, height), (rows, columns) = image, height_and_width(size)
    if width * rows <= height * columns:
        return width, max(round(width * rows / columns), 1)
    return max(round(height * columns / rows), 1), height


def inside_of(image: tuple[int, int], size: Size) -> tuple[int, int]:
    """Return width and height of an image that is brought to `size` whole, with its own proportions.

    Args:
        image: Width and height of the image.
        size: What it is brought to.
    """
    (width, height), (rows, columns) = image, height_and_width(size)
    if width * rows >= height * columns:
        return columns, max(round(height * columns / width), 1)
    return max(round(width * rows / height), 1), rows


def fit_whole(image: Image.Image, size: Size) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Resize an image with its own proportions, and put it in the middle of black.

    Args:
        image: Mode L, RGB or RGBA.
        size: Side of the result in pixels, or height and width.

    Returns:
        [height, width, channels], read-only; and where the image is, [height, width].
    """
    inner, outer = inside_of(image.size, size), height_and_width(size)
    scaled = image if inner == image.size else image.resize(inner, Image.Resampling.LANCZOS)
    pixels = np.array(scaled).reshape(inner[1], inner[0], -1)
    top, left = (outer[0] - inner[1]) // 2, (outer[1] - inner[0]) // 2
    place = slice(top, top + inner[1]), slice(left, left + inner[0])
    array, mask = np.zeros((*outer, pixels.shape[2]), np.uint8), np.zeros(outer, bool)
    array[place], mask[place] = pixels, True
    array.flags.writeable = mask.flags.writeable = False
    return array, mask


def stretch(image: Image.Image, size: Size) -> NDArray[np.uint8]:
    """Resize an image to other proportions, [height, width, channels], read-only; see `fit`."""
    outer = height_and_width(size)
    scaled = image if image.size == outer[::-1] else image.resize(outer[::-1], Image.Resampling.LANCZOS)
    array = np.array(scaled).reshape(*outer, -1)
    array.flags.writeable = False
    return array


def fit(image: Image.Image, size: Size) -> NDArray[np.uint8]:
    """Crop the centre and resize it, as the official projector does: crop, then Lanczos.

    Args:
        image: Mode L, RGB or RGBA.
        size: Side of the result in pixels, or height and width.

    Returns:
        [height, width, channels], read-only.
    """
    width, height = image.size
    inner, outer = centre_of(image.size, size), height_and_width(size)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    if inner != image.size:
        # Not Image.crop: it asks Pillow's own, lower limit on pixels again.
        image = Image.fromarray(np.asarray(image)[top : top + inner[1], left : left + inner[0]])
    if inner != outer[::-1]:
        image = image.resize(outer[::-1], Image.Resampling.LANCZOS)
    array = np.array(image).reshape(*outer, -1)
    array.flags.writeable = False
    return array
