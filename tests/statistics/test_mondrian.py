"""Bins of complexity: what they keep where one threshold for all does not."""

import math

import numpy as np
import pytest
from scipy import special

from invert.statistics.bins import Bins
from invert.statistics.thresholds import Threshold, neyman_pearson

RATE, DEVIATION = 0.05, 0.5


def rule(scores: np.ndarray) -> Threshold:
    return neyman_pearson(scores, RATE)


def true_rate(threshold: float, low: float, high: float) -> float:
    """Return the share below a threshold of scores N(3 c, DEVIATION), c uniform in [low, high]."""
    centres = 3 * (low + (high - low) * (np.arange(200) + 0.5) / 200)
    return float(special.ndtr((threshold - centres) / DEVIATION).mean())


def test_each_bin_keeps_the_rate_where_one_threshold_accuses_the_simple() -> None:
    """Simple images score low whatever they come from; rates are exact, for 300 calibrations of 600 negatives."""
    random = np.random.default_rng(0)
    broken, simple_rates = [], []
    for _ in range(300):
        complexity = random.random(600)
        scores = random.normal(3 * complexity, DEVIATION)
        bins = Bins.fit(complexity)
        limits = [0.0, *bins.edges, 1.0]
        for k in range(bins.count):
            found = rule(scores[bins.index(complexity) == k])
            broken.append(true_rate(found.value, limits[k], limits[k + 1]) > RATE)
        simple_rates.append(true_rate(rule(scores).value, 0.0, limits[1]))
    assert np.mean(broken) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(broken))
    assert np.mean(np.array(simple_rates) > RATE) > 0.95
    assert np.mean(simple_rates) > 1.5 * RATE


def test_terciles_and_their_borders() -> None:
    bins = Bins.fit(np.arange(1.0, 301.0)[::-1])
    assert bins.count == 3
    assert np.bincount(bins.index(np.arange(1.0, 301.0))).tolist() == [100, 100, 100]
    first, second = bins.edges
    assert bins.index([-5.0, first - 1e-9, first, second, 999.0]).tolist() == [0, 0, 1, 2, 2]
    assert bins.index(first).shape == ()


def test_images_that_are_alike_share_a_bin() -> None:
    assert Bins.fit([7.0] * 50).count == 1
    bins = Bins.fit([0.0] * 50 + [1.0, 2.0, 3.0], count=5)
    assert set(bins.index([0.0] * 50 + [1.0, 2.0, 3.0]).tolist()) == set(range(bins.count))
    assert Bins.fit(np.arange(100.0), count=1).edges == ()


def test_order_plays_no_role() -> None:
    random = np.random.default_rng(2)
    complexity = random.random(400)
    assert Bins.fit(random.permutation(complexity)) == Bins.fit(complexity)


def test_refusals() -> None:
    bins = Bins.fit([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="are not finite"):
        bins.index(math.nan)
    with pytest.raises(ValueError, match="count: 0"):
        Bins.fit([1.0], count=0)
    with pytest.raises(ValueError, match="at least 1 needed"):
        Bins.fit([])
