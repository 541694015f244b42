"""Complexity: closed forms, order from flat to noise, and nothing but the pixels."""

import collections
import io
import itertools
import math
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from invert.attribution.complexity import PRIMARY, complexity

RISING = ("png", "jpeg75", "entropy2d", "gradient")
NOISE = np.random.default_rng(0).integers(0, 256, [64, 64, 3], dtype=np.uint8)


def blurred(radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(NOISE).filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_images(channels: int, value: int) -> None:
    found = complexity(np.full([32, 32, channels], value, dtype=np.uint8))
    assert (found["entropy2d"], found["gradient"], found["homogeneity"]) == (0, 0, 1)
    assert not math.copysign(1, found["entropy2d"]) < 0
    assert all(map(math.isfinite, found.values()))
    assert 0 < found["png"] < 0.06


def test_from_flat_to_noise() -> None:
    order = [np.full_like(NOISE, 128), blurred(4), blurred(2), blurred(1), NOISE]
    found = [complexity(array) for array in order]
    for name in RISING:
        assert all(a[name] < b[name] for a, b in itertools.pairwise(found)), name
    assert all(a["homogeneity"] > b["homogeneity"] for a, b in itertools.pairwise(found))
    assert PRIMARY in RISING


def test_noise_cannot_be_compressed() -> None:
    assert complexity(NOISE)["png"] == pytest.approx(3.0, rel=0.02)
    assert complexity(NOISE[:, :, :1])["png"] == pytest.approx(1.0, rel=0.02)


def test_a_gradient_is_predicted() -> None:
    """A ramp has many grey levels and little to say: the filter sees that, a histogram does not."""
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0)
    found = complexity(ramp)
    assert found["png"] < 0.1 * complexity(NOISE[:, :, :1])["png"]
    assert found["entropy2d"] == pytest.approx(6.0)
    assert found["gradient"] == pytest.approx((4 / 255) ** 2)


def test_stripes_by_hand() -> None:
    """Columns of 0 and 255: levels 31 apart in every pair; two kinds of pixel inside, one on each side."""
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), [16, 8])[:, :, None]
    found = complexity(stripes)
    assert found["homogeneity"] == pytest.approx(1 / (1 + 31**2))
    assert found["gradient"] == pytest.approx(1.0)
    # Neighbours of a 0 inside: six of 255 of eight. At the left edge: three, as the edge repeats its own column.
    shares = np.array([1, 7, 7, 1]) / 16
    assert found["entropy2d"] == pytest.approx(-(shares * np.log2(shares)).sum())


def test_homogeneity_against_the_matrix() -> None:
    grey = np.rint(NOISE.mean(axis=2)).astype(int) * 32 // 256
    matrix = np.zeros([32, 32])
    for left, right in zip(grey[:, :-1].ravel(), grey[:, 1:].ravel(), strict=True):
        matrix[left, right] += 1
        matrix[right, left] += 1
    i, j = np.indices(matrix.shape)
    expected = (matrix / matrix.sum() / (1 + (i - j) ** 2)).sum()
    assert complexity(NOISE)["homogeneity"] == pytest.approx(expected, rel=1e-12)


def test_entropy_against_a_count() -> None:
    grey = (NOISE[:20, :24, :1] // 64).repeat(3, axis=2)
    padded = np.pad(grey[:, :, 0].astype(int), 1, mode="edge")
    kinds = collections.Counter(
        (padded[y, x], (padded[y - 1 : y + 2, x - 1 : x + 2].sum() - padded[y, x]) // 8)
        for y in range(1, 21)
        for x in range(1, 25)
    )
    shares = np.array(list(kinds.values())) / 480
    assert complexity(grey)["entropy2d"] == pytest.approx(-(shares * np.log2(shares)).sum(), rel=1e-12)


def test_png_filter_is_that_of_the_specification() -> None:
    """Section 9.4 of it: the neighbour nearest to left + up - corner; left before up before corner where they tie."""
    array = blurred(2)[:16, :16]

    def predicted(y: int, x: int, c: int) -> int:
        left, up, corner = (
            int(array[v, u, c]) if min(v, u) >= 0 else 0 for v, u in ((y, x - 1), (y - 1, x), (y - 1, x - 1))
        )
        return min((left, up, corner), key=lambda value: abs(left + up - corner - value))

    filtered = bytes((int(array[place]) - predicted(*place)) % 256 for place in np.ndindex(array.shape))
    assert complexity(array)["png"] == len(zlib.compress(filtered, 6)) / 256


def test_turning_over_changes_no_content() -> None:
    array = blurred(1)
    before = complexity(array)
    for turned in (array[::-1], array[:, ::-1]):
        after = complexity(turned)
        for name in ("entropy2d", "homogeneity", "gradient"):
            assert after[name] == pytest.approx(before[name], rel=1e-12)
        for name in ("png", "jpeg75"):
            assert after[name] == pytest.approx(before[name], rel=0.05)


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
