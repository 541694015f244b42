"""The gap between own images and others: histograms of how far preset exact misses them, as a figure."""

import math
from pathlib import Path

import numpy as np

from bench.attribution.cells import EXACT, Counts
from bench.attribution.document import Text
from bench.attribution.laboratory import Laboratory
from bench.attribution.sealed import RANDOM
from invert.attribution.settings import OWN
from invert.durable import write_atomic
from invert.report.histograms import plot_panels
from invert.report.page import Table

__all__ = ["add_gap"]

_PANELS = {"as they are": "none", "blurred by 1 px": "blur:1"}
_SIBLINGS, _REAL = "of B and C", "real"
_NAMES = {"own, stored noise": (OWN,), "own, random noise": (RANDOM,), _SIBLINGS: ("B", "C"), _REAL: ("real",)}


def add_gap(text: Text, laboratory: Laboratory, counts: Counts, figure: Path) -> None:
    """Plot the figure, and add its numbers.

    Args:
        text: Where they are added.
        laboratory: The work folder.
        counts: Images of each population.
        figure: File of the figure, PNG.
    """
    panels, rows = [], []
    for title, processing in _PANELS.items():
        values = {}
        for name, populations in _NAMES.items():
            found = [
                one.explained.rms
                for population in populations
                for one in laboratory.measured(EXACT, population, counts.of(population, processing), processing)
                if one.explained is not None and math.isfinite(one.explained.rms)
            ]
            values[name] = found
            spread = (f"{value:.2f}" for value in np.quantile(found, (0, 0.01, 0.5, 0.99, 1)))
            rows.append((title, name, str(len(found)), *spread))
        panels.append((title, values))
    write_atomic(figure, plot_panels(panels, x_label="rms difference that is left, in levels", log=True))
    text.say(
        "What preset exact leaves of an image unexplained, in levels of 255, whatever it finds to have happened to it:",
        f"`{figure.parent.name}/{figure.name}` shows it.",
    )
    header = ("images", "origin", "n", "least", "1 % below", "median", "99 % below", "most")
    text.table(Table(rows, header))
