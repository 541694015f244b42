"""Conformal p-values of a score, and their adjustment for many networks or many images.

p0 and p1 hold, for whatever distribution, when the image is exchangeable with the calibration set; both never fall
below 1 / (n + 1).

Reference: Vovk, Gammerman and Shafer 2005; Bates et al. 2023.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from invert.statistics.checks import FloatArray, finite, sample

__all__ = ["benjamini_hochberg", "holm", "p0", "p1"]


def p0(scores: ArrayLike, negatives: ArrayLike) -> FloatArray:
    """Return p-values against "not from this network": small means reconstructed too well for that.

    Args:
        scores: Of the images in question, of any shape.
        negatives: Scores `[n0]` of images that are not the network's.

    Returns:
        (1 + #{negatives <= s}) / (n0 + 1), in the shape of `scores`.

    Raises:
        ValueError: A score is not finite, or there are no negatives.
    """
    ordered = np.sort(sample(negatives, "negatives"))
    return np.asarray((1 + np.searchsorted(ordered, finite(scores), side="right")) / (len(ordered) + 1))


def p1(scores: ArrayLike, positives: ArrayLike) -> FloatArray:
    """Return p-values against "from this network, unmodified": small means reconstructed too badly for that.

    Args:
        scores: Of the images in question, of any shape.
        positives: Scores `[n1]` of the network's own images.

    Returns:
        (1 + #{positives >= s}) / (n1 + 1), in the shape of `scores`.

    Raises:
        ValueError: A score is not finite, or there are no positives.
    """
    ordered = np.sort(sample(positives, "positives"))
    below = np.searchsorted(ordered, finite(scores), side="left")
    return np.asarray((1 + len(ordered) - below) / (len(ordered) + 1))


def holm(p: ArrayLike) -> FloatArray:
    """Return p-values `[K]` adjusted so that a rule at level a makes any false claim with probability a at most.

    Raises:
        ValueError: A p-value is not in [0, 1].

    Reference: Holm 1979.
    """
    values = _p_values(p)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> FloatArray:
    """Return p-values `[K]` adjusted so that at level a the expected share of false claims among all is a at most.

    It holds for p-values that share a calibration set too: those are positively dependent (Bates et al. 2023).

    Raises:
        ValueError: A p-value is not in [0, 1].

    Reference: Benjamini and Hochberg 1995.
    """
    values = _p_values(p)
    return np.asarray(stats.false_discovery_control(values, method="bh")) if len(values) else values


def _p_values(p: ArrayLike) -> FloatArray:
    values = sample(p, "p-values", least=0)
    if ((values < 0) | (values > 1)).any():
        raise ValueError("p-values: one is not in [0, 1]")
    return values
