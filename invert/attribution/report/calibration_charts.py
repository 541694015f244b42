"""The histograms of several calibrations side by side: figure 10 of the StyleGAN2 paper.

Import this module where a chart is drawn: it brings matplotlib.

Reference: Karras et al. 2020, section 5.1, figure 10.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from invert.attribution.calibration import Calibration
from invert.attribution.report.charts import FloatArray, add_legend, bin_edges, draw_populations
from invert.attribution.report.panels import shown_value
from invert.attribution.settings import SPLITS
from invert.report.theme import LIGHT, new_panels, styled

__all__ = ["draw_side_by_side", "population_values"]

_SIZE, _DPI = (4.6, 3.2), 160  # inches of one calibration's histograms, dots per inch


def population_values(calibration: Calibration, score: str) -> dict[str, FloatArray]:
    """Return the scores of each population as people know them, the network's own first; none that is not finite.

    Of LPIPS, all images count: nothing is fitted to it. Of the evidence, those that it was not fitted on.
    """
    splits = [split for split in SPLITS if score == "lpips" or split != "fit"]
    found = {}
    for population in (calibration.own, *calibration.others):
        scores = np.concatenate([calibration.scores(score, population, split) for split in splits])
        found[population.name] = np.array([shown_value(score, value) for value in scores[np.isfinite(scores)].tolist()])
    return found


def draw_side_by_side(calibrations: Sequence[tuple[str, Mapping[str, FloatArray]]], score: str) -> bytes:
    """Draw the histograms of each calibration on the same axes, as PNG on white.

    Args:
        calibrations: What each one is called, and its `population_values`.
        score: Of `invert.attribution.settings.SCORES`.
    """
    edges = bin_edges([values for _, one in calibrations for values in one.values()], score)
    with styled(LIGHT):
        figure, panels = new_panels(_SIZE, _DPI, len(calibrations))
        for axes, (name, populations) in zip(panels, calibrations, strict=True):
            draw_populations(axes, LIGHT, list(populations), list(populations.values()), edges, score)
            axes.label_outer(remove_inner_ticks=False)
            add_legend(axes)
            axes.set_title(name, loc="left", pad=24, fontsize=10, parse_math=False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", facecolor="white", metadata={"Software": None})
    return stream.getvalue()
