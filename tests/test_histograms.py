"""Places in histograms: the lines stand where they should, and no numbers or names break the plot."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from invert.report.histograms import Place, plot_places

NORMAL = np.random.RandomState(0).randn(400)


def pixels(png: bytes) -> "np.typing.NDArray[np.int16]":
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGBA"
        return np.asarray(image).astype(np.int16)


def line_at(with_line: bytes, without: bytes) -> float:
    """Return the column that a line was plotted at."""
    differing = np.abs(pixels(with_line) - pixels(without)).sum(axis=(0, 2))
    assert differing.any()
    return float(np.average(np.arange(len(differing)), weights=differing))


@pytest.mark.parametrize("log", [False, True])
def test_lines_stand_where_their_values_are(log: bool) -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    places = [Place(math.nan, math.nan), *(Place(2.0**v if log else v, math.nan) for v in values)]
    places += [Place(math.nan, place.value) for place in places[1:]]
    nothing, *plotted = (one.light for one in plot_places({"own": np.exp(NORMAL)}, places, x_label="x", log=log))
    columns = [line_at(one, nothing) for one in plotted]
    assert np.ptp(np.diff(columns[:4])) < 2  # evenly, so on the axis that was asked for
    assert columns[0] < columns[3]
    assert columns[4:] == pytest.approx(columns[:4], abs=1)  # a threshold stands where the same value does


def test_same_numbers_same_bytes_and_of_bounded_size() -> None:
    populations = {"of its own": NORMAL - 3, "of real": NORMAL + 1, "of sibling": NORMAL}
    first = plot_places(populations, [Place(-2.0, -1.5)] * 2, x_label="score")
    assert first == plot_places(populations, [Place(-2.0, -1.5)] * 2, x_label="score")
    assert first[0] == first[1]
    assert max(len(first[0].light), len(first[0].dark)) <= 25_000
    light, dark = pixels(first[0].light), pixels(first[0].dark)
    assert light.shape == dark.shape
    assert light[0, 0, 3] == dark[0, 0, 3] == 0
    assert light[light[..., 3] > 200][:, :3].mean() + 40 < dark[dark[..., 3] > 200][:, :3].mean()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values",
    [[], [1.0], [0.0, 0.0], [-1.0, 1e9], [1e-300, 1e300], [math.nan, math.inf], [1e29, -1e29], [5e-324, 1.0, 0.0]],
    ids=str,
)
def test_any_numbers_can_be_drawn(values: list[float], log: bool) -> None:
    places = [Place(math.nan, math.inf), Place(1e300, -5.0), Place(0.0, 1.0)]
    for one in plot_places({"first": values, "second": []}, places, x_label="x", log=log):
        assert pixels(one.light)[..., 3].any()


@pytest.mark.parametrize("name", ["$x^{", "_hidden", "\u4e2d\u6587\u202e\x1b[31m\ud800", "x" * 5000, ""], ids=ascii)
def test_any_names_can_be_drawn(name: str) -> None:
    (one,) = plot_places({name: NORMAL}, [Place(0.0, 1.0)], x_label="$x^{")
    (plain,) = plot_places({"own": NORMAL}, [Place(0.0, 1.0)], x_label="x")
    assert pixels(one.light).shape == pixels(plain.light).shape
    assert len(one.light) < 25_000


def test_two_names_that_look_alike_are_both_drawn() -> None:
    (two,) = plot_places({"\u4e2d": NORMAL, "\u6587": NORMAL + 5}, [Place(0.0, 1.0)], x_label="x")
    (one,) = plot_places({"\u4e2d": NORMAL}, [Place(0.0, 1.0)], x_label="x")
    assert two != one
    orange = np.array([0xD9, 0x73, 0x0D])
    assert (np.abs(pixels(two.light)[..., :3] - orange).sum(axis=-1) < 9).sum() > 100
