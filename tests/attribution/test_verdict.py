"""Verdicts, and what is said with them."""

import pytest

from invert.attribution.promise import rate_sentence, ratio_sentence
from invert.attribution.settings import CalibrationSettings
from invert.attribution.sizes import own_to_rule_out
from invert.attribution.verdict import Outcome, decide, judge
from invert.statistics.thresholds import TooFewNegativesError
from tests.attribution.calibration_case import calibration, measurement


def test_the_four_cases() -> None:
    made = calibration(own=-8)
    clear = calibration(own=-2.5)
    assert judge(made, measurement(-8), "A").outcome is Outcome.ATTRIBUTED
    assert judge(made, measurement(0), "A").outcome is Outcome.NONE
    between = judge(made, measurement(-4.8), "A")  # below the threshold, but above every image of its own
    assert (between.outcome, between.fires) == (Outcome.CANNOT_TELL, True)
    assert "neither its own images nor others" in between.reason
    overlap = judge(clear, measurement(-2.5), "A")
    assert (overlap.outcome, overlap.fires) == (Outcome.CANNOT_TELL, False)
    assert "its own images and others" in overlap.reason


def test_a_smaller_miss_rate_leaves_more_images_open() -> None:
    made, image = calibration(own=-2.5), measurement(-0.5)
    usual, strict = judge(made, image, "A"), judge(made, image, "A", miss_rate=0.01)
    assert usual.reading is not None
    assert usual.reading.p1 == pytest.approx(0.0156, abs=1e-4)  # 4 of the 320 own images lie beyond
    assert (usual.outcome, strict.outcome) == (Outcome.NONE, Outcome.CANNOT_TELL)


def test_few_own_samples_rule_nothing_out() -> None:
    settings = CalibrationSettings(score="lpips", rate=0.2)
    least = own_to_rule_out(settings)
    few = judge(calibration(count=least - 1, settings=settings), measurement(9.0), "A")
    assert few.outcome is Outcome.CANNOT_TELL
    assert few.reason == "none of its own images measures like this, but 18 are too few to rule it out"
    enough = judge(calibration(count=least, settings=settings), measurement(9.0), "A")
    assert (enough.outcome, enough.reason) == (Outcome.NONE, "")


def test_no_verdict_on_what_was_not_calibrated() -> None:
    made = calibration()
    for one, reason in (
        (measurement(-8, upsampled=True), "smaller than the network's 32 px"),
        (measurement(-8, status="diverged"), "diverged"),
        (measurement(-8, complexity=2), "more complex than every image"),
        (measurement(-8, complexity=-1), "simpler than every image"),
        (measurement(float("nan")), "could not be measured"),
    ):
        finding = judge(made, one, "A")
        assert finding.outcome is Outcome.CANNOT_TELL
        assert reason in finding.reason
        assert not finding.fires


def test_p_values_and_ratio_stay_within_what_the_calibration_supports() -> None:
    made = calibration(own=-30)
    best = judge(made, measurement(-30), "A").lpips
    worst = judge(made, measurement(30), "A").lpips
    assert best is not None
    assert worst is not None
    assert best.p0 == pytest.approx(1 / 321)
    assert worst.p1 == pytest.approx(1 / 321)
    assert best.ratio <= best.ratio_high == 321
    assert worst.ratio >= worst.ratio_low == pytest.approx(1 / 321)


def test_a_image_is_held_against_the_hardest_population() -> None:
    made = calibration(others={"real": 0.0, "sibling": -3.0})
    reading = judge(made, measurement(-3.5), "A").lpips
    assert reading is not None
    assert reading.population == "sibling"
    assert reading.p0 > 0.2  # many of the sibling's measure so, hardly any real image
    assert reading.ratio < 10


def test_several_networks() -> None:
    settings = CalibrationSettings(score="lpips", candidates=2)
    a = calibration(own=-8, count=1200, settings=settings)
    b = calibration(own=-9, count=1200, settings=settings)
    one = decide([a, b], [measurement(-8), measurement(0)], ["A", "B"])
    assert (one.outcome, one.networks, one.text) == (Outcome.ATTRIBUTED, ("A",), "attributed to A")
    both = decide([a, b], [measurement(-8), measurement(-9)], ["A", "B"])
    assert (both.outcome, both.networks) == (Outcome.CANNOT_TELL, ("A", "B"))
    assert both.text == "cannot tell: cannot separate A from B"
    none = decide([a, b], [measurement(0), measurement(0)], ["A", "B"])
    assert (none.outcome, none.networks) == (Outcome.NONE, ())
    open_one = decide([a, b], [measurement(-5.5), measurement(0)], ["A", "B"])
    assert open_one.outcome is Outcome.CANNOT_TELL
    assert open_one.networks == ("A",)


def test_the_rate_is_shared_step_by_step() -> None:
    """Holm: the most probable candidate is asked at half the rate, the other at the whole."""
    made = calibration(own=-4.5, count=1200)
    half, whole = (made.threshold("lpips", 0.5, rate)[1].value for rate in (0.005, 0.01))
    assert half < whole
    between = measurement((half + whole) / 2)
    assert judge(made, between, "A", share=2).fires is False
    verdict = decide([made, made], [measurement(-4.6), between], ["A", "B"])
    assert [finding.fires for finding in verdict.findings] == [True, True]
    alone = decide([made, made], [measurement(0), between], ["A", "B"])
    assert [finding.fires for finding in alone.findings] == [False, False]


def test_a_rate_that_cannot_be_shared_is_refused() -> None:
    made = calibration(count=640)
    with pytest.raises(TooFewNegativesError):
        decide([made, made], [measurement(-8), measurement(-8)], ["A", "B"])
    assert decide([made, made], [measurement(0)] * 2, ["A", "B"], rate=0.05).outcome is Outcome.NONE


def test_the_sentences_name_rate_confidence_and_populations() -> None:
    made = calibration()
    text = rate_sentence(made, "A")
    assert text.startswith(
        "At most 1 % of images like those of the calibration, real (320), sibling (320), are attributed to A by "
        "mistake, with 95% confidence. Among images held out of it, "
    )
    assert "of 160 real" in text
    text = ratio_sentence(judge(made, measurement(-8), "A"), made)
    assert "It is not the probability that A made it." in text
    assert "The largest ratio that this calibration can support is 321." in text
    grubbs = calibration(settings=CalibrationSettings(score="lpips", rule="grubbs"))
    assert "has no control of false positives" in rate_sentence(grubbs, "A")
