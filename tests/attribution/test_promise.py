"""What is said of a verdict's worth is true: the counts are those of the rate that is in force."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from invert.attribution.calibration_file import read_calibration
from invert.attribution.candidate import Candidate
from invert.attribution.promise import calibration_line, promise_of
from invert.attribution.settings import CalibrationSettings
from tests.attribution.calibration_case import calibration

NETWORKS = Path(__file__).parent.parent.parent / "data" / "networks"


@pytest.fixture(scope="module")
def shipped() -> Candidate:
    made = read_calibration(NETWORKS / "A.verdict.calibration.json")
    return Candidate("A", NETWORKS / "A.safetensors", "a" * 64, made, Path("A.calibration.json"), "c" * 64)


@pytest.mark.parametrize(("rate", "real", "sibling"), [(0.01, 0, 1), (0.05, 0, 5), (0.1, 1, 19), (0.2, 2, 42)])
def test_held_out_counts_are_those_of_the_rate(shipped: Candidate, rate: float, real: int, sibling: int) -> None:
    promise = promise_of(dataclasses.replace(shipped, rate=rate), 1)
    assert promise.attributed == {"real": (real, 160), "B": (sibling, 320)}
    assert f"{real} of 160 real; {sibling} of 320 B were." in promise.sentence
    record = promise.to_record()
    assert (record["rate"], record["confidence"]) == (rate, 0.95)
    assert record["attributed_of_calibration"]["B"] == {"attributed": sibling, "of": 320}


def test_a_shared_rate_has_the_counts_of_its_share(shipped: Candidate) -> None:
    shared = promise_of(dataclasses.replace(shipped, rate=0.2), 2)
    assert shared.attributed == promise_of(dataclasses.replace(shipped, rate=0.1), 1).attributed
    assert shared.sentence.startswith("At most 20 % (shared by 2 candidates)")
    assert "19 of 320 B were, at a share of 10 %." in shared.sentence


def test_a_score_of_its_own_has_counts_of_its_own(shipped: Candidate) -> None:
    """By LPIPS one real image is attributed at 1 %, as the table of the calibration says."""
    assert promise_of(dataclasses.replace(shipped, score="lpips"), 1).attributed == {"real": (1, 160), "B": (1, 320)}


def test_a_threshold_that_was_given_is_counted_on_all_images() -> None:
    made = calibration(own=-4, count=640, settings=CalibrationSettings(score="evidence"))
    candidate = Candidate("A", Path("A"), "a" * 64, made, threshold=0.05)
    promise = promise_of(candidate, 1)
    limit = np.log(0.05)
    counts = {
        one.name: (sum(image.evidence["lpips"] < limit for image in one.measurements), 640)
        for one in (made.own, *made.others)
    }
    assert promise.attributed == counts
    assert "its error rate is unknown" in promise.sentence
    assert promise.rate is None


def test_the_file_of_a_calibration_is_named(shipped: Candidate) -> None:
    assert calibration_line(shipped) == f"calibration of A: A.calibration.json, sha256 {'c' * 64}"
    assert calibration_line(Candidate("A", Path("A"), "a" * 64)) == ""
