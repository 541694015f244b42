"""Plot curves over training and stacked shares as PNG, for a light and for a dark page.

The same numbers give the same bytes with the same matplotlib; no global state of pyplot, no display. Import this module
where a figure is plotted: it brings matplotlib.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from invert.report.theme import DARK, LIGHT, LIMIT, Plot, Theme, new_axes, styled

__all__ = ["Curve", "Plot", "plot_curves", "plot_shares"]

_SIZE = (5.2, 2.9)  # inches
_DPI = 220
_DOTS = 40  # with fewer points, each one is marked
_DECADES = 30.0  # a range of more than this factor gets a logarithmic axis, where one is allowed


@dataclass(frozen=True)
class Curve:
    """Values over training; values that are not finite leave a gap."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


_Plotting = Callable[[Axes, Theme], None]


def plot_curves(
    curves: Sequence[Curve], *, x_label: str, y_label: str, log: bool = False, level: float | None = None
) -> Plot:
    """Plot values over training.

    Args:
        curves: At least one; a legend names them when there are several.
        x_label: Label of the horizontal axis, which starts at 0 in every figure.
        y_label: Label of the vertical axis.
        log: Use a logarithmic vertical axis when the values are positive and far apart.
        level: Height of a thin horizontal line; None for no line.
    """

    def plot(axes: Axes, theme: Theme) -> None:
        for curve, colour in zip(curves, theme.curves * len(curves), strict=False):
            dots = "o" if len(curve.x) < _DOTS else ""
            y = [value if abs(value) < LIMIT else math.nan for value in curve.y]
            axes.plot(curve.x, y, label=curve.label, color=colour, linewidth=1.3, marker=dots, markersize=2.5)
        if log and _is_wide([value for curve in curves for value in curve.y]):
            axes.set_yscale("log")
        if level is not None:
            axes.axhline(level, color=theme.soft, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.grid(axis="y", color=theme.line, linewidth=0.7)
        axes.set_ylabel(y_label)
        if len(curves) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(curves), borderaxespad=0.2)

    return _both(plot, x_label, max((x for curve in curves for x in curve.x), default=0))


def plot_shares(x: Sequence[float], shares: Mapping[str, Sequence[float]], *, x_label: str, y_label: str) -> Plot:
    """Plot shares of a whole over training as stacked areas in percent.

    Args:
        x: Positions of the points, two or more.
        shares: Share of each part in [0, 1], as many values as points; the first part lies at the bottom.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
    """

    def plot(axes: Axes, theme: Theme) -> None:
        low, high = theme.ramp
        steps = max(1, len(shares) - 1)
        colours = [matplotlib.colormaps["viridis"](low + (high - low) * i / steps) for i in range(len(shares))]
        percent = [[100 * value for value in row] for row in shares.values()]
        # Thin lines of the areas' own colours close the seams between them.
        areas = axes.stackplot(x, percent, labels=list(shares), colors=colours, edgecolor=colours, linewidth=0.3)
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_ylabel(y_label)
        # In the order of the areas, the highest first.
        axes.legend(areas[::-1], list(shares)[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.0)

    return _both(plot, x_label, max(x))


def _is_wide(values: Sequence[float]) -> bool:
    shown = [value for value in values if abs(value) < LIMIT]
    if not shown or min(shown) < 0:
        return False
    positive = [value for value in shown if value > 0]
    return bool(positive) and max(positive) / min(positive) > _DECADES


def _both(plot: _Plotting, x_label: str, end: float) -> Plot:
    return Plot(_png(plot, LIGHT, x_label, end), _png(plot, DARK, x_label, end))


def _png(plot: _Plotting, theme: Theme, x_label: str, end: float) -> bytes:
    with styled(theme):
        figure, axes = new_axes(_SIZE, _DPI)
        plot(axes, theme)
        if end > 0:
            axes.set_xlim(0, end)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axes.set_xlabel(x_label)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
