"""What networks are judged by: settled before anything is measured, and applied to an image."""

import dataclasses
import math
from pathlib import Path

import pytest

from invert.attribution.calibration_file import read_calibration
from invert.attribution.candidate import Candidate
from invert.attribution.promise import promise_of
from invert.attribution.ruling import rule, settle
from invert.attribution.settings import OWN, CalibrationSettings, Judging
from invert.attribution.splits import Population
from invert.attribution.verdict import Outcome, Verdict
from invert.errors import UsageError
from tests.attribution.calibration_case import calibration, measurement, measurements

NETWORKS = Path(__file__).parent.parent.parent / "data" / "networks"


def bare(name: str = "A", **values: object) -> Candidate:
    return dataclasses.replace(Candidate(name, Path(f"{name}.pkl"), "a" * 64, resolution=32), **values)  # type: ignore[arg-type]


def judged(candidates: list[Candidate], *distances: float, **values: object) -> Verdict:
    found = rule(candidates, [measurement(math.log(one), **values) for one in distances])  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_distance_alone_gives_a_verdict() -> None:
    candidate = bare(threshold=0.02)
    near, far = judged([candidate], 0.0199), judged([candidate], 0.0201)
    assert (near.outcome, near.networks) == (Outcome.ATTRIBUTED, ("A",))
    assert far.outcome is Outcome.NONE
    (finding,) = near.findings
    assert finding.reading is not None
    assert math.exp(finding.reading.threshold or 0) == pytest.approx(0.02)
    assert (finding.reading.p0, finding.reading.ratio) == (None, None)
    small = judged([candidate], 0.001, upsampled=True)
    assert (small.outcome, small.reason) == (Outcome.CANNOT_TELL, "it is smaller than the network's 32 px")
    both = judged([candidate, bare("B", threshold=0.02)], 0.01, 0.01)
    assert both.reason == "cannot separate A from B"


def test_a_distance_decides_over_a_calibration_which_still_tells_what_it_knows() -> None:
    made = calibration(own=-8)
    candidate = bare(calibration=made, threshold=2.0)
    verdict = judged([candidate], 1.0)  # what others measure
    assert verdict.outcome is Outcome.ATTRIBUTED
    reading = verdict.findings[0].reading
    assert reading is not None
    assert reading.p0 is not None
    assert reading.p0 > 0.3


def test_own_samples_alone_rule_out_and_attribute_nothing() -> None:
    own = Population.of(OWN, "seeds", measurements("own", 99, -4.0, 0.5))
    candidate = bare(own=own)
    assert judged([candidate], 1.0).outcome is Outcome.NONE
    like = judged([candidate], math.exp(-4))
    assert like.outcome is Outcome.CANNOT_TELL
    assert "only a calibration tells" in like.reason
    assert "with a probability of at most 5 %" in promise_of(candidate, 1).sentence
    strict = bare(own=own, miss_rate=0.001)  # 99 samples cannot show so little
    assert "with a probability of at most 1 %" in promise_of(strict, 1).sentence
    few = bare(own=Population.of(OWN, "seeds", measurements("own", 9, -4.0, 0.5)))
    assert judged([few], 1.0).outcome is Outcome.NONE
    assert "with a probability of at most 10 %" in promise_of(few, 1).sentence


def test_own_images_are_ruled_out_no_more_often_than_is_said() -> None:
    """Over 200 networks of 19 samples each, an image of the network's own is further off than all in 5 %."""
    wrong = 0
    for number in range(200):
        *own, image = measurements(f"n{number}", 20, -4.0)
        verdict = rule([bare(own=Population.of(OWN, "seeds", own))], [image])
        assert verdict is not None
        wrong += verdict.outcome is Outcome.NONE
    assert 1 <= wrong <= 20


def test_a_network_without_a_calibration_beside_one_with() -> None:
    settings = CalibrationSettings(score="lpips")
    calibrated = bare("A", calibration=calibration(own=-8, settings=settings))
    other = bare("B", own=Population.of(OWN, "seeds", measurements("own", 99, -4.0, 0.5)))
    (settled, _) = settle([calibrated, other], 99, print)
    assert settled.settled_rate == 0.01  # there is nobody to share it with
    assert judged([settled, other], math.exp(-8), 1.0).networks == ("A",)
    assert judged([settled, other], 1.0, 1.0).outcome is Outcome.NONE


def test_a_default_rate_is_raised_to_what_a_calibration_can_promise() -> None:
    """The calibration of A that is shipped has 320 real images where half of 1 % takes 598."""
    made = read_calibration(NETWORKS / "A.verdict.calibration.json")
    said: list[str] = []
    first, second = settle([bare("A", calibration=made), bare("B", calibration=made)], 0, said.append)
    assert first.settled_rate == second.settled_rate == 0.019
    assert "too small to share 1 % among 2 networks: for it the rate is 1.9 % here" in said[0]
    assert "--candidates 2 and 1195 images of each population" in said[0]
    assert "At most 1.9 % (shared by 2 candidates)" in promise_of(first, 2).sentence
    assert rule([first, second], [made.own.measurements[0]] * 2) is not None
    wanted = [bare(name, calibration=made, rate=0.01) for name in "AB"]
    with pytest.raises(UsageError, match="cannot promise this rate to 2 candidates"):
        settle(wanted, 0, said.append)
    enough = [bare(name, calibration=made, rate=0.05) for name in "AB"]
    assert [one.settled_rate for one in settle(enough, 0, said.append)] == [0.05, 0.05]


def test_what_contradicts_itself_is_refused() -> None:
    for values in ({"score": "evidence"}, {"rate": 0.1}):
        with pytest.raises(UsageError, match="--threshold is a distance"):
            Judging(threshold=0.1, **values)  # type: ignore[arg-type]
