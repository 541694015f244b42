"""From measurements to thresholds, and their file."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invert.attribution.calibration import make_calibration
from invert.attribution.calibration_file import (
    CalibrationError,
    decode_calibration,
    encode_calibration,
    read_calibration,
)
from invert.attribution.evidence import FEATURES, Feature
from invert.attribution.kind import ImageKind, PopulationKind
from invert.attribution.score import EvidenceScore
from invert.attribution.settings import OWN, CalibrationSettings
from invert.attribution.sizes import required_images
from invert.attribution.splits import Population, split_of
from invert.errors import UsageError
from invert.statistics.thresholds import neyman_pearson
from tests.attribution.calibration_case import METHOD, NETWORK, calibration, measurement, measurements


def test_splits_do_not_depend_on_names_or_order() -> None:
    digests = [one.pixel_sha256 for one in measurements("a", 101, 0)]
    splits = dict(zip(digests, split_of(digests), strict=True))
    assert dict(zip(digests[::-1], split_of(digests[::-1]), strict=True)) == splits
    counts = [list(splits.values()).count(name) for name in ("fit", "threshold", "held-out")]
    assert counts == [25, 51, 25]


def test_a_population_has_each_usable_image_once() -> None:
    good = measurement(0, key="a")
    found = [good, good, measurement(1, key="b", status="diverged"), measurement(2, key="c", upsampled=True)]
    population = Population.of("x", "y", found, failed=2)
    assert population.measurements == (good,)
    assert population.left_out == 5


@pytest.mark.parametrize(("rate", "least"), [(0.05, 59), (0.01, 299), (0.001, 2995)])
def test_how_many_images_a_rate_takes(rate: float, least: int) -> None:
    settings = CalibrationSettings(rate=rate)
    needed = required_images(settings)
    assert math.ceil(needed * 0.5) >= least
    assert math.ceil((needed - 1) * 0.5) < least
    assert required_images(CalibrationSettings(rate=rate, bins=3)) == 3 * needed
    assert required_images(CalibrationSettings(rate=rate, candidates=2)) > needed


def test_too_few_are_refused_with_the_number() -> None:
    with pytest.raises(UsageError, match=r"'real' has 500 usable images.* needs 299 .*597 in all"):
        calibration(count=500)


def test_the_strictest_population_sets_the_threshold() -> None:
    made = calibration()
    expected = neyman_pearson(made.scores("lpips", made.others[1], "threshold"), 0.01)
    name, threshold = made.threshold("lpips", 0.5)
    assert (name, threshold) == ("sibling", expected)
    easy = neyman_pearson(made.scores("lpips", made.others[0], "threshold"), 0.01)
    assert threshold.value < easy.value


def test_the_promise_is_kept_on_fresh_images() -> None:
    """Over many calibrations, the rate on new images exceeds 1 % in about 5 % of them or fewer."""
    from scipy.stats import norm

    exceeded = 0
    for index in range(60):
        rng = np.random.RandomState(index)
        found = [measurement(float(value), key=str(i)) for i, value in enumerate(rng.randn(640))]
        own = [measurement(float(value) - 3, key=str(i)) for i, value in enumerate(rng.randn(40))]
        made = make_calibration(
            CalibrationSettings(score="lpips"),
            [Population.of(OWN, "", own)],
            [Population.of("n", "", found)],
            method=METHOD,
            run={},
            network=NETWORK,
            tool="0",
        )
        exceeded += norm.cdf(made.threshold("lpips", 0.5)[1].value) > 0.01
    assert exceeded <= 9  # of 60, at 5 % each: more has a chance of 1 in 2000


def test_bins_have_thresholds_of_their_own() -> None:
    """Simple images measure low whatever they come from: one threshold for all would be set by them."""
    found = []
    for one in measurements("real", 1400, 0, spread=0.2):
        found.append(
            measurement(4 * one.complexity + one.evidence["lpips"], complexity=one.complexity, key=one.pixel_sha256)
        )
    own = measurements("own", 100, -1)
    settings = CalibrationSettings(score="lpips", bins=2)
    records = {"method": METHOD, "run": {}, "network": NETWORK}
    made = make_calibration(
        settings, [Population.of(OWN, "", own)], [Population.of("real", "", found)], tool="0", **records
    )
    low, high = (made.threshold("lpips", value)[1].value for value in (0.1, 0.9))
    assert high > low + 1
    assert made.bins.count == 2


def test_evidence_finds_what_the_distance_misses() -> None:
    def shifted(name: str, by: float) -> list[dict[str, float]]:
        found = measurements(name, 300, 0)
        return [dict(one.evidence) | {"latent_mahalanobis": one.evidence["latent_mahalanobis"] + by} for one in found]

    score = EvidenceScore.fit(shifted("own", -2), {"a": shifted("a", 0), "b": shifted("b", 0)})
    own = [score(evidence) for evidence in shifted("fresh own", -2)]
    other = [score(evidence) for evidence in shifted("fresh a", 0)]
    assert np.mean([a < b for a in own for b in other]) > 0.85
    weights = dict(zip(score.features, score.weights, strict=True))
    assert max(weights, key=lambda name: abs(weights[name])) == "latent_mahalanobis"
    assert EvidenceScore.from_record(json.loads(json.dumps(score.to_record()))) == score


def test_a_small_population_counts_as_much_as_a_large_one() -> None:
    own = [one.evidence for one in measurements("own", 100, 0)]
    many = [dict(one.evidence) for one in measurements("many", 400, 3)]
    few = [dict(one.evidence) for one in measurements("few", 20, -3)]
    balanced = EvidenceScore.fit(own, {"many": many, "few": few}, ["lpips"])
    assert abs(balanced.weights[0]) < 0.3  # one is above, the other below: the distance tells nothing


def test_what_cannot_be_measured_is_left_out() -> None:
    own = [dict(one.evidence) | {"noise_autocorrelation": math.nan} for one in measurements("own", 50, -2)]
    other = [dict(one.evidence) | {"pixel_rmse": 1.0} for one in measurements("a", 50, 0)]
    own = [evidence | {"pixel_rmse": 1.0} for evidence in own]
    score = EvidenceScore.fit(own, {"a": other})
    of_exact = {name for name, feature in FEATURES.items() if feature.of_exact}
    assert set(FEATURES) - set(score.features) == {"noise_autocorrelation", "pixel_rmse", *of_exact}


def test_a_file_gives_the_same_calibration(tmp_path: Path) -> None:
    made = calibration(settings=CalibrationSettings(score="evidence"))
    data = encode_calibration(made)
    assert encode_calibration(made) == data
    again = decode_calibration(data)
    assert encode_calibration(again) == data
    assert again.threshold("evidence", 0.5) == made.threshold("evidence", 0.5)
    assert again.digest == made.digest != calibration().digest


def test_no_changed_byte_of_a_file_goes_unnoticed(tmp_path: Path) -> None:
    data = encode_calibration(calibration(count=600))
    rng = np.random.RandomState(0)
    path = tmp_path / "a.json"
    for place in rng.randint(0, len(data), 40):
        changed = bytearray(data)
        changed[place] = changed[place] ^ (1 << rng.randint(0, 7))
        try:
            if json.loads(changed) == json.loads(data):
                continue  # a space for another
        except ValueError:
            pass
        path.write_bytes(changed)
        with pytest.raises(CalibrationError):
            read_calibration(path)


@pytest.mark.parametrize(
    "settings",
    [{"score": "pixels"}, {"rule": "none"}, {"rate": 0}, {"rate": 1}, {"confidence": 1}, {"bins": 0}],
    ids=str,
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        CalibrationSettings(**settings)  # type: ignore[arg-type]


def changed_file(calibration_data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a file whose content was changed by a program that also brings its checksum up to date."""
    record = json.loads(calibration_data)
    change(record)
    del record["content_sha256"]
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return json.dumps({**record, "content_sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def test_the_first_version_of_the_file_is_read() -> None:
    def to_version_1(record: dict[str, Any]) -> None:
        record["version"] = 1
        for population in record["populations"]:
            population["pictures"] = population.pop("images")

    data = encode_calibration(calibration())
    assert json.loads(data)["version"] == 3
    assert encode_calibration(decode_calibration(changed_file(data, to_version_1))) == data


def test_a_file_without_a_newer_feature_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program has learnt to measure something more since the calibration was made."""
    made = calibration(settings=CalibrationSettings(score="evidence"))
    data = encode_calibration(made)
    monkeypatch.setitem(FEATURES, "brightness", Feature(lambda projection, _: 1.0, since="99.0"))
    again = decode_calibration(data)
    assert again.threshold("evidence", 0.5) == made.threshold("evidence", 0.5)
    measured = measurement(-3.0)
    assert "brightness" in measured.evidence
    assert again.score("evidence", measured) == made.score("evidence", measured)
    assert all(math.isnan(one.evidence["brightness"]) for one in again.own.measurements)


def test_a_file_with_other_features_is_refused() -> None:
    data = encode_calibration(calibration())
    for change, reason in (
        (lambda record: record["features"].__setitem__(3, "colour"), "has other evidence than this program measures"),
        (lambda record: record.update(invert="0.2.0", features=record["features"][:-1]), "lacks evidence"),
    ):
        with pytest.raises(ValueError, match=reason):
            decode_calibration(changed_file(data, change))


def test_what_does_not_follow_from_the_measurements_is_refused() -> None:
    """A file with its checksum in order may still claim what its numbers do not say."""
    data = encode_calibration(calibration(settings=CalibrationSettings(score="evidence")))

    def with_weight(record: dict[str, Any]) -> None:
        record["evidence_score"]["features"]["lpips"]["weight"] = 50.0

    def without_feature(record: dict[str, Any]) -> None:
        del record["evidence_score"]["features"]["pixel_rmse"]

    def as_threshold(record: dict[str, Any]) -> None:
        for row in record["thresholds"]["evidence"]:
            row["threshold"] = 1e6

    for change in (with_weight, without_feature):
        with pytest.raises(ValueError, match="contradicts itself"):
            decode_calibration(changed_file(data, change))
    # What is there for people changes nothing.
    again = decode_calibration(changed_file(data, as_threshold))
    assert encode_calibration(again) == data


@pytest.mark.parametrize(
    "settings",
    [{"rate": "0.5"}, {"rate": True}, {"rate": 1e-9}, {"confidence": 1.5}, {"candidates": 1.0}, {"bins": 400}],
    ids=str,
)
def test_settings_that_no_calibration_has_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    data = encode_calibration(calibration(count=60, settings=CalibrationSettings(score="lpips", rate=0.2)))
    path = tmp_path / "a.json"
    path.write_bytes(changed_file(data, lambda record: record["settings"].update(settings)))
    with pytest.raises(CalibrationError):
        read_calibration(path)


def test_populations_that_were_stored_otherwise_are_told() -> None:
    made = calibration(count=60, settings=CalibrationSettings(score="lpips", rate=0.2))
    assert not list(made.unlike_own())
    jpeg = dataclasses.replace(made.others[0], kind=PopulationKind.of([ImageKind("JPEG", 75, 32, ())]))
    (told,) = dataclasses.replace(made, others=(jpeg, *made.others[1:])).unlike_own()
    assert told.startswith("images of real are of another kind (JPEG, 32 px, traces of JPEG quality 75 to 75)")


@pytest.mark.timeout(10)
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.calibration.json")
    with pytest.raises(CalibrationError, match="not a"):
        read_calibration(tmp_path / "a.calibration.json")


def test_a_score_that_is_fitted_at_the_rim_finds_more_below_the_nearest_others() -> None:
    """Most of the others are far off, on one side of one number; the few that are near lie on its other side."""
    random = np.random.RandomState(0)

    def evidence(q: float, norm: float, count: int) -> list[dict[str, float]]:
        return [{"q": q + random.randn(), "latent_norm": norm + random.randn()} for _ in range(count)]

    own = evidence(0, 0, 300)
    others = {"far": evidence(6, -6, 2000), "near": evidence(0, 5, 30) + evidence(6, -6, 1970)}
    found = []
    for at_the_rim in (False, True):
        score = EvidenceScore.fit(own, others, ("q", "latent_norm"), at_the_rim=at_the_rim)
        limit = min(float(np.quantile([score(one) for one in part], 0.01)) for part in others.values())
        found.append(np.mean([score(one) < limit for one in own]))
    assert found[1] > found[0] + 0.1
    assert found[1] > 0.85
