"""p-values: their numbers, and that they are p-values."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from invert.statistics.pvalues import holm, p0, p1
from invert.statistics.thresholds import conformal

PValues = Callable[[object, object], np.ndarray]


def test_by_hand() -> None:
    calibration = [3.0, 1.0, 2.0, 2.0]
    scores = [[0.0, 1.0, 2.0], [2.5, 3.0, 9.0]]
    np.testing.assert_allclose(p0(scores, calibration), [[0.2, 0.4, 0.8], [0.8, 1.0, 1.0]])
    np.testing.assert_allclose(p1(scores, calibration), [[1.0, 1.0, 0.8], [0.4, 0.4, 0.2]])
    assert p0(2.0, calibration).shape == ()


def test_order_plays_no_role() -> None:
    random = np.random.default_rng(0)
    calibration, scores = random.normal(size=200), random.normal(size=50)
    for p in (p0, p1):
        assert np.array_equal(p(scores, calibration), p(scores, np.sort(calibration)[::-1]))


def test_p0_and_the_conformal_threshold_agree() -> None:
    random = np.random.default_rng(1)
    negatives, scores = random.normal(size=400).round(1), random.normal(size=4000).round(1)
    assert np.array_equal(p0(scores, negatives) <= 0.05, scores < conformal(negatives, 0.05).value)


@pytest.mark.parametrize("p", [p0, p1])
def test_uniform_where_the_null_holds(p: PValues) -> None:
    random = np.random.default_rng(2)
    values = []
    for _ in range(2000):
        drawn = random.gamma(2, size=1000)
        values.append(float(p(drawn[0], drawn[1:])))
    assert stats.kstest(values, "uniform").pvalue > 0.01


@pytest.mark.parametrize("p", [p0, p1])
def test_never_too_small_where_scores_are_tied(p: PValues) -> None:
    random = np.random.default_rng(3)
    values = []
    for _ in range(3000):
        drawn = random.normal(size=100).round(0)
        values.append(float(p(drawn[0], drawn[1:])))
    for level in np.linspace(0.02, 0.98, 49):
        assert np.mean(np.array(values) <= level) <= level + 3 * math.sqrt(level * (1 - level) / 3000)


def claimed(p: list[float], level: float) -> set[int]:
    """Return the hypotheses that Holm's rule rejects."""
    found = set()
    for index, share in holm(p):
        if p[index] > level / share:
            break
        found.add(index)
    return found


def test_holm_worked_example() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert list(holm(p)) == [(3, 4), (0, 3), (2, 2), (1, 1)]
    levels = {0.019: set(), 0.021: {3}, 0.029: {3}, 0.031: {0, 3}, 0.059: {0, 3}, 0.061: {0, 1, 2, 3}}
    assert {level: claimed(p, level) for level in levels} == levels
    assert list(holm([])) == []


def test_holm_on_published_p_values() -> None:
    """The p-values of Benjamini and Hochberg 1995, section 3.2, which says that Holm's rule rejects three at 5 %."""
    p = [
        *[0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344],
        *[0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0],
    ]
    assert claimed(p, 0.05) == {0, 1, 2}


def test_holm_seldom_makes_any_false_claim() -> None:
    """Four true hypotheses and two false ones: one rate for all of them, which plain testing would exceed."""
    random = np.random.default_rng(4)
    wrong = found = plain = 0
    for _ in range(4000):
        p = [*random.random(4).tolist(), *(random.random(2) / 400).tolist()]
        claims = claimed(p, 0.1)
        wrong += bool(claims & {0, 1, 2, 3})
        plain += min(p[:4]) <= 0.1
        found += len(claims & {4, 5})
    assert wrong / 4000 <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 4000)
    assert found == 2 * 4000
    assert plain / 4000 > 0.3


def test_refusals() -> None:
    for p in (p0, p1):
        with pytest.raises(ValueError, match="1 of 1 are not finite"):
            p(math.nan, [1.0])
        with pytest.raises(ValueError, match="1 of 2 are not finite"):
            p(1.0, [1.0, math.inf])
        with pytest.raises(ValueError, match="at least 1 needed, there are 0"):
            p(1.0, [])
    with pytest.raises(ValueError, match=r"one is not in \[0, 1\]"):
        list(holm([0.5, 1.5]))
