"""`invert evaluate` as a user runs it."""

import signal
from pathlib import Path

import pytest

from tests import self_signal
from tests.cli.attribute_case import own_images
from tests.cli.conftest import Invert

pytestmark = pytest.mark.usefixtures("attribution_cache")


@pytest.mark.slow
def test_evaluate(invert: Invert, case: Path, tmp_path: Path) -> None:
    own = own_images(invert, case, tmp_path / "own", "0-5")
    arguments = ("evaluate", "--network", case / "net.pkl", "--positive", own, "--count", 5, "--workers", 1, "--quiet")
    arguments = (*arguments, "--negative", f"sibling={case / 'sibling'}", "--out", tmp_path / "out")
    result = invert(*arguments, "--perturb", "blur:1 flip", "--json")
    assert result.code == 0, result.err
    (record,) = result.records()
    assert [one["perturbation"] for one in record["evaluations"]] == ["none", "blur:1", "flip"]
    assert record["evaluations"][0]["verdicts"].keys() == {"own", "sibling"}
    assert sum(record["evaluations"][0]["verdicts"]["own"].values()) == 5
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")) == [
        "evaluation.html",
        "evaluation.json",
        "histograms.png",
        "roc.png",
    ]
    again = invert(*arguments)
    assert again.code == 2
    assert "holds an evaluation already" in again.err
    for wrong in (("--perturb", "melt:1"), ("--negative", "own=x"), ("--negative", "nothing")):
        assert invert(*arguments, "--overwrite", *wrong).code == 2
    assert invert(*arguments, "--overwrite", "--positive", tmp_path / "nowhere").code == 5


@pytest.mark.long
def test_an_evaluation_killed_goes_on(invert: Invert, case: Path, tmp_path: Path) -> None:
    own = own_images(invert, case, tmp_path / "own", "0-7")
    arguments = ("evaluate", "--network", case / "net.pkl", "--positive", own, "--workers", 1, "--batch", 2)
    arguments = (*arguments, "--negative", f"sibling={case / 'sibling'}", "--perturb", "blur:1", "--quiet")
    assert invert(*arguments, "--out", tmp_path / "whole").code == 0
    measured = tmp_path / "killed" / "work" / "measured"
    killed_at = ("files", measured / "none/sibling/*.json", 2)
    process = self_signal.start(signal.SIGKILL, *killed_at, *arguments, "--out", tmp_path / "killed")
    process.communicate(timeout=240)
    assert not (tmp_path / "killed" / "evaluation.json").exists()
    assert 10 <= len(list(measured.glob("none/*/*.json"))) < 28
    result = invert(*arguments, "--out", tmp_path / "killed", "--json")
    assert result.code == 0, result.err
    whole, killed = (tmp_path / name / "evaluation.json" for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "killed" / "work").exists()
