"""Images to make data sets of, and what a data set has in it."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.image_factory import encode, image

Pixels = NDArray[np.uint8]


def grey(side: int = 16, seed: int = 0) -> Pixels:
    return image(side, side, 1, seed)


def contents(path: Path) -> tuple[dict[str, Pixels], dict[str, Any]]:
    """Return the images and the dataset.json of a zip, read by the standard library and Pillow alone."""
    images = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            if name != "dataset.json":
                with Image.open(io.BytesIO(archive.read(name))) as image:
                    assert image.format == "PNG"
                    images[name] = np.asarray(image)
        return images, json.loads(archive.read("dataset.json"))


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """Put images, or the bytes of files, into a folder; returns it."""

    def write(**files: Pixels | bytes) -> Path:
        folder = tmp_path / "source"
        for name, data in files.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else encode(data))
        return folder

    return write


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.zip"
