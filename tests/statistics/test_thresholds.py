"""Each rule's numbers, and how often each breaks its word over simulated calibrations."""

import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from invert.statistics.thresholds import (
    Threshold,
    TooFewNegativesError,
    conformal,
    grubbs,
    grubbs_critical_value,
    kde95,
    neyman_pearson,
    neyman_pearson_rank,
    quantile,
    required_negatives,
    strictest,
)

CALIBRATIONS = 2000
SCORES = np.random.default_rng(0).permutation(np.arange(1.0, 501.0))


def true_rates(rule: Callable[[np.ndarray, float], Threshold], n: int, rate: float) -> np.ndarray:
    """Return the rate of false attributions of many calibrations, exactly: that of a uniform score below t is t."""
    random = np.random.default_rng(n)
    return np.array([rule(random.random(n), rate).value for _ in range(CALIBRATIONS)])


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 59), (0.01, 299), (0.001, 2995)])
def test_smallest_number_of_negatives_that_can_promise(rate: float, needed: int) -> None:
    assert required_negatives(rate, 0.95) == needed
    assert neyman_pearson_rank(needed, rate, 0.95) == 1
    assert neyman_pearson_rank(needed - 1, rate, 0.95) == 0


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [
        *[(100, 0.01, 0), (300, 0.01, 1), (500, 0.01, 2), (1000, 0.01, 5), (3000, 0.01, 21)],
        *[(59, 0.05, 1), (100, 0.05, 2), (200, 0.05, 5), (500, 0.05, 17), (1000, 0.05, 39)],
    ],
)
def test_neyman_pearson_rank(n: int, rate: float, rank: int) -> None:
    assert neyman_pearson_rank(n, rate, 0.95) == rank


@pytest.mark.parametrize("n", [300, 777, 3000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_rank_is_the_largest_that_keeps_the_promise(n: int, confidence: float) -> None:
    """Against the law of the rate itself, Beta(k, n - k + 1), rather than the binomial that computes it."""
    k = neyman_pearson_rank(n, 0.02, confidence)
    assert stats.beta.sf(0.02, k, n - k + 1) <= 1 - confidence < stats.beta.sf(0.02, k + 1, n - k)


@pytest.mark.parametrize(("n", "rate"), [(300, 0.01), (1000, 0.01), (200, 0.05)])
def test_neyman_pearson_keeps_its_word(n: int, rate: float) -> None:
    broken = np.mean(true_rates(neyman_pearson, n, rate) > rate)
    assert broken <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / CALIBRATIONS)


def test_neyman_pearson_is_not_needlessly_strict() -> None:
    """A rank higher would break the promise: at n = 300 this one is as close to 5 % as whole ranks allow."""
    broken = np.mean(true_rates(neyman_pearson, 300, 0.01) > 0.01)
    exact = stats.binom.cdf(0, 300, 0.01)
    assert broken == pytest.approx(exact, abs=3 * math.sqrt(exact / CALIBRATIONS))


@pytest.mark.parametrize("n", [300, 1000])
def test_conformal_is_right_on_average_only(n: int) -> None:
    rates = true_rates(conformal, n, 0.01)
    expected = math.floor(0.01 * (n + 1)) / (n + 1)
    assert rates.mean() == pytest.approx(expected, abs=3 * rates.std() / math.sqrt(CALIBRATIONS))
    assert 0.3 < np.mean(rates > 0.01) < 0.5


@pytest.mark.parametrize("n", [300, 1000])
def test_quantile_overshoots_more_often_than_not(n: int) -> None:
    rates = true_rates(quantile, n, 0.01)
    assert np.mean(rates > 0.01) > 0.5
    assert rates.mean() > 0.01


def test_ties_only_lower_the_rate() -> None:
    """Rounded scores: P(S < t) of a uniform score on a grid of tenths is t."""
    random = np.random.default_rng(1)
    rates = np.array([neyman_pearson(np.floor(random.random(100) * 10) / 10, 0.15).value for _ in range(CALIBRATIONS)])
    assert np.mean(rates > 0.15) <= 0.05
    assert rates.mean() > 0


def test_the_rank_counts_from_the_smallest() -> None:
    found = neyman_pearson(SCORES, 0.01)
    assert found == Threshold(2.0, "neyman_pearson", 0.01, 0.95, 2, 500)
    assert np.sum(found.value > SCORES) == 1  # strictly below: one negative fewer than the rank
    assert conformal(SCORES, 0.01) == Threshold(5.0, "conformal", 0.01, None, 5, 500)
    assert quantile(SCORES, 0.01).value == np.quantile(SCORES, 0.01)


def test_a_rate_that_binary_cannot_hold() -> None:
    assert 0.29 * 100 < 29
    assert conformal(SCORES[:99], 0.29).rank == 29


def test_a_threshold_is_plain_json() -> None:
    for found in (neyman_pearson(SCORES, 0.01), quantile(SCORES, 0.01), kde95(SCORES), grubbs(SCORES)):
        assert Threshold(**json.loads(json.dumps(dataclasses.asdict(found)))) == found


@pytest.mark.parametrize(
    ("rule", "have", "needed"),
    [
        (lambda scores: neyman_pearson(scores, 0.01), 298, 299),
        (lambda scores: neyman_pearson(scores, 0.001), 500, 2995),
        (lambda scores: conformal(scores, 0.01), 98, 99),
        (lambda scores: conformal(scores, 0.05), 18, 19),
        (lambda scores: neyman_pearson(scores, 0.05), 0, 59),
        (lambda scores: quantile(scores, 0.01), 0, 1),
    ],
)
def test_too_few_negatives_are_refused(rule: Callable[[np.ndarray], Threshold], have: int, needed: int) -> None:
    with pytest.raises(TooFewNegativesError, match=rf"at least {needed} negatives needed, there are {have}") as caught:
        rule(SCORES[:have])
    assert (caught.value.needed, caught.value.have) == (needed, have)
    if needed <= 500:
        assert rule(SCORES[:needed]).negatives == needed


@pytest.mark.parametrize(
    "rule",
    [lambda s: neyman_pearson(s, 0.01), lambda s: conformal(s, 0.01), lambda s: quantile(s, 0.01), grubbs, kde95],
)
def test_order_plays_no_role_and_what_is_not_finite_is_refused(rule: Callable[[np.ndarray], Threshold]) -> None:
    expected = rule(SCORES)
    for order in (np.sort(SCORES), np.sort(SCORES)[::-1]):
        found = rule(order)
        assert found.value == pytest.approx(expected.value, rel=1e-12)
        assert dataclasses.replace(found, value=expected.value) == expected
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="1 of 501 are not finite"):
            rule(np.append(SCORES, bad))
    with pytest.raises(ValueError, match="expected one dimension, got 2"):
        rule(SCORES[None])


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_shares_that_are_none(share: float) -> None:
    for call in (required_negatives, lambda r: required_negatives(0.01, r), lambda r: conformal(SCORES, r)):
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            call(share)


@pytest.mark.parametrize(("n", "critical"), [(50, 2.96), (100, 3.21), (500, 3.70), (1000, 3.88)])
def test_grubbs_critical_values(n: int, critical: float) -> None:
    assert grubbs_critical_value(n) == pytest.approx(critical, abs=0.005)


def test_grubbs_threshold_lies_that_many_deviations_up() -> None:
    found = grubbs(SCORES)
    assert (found.value - SCORES.mean()) / np.std(SCORES, ddof=1) == pytest.approx(grubbs_critical_value(500))
    assert (found.rate, found.negatives, found.confidence) == (0.05, 0, None)
    with pytest.raises(ValueError, match="at least 3 needed"):
        grubbs([1.0, 2.0])


def test_grubbs_lets_false_attributions_float() -> None:
    """Negatives two deviations away: the rule attributes most of them, and more the more it has seen."""
    rates = [stats.norm.cdf(grubbs(np.random.default_rng(2).normal(size=n)).value - 2) for n in (50, 1000)]
    assert 0.5 < rates[0] < rates[1]


def test_kde95_against_scipy() -> None:
    positives = np.random.default_rng(3).gamma(2, size=300)
    value = kde95(positives).value
    assert stats.gaussian_kde(positives).integrate_box_1d(-np.inf, value) == pytest.approx(0.95, abs=1e-9)
    assert kde95([2.0, 2.0, 2.0]).value == 2.0


def test_strictest_is_the_smallest() -> None:
    rules = {"all": quantile(SCORES, 0.05), "faces": neyman_pearson(SCORES, 0.01), "cars": conformal(SCORES, 0.01)}
    assert strictest(rules) == ("faces", rules["faces"])
    with pytest.raises(ValueError, match="there are none"):
        strictest({})
