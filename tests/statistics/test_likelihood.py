"""Likelihood ratios against those of known densities, their caps, and what they cost."""

import math

import numpy as np
import pytest

from invert.statistics.likelihood import LikelihoodRatio, cllr, cllr_min, verbal


def true_ratio(scores: np.ndarray) -> np.ndarray:
    """Of N(0, 1) against N(2, 1)."""
    return np.exp(2 - 2 * scores)


def drawn(n1: int, n0: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=n1), random.normal(2, size=n0)


@pytest.mark.parametrize(("n1", "n0"), [(1000, 1000), (300, 3000), (2000, 400)])
def test_fitted_ratios_cost_as_little_as_the_true_ones(n1: int, n0: int) -> None:
    """Whatever the mix of the calibration: its prior odds are not part of the ratio."""
    model = LikelihoodRatio.fit(*drawn(n1, n0, 0))
    pos, neg = drawn(20_000, 20_000, 1)
    best = cllr(true_ratio(pos), true_ratio(neg))
    assert cllr(model.ratio(pos), model.ratio(neg)) == pytest.approx(best, abs=0.01)
    assert cllr_min(model.ratio(pos), model.ratio(neg)) == pytest.approx(best, abs=0.01)
    assert model.ratio([0.5, 1.0, 1.5]) == pytest.approx(true_ratio(np.array([0.5, 1.0, 1.5])), rel=0.3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_unit_of_the_score_plays_no_role(scale: float) -> None:
    pos, neg = drawn(200, 300, 2)
    expected = LikelihoodRatio.fit(pos, neg).ratio(pos)
    np.testing.assert_allclose(
        LikelihoodRatio.fit(scale * pos + scale, scale * neg + scale).ratio(scale * pos + scale), expected, rtol=1e-3
    )


def test_order_plays_no_role() -> None:
    pos, neg = drawn(200, 300, 3)
    a, b = LikelihoodRatio.fit(pos, neg), LikelihoodRatio.fit(np.sort(pos), np.sort(neg)[::-1])
    assert (a.intercept, a.slope) == pytest.approx((b.intercept, b.slope), rel=1e-4)


def test_no_ratio_beyond_what_the_calibration_supports() -> None:
    model = LikelihoodRatio.fit(*drawn(200, 300, 4))
    assert model.ratio(-1e9) == model.largest == 301
    assert model.ratio(1e9) == model.smallest == pytest.approx(1 / 201)
    ratios = model.ratio(np.linspace(-10, 10, 1000))
    assert (np.diff(ratios) <= 0).all()
    assert ratios[0] == 301


def test_scores_without_overlap_have_finite_coefficients() -> None:
    model = LikelihoodRatio.fit(np.linspace(0, 1, 50), np.linspace(2, 3, 80))
    assert math.isfinite(model.slope)
    assert model.ratio([0.0, 3.0]) == pytest.approx([81, 1 / 51])
    assert 1 / 51 < model.ratio(1.5) < 81


@pytest.mark.parametrize(("pos", "neg"), [([2.0, 3.0, 4.0], [0.0, 1.0]), ([1.0, 1.0], [1.0, 1.0])])
def test_scores_that_say_nothing(pos: list[float], neg: list[float]) -> None:
    assert LikelihoodRatio.fit(pos, neg).ratio([-5.0, 1.0, 5.0]).tolist() == [1, 1, 1]


def test_cost_by_hand() -> None:
    assert cllr([1.0, 1.0], [1.0]) == 1.0
    assert cllr([3.0], [1.0]) == pytest.approx((math.log2(4 / 3) + 1) / 2)
    assert cllr([math.inf], [0.0]) == 0.0
    assert cllr([0.0], [1.0]) == math.inf


def test_cost_of_the_order_alone() -> None:
    """Pooled by hand: negative, positive, negative, positive become 0, 1/2, 1/2, 1."""
    assert cllr_min([2.0, 4.0], [1.0, 3.0]) == pytest.approx(0.5)
    # The block of one positive among three has odds 1/2, and ratio 1 as there are twice as many negatives.
    assert cllr_min([2.0, 4.0], [0.0, 1.0, 3.0, 3.5]) == pytest.approx(0.5)
    assert cllr_min([2.0, math.inf], [0.0, 1.0]) == 0.0
    pos, neg = drawn(500, 700, 6)
    pos, neg = true_ratio(pos), true_ratio(neg)
    assert cllr_min(pos**3, neg**3) == pytest.approx(cllr_min(pos, neg))
    assert cllr_min(pos, neg) <= cllr(pos, neg) < cllr(pos**3, neg**3)


@pytest.mark.parametrize(
    ("ratio", "says"),
    [
        (1.0, "1.0 (no support either way)"),
        (1.94, "1.9 (no support either way)"),
        (2.4, "2.4 (weak support for this network)"),
        (9.99, "9.9 (weak support for this network)"),
        (10, "10 (moderate support for this network)"),
        (249.0, "249 (moderately strong support for this network)"),
        (1001, "1,001 (strong support for this network)"),
        (5e4, "50,000 (very strong support for this network)"),
        (3e6, "3,000,000 (extremely strong support for this network)"),
        (1 / 301, "0.0034 (moderately strong support against this network)"),
        (0.8, "0.8 (no support either way)"),
    ],
)
def test_words_come_after_the_number(ratio: float, says: str) -> None:
    assert verbal(ratio) == says


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.inf, math.nan])
def test_no_words_for_what_is_no_ratio(ratio: float) -> None:
    with pytest.raises(ValueError, match="is not above 0 and finite"):
        verbal(ratio)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 1 needed"):
        LikelihoodRatio.fit([], [1.0])
    with pytest.raises(ValueError, match="are not finite"):
        LikelihoodRatio.fit([math.nan], [1.0])
    for cost in (cllr, cllr_min):
        for bad in ([], [-1.0], [math.nan]):
            with pytest.raises(ValueError, match="ratios_neg: expected"):
                cost([1.0], bad)
