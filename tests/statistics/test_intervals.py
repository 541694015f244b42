"""Intervals against tables, closed forms, brute force and each other."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from invert.statistics.intervals import auc, auc_bootstrap, auc_interval, clopper_pearson, roc, tpr_at_fpr


def normal_scores(n1: int, n0: int, seed: int, area: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of two unit normals whose area under the curve is `area`."""
    random = np.random.default_rng(seed)
    return random.normal(size=n1), random.normal(math.sqrt(2) * stats.norm.ppf(area), size=n0)


@pytest.mark.parametrize(
    ("count", "total", "low", "high", "within"),
    [
        (0, 100, 0.0, 0.036, 0.0005),
        (0, 300, 0.0, 0.012, 0.0005),
        (5, 500, 0.0033, 0.023, 0.0005),
        (10, 1000, 0.0048, 0.018, 0.0005),
        (300, 300, 0.988, 1.0, 0.0005),
        (0, 0, 0.0, 1.0, 0.0),
    ],
)
def test_clopper_pearson(count: int, total: int, low: float, high: float, within: float) -> None:
    assert clopper_pearson(count, total) == pytest.approx((low, high), abs=within)


def test_area_against_all_pairs() -> None:
    pos, neg = (scores.round(1) for scores in normal_scores(40, 60, 0, 0.7))
    pairs = (pos[:, None] < neg) + 0.5 * (pos[:, None] == neg)
    assert (pos[:, None] == neg).any()
    assert auc(pos, neg) == pytest.approx(pairs.mean(), rel=1e-12)
    assert auc(neg, pos) == pytest.approx(1 - pairs.mean(), rel=1e-12)
    assert auc(np.sort(pos), neg[::-1]) == auc(pos, neg)


def test_area_is_that_under_the_curve() -> None:
    pos, neg = (scores.round(1) for scores in normal_scores(80, 70, 1))
    fpr, tpr = roc(pos, neg)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auc(pos, neg), rel=1e-12)


def test_delong_by_hand() -> None:
    """Shares of negatives above each positive: 1, 1/2, 1/2. Of positives below each negative: 1/3, 1."""
    low, high = auc_interval([1.0, 3.0, 4.0], [2.0, 5.0])
    variance = (1 / 12) / 3 + (2 / 9) / 2
    assert high == 1.0
    assert low == pytest.approx(max(0, 2 / 3 - 1.959964 * math.sqrt(variance)), abs=1e-6)


@pytest.mark.parametrize(("n1", "n0", "area"), [(200, 200, 0.9), (100, 300, 0.75)])
def test_delong_and_bootstrap_agree(n1: int, n0: int, area: float) -> None:
    pos, neg = normal_scores(n1, n0, 2, area)
    delong, bootstrap = auc_interval(pos, neg), auc_bootstrap(pos, neg)
    assert bootstrap[1] - bootstrap[0] == pytest.approx(delong[1] - delong[0], rel=0.1)
    assert bootstrap == pytest.approx(delong, abs=0.01)
    assert auc_bootstrap(pos, neg) == bootstrap


def test_delong_interval_covers_the_truth() -> None:
    """And is as wide as Hanley and McNeil's planning formula says: +-0.031 for 200 of each at 0.9."""
    intervals = np.array([auc_interval(*normal_scores(200, 200, seed)) for seed in range(500)])
    covered = np.mean((intervals[:, 0] <= 0.9) & (intervals[:, 1] >= 0.9))
    assert 0.92 <= covered <= 0.98
    assert np.diff(intervals).mean() / 2 == pytest.approx(0.031, abs=0.002)


@pytest.mark.parametrize("interval", [auc_interval, auc_bootstrap])
def test_no_error_seen_is_not_no_error_possible(interval: Callable[[object, object], tuple[float, float]]) -> None:
    low = 0.025 ** (1 / 100)  # Clopper-Pearson for 100 of 100, the fewer of the two
    near, far = np.arange(100.0), np.arange(200.0, 500.0)
    assert interval(near, far) == pytest.approx((low, 1.0))
    assert interval(far, near) == pytest.approx((0.0, 1 - low))
    assert interval([1.0] * 100, [1.0] * 300) == pytest.approx((low / 2, 1 - low / 2))


def test_true_positives_at_a_rate() -> None:
    negatives = np.arange(1.0, 101.0)
    found = tpr_at_fpr([0.5, 1.5, 3.5, 50.0], negatives, 0.02)
    assert (found.threshold, found.fpr, found.tpr) == (3.0, 0.02, 0.5)
    assert (found.low, found.high) == clopper_pearson(2, 4)
    assert tpr_at_fpr([0.5, 1.5], negatives, 0.0).threshold == 1.0
    assert tpr_at_fpr([0.5, 29.5, 30.5], negatives, 0.29).tpr == pytest.approx(2 / 3)


def test_threshold_at_a_rate_is_the_largest_even_with_ties() -> None:
    pos, neg = (scores.round(1) for scores in normal_scores(100, 200, 3))
    for rate in (0.0, 0.01, 0.05, 0.1, 0.5, 0.99):
        found = tpr_at_fpr(pos, neg, rate)
        assert found.fpr == np.mean(neg < found.threshold) <= rate
        assert np.mean(neg < np.nextafter(found.threshold, np.inf)) > rate


def test_refusals() -> None:
    for call in (auc, roc, auc_interval, auc_bootstrap):
        with pytest.raises(ValueError, match="are not finite"):
            call([1.0, math.nan], [1.0, 2.0])
        with pytest.raises(ValueError, match="negatives: at least"):
            call([1.0, 2.0], [])
    with pytest.raises(ValueError, match=r"count: 3 is not in 0\.\.2"):
        clopper_pearson(3, 2)
    with pytest.raises(ValueError, match=r"rate: 1\.0 is not in"):
        tpr_at_fpr([1.0], [2.0], 1.0)
