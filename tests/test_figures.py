"""Figures over training: the same numbers give the same image, and no numbers break them."""

import io
import math
import subprocess
import sys
from collections.abc import Sequence

import matplotlib
import numpy as np
import pytest
from PIL import Image

from invert.report.curves import Curve, plot_curves, plot_shares
from invert.report.theme import Plot


def curves(*values: Sequence[float], log: bool = False) -> Plot:
    named = [Curve(f"curve {i}", range(1, len(y) + 1), y) for i, y in enumerate(values)]
    return plot_curves(named, x_label="kimg", y_label="loss", log=log)


def pixels(png: bytes) -> "np.typing.NDArray[np.uint8]":
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGBA"
        return np.asarray(image)


def test_same_numbers_same_bytes_whatever_the_users_settings() -> None:
    first = curves([1, 2, 3], [3, 2, 1])
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "lines.linewidth": 9, "savefig.facecolor": "red"}):
        assert curves([1, 2, 3], [3, 2, 1]) == first
    assert b"matplotlib" not in first.light


def test_light_and_dark_are_transparent_with_ink_that_is_seen() -> None:
    for plot in (
        curves([1, 2, 3]),
        plot_shares([1, 2], {"a": [0.5, 0.2], "b": [0.5, 0.8]}, x_label="x", y_label="y"),
    ):
        light, dark = pixels(plot.light), pixels(plot.dark)
        assert light.shape == dark.shape
        assert light[0, 0, 3] == dark[0, 0, 3] == 0
        left = np.s_[:, : light.shape[1] // 10]  # labels only
        assert light[left][light[left][..., 3] > 200][:, :3].mean() < 120
        assert dark[left][dark[left][..., 3] > 200][:, :3].mean() > 140


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [0.0, 0.0],
        [-1.0, 1e9],
        [1e-300, 1e300, 1.0],
        [5e-324, 1.0, 0.0],
        [math.nan, math.inf, -math.inf],
        [math.nan, 1.0, math.nan, 1000.0],
        [1e29, -1e29],
    ],
    ids=str,
)
def test_any_numbers_can_be_drawn(values: list[float], log: bool) -> None:
    assert pixels(curves(values, log=log).light)[..., 3].any()


def test_a_wide_range_becomes_logarithmic() -> None:
    wide = [10.0**-i for i in range(6)]
    assert curves(wide, log=True) != curves(wide)
    narrow = [1.0, 1.5, 2.0]
    assert curves(narrow, log=True) == curves(narrow)


def test_shares_fill_the_whole() -> None:
    plot = plot_shares([0, 5, 9], {"4 px": [1, 0.5, 0], "8 px": [0, 0.5, 1]}, x_label="kimg", y_label="share")
    middle = pixels(plot.light)[:, 600]
    coloured = np.flatnonzero((middle[:, 3] == 255) & (np.ptp(middle[:, :3].astype(int), axis=1) > 40))
    # One column without a gap, of two colours.
    assert len(coloured) > 300
    assert np.diff(coloured).max() <= 3
    assert np.abs(middle[coloured[10], :3].astype(int) - middle[coloured[-10], :3]).max() > 50


def test_pyplot_is_left_alone() -> None:
    program = "import sys, invert.report.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=240).returncode == 0
