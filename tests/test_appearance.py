"""Size and colour from the head of a file."""

import numpy as np
import pytest

from invert.images.containers import Appearance
from invert.images.formats import appearance
from tests.image_factory import encode, exif, image, with_segment


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_every_format(kind: str, channels: int) -> None:
    data = encode(image(200, 300, channels), kind)
    expected = Appearance(300, 200, 3 if kind == "WEBP" else channels)
    assert appearance(data) == expected
    assert appearance(data[:2000]) == expected
    if kind == "WEBP":
        assert appearance(encode(image(200, 300, channels), kind, lossless=True)) == expected
        assert appearance(encode(image(200, 300, channels), kind, exif=exif(1))) == expected


def test_of_a_jpeg_behind_metadata() -> None:
    data = encode(image(20, 30, 1), "JPEG")
    body = b"\xff\xc0\0\x11\x08" * 10_000
    assert appearance(with_segment(data, 0xE1, body)) == Appearance(30, 20, 1)
    assert appearance(with_segment(data, 0xE1, body)[:1000]) is None


def test_of_anything_else_is_none() -> None:
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        data = encode(image(20, 30, 3), kind)
        for length in range(300):
            assert appearance(data[:length]) in (None, Appearance(30, 20, 3))
    random = np.random.default_rng(0)
    for magic in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF0000WEBP", b"BM", b""):
        for _ in range(200):
            appearance(magic + random.bytes(60))
