"""Charts of an evaluation: ROC curves, and the histograms of the StyleGAN2 paper's figure 10.

Import this module where a chart is drawn: it brings matplotlib.

Reference: Karras et al. 2020, section 5.1, figure 10.
"""

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from invert.attribution.calibration import Calibration
from invert.attribution.evaluation import Evaluation
from invert.attribution.report.panels import shown_value
from invert.attribution.settings import SCORES
from invert.report.theme import DARK, LIGHT, Drawing, Theme, new_axes, styled
from invert.statistics.intervals import roc

__all__ = ["add_legend", "bin_edges", "draw_distances", "draw_populations", "draw_roc", "standalone"]

_SIZE, _DPI = (5.6, 3.2), 160  # inches, dots per inch
_BINS = 32
_LEAST = 1e-3  # of the rates' axis
_DASHED = (0, (3, 2))

FloatArray = npt.NDArray[np.float64]
Draw = Callable[[Axes, Theme], None]


def draw_distances(calibration: Calibration, evaluation: Evaluation, score: str) -> Drawing:
    """Draw the histograms of a score, each population in shares of its own, and the calibration's thresholds."""
    draw = _distances(calibration, evaluation, score)
    return Drawing(_png(draw, LIGHT), _png(draw, DARK))


def draw_roc(evaluation: Evaluation) -> Drawing:
    """Draw how many own images are found at which rate of mistakes, the rate on a logarithmic axis."""
    draw = _roc(evaluation)
    return Drawing(_png(draw, LIGHT), _png(draw, DARK))


def standalone(calibration: Calibration, evaluation: Evaluation) -> tuple[bytes, bytes]:
    """Return the histograms of the distance and the ROC curves as PNG on white: for files of their own."""
    distances = _distances(calibration, evaluation, "lpips")
    return _png(distances, LIGHT, "white"), _png(_roc(evaluation), LIGHT, "white")


def _distances(calibration: Calibration, evaluation: Evaluation, score: str) -> Draw:
    chosen = [one for one in (*evaluation.own, *evaluation.others) if one.score == score]
    values = [np.array([shown_value(score, value) for value in one.scores.tolist()]) for one in chosen]
    thresholds = {calibration.bin_threshold(score, index)[1].value for index in range(calibration.bins.count)}
    edges = bin_edges(values, score)

    def draw(axes: Axes, theme: Theme) -> None:
        draw_populations(axes, theme, [one.name for one in chosen], values, edges, score)
        for number, threshold in enumerate(sorted(thresholds)):
            name = "" if number else "threshold"
            axes.axvline(shown_value(score, threshold), color=theme.soft, linewidth=1.2, linestyle="--", label=name)

    return draw


def bin_edges(values: Sequence[FloatArray], score: str) -> FloatArray:
    """Return the edges of bins that all values fall into, fewer where there are few; LPIPS has logarithmic ones."""
    low, high = min(one.min() for one in values), max(one.max() for one in values)
    log = score == "lpips"
    if not low < high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    bins = int(np.clip(2 * math.sqrt(min(map(len, values))), 8, _BINS))
    edges: FloatArray = np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
    return edges


def draw_populations(
    axes: Axes, theme: Theme, names: Sequence[str], values: Sequence[FloatArray], edges: FloatArray, score: str
) -> None:
    """Draw a histogram of each population, in shares of its own; the first one is the network's, and filled."""
    for number, (name, found) in enumerate(zip(names, values, strict=True)):
        share = 100 * np.histogram(found, edges)[0] / len(found)
        colour = theme.curves[1:][(number - 1) % len(theme.curves[1:])] if number else theme.curves[0]
        label = f"{len(found)} {'of its own' if number == 0 else f'of {name}'}"
        if number == 0:
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(share, edges, color=colour, linewidth=1.3, label=label)
    if score == "lpips":
        axes.set_xscale("log")
    axes.set_ylim(0, None)
    axes.set_xlabel("LPIPS distance" if score == "lpips" else f"{score} score, lower is more like the network")
    axes.set_ylabel("share of the population, %")


def _roc(evaluation: Evaluation) -> Draw:
    others = len(evaluation.others) // len(SCORES)

    def draw(axes: Axes, theme: Theme) -> None:
        pairs = [(own, one) for own in evaluation.own for one in evaluation.others if one.score == own.score]
        for index, (own, other) in enumerate(pairs):
            fpr, tpr = roc(own.scores, other.scores)
            # As in the histograms, where the first colour is that of own images.
            colour = theme.curves[1:][index % others % len(theme.curves[1:])]
            line = "-" if own.score == "evidence" else _DASHED
            # Steps, as the curve is: between two points of a logarithmic axis a straight line would be another curve.
            axes.plot(
                np.maximum(fpr, _LEAST),
                tpr,
                color=colour,
                linestyle=line,
                linewidth=1.3,
                drawstyle="steps-post",
                label=f"{other.name}, {own.score}",
            )
        axes.axvline(evaluation.promised, color=theme.soft, linewidth=0.8, linestyle=":", label="rate promised")
        axes.set_xscale("log")
        axes.set_xlim(_LEAST, 1)
        axes.set_ylim(0, 1.02)
        axes.grid(color=theme.line, linewidth=0.7)
        axes.set_xlabel("others attributed by mistake")
        axes.set_ylabel("own images found")

    return draw


def _png(draw: Draw, theme: Theme, ground: str = "none") -> bytes:
    with styled(theme):
        figure, axes = new_axes(_SIZE, _DPI)
        draw(axes, theme)
        add_legend(axes)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", facecolor=ground, metadata={"Software": None})
    return stream.getvalue()


def add_legend(axes: Axes) -> None:
    """Name what is drawn, above it."""
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_columns(axes), borderaxespad=0.2)
    for text in legend.get_texts():
        text.set_parse_math(False)  # names are names


def _columns(axes: Axes) -> int:
    labels: Sequence[str] = axes.get_legend_handles_labels()[1]
    return 3 if max(map(len, labels)) <= 18 else 2
