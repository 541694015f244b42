"""Complexity: closed forms, order from flat to noise, and nothing but the pixels."""

import io
import itertools
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from invert.attribution.complexity import complexity

NOISE = np.random.default_rng(0).integers(0, 256, [64, 64, 3], dtype=np.uint8)


def blurred(radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(NOISE).filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_images(channels: int, value: int) -> None:
    assert 0 < complexity(np.full([32, 32, channels], value, dtype=np.uint8)) < 0.06


def test_from_flat_to_noise() -> None:
    order = [np.full_like(NOISE, 128), blurred(4), blurred(2), blurred(1), NOISE]
    found = [complexity(array) for array in order]
    assert all(a < b for a, b in itertools.pairwise(found))


def test_noise_cannot_be_compressed() -> None:
    assert complexity(NOISE) == pytest.approx(3.0, rel=0.02)
    assert complexity(NOISE[:, :, :1]) == pytest.approx(1.0, rel=0.02)


def test_a_gradient_is_predicted() -> None:
    """A ramp has many grey levels and little to say: the filter sees that, a histogram does not."""
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0)
    assert complexity(ramp) < 0.1 * complexity(NOISE[:, :, :1])


def test_png_filter_is_that_of_the_specification() -> None:
    """Section 9.4 of it: the neighbour nearest to left + up - corner; left before up before corner where they tie."""
    array = blurred(2)[:16, :16]

    def predicted(y: int, x: int, c: int) -> int:
        left, up, corner = (
            int(array[v, u, c]) if min(v, u) >= 0 else 0 for v, u in ((y, x - 1), (y - 1, x), (y - 1, x - 1))
        )
        return min((left, up, corner), key=lambda value: abs(left + up - corner - value))

    filtered = bytes((int(array[place]) - predicted(*place)) % 256 for place in np.ndindex(array.shape))
    assert complexity(array) == len(zlib.compress(filtered, 6)) / 256


def test_turning_over_changes_no_content() -> None:
    array = blurred(1)
    before = complexity(array)
    for turned in (array[::-1], array[:, ::-1]):
        assert complexity(turned) == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize("channels", [1, 3])
def test_file_a_image_came_in_plays_no_role(channels: int) -> None:
    array = blurred(1)[:, :, :channels]
    expected = complexity(array)
    for form, options in (("PNG", {"compress_level": 0}), ("PNG", {"compress_level": 9}), ("BMP", {}), ("TIFF", {})):
        file = io.BytesIO()
        Image.fromarray(array.squeeze()).save(file, form, **options)
        read = np.asarray(Image.open(file)).reshape(array.shape)
        assert complexity(read) == expected
    assert complexity(np.asfortranarray(array)) == expected


@pytest.mark.parametrize(
    "array",
    [
        np.zeros([8, 8, 3], dtype=np.float32),
        np.zeros([8, 8], dtype=np.uint8),
        np.zeros([8, 8, 4], dtype=np.uint8),
        np.zeros([1, 8, 3], dtype=np.uint8),
        np.zeros([0, 0, 3], dtype=np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_what_is_not_a_image(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        complexity(array)
