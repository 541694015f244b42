"""Draw where a value lies among populations, as PNG, for a light and for a dark page.

Import this module where a figure is drawn: it brings matplotlib.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from invert.images.decoding import to_png_bytes
from invert.report.theme import DARK, LIGHT, LIMIT, Drawing, Theme, new_axes, styled

__all__ = ["Place", "draw_places"]

FloatArray = npt.NDArray[np.float64]

_SIZE, _DPI = (4.8, 2.6), 140  # inches, dots per inch: a page has many of these
_BINS = 32
_LABEL = 24  # characters
_SHORT = 16  # labels up to this length go in three columns


@dataclass(frozen=True)
class Place:
    """Where one value lies, and the threshold that it is held against; what is not finite is not drawn."""

    value: float
    threshold: float


def draw_places(
    populations: Mapping[str, Sequence[float] | FloatArray], places: Sequence[Place], *, x_label: str, log: bool = False
) -> list[Drawing]:
    """Draw histograms of populations, each in shares of its own, and in each drawing one value's place among them.

    Args:
        populations: Values by name, the first one filled; the legend has their numbers and names, in ASCII.
        places: One for each drawing; all have the same axes.
        x_label: Of the values' axis.
        log: Make it logarithmic; values of zero or less are left out.
    """
    known = [(f"{len(values)} {_ascii(name)}", _drawable(values, log)) for name, values in populations.items()]
    marked = _drawable([value for place in places for value in (place.value, place.threshold)], log)
    light, dark = (list(_draw_all(known, marked, places, theme, x_label, log)) for theme in (LIGHT, DARK))
    return [Drawing(*pair) for pair in zip(light, dark, strict=True)]


def _drawable(values: Sequence[float] | FloatArray, log: bool) -> FloatArray:
    array = np.asarray(values, np.float64)
    array = array[np.abs(array) < LIMIT]
    return array[array > 1 / LIMIT] if log else array


def _ascii(name: str) -> str:
    # The font has no other letters for certain, and matplotlib warns of each that it has not.
    visible = "".join(c if c.isascii() and c.isprintable() else "?" for c in name)
    return visible if len(visible) <= _LABEL else f"{visible[: _LABEL - 3]}..."


def _draw_all(
    known: Sequence[tuple[str, FloatArray]],
    marked: FloatArray,
    places: Sequence[Place],
    theme: Theme,
    x_label: str,
    log: bool,
) -> Iterator[bytes]:
    """Draw what all places share once, and upon it each place's two lines."""
    with styled(theme):
        figure, axes = new_axes(_SIZE, _DPI)
        edges = _edges(np.concatenate([[], *(values for _, values in known)]), log)
        _scale(axes, np.concatenate([edges, marked]), log)
        _steps(axes, known, edges, theme)
        axes.set_xlabel(x_label, parse_math=False)
        lines = _lines(axes, theme)
        _legend(axes)
        canvas: Any = figure.canvas  # its methods have no types
        canvas.draw()
        shared = canvas.copy_from_bbox(figure.bbox)
        for place in places:
            canvas.restore_region(shared)
            for line, value in zip(lines, (place.threshold, place.value), strict=True):
                if math.isfinite(value):
                    line.set_xdata([value, value])
                    axes.draw_artist(line)
            yield to_png_bytes(np.array(canvas.buffer_rgba()))


def _edges(values: FloatArray, log: bool) -> FloatArray:
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 2.0)
    if math.isclose(low, high, rel_tol=1e-6):
        room = 0.5 + abs(low) / 2
        low, high = (low / 2, high * 2) if log else (low - room, high + room)
    return np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, high, _BINS + 1)


def _scale(axes: Axes, reach: FloatArray, log: bool) -> None:
    low, high = float(reach.min()), float(reach.max())
    if log:
        margin = (high / low) ** 0.03
        axes.set_xscale("log")
        axes.set_xlim(low / margin, high * margin)
        digits = (1, 2, 5) if high / low < 200 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=digits) if high / low > 5 else MaxNLocator(5))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.03 * (high - low)
        axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _steps(axes: Axes, known: Sequence[tuple[str, FloatArray]], edges: FloatArray, theme: Theme) -> None:
    for number, (label, values) in enumerate(known):
        colour = theme.curves[number % len(theme.curves)]
        share = 100 * np.histogram(values, edges)[0] / max(1, len(values))
        if number == 0:
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(share, edges, color=colour, linewidth=1.3, label=label)
    axes.set_ylim(0, axes.get_ylim()[1])
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


def _lines(axes: Axes, theme: Theme) -> list[Line2D]:
    looks = ((theme.soft, 1.2, (0, (4, 3)), "threshold"), (theme.ink, 2.0, "-", "this image"))
    return [
        axes.axvline(axes.get_xlim()[0], color=ink, linewidth=width, linestyle=dashes, label=label, animated=True)
        for ink, width, dashes, label in looks
    ]


def _legend(axes: Axes) -> None:
    columns = 3 if max(map(len, axes.get_legend_handles_labels()[1])) <= _SHORT else 2
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2)
    for text in legend.get_texts():
        text.set_parse_math(False)
