"""The style that all figures share: ink for a light and for a dark page, on a transparent ground."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["DARK", "LIGHT", "LIMIT", "Plot", "Theme", "new_axes", "new_panels", "styled"]

LIMIT = 1e30
"""Beyond it, matplotlib's own arithmetic on axes overflows."""


@dataclass(frozen=True)
class Plot:
    """One figure as PNG on a transparent ground, with ink for a light and for a dark page."""

    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; `ramp` is the part of the colour map that stands out from the page."""

    ink: str
    soft: str
    line: str
    curves: tuple[str, ...]
    ramp: tuple[float, float]


# Blue and orange of about equal weight: told apart by most eyes, and in grey by their order in the legend.
LIGHT = Theme("#1b1f24", "#59636e", "#d8dee4", ("#1f6fb4", "#d9730d", "#4c8c2b", "#8a4fb0"), (0.10, 0.95))
DARK = Theme("#e3e8ee", "#9aa6b2", "#303841", ("#63aef0", "#f2a04e", "#8cc46a", "#c594e6"), (0.22, 1.0))


@contextlib.contextmanager
def styled(theme: Theme) -> Iterator[None]:
    """Set matplotlib to a theme for a while; a user's own matplotlibrc does not change the figure."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings(theme))
        yield


def new_axes(size: tuple[float, float], dpi: int) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with one pair of axes; no display, no global state of pyplot."""
    figure, (axes,) = new_panels(size, dpi, 1)
    return figure, axes


def new_panels(size: tuple[float, float], dpi: int, count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with pairs of axes of so many inches side by side, which share the vertical one."""
    figure = Figure(figsize=(size[0] * count, size[1]), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, count, sharey=True, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _settings(theme: Theme) -> Any:
    return {
        "font.size": 9,
        "text.color": theme.ink,
        "axes.edgecolor": theme.soft,
        "axes.labelcolor": theme.soft,
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "figure.facecolor": "none",
        "legend.frameon": False,
        "legend.fontsize": 9,
        "legend.handlelength": 1.4,
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
    }
