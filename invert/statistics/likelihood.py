"""Likelihood ratios: how much more probable a score is if the network made the image than if it comes from elsewhere.

"Elsewhere" is the population of the negatives, which a report has to name. A ratio is never the probability that the
network made the image.

Reference: ENFSI guideline for evaluative reporting in forensic science, 2015.
"""

import math
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Context

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from invert.statistics.checks import FloatArray, finite, sample

__all__ = ["LikelihoodRatio", "cllr", "cllr_min", "ratio_text", "verbal"]

_INVERSE_PENALTY = 1e3
"""Half the squared slope, of scores scaled to variance one, costs a thousandth of one image's log loss: nothing where
the classes overlap, and where they do not it keeps the slope finite."""

_SCALE = (
    (2.0, "no"),
    (10.0, "weak"),
    (100.0, "moderate"),
    (1e3, "moderately strong"),
    (1e4, "strong"),
    (1e6, "very strong"),
    (math.inf, "extremely strong"),
)


@dataclass(frozen=True)
class LikelihoodRatio:
    """log ratio = intercept + slope * s, within what the calibration can support.

    Args:
        intercept: Natural logarithm of the ratio at score 0.
        slope: Zero or less: the ratio never rises with the score.
        positives: Number of positive scores that it was fitted on.
        negatives: Number of negative scores that it was fitted on.
    """

    intercept: float
    slope: float
    positives: int
    negatives: int

    @classmethod
    def fit(cls, positives: ArrayLike, negatives: ArrayLike) -> "LikelihoodRatio":
        """Fit a logistic regression on the score and take the prior odds of the calibration mix out.

        Scores that rise where they should fall say nothing: then every ratio is 1.

        Args:
            positives: Scores `[n1]` of the network's images.
            negatives: Scores `[n0]` of others.

        Raises:
            ValueError: There are none, or one is not finite.
        """
        pos, neg = sample(positives, "positives"), sample(negatives, "negatives")
        scores = np.concatenate([pos, neg])
        centre, spread = float(scores.mean()), float(scores.std())
        if spread == 0:
            return cls(0.0, 0.0, len(pos), len(neg))
        labels = np.repeat([1, 0], [len(pos), len(neg)])
        model = LogisticRegression(C=_INVERSE_PENALTY, tol=1e-8, max_iter=1000)
        model.fit(((scores - centre) / spread)[:, None], labels)
        slope = float(model.coef_[0, 0]) / spread
        if slope >= 0:
            return cls(0.0, 0.0, len(pos), len(neg))
        intercept = float(model.intercept_[0]) - slope * centre - math.log(len(pos) / len(neg))
        return cls(intercept, slope, len(pos), len(neg))

    @property
    def largest(self) -> float:
        """The largest ratio that this many negatives can support, n0 + 1."""
        return self.negatives + 1.0

    @property
    def smallest(self) -> float:
        """The smallest ratio that this many positives can support, 1 / (n1 + 1)."""
        return 1 / (self.positives + 1.0)

    def ratio(self, scores: ArrayLike) -> FloatArray:
        """Return the ratio of each score, from `smallest` to `largest`.

        Raises:
            ValueError: A score is not finite.
        """
        with np.errstate(over="ignore", under="ignore"):
            ratios = np.exp(self.intercept + self.slope * finite(scores))
        return np.asarray(np.clip(ratios, self.smallest, self.largest))


def cllr(ratios_pos: ArrayLike, ratios_neg: ArrayLike) -> float:
    """Return the cost of likelihood ratios in bits: 0 is perfect, 1 what saying nothing (always 1) costs.

    Args:
        ratios_pos: Ratios of positives, zero or more; infinity may be among them.
        ratios_neg: Ratios of negatives, likewise.

    Raises:
        ValueError: There are none, or one is negative or not a number.

    Reference: Brümmer and du Preez 2006.
    """
    with np.errstate(divide="ignore"):
        pos, neg = np.log2(_ratios(ratios_pos, "ratios_pos")), np.log2(_ratios(ratios_neg, "ratios_neg"))
    return float((np.logaddexp2(0, -pos).mean() + np.logaddexp2(0, neg).mean()) / 2)


def cllr_min(ratios_pos: ArrayLike, ratios_neg: ArrayLike) -> float:
    """Return the cost that is left when the ratios are recalibrated in hindsight: what their order alone costs.

    The difference to `cllr` is what bad calibration costs.

    Args:
        ratios_pos: Ratios of positives, see `cllr`.
        ratios_neg: Ratios of negatives, likewise.

    Raises:
        ValueError: See `cllr`.

    Reference: Brümmer and du Preez 2006, pool adjacent violators.
    """
    pos, neg = _ratios(ratios_pos, "ratios_pos"), _ratios(ratios_neg, "ratios_neg")
    # Only the order counts, and ranks are finite where ratios are not.
    ranks = stats.rankdata(np.concatenate([pos, neg]), method="dense")
    labels = np.repeat([1.0, 0.0], [len(pos), len(neg)])
    posterior = IsotonicRegression(y_min=0, y_max=1).fit_transform(ranks, labels)
    with np.errstate(divide="ignore"):
        best = posterior / (1 - posterior) * (len(neg) / len(pos))
    return cllr(best[: len(pos)], best[len(pos) :])


def ratio_text(ratio: float) -> str:
    """Return a ratio as text, the one way everywhere: rounded towards 1, so that no more is said than was found.

    Args:
        ratio: Above 0 and finite: whole numbers from 10 on, otherwise two digits.

    Raises:
        ValueError: It is not above 0 and finite.
    """
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"ratio: {ratio} is not above 0 and finite")
    if ratio >= 10:
        return f"{math.floor(ratio):,d}"
    rounding = ROUND_DOWN if ratio >= 1 else ROUND_UP
    return f"{Context(prec=2, rounding=rounding).create_decimal(repr(float(ratio))):.2g}"


def verbal(ratio: float) -> str:
    """Return a ratio in words, the number first, as `ratio_text` gives it.

    Args:
        ratio: Above 0 and finite.

    Raises:
        ValueError: It is not.

    Reference: ENFSI guideline 2015, table of verbal equivalents.
    """
    number = ratio_text(ratio)
    word = next(word for limit, word in _SCALE if max(ratio, 1 / ratio) < limit)
    direction = "either way" if word == "no" else "for this network" if ratio > 1 else "against this network"
    return f"{number} ({word} support {direction})"


def _ratios(values: ArrayLike, what: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not (array >= 0).all():
        raise ValueError(f"{what}: expected one or more numbers of zero or more, in one dimension")
    return array
