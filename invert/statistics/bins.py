"""Thresholds for each class of complexity: simple images are reconstructed well whoever drew them.

A threshold over all images keeps its rate on average over them, by accusing the simple ones far more often. One for
each bin keeps it within each. The edges are set by complexity alone and never by scores: within a bin a calibration
score and a new one therefore stay exchangeable.

Reference: Vovk, Gammerman and Shafer 2005, chapter 4 (Mondrian conformal predictors).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invert.statistics.checks import FloatArray, finite, sample
from invert.statistics.thresholds import Threshold, TooFewNegativesError

__all__ = ["Bins"]

Rule = Callable[[FloatArray], Threshold]


@dataclass(frozen=True)
class Bins:
    """Bins of complexity: bin k holds edges[k - 1] <= value < edges[k], the outer ones what is beyond.

    Args:
        edges: Inner edges, rising; one fewer than there are bins.
        low, high: Smallest and largest complexity that was calibrated on.
    """

    edges: tuple[float, ...]
    low: float
    high: float

    @classmethod
    def fit(cls, complexity: ArrayLike, count: int = 3) -> "Bins":
        """Cut at the quantiles of the negatives' complexity; terciles by default.

        Args:
            complexity: Of the negatives, `[n0]`.
            count: Number of bins. There are fewer where so many images are alike that quantiles coincide.

        Raises:
            ValueError: There are none, one is not finite, or the count is below 1.
        """
        values = sample(complexity, "complexity")
        if count < 1:
            raise ValueError(f"count: {count} is not 1 or more")
        low, high = float(values.min()), float(values.max())
        edges = np.unique(np.quantile(values, np.arange(1, count) / count))
        # An edge at the smallest value would leave the bin below it empty.
        return cls(tuple(float(edge) for edge in edges if edge > low), low, high)

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

    def inside(self, complexity: ArrayLike) -> NDArray[np.bool_]:
        """Return which values lie in the range that was calibrated on; nothing is promised for the others.

        Raises:
            ValueError: A value is not finite.
        """
        values = finite(complexity, "complexity")
        return np.asarray((values >= self.low) & (values <= self.high))

    def counts(self, complexity: ArrayLike) -> tuple[int, ...]:
        """Return how many of the values fall into each bin.

        Raises:
            ValueError: A value is not finite.
        """
        return tuple(np.bincount(self.index(complexity).ravel(), minlength=self.count).tolist())

    def lacking(self, complexity: ArrayLike, needed: int) -> tuple[int, ...]:
        """Return the bins with fewer than `needed` negatives; see `thresholds.required_negatives`.

        Raises:
            ValueError: A value is not finite.
        """
        return tuple(k for k, have in enumerate(self.counts(complexity)) if have < needed)

    def thresholds(self, negatives: ArrayLike, complexity: ArrayLike, rule: Rule) -> tuple[Threshold | None, ...]:
        """Return each bin's threshold, None where the bin has too few negatives for the rule.

        Args:
            negatives: Scores `[n0]`. complexity: Of the same images, `[n0]`.
            rule: A rule of `invert.statistics.thresholds` with its rate filled in.

        Raises:
            ValueError: The two differ in length, or a number is not finite.
        """
        scores, index = sample(negatives, "negatives"), self.index(sample(complexity, "complexity"))
        if len(scores) != len(index):
            raise ValueError(f"complexity: {len(index)} values for {len(scores)} negatives")
        return tuple(_threshold(scores[index == k], rule) for k in range(self.count))

    def to_record(self) -> dict[str, Any]:
        """Return the bins as JSON types."""
        return {"edges": list(self.edges), "low": self.low, "high": self.high}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Bins":
        """Take back what `to_record` returned.

        Raises:
            ValueError: A number is missing, or they are not in order.
        """
        try:
            edges = tuple(float(edge) for edge in record["edges"])
            low, high = float(record["low"]), float(record["high"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"bins: a number is missing or none: {error}") from error
        order = finite([low, *edges, high], "bins")
        if (np.diff(order) < 0).any() or (np.diff(edges) <= 0).any():
            raise ValueError("bins: the edges are not in order")
        return cls(edges, low, high)


def _threshold(scores: FloatArray, rule: Rule) -> Threshold | None:
    try:
        return rule(scores)
    except TooFewNegativesError:
        return None
