"""Sheets: the images on them to the pixel, in their places, whatever the labels."""

from typing import Any

import numpy as np
import pytest

from invert.errors import UsageError
from invert.images.arrays import enlarge, to_rgb
from invert.sheets.layout import Grid, Legend, check_size, draw_sheet, fitting_scale, heat


def image(seed: int, channels: int = 3, side: int = 8) -> Any:
    return np.random.RandomState(seed).randint(0, 200, [side, side, channels], np.uint8)


def places(sheet: Any, part: Any) -> list[tuple[int, int]]:
    """Return where an image lies on a sheet."""
    # Its middle row first, which is quick to look for and rarely black all along.
    height, width = part.shape[:2]
    middle = height // 2
    rows = np.lib.stride_tricks.sliding_window_view(
        sheet[middle : len(sheet) - height + middle + 1, :, 0], width, axis=1
    )
    found = np.argwhere((rows == part[middle, :, 0]).all(axis=2))
    return [(int(y), int(x)) for y, x in found if (sheet[y : y + height, x : x + width] == part).all()]


def test_images_are_there_to_the_pixel_in_rows_and_columns() -> None:
    cells = [[image(10 * i + k) for k in range(3)] for i in range(2)]
    sheet = draw_sheet([Grid("title", cells, ["a", "b", "c"], ["one", "two"])], 2)
    found = [[places(sheet, enlarge(cell, 2)) for cell in row] for row in cells]
    assert all(len(place) == 1 for row in found for place in row)
    at = np.array(found)[:, :, 0]
    assert (np.diff(at[:, :, 0], axis=0) > 16).all()
    assert (np.diff(at[:, :, 1], axis=1) > 16).all()
    assert (np.ptp(at[:, :, 0], axis=1) == 0).all()
    assert (np.ptp(at[:, :, 1], axis=0) == 0).all()


def test_sources_stand_apart() -> None:
    cells = [[None, image(1), image(2)], [image(3), image(4), image(5)]]
    sheet = draw_sheet([Grid("", cells, ["", "a", "b"], ["", "c"], has_sources=True)], 1)
    (x3, x4, x5) = (places(sheet, cell)[0][1] for cell in cells[1])
    assert x4 - x3 > x5 - x4


def test_tables_below_each_other_and_no_labels() -> None:
    sheet = draw_sheet([Grid("one", [[image(0)]]), Grid("two", [[image(1), Legend("0", "9", "levels of 255")]])], 3)
    first, second = places(sheet, enlarge(image(0), 3)), places(sheet, enlarge(image(1), 3))
    assert second[0][0] > first[0][0] + 24


@pytest.mark.parametrize("label", ["", "x" * 500, "a\nb\nc", "ψ → 漢字 🎈", "\\x1b[2J", "a b" * 200])
def test_any_label(label: str) -> None:
    sheet = draw_sheet([Grid(label or "t", [[image(0)] * 2], [label] * 2, [label])], 2)
    assert len(places(sheet, enlarge(image(0), 2))) == 2
    assert sheet.shape[1] < 1000


def test_channels() -> None:
    grey, clear = image(0, 1), image(1, 4)
    assert (to_rgb(grey) == grey).all()
    assert to_rgb(grey).shape == (8, 8, 3)
    clear[..., 3] = 0
    assert (to_rgb(clear) == 255).all()
    clear[..., 3] = 255
    assert (to_rgb(clear) == clear[..., :3]).all()
    assert places(draw_sheet([Grid("t", [[grey]])], 1), to_rgb(grey))


def test_heat_grows_lighter() -> None:
    colours = heat(np.linspace(0, 1, 11)[None])[0].astype(int)
    assert (np.diff(colours.sum(axis=1)) > 0).all()
    assert colours[0].max() < 5


@pytest.mark.parametrize(("resolution", "scale"), [(4, 32), (32, 4), (48, 3), (64, 2), (128, 1), (1024, 1)])
def test_fitting_scale(resolution: int, scale: int) -> None:
    assert fitting_scale(resolution) == scale


def test_giant_sheets_are_refused() -> None:
    check_size(9, 10, 1024, 1)
    with pytest.raises(UsageError, match=r"100 x 10 images of 1024 px would have 1048 Mpx"):
        check_size(100, 10, 1024, 1)
