"""A folder of images, for the functions of `import invert`."""

from pathlib import Path

import pytest
from PIL import Image

from tests.api.api_case import pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, 0.png to 2.png."""
    path = tmp_path / "images"
    path.mkdir()
    for seed in range(3):
        Image.fromarray(pixels(seed)).save(path / f"{seed}.png")
    return path
