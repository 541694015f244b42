"""Bins of complexity, for thresholds of their own: simple images are reconstructed well whichever network made them.

A threshold over all images keeps its rate on average over them, by accusing the simple ones far more often. One for
each bin keeps it within each. The edges are set by complexity alone and never by scores: within a bin a calibration
score and a new one therefore stay exchangeable.

Reference: Vovk, Gammerman and Shafer 2005, chapter 4 (Mondrian conformal predictors).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invert.statistics.checks import finite, sample

__all__ = ["Bins"]


@dataclass(frozen=True)
class Bins:
    """Bins of complexity: bin k has edges[k - 1] <= value < edges[k], the outer ones what is beyond.

    Args:
        edges: Inner edges, rising; one fewer than there are bins.
    """

    edges: tuple[float, ...]

    @classmethod
    def fit(cls, complexity: ArrayLike, count: int = 3) -> "Bins":
        """Cut at the quantiles of the negatives' complexity; terciles by default.

        Args:
            complexity: Complexities of the negatives, `[n0]`.
            count: Number of bins. There are fewer where so many images are alike that quantiles coincide.

        Raises:
            ValueError: There are none, one is not finite, or the count is below 1.
        """
        values = sample(complexity, "complexity")
        if count < 1:
            raise ValueError(f"count: {count} is not 1 or more")
        edges = np.unique(np.quantile(values, np.arange(1, count) / count))
        # An edge at the smallest value would leave the bin below it empty.
        return cls(tuple(float(edge) for edge in edges if edge > values.min()))

    @property
    def count(self) -> int:
        """Number of bins."""
        return len(self.edges) + 1

    def index(self, complexity: ArrayLike) -> NDArray[np.intp]:
        """Return the bin of each value, from 0 (simplest), in the shape of `complexity`.

        Raises:
            ValueError: A value is not finite.
        """
        return np.asarray(np.searchsorted(self.edges, finite(complexity, "complexity"), side="right"))
