"""From images to attributions, without the command line."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from generator.files.reading import load
from invert.attribution.attributions import Attribution, attribute
from invert.attribution.candidate import LoadedCandidate, open_candidates
from invert.attribution.ruling import settle
from invert.attribution.settings import CalibrationSettings
from invert.attribution.verdict import Outcome
from invert.batch.images import list_images
from invert.errors import UsageError
from tests.attribution.calibration_case import calibration
from tests.cli.batch_case import write_images

GIVEN = {"steps": 2, "lpips": "alex", "preset": "paper", "device": "cpu", "seed": 0, "bank": None, "batch": 2}


@pytest.fixture(scope="module")
def candidates(network: Path) -> list[LoadedCandidate]:
    """The same network twice, without calibrations."""
    return open_candidates([load(network), load(network)], GIVEN)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images, the second one damaged."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 4, seed=1)
    (folder / "001.png").write_bytes(b"no image")
    return folder


def run(candidates: Sequence[LoadedCandidate], images: Path) -> tuple[list[Attribution], list[int]]:
    """Return the attributions and the group of each step."""
    steps: list[int] = []
    found = attribute(candidates, list_images([images]), on_step=lambda record: steps.append(record.group))
    return list(found), steps


def test_each_image_is_answered_in_its_order(candidates: list[LoadedCandidate], images: Path) -> None:
    found, steps = run([dataclasses.replace(one, threshold=50.0) for one in candidates], images)
    assert [one.path for one in found] == [one.path for one in list_images([images])]
    good = [one for one in found if one.error is None]
    (bad,) = (one for one in found if one.error is not None)
    assert bad.path.name == "001.png"
    assert steps == [0] * 4 + [1] * 4  # two steps into each of two networks, for each group of two images
    assert len(good) == 3
    for one in good:
        # Both distances lie below it: by the paper's rule that is an answer too.
        assert (one.outcome, one.network, one.is_diverged) == (Outcome.CANNOT_TELL, None, False)
        assert one.reason.startswith("cannot separate")
        assert [answer.network for answer in one.answers] == [f"{candidates[0].path.stem} ({n})" for n in (1, 2)]
        first, second = one.answers
        assert first.distance == second.distance == pytest.approx(torch.tensor(first.evidence["lpips"]).exp().item())
        assert first.reconstruction.shape == first.target.array.shape
        assert (first.p_values, first.ratio) == (None, None)
        assert one.threshold_rule.startswith("below 50 for")
    assert (bad.answers, bad.outcome) == ((), None)
    assert bad.reason


def test_with_calibrations_there_are_verdicts(candidates: list[LoadedCandidate], images: Path) -> None:
    settings = CalibrationSettings(score="lpips", candidates=2)
    made = calibration(own=-8, count=1200, settings=settings)
    # The complexity of the images has to be one that it was calibrated on.
    wide = dataclasses.replace(
        made.own.measurements[0], evidence={**made.own.measurements[0].evidence, "complexity": 9}
    )
    own = dataclasses.replace(made.own, measurements=(wide, *made.own.measurements[1:]))
    calibrated = [dataclasses.replace(one, calibration=dataclasses.replace(made, owns=(own,))) for one in candidates]
    found, _ = run(calibrated, images)
    for one in found:
        if one.error is None:
            assert one.outcome is Outcome.NONE
            for answer in one.answers:
                assert answer.p_values is not None
                p0, p1 = answer.p_values
                assert p0 > 0.01 >= p1
                assert answer.ratio is not None
                assert answer.ratio < 1
    with pytest.raises(UsageError, match="cannot promise this rate to 2 candidates"):
        settle([dataclasses.replace(one, rate=0.001) for one in calibrated], 0, print)


def test_a_missing_calibration_is_said_or_refused(candidates: list[LoadedCandidate]) -> None:
    said: list[str] = []
    settle(candidates[:1], 0, said.append)
    assert "invert calibrate --network" in said.pop()
    assert settle([dataclasses.replace(one, threshold=0.1) for one in candidates], 0, said.append)
    assert settle(candidates, 99, said.append)
    assert not said
    with pytest.raises(UsageError, match="are compared by their calibrations"):
        settle(candidates, 0, said.append)
    with pytest.raises(UsageError, match="--score evidence takes a calibration"):
        settle([dataclasses.replace(candidates[0], score="evidence")], 99, said.append)
