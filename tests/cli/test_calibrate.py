"""`invert calibrate` as a user runs it."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from invert.attribution.calibration_file import read_calibration
from tests import self_signal
from tests.cli.attribute_case import LOOSE, QUICK
from tests.cli.batch_case import write_images
from tests.cli.conftest import Invert

pytestmark = pytest.mark.usefixtures("attribution_cache")


def test_a_calibration_says_what_it_is(case: Path) -> None:
    path = case / "net.calibration.json"
    record = json.loads(path.read_bytes())
    assert [p["name"] for p in record["populations"]] == ["own", "real", "sibling"]
    assert [p["count"] for p in record["populations"]] == [24, 20, 20]
    assert record["settings"]["rate"] == 0.3
    assert record["method"]["steps"] == 5
    assert record["method"]["noise"] == "fixed"
    assert record["method"]["bank"]["samples"] == 40
    assert record["held_out"]["lpips"]["own"]["of"] == 6
    calibration = read_calibration(path)
    for score in ("lpips", "evidence"):
        (row,) = record["thresholds"][score]
        assert row["threshold"] == calibration.bin_threshold(score, 0)[1].value
        assert row["negatives"] == 10
    assert not (case / "net.calibration.json.work").exists()


def test_too_few_images_are_refused_before_the_work(invert: Invert, case: Path, tmp_path: Path) -> None:
    arguments = ("calibrate", "--network", case / "net.pkl", "--real", case / "real", "-o", tmp_path / "a.json", *QUICK)
    for more, least in (((), "299"), (("--fpr", 0.05), "59"), (("--fpr", 0.001), "2995")):
        result = invert(*arguments, *more, "--quiet")
        assert result.code == 2
        assert f"needs {least} for the threshold alone" in result.err
    result = invert(*arguments, "--fpr", 0.3, "--candidates", 2)
    assert result.code == 2
    assert "there are 20 of real, and 400 samples of its own will be generated" in result.err
    assert not (tmp_path / "a.json").exists()


@pytest.mark.slow
def test_calibrations_stopped_and_taken_up_are_the_same(invert: Invert, case: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.calibration.json"
    arguments = ("calibrate", "--network", case / "net.pkl", "--real", case / "real", "--other", case / "sibling")
    arguments = (*arguments, *QUICK, *LOOSE, "-o", out)
    population = tmp_path / "again.calibration.json.work" / "populations" / "real"
    process = self_signal.start(signal.SIGKILL, "files", population / "*.json", 4, *arguments)
    process.communicate(timeout=240)
    assert not out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in population.iterdir()}
    assert 4 <= len(kept) < 20
    changed = invert(*arguments, "--steps", 6, "--quiet")
    assert changed.code == 2
    assert "steps: 5, now 6" in changed.err
    assert invert(*arguments, "--quiet").code == 0
    assert out.read_bytes() == (case / "net.calibration.json").read_bytes()
    assert invert(*arguments, "--quiet").code == 2


@pytest.mark.slow
def test_an_earlier_calibration_is_reused(invert: Invert, case: Path, tmp_path: Path) -> None:
    folder = tmp_path / "real"
    shutil.copytree(case / "real", folder)
    (folder / "000.png").rename(folder / "renamed.png")
    base = ("calibrate", "--network", case / "net.pkl", "--other", case / "sibling", *QUICK, *LOOSE)
    earlier = case / "net.calibration.json"
    same = invert(*base, "--real", folder, "-o", tmp_path / "same.json", "--from", earlier)
    assert same.code == 0
    assert "20 of 20 measurements of real are reused" in same.err
    assert (tmp_path / "same.json").read_bytes() == earlier.read_bytes()
    # More images cost themselves alone, and come to what all of them give without the earlier ones.
    write_images(folder / "more", 4, seed=9)
    for name, more in (("taken", ("--from", earlier)), ("afresh", ())):
        result = invert(*base, "--real", folder, "-o", tmp_path / f"{name}.json", *more)
        assert result.code == 0
    assert (tmp_path / "taken.json").read_bytes() == (tmp_path / "afresh.json").read_bytes()


@pytest.mark.parametrize("change", [("--steps", 6), ("--lpips", "vgg"), ("--batch", 2)])
def test_an_earlier_calibration_of_another_method(
    invert: Invert, case: Path, tmp_path: Path, change: tuple[object, ...]
) -> None:
    base = ("calibrate", "--network", case / "net.pkl", "--real", case / "real", *QUICK, *LOOSE, *change)
    result = invert(*base, "-o", tmp_path / "a.json", "--from", case / "net.calibration.json")
    assert result.code == 2
    assert "was made with other settings" in result.err
    assert str(change[0]).removeprefix("--") in result.err
    assert not (tmp_path / "a.json").exists()


def test_names_of_populations(invert: Invert, case: Path, tmp_path: Path) -> None:
    base = ("calibrate", "--network", case / "net.pkl", "--real", case / "real", "-o", tmp_path / "a.json", *QUICK)
    for other in (f"real={case / 'sibling'}", f"own={case / 'sibling'}", f"a/b={case / 'sibling'}"):
        result = invert(*base, "--other", other)
        assert result.code == 2
        assert "needs another name" in result.err
    assert invert(*base, "--other", tmp_path / "nothing").code in (2, 5)


def test_folders_without_images_are_refused_by_name(invert: Invert, case: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    base = ("calibrate", "--network", case / "net.pkl", *QUICK, *LOOSE, "-o", tmp_path / "x.json")
    for folder, reason in (("nowhere", "there is no such folder"), ("empty", "there are no images")):
        for arguments in (("--real", tmp_path / folder), ("--real", case / "real", "--other", tmp_path / folder)):
            result = invert(*base, *arguments)
            assert result.code == 5
            assert folder in result.err
            assert reason in result.err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.slow
def test_calibrate_writes_where_it_was_told_to_and_nowhere_else(
    invert: Invert, case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))
    arguments = ("calibrate", "--network", case / "net.pkl", "--real", case / "real", "--other", case / "sibling")
    from_earlier = ("--from", case / "net.calibration.json", "-o", tmp_path / "own.json", "--quiet")
    before = sorted(case.rglob("*"))
    assert invert(*arguments, *QUICK, *LOOSE, *from_earlier).code == 0
    assert sorted(case.rglob("*")) == before
    written = [path for path in tmp_path.rglob("*.json") if path.name != "own.json"]
    assert (tmp_path / "own.json").exists()
    assert not written
