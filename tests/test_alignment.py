"""The square around a face: where it lies, what is cut out of it, and how it is put back."""

import numpy as np
import pytest
from PIL import Image

from invert.images.alignment import cut_square, face_square, paste_square, share_beyond, side_of, square_of
from tests.face_case import smooth

# Eyes 20 px apart at y = 50, the mouth 30 px below them: the side is the larger one of 4 x 20 and 3.6 x 30, the middle
# a tenth of 30 px below the eyes.
EYES, MOUTH = ((40.0, 50.0), (60.0, 50.0)), ((42.0, 80.0), (58.0, 80.0))
SQUARE = [[-4, -1], [-4, 107], [104, 107], [104, -1]]


def turned(points: object, degrees: float, scale: float = 1.0, by: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Return points turned clockwise as one looks at the photo, enlarged, and shifted."""
    angle = np.radians(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points, float) @ matrix.T + by


def square(side: float, middle: tuple[float, float], degrees: float = 0.0) -> np.ndarray:
    half = side / 2
    return turned([[-half, -half], [-half, half], [half, half], [half, -half]], degrees, by=middle)


def levels(aligned: np.ndarray) -> np.ndarray:
    """Return the colours of a face at places in its square, from 0 to 1 `[..., 2]`: smooth, and known everywhere."""
    x, y = aligned[..., 0], aligned[..., 1]
    waves = [np.sin(4 * x + y), np.cos(3 * y - x), np.sin(2 * x * y)]
    return np.stack([128 + 80 * wave for wave in waves], axis=-1)


def grid(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y], axis=-1)


def photo_of(corners: np.ndarray, width: int = 160, height: int = 150) -> np.ndarray:
    """Return the photo in which a face lies in this square."""
    x, y = corners[3] - corners[0], corners[1] - corners[0]
    places = (grid(width, height) - corners[0]) @ (np.stack([x, y], axis=1) / side_of(corners) ** 2)
    return np.floor(levels(places) + 0.5).astype(np.uint8)


def test_the_square_of_a_face_that_is_upright() -> None:
    np.testing.assert_allclose(face_square(*EYES, *MOUTH), SQUARE, atol=1e-9)
    # eyes far apart: 4 times their distance counts
    wide = face_square((20, 50), (80, 50), *MOUTH)
    assert side_of(wide) == pytest.approx(240)
    np.testing.assert_allclose(wide.mean(axis=0), (50, 53), atol=1e-9)


@pytest.mark.parametrize("degrees", [-170, -35, 20, 90])
def test_the_square_turns_shifts_and_grows_with_the_face(degrees: float) -> None:
    moved = turned([*EYES, *MOUTH], degrees, 2.5, (7, -3))
    np.testing.assert_allclose(face_square(*moved), turned(SQUARE, degrees, 2.5, (7, -3)), atol=1e-9)


def test_a_crooked_face_is_turned_by_eyes_and_mouth_together() -> None:
    # the mouth 10 px aside: the eyes' line says 0 degrees, that from eyes to mouth 18.4; their sum is between
    crooked = face_square(*EYES, (52, 80), (68, 80))
    x = crooked[3] - crooked[0]
    assert np.degrees(np.arctan2(x[1], x[0])) == pytest.approx(np.degrees(np.arctan2(-10, 50)))


@pytest.mark.parametrize(
    "points",
    [[(5, 5)] * 4, [(np.nan, 0), *[(1, 1)] * 3], [(0, 0), (30, 0), (14, -30), (16, -30)]],  # the last: mouth above eyes
)
def test_points_that_are_no_face(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="no face"):
        face_square(*points)


@pytest.mark.parametrize("side", [40, 90, 700])
@pytest.mark.parametrize("degrees", [0, 25, -80])
def test_a_photo_that_was_moved_is_brought_back(side: float, degrees: float) -> None:
    corners = square(side, (side * 0.75, side * 0.75), degrees)
    size = round(1.5 * side)
    cut = cut_square(Image.fromarray(photo_of(corners, size, size)), corners, 48)
    expected = levels(grid(48, 48) / 48)
    assert np.abs(cut - expected).max() < 2
    assert cut.shape == (48, 48, 3)


@pytest.mark.parametrize("degrees", [0, 25])
def test_what_is_beyond_the_photo_is_made_up_and_the_rest_is_not(degrees: float) -> None:
    corners = square(100, (40, 60), degrees)
    whole = photo_of(corners)
    cut = cut_square(Image.fromarray(whole), corners, 50)
    x, y = (corners[3] - corners[0]) / 50, (corners[1] - corners[0]) / 50
    places = grid(50, 50) @ np.stack([x, y]) + corners[0]
    inside = ((places > 2) & (places < [158, 148])).all(axis=-1)
    assert 0.5 < inside.mean() < 0.99
    expected = levels(grid(50, 50) / 50)
    assert np.abs(cut - expected)[inside].max() < 2
    # mirrored: next to the edge as it is inside, and nowhere black
    assert np.abs(np.diff(cut.astype(int), axis=1)).max() < 25
    assert cut.min() > 30


def test_numbers_that_are_corners_of_no_square() -> None:
    corners = square(90, (70, 80), 25)
    np.testing.assert_array_equal(square_of(corners.ravel().tolist()), corners)
    turned_over = corners[[0, 3, 2, 1]]
    for numbers in (
        corners[:3],
        np.zeros(8),
        corners * 1e300,
        corners * 1e-9,
        corners * [1, 2],
        turned_over,
        [np.nan] * 8,
    ):
        with pytest.raises(ValueError, match=r"no square|reshape"):
            square_of(np.ravel(numbers).tolist())


def test_how_much_of_a_square_is_beyond_the_photo() -> None:
    assert share_beyond(square(40, (50, 50)), (100, 80)) == 0
    assert share_beyond(square(40, (0, 50)), (100, 80)) == pytest.approx(0.5, abs=0.02)
    assert share_beyond(square(40, (100, 80)), (100, 80)) == pytest.approx(0.75, abs=0.02)
    assert share_beyond(square(40, (500, 50), 20), (100, 80)) == 1


def test_an_edge_far_out_is_blurred() -> None:
    stripes = np.zeros([100, 100, 3], np.uint8)
    stripes[::2] = 200
    cut = cut_square(Image.fromarray(stripes), square(100, (0, 50)), 100).astype(int)
    contrast = np.abs(np.diff(cut[..., 0], axis=0)).mean(axis=0)
    assert contrast[60:].min() > 20  # the photo itself
    assert contrast[:30].max() < 8  # 20 px and more from it


def test_a_face_that_lies_outside_altogether() -> None:
    for middle in ((-300, 50), (500, 500), (50, -400)):
        cut = cut_square(Image.fromarray(smooth(100, 80)), square(60, middle), 16)
        assert cut.shape == (16, 16, 3)
        np.testing.assert_array_equal(paste_square(smooth(100, 80), square(60, middle), cut), smooth(100, 80))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("degrees", [0, 25])
def test_what_was_cut_out_can_be_put_back(mode: str, degrees: float) -> None:
    corners = square(90, (70, 80), degrees)
    opened = Image.fromarray(photo_of(corners)).convert(mode)
    pixels = np.asarray(opened).reshape(150, 160, -1)
    back = paste_square(pixels, corners, cut_square(opened, corners, 64))
    difference = np.abs(back.astype(int) - pixels)
    assert np.quantile(difference, 0.999) <= 2
    assert difference.max() <= 3


@pytest.mark.parametrize("side", [20, 90, 300])
def test_another_image_fills_the_square_but_for_its_seam(side: float) -> None:
    corners = square(side, (70, 80), 25)
    pixels = photo_of(corners)
    other = np.full([64, 64, 3], 10, np.uint8)
    pasted = paste_square(pixels, corners, other)
    x, y = corners[3] - corners[0], corners[1] - corners[0]
    places = (grid(160, 150) - corners[0]) @ (np.stack([x, y], axis=1) / side**2)
    rim = np.minimum(places, 1 - places).min(axis=-1)
    np.testing.assert_array_equal(pasted[rim < 0], pixels[rim < 0])
    assert (pasted[rim > 0.08] == 10).all()
    seam = (rim > 0) & (rim < 0.08)
    between = (pasted[seam] <= pixels[seam]) & (pasted[seam] >= np.minimum(pixels[seam], 10))
    assert between.all()
    assert (pixels == photo_of(corners)).all()  # the photo that was given stays
