"""Plot histograms of populations of values, and where single values lie among them.

Import this module where a figure is plotted: it brings matplotlib.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from invert.images.decoding import to_png_bytes
from invert.report.theme import DARK, LIGHT, LIMIT, Plot, Theme, new_axes, new_panels, styled
from invert.statistics.checks import FloatArray

__all__ = ["Place", "Populations", "add_legend", "plot_panels", "plot_places", "plot_populations"]

Populations = Mapping[str, Sequence[float] | FloatArray]
"""Values by the name of their population; the first one is filled."""

_SIZE, _DPI = (4.8, 2.6), 140  # inches, dots per inch: a page has many of these
_PANEL_SIZE, _PANEL_DPI = (4.6, 3.2), 160
_LEAST_BINS, _MOST_BINS = 8, 32
_LABEL = 24  # characters
_SHORT = 16  # labels up to this length go in three columns


@dataclass(frozen=True)
class Place:
    """Where one value lies, and the threshold that it is compared with; what is not finite is not plotted.

    Args:
        value: The value.
        threshold: The threshold.
    """

    value: float
    threshold: float


def plot_populations(
    axes: Axes,
    theme: Theme,
    populations: Populations,
    *,
    x_label: str,
    log: bool = False,
    marked: Sequence[float] | FloatArray = (),
    edges: FloatArray | None = None,
) -> None:
    """Plot a histogram of each population, in shares of its own.

    Args:
        axes: Where it is plotted.
        theme: Its colours.
        populations: Values by name; the legend has their numbers and names, in ASCII.
        x_label: Label of the values' axis.
        log: Whether that axis is logarithmic; then values of zero or less are left out.
        marked: Values that the axis has to reach too.
        edges: Edges of the bins; by default edges that fit these values.
    """
    known = [(f"{len(values)} {_ascii(name)}", _plottable(values, log)) for name, values in populations.items()]
    if edges is None:
        edges = _edges([values for _, values in known], log)
    _scale(axes, np.concatenate([edges, _plottable(marked, log)]), log)
    for number, (label, values) in enumerate(known):
        colour = theme.curves[number % len(theme.curves)]
        share = 100 * np.histogram(values, edges)[0] / max(1, len(values))
        if number == 0:
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(share, edges, color=colour, linewidth=1.3, label=label)
    axes.set_ylim(0, axes.get_ylim()[1], auto=None)  # axes side by side share this one: the next may need more
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlabel(x_label, parse_math=False)


def add_legend(axes: Axes) -> int:
    """Name what is plotted, above it, and return how many lines that takes."""
    labels = axes.get_legend_handles_labels()[1]
    columns = 3 if max(map(len, labels)) <= _SHORT else 2
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2)
    for text in legend.get_texts():
        text.set_parse_math(False)  # names are names
    return math.ceil(len(labels) / columns)


def plot_places(populations: Populations, places: Sequence[Place], *, x_label: str, log: bool = False) -> list[Plot]:
    """Plot histograms of populations, and in each figure one value's place among them, as PNG.

    Args:
        populations: Values by name.
        places: One for each figure; all have the same axes.
        x_label: Label of the values' axis.
        log: Whether that axis is logarithmic.

    Returns:
        A figure of each place, for a light and for a dark page.
    """
    marked = [value for place in places for value in (place.value, place.threshold)]

    def plot(axes: Axes, theme: Theme) -> None:
        plot_populations(axes, theme, populations, x_label=x_label, log=log, marked=marked)

    light, dark = (list(_plot_all(plot, places, theme)) for theme in (LIGHT, DARK))
    return [Plot(*pair) for pair in zip(light, dark, strict=True)]


def plot_panels(panels: Sequence[tuple[str, Populations]], *, x_label: str, log: bool = False) -> bytes:
    """Plot the histograms of several sets of populations side by side on the same axes, as PNG on white.

    Args:
        panels: Title and populations of each.
        x_label: Label of the values' axis.
        log: Whether that axis is logarithmic.
    """
    edges = _edges([_plottable(values, log) for _, one in panels for values in one.values()], log)
    with styled(LIGHT):
        figure, all_axes = new_panels(_PANEL_SIZE, _PANEL_DPI, len(panels))
        for axes, (title, populations) in zip(all_axes, panels, strict=True):
            plot_populations(axes, LIGHT, populations, x_label=x_label, log=log, edges=edges)
            axes.label_outer(remove_inner_ticks=False)
            lines = add_legend(axes)
            axes.set_title(title, loc="left", pad=8 + 16 * lines, fontsize=10, parse_math=False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _plottable(values: Sequence[float] | FloatArray, log: bool) -> FloatArray:
    array = np.asarray(values, np.float64)
    array = array[np.abs(array) < LIMIT]
    return array[array > 1 / LIMIT] if log else array


def _ascii(name: str) -> str:
    # The font has no other letters for certain, and matplotlib warns of each that it has not.
    visible = "".join(c if c.isascii() and c.isprintable() else "?" for c in name)
    return visible if len(visible) <= _LABEL else f"{visible[: _LABEL - 3]}..."


def _plot_all(plot: Callable[[Axes, Theme], None], places: Sequence[Place], theme: Theme) -> Iterator[bytes]:
    """Plot what all places share once, and upon it each place's two lines."""
    with styled(theme):
        figure, axes = new_axes(_SIZE, _DPI)
        plot(axes, theme)
        lines = _lines(axes, theme)
        add_legend(axes)
        canvas: Any = figure.canvas  # its methods have no types
        canvas.draw()
        shared = canvas.copy_from_bbox(figure.bbox)
        for place in places:
            canvas.restore_region(shared)
            for line, value in zip(lines, (place.threshold, place.value), strict=True):
                if math.isfinite(value):
                    line.set_xdata([value, value])
                    axes.draw_artist(line)
            yield to_png_bytes(np.array(canvas.buffer_rgba()), is_sheet=True)


def _edges(populations: Sequence[FloatArray], log: bool) -> FloatArray:
    """Return the edges of bins that all values fall into, fewer of them where the smallest population is small."""
    values = np.concatenate([[], *populations])
    fewest = min(map(len, populations), default=0)
    low, high = (float(values.min()), float(values.max())) if len(values) else (1.0, 2.0)
    if math.isclose(low, high, rel_tol=1e-6):
        room = 0.5 + abs(low) / 2
        low, high = (low / 2, high * 2) if log else (low - room, high + room)
    bins = int(np.clip(2 * math.sqrt(fewest), _LEAST_BINS, _MOST_BINS))
    return np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)


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


def _lines(axes: Axes, theme: Theme) -> list[Line2D]:
    looks = ((theme.soft, 1.2, (0, (4, 3)), "threshold"), (theme.ink, 2.0, "-", "this image"))
    return [
        axes.axvline(axes.get_xlim()[0], color=ink, linewidth=width, linestyle=dashes, label=label, animated=True)
        for ink, width, dashes, label in looks
    ]
