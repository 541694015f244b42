"""`invert train-report` as a user runs it."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Invert
from tests.training.test_report import blank_figures as blank_figures  # a fixture
from tests.training.test_report import (
    record,
    snapshot,
    whole_run,
    write_run,
)


@pytest.fixture
def real_figures() -> None:
    """Ask for this to have curves plotted."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return whole_run(tmp_path / "run", 16, 2)


def test_report_lies_in_the_run(real_figures: None, invert: Invert, run: Path) -> None:
    result = invert("train-report", run)
    assert result.code == 0, result.err
    page = (run / "report.html").read_bytes()
    assert result.out == f"wrote {run / 'report.html'}, {len(page):,} bytes\n"
    assert result.err == ""
    assert page.startswith(b"<!doctype html>")
    assert b"Training run: run" in page


def test_an_earlier_report_is_replaced(invert: Invert, run: Path) -> None:
    assert invert("train-report", run).code == 0
    before = (run / "report.html").read_bytes()
    with open(run / "log.jsonl", "a") as log:
        log.write(json.dumps(record(20, 20)) + "\n")
    assert invert("train-report", run).code == 0
    assert (run / "report.html").read_bytes() != before


def test_out(invert: Invert, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere.html"
    assert invert("train-report", run, "--out", out).code == 0
    assert out.read_bytes().startswith(b"<!doctype html>")
    assert not (run / "report.html").exists()


def test_json(invert: Invert, run: Path) -> None:
    result = invert("train-report", run, "--json")
    assert result.code == 0
    (summary,) = result.records()
    assert summary["path"] == str(run / "report.html")
    assert summary["bytes"] == (run / "report.html").stat().st_size
    assert (summary["type"], summary["code"]) == ("report", "done")
    assert (summary["ticks"], summary["images"], summary["grids"], summary["missing"]) == (4, 16000, 2, [])
    assert summary["last"]["seconds"] == pytest.approx(166.4)


def test_json_of_numbers_that_are_not_finite(invert: Invert, tmp_path: Path) -> None:
    write_run(tmp_path, [record(4, 8, path_length_average=float("nan"))])
    (summary,) = invert("train-report", tmp_path, "--json").records()
    assert summary["last"]["path_length_average"] is None


def test_missing_images_are_warnings(invert: Invert, tmp_path: Path) -> None:
    write_run(tmp_path, [snapshot(4, 8)], images=False)
    result = invert("train-report", tmp_path)
    assert result.code == 0
    assert [line.split(":")[1] for line in result.err.splitlines()] == [" warning", " warning"]
    assert "fakes-000004000.png" in result.err
    assert "reals.png" in result.err


def test_no_run(invert: Invert, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = invert("train-report", tmp_path / "empty")
    assert result.code == 5
    assert "settings.json': there is no such file. Name the folder of a training run." in result.err
    (run / "log.jsonl").unlink()
    result = invert("train-report", run)
    assert result.code == 5
    assert "nothing is logged yet" in result.err
    assert invert("train-report", tmp_path / "nowhere").code == 2
    assert not (run / "report.html").exists()


def test_damaged_log(invert: Invert, run: Path) -> None:
    path = run / "log.jsonl"
    path.write_bytes(b"?\n" + path.read_bytes())
    result = invert("train-report", run)
    assert result.code == 5
    assert result.err.count("\n") == 1
    assert "line 1 is damaged" in result.err


def test_nothing_else_is_overwritten(invert: Invert, run: Path, tmp_path: Path) -> None:
    before = (run / "settings.json").read_bytes()
    result = invert("train-report", run, "--out", run / "settings.json")
    assert result.code == 2
    assert "a report is written as one HTML page" in result.err
    assert (run / "settings.json").read_bytes() == before
    (run / "mine.html").write_text("<p>mine</p>")
    result = invert("train-report", run, "--out", run / "mine.html")
    assert result.code == 2
    assert "exists already and is no report" in result.err
    assert (run / "mine.html").read_text() == "<p>mine</p>"
    # Whoever made the run must not choose where the report goes.
    (run / "report.html").symlink_to(tmp_path / "planted.html")
    assert invert("train-report", run).code == 2
    assert not (tmp_path / "planted.html").exists()


def test_report_that_cannot_be_written(invert: Invert, run: Path, tmp_path: Path) -> None:
    assert invert("train-report", run, "--out", tmp_path / "none" / "a.html").code == 6
    (tmp_path / "folder.html").mkdir()
    assert invert("train-report", run, "--out", tmp_path / "folder.html").code == 6
    os.mkfifo(tmp_path / "pipe.html")
    assert invert("train-report", run, "--out", tmp_path / "pipe.html").code == 6
