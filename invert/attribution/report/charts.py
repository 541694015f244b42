"""Charts of calibrations and evaluations: ROC curves, and the histograms of the StyleGAN2 paper's figure 10.

Import this module where a chart is plotted: it brings matplotlib.

Reference: Karras et al. 2020, section 5.1, figure 10.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from invert.attribution.calibration import Calibration
from invert.attribution.evaluation import Evaluation
from invert.attribution.groups import CEILING
from invert.attribution.measurements import Measurement
from invert.attribution.score import axis_label, shown_value
from invert.attribution.settings import OWN, SCORES, SPLITS
from invert.report.histograms import Populations, add_legend, plot_panels, plot_populations
from invert.report.theme import DARK, LIGHT, Plot, Theme, new_axes, styled
from invert.statistics.checks import FloatArray
from invert.statistics.intervals import roc

__all__ = ["RMS", "plot_distances", "plot_roc", "plot_side_by_side", "population_values", "standalone"]

RMS = "rms"

_SIZE, _DPI = (5.6, 3.2), 160  # inches, dots per inch
_LEAST = 1e-3  # where the axis of rates begins
_DASHED = (0, (3, 2))

_Plotting = Callable[[Axes, Theme], None]


def plot_distances(calibration: Calibration, evaluation: Evaluation, score: str) -> Plot:
    """Plot the histograms of a score, each population in shares of its own, and the calibration's thresholds."""
    plot = _distances(calibration, evaluation, score)
    return Plot(_png(plot, LIGHT), _png(plot, DARK))


def plot_roc(evaluation: Evaluation) -> Plot:
    """Plot how many own images are found at which rate of mistakes, the rate on a logarithmic axis."""
    plot = _roc(evaluation)
    return Plot(_png(plot, LIGHT), _png(plot, DARK))


def standalone(calibration: Calibration, evaluation: Evaluation) -> tuple[bytes, bytes]:
    """Return the histograms of the distance and the ROC curves as PNG on white: for files of their own."""
    distances = _distances(calibration, evaluation, "lpips")
    return _png(distances, LIGHT, "white"), _png(_roc(evaluation), LIGHT, "white")


def population_values(calibration: Calibration, score: str, processing: str | None = None) -> dict[str, FloatArray]:
    """Return the scores of each origin as people know them, the network's own first; none that is not finite.

    For LPIPS and rms all images count: nothing is fitted to them. For the evidence, the images that it was not fitted
    on.

    Args:
        calibration: The calibration.
        score: One of `invert.attribution.settings.SCORES`, or `RMS`: the levels by which preset exact misses.
        processing: After which of its processings the images count; all of them by default.
    """
    splits = [split for split in SPLITS if score != "evidence" or split != "fit"]
    found: dict[str, list[float]] = {}
    for population in calibration.populations:
        if processing in (None, population.processing):
            images = [one for split in splits for one in population.part(split)]
            found.setdefault(population.name, []).extend(_value(calibration, score, one) for one in images)
    values = {name: np.array(scores) for name, scores in found.items()}
    return {name: scores[np.isfinite(scores)] for name, scores in values.items()}


def _value(calibration: Calibration, score: str, image: Measurement) -> float:
    if score == RMS:
        return math.exp(image.evidence["rms_ratio"] + image.evidence["expected_rms"])
    return shown_value(score, calibration.score(score, image))


def plot_side_by_side(calibrations: Sequence[tuple[str, Mapping[str, FloatArray]]], score: str) -> bytes:
    """Plot the histograms of several calibrations on the same axes, as PNG on white.

    Args:
        calibrations: What each is called, and its `population_values`.
        score: What is plotted, as there.
    """
    panels = [(name, _named(populations)) for name, populations in calibrations]
    label = "rms difference that is left, in levels" if score == RMS else axis_label(score)
    return plot_panels(panels, x_label=label, log=score != "evidence")


def _shown(score: str, values: FloatArray) -> FloatArray:
    return np.array([shown_value(score, value) for value in values.tolist()])


def _named(populations: Mapping[str, FloatArray]) -> Populations:
    return {"of its own" if name == OWN else f"of {name}": values for name, values in populations.items()}


def _distances(calibration: Calibration, evaluation: Evaluation, score: str) -> _Plotting:
    chosen = [one for one in (*evaluation.own, *evaluation.others) if one.score == score]
    values = {calibration.bin_threshold(score, index)[1].value for index in range(calibration.bins.count)}
    # What is not judged has no place among scores.
    populations = _named({one.name: _shown(score, one.scores[one.scores < CEILING]) for one in chosen})
    thresholds = [shown_value(score, value) for value in sorted(values)]

    def plot(axes: Axes, theme: Theme) -> None:
        plot_populations(axes, theme, populations, x_label=axis_label(score), log=score == "lpips", marked=thresholds)
        for number, threshold in enumerate(thresholds):
            name = "" if number else "threshold"
            axes.axvline(threshold, color=theme.soft, linewidth=1.2, linestyle="--", label=name)

    return plot


def _roc(evaluation: Evaluation) -> _Plotting:
    others = len(evaluation.others) // len(SCORES)

    def plot(axes: Axes, theme: Theme) -> None:
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

    return plot


def _png(plot: _Plotting, theme: Theme, ground: str = "none") -> bytes:
    with styled(theme):
        figure, axes = new_axes(_SIZE, _DPI)
        plot(axes, theme)
        add_legend(axes)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", facecolor=ground, metadata={"Software": None})
    return stream.getvalue()
