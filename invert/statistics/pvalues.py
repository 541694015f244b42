"""Conformal p-values of a score, and Holm's rule for several networks at a time.

p0 and p1 hold, for whatever distribution, when the image is exchangeable with the calibration set: then its score is
as likely to take any of the n + 1 places among the calibration's scores and its own. Both therefore never fall below
1 / (n + 1).

Reference: Vovk, Gammerman and Shafer 2005.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from invert.statistics.checks import FloatArray, finite, sample

__all__ = ["holm", "p0", "p1"]


def p0(scores: ArrayLike, negatives: ArrayLike) -> FloatArray:
    """Return p-values against "not from this network": small means reconstructed too well for that.

    Args:
        scores: Scores of the images in question, of any shape.
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
        scores: Scores of the images in question, of any shape.
        positives: Scores `[n1]` of the network's own images.

    Returns:
        (1 + #{positives >= s}) / (n1 + 1), in the shape of `scores`.

    Raises:
        ValueError: A score is not finite, or there are no positives.
    """
    ordered = np.sort(sample(positives, "positives"))
    below = np.searchsorted(ordered, finite(scores), side="left")
    return np.asarray((1 + len(ordered) - below) / (len(ordered) + 1))


def holm(p: ArrayLike) -> Iterator[tuple[int, int]]:
    """Yield hypotheses in Holm's order, each with the number of hypotheses that share the rate when it is tested.

    The smallest of K p-values is tested at rate / K, the next one at rate / (K - 1), and so on. The caller stops at
    the first test that claims nothing. Why that keeps the rate: let m of the hypotheses be true. The first of these
    to be tested has at most K - m others before it, so m or more still share the rate: a false claim means that one
    of m true hypotheses passed a test at rate / m, which happens with probability rate at most.

    Args:
        p: p-values `[K]`, each in [0, 1]. The test need not be of the p-value itself: a threshold that a calibration
            sets for rate / share will do, for the order plays no role in the argument above.

    Yields:
        Index of a hypothesis, and its share: K for the first one, 1 for the last one.

    Raises:
        ValueError: A p-value is not in [0, 1].

    Reference: Holm 1979.
    """
    values = sample(p, "p-values", least=0)
    if ((values < 0) | (values > 1)).any():
        raise ValueError("p-values: one is not in [0, 1]")
    for place, index in enumerate(np.argsort(values, kind="stable").tolist()):
        yield index, len(values) - place
