"""How well the square around a face follows a photo that is turned or scaled (`invert project --align face`).

    pip install '.[align]'
    python -m bench.aligned_faces [--once] PHOTO...

Each photo is turned about its middle, or scaled, and aligned again. The square that is found is compared with the first
one, moved as the photo was: the largest distance between two corners, as a share of the side.
"""

import argparse
from collections.abc import Callable

import numpy as np
from PIL import Image

from invert.errors import ImageError
from invert.images.alignment import Square, face_square, side_of
from invert.images.faces import find_square

ANGLES = (10, 20, 30, 45, 60)
SCALES = (0.25, 0.5, 2.0, 4.0)


def square_in(photo: Image.Image, *, once: bool = False) -> Square | None:
    """Return the square around the largest face of a photo; None where none is found."""
    try:
        square, faces = find_square(photo)
    except ImageError:
        return None
    return face_square(*faces[0].points) if once else square


def turned(photo: Image.Image, degrees: float) -> tuple[Image.Image, Callable[[Square], Square]]:
    """Return a photo turned counter-clockwise, and what does the same to corners."""
    angle, middle = np.radians(-degrees), np.array(photo.size) / 2
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    image = photo.rotate(degrees, Image.Resampling.BICUBIC)
    return image, lambda square: (square - middle) @ matrix.T + middle


def scaled(photo: Image.Image, factor: float) -> tuple[Image.Image, Callable[[Square], Square]]:
    """Return a photo scaled, and what does the same to corners."""
    size = round(photo.width * factor), round(photo.height * factor)
    ratio = np.array(size) / photo.size
    return photo.resize(size, Image.Resampling.LANCZOS), lambda square: square * ratio


def difference(image: Image.Image, expected: Square, *, once: bool) -> float:
    """Return how far the square in a photo lies from the expected one; NaN where no face is found."""
    found = square_in(image, once=once)
    return np.nan if found is None else float(np.hypot(*(found - expected).T).max() / side_of(expected))


def main() -> None:
    """Print a line for each photo and each change of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--once", action="store_true", help="do not look at the face a second time")
    arguments = parser.parse_args()
    once = arguments.once
    for path in arguments.photos:
        photo = Image.open(path).convert("RGB")
        first = square_in(photo, once=once)
        if first is None:
            print(f"{path}: no face is found")
            continue
        print(f"{path}: the square has a side of {side_of(first):.0f} px")
        changes = [(f"turned by {sign * angle}", turned(photo, sign * angle)) for angle in ANGLES for sign in (1, -1)]
        changes += [(f"scaled by {factor:g}", scaled(photo, factor)) for factor in SCALES]
        for name, (image, move) in changes:
            print(f"  {name:<16} {difference(image, move(first), once=once):7.1%}")


if __name__ == "__main__":
    main()
