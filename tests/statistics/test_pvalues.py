"""p-values: their numbers, and that they are p-values."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from invert.statistics.pvalues import benjamini_hochberg, holm, p0, p1
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


def test_holm_worked_example() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.5]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_benjamini_hochberg_worked_example() -> None:
    """The first column of p-values of the 1995 paper, section 3.2: four are rejected at 5 %, Holm rejects three."""
    p = [
        *[0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344],
        *[0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0],
    ]
    assert np.flatnonzero(benjamini_hochberg(p) <= 0.05).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(holm(p) <= 0.05).tolist() == [0, 1, 2]
    assert benjamini_hochberg([]).shape == (0,)


def test_false_discovery_rate_under_a_shared_calibration() -> None:
    random = np.random.default_rng(4)
    foreign, level, shares, found = 80, 0.2, [], 0
    for _ in range(400):
        negatives = random.normal(size=500)
        scores = np.concatenate([random.normal(size=foreign), random.normal(-3, size=20)])
        claimed = benjamini_hochberg(p0(scores, negatives)) <= level
        shares.append(claimed[:foreign].sum() / max(1, claimed.sum()))
        found += int(claimed[foreign:].sum())
    assert np.mean(shares) <= level * foreign / 100 + 3 * np.std(shares) / math.sqrt(len(shares))
    assert found > 0.8 * 20 * 400


def test_refusals() -> None:
    for p in (p0, p1):
        with pytest.raises(ValueError, match="1 of 1 are not finite"):
            p(math.nan, [1.0])
        with pytest.raises(ValueError, match="1 of 2 are not finite"):
            p(1.0, [1.0, math.inf])
        with pytest.raises(ValueError, match="at least 1 needed, there are 0"):
            p(1.0, [])
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match=r"one is not in \[0, 1\]"):
            adjust([0.5, 1.5])
