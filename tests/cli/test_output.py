"""What the command line writes, without a command."""

import io
import json

import pytest

from invert.cli.output import Output
from invert.cli.progress import ProjectionProgress
from invert.cli.text import message


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_messages_are_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    message("error", "first\nsecond \x1b[31mred\x07 \udcff \u202e")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("invert: error: first\\nsecond ")
    assert line.isprintable()


def test_results_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"type": "image", "path": "a\udcff\n"}
    Output().result(record, "one", "two")
    Output().result(record)
    assert capsys.readouterr().out == "one\ntwo\n"
    Output(as_json=True).result(record, "one", "two")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == record
    assert line.isascii()


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Output(as_json=True).result({"distance": float("nan")})


def test_quiet_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(quiet=True)
    output.note("a note")
    output.warning("a warning")
    assert capsys.readouterr().err == "invert: warning: a warning\n"


@pytest.mark.parametrize("columns", ["1", "80"])
def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", columns)
    with Output() as output:
        progress = output.progress(images=3, batch=2, steps=50)
        for group in (0, 1):
            for _ in range(50):
                progress.step(group, [0.5, 0.25])
        output.warning("in between")
    text = terminal.getvalue()
    assert "invert: warning: in between\n" in text
    if columns == "80":
        assert "image 3 of 3: 100%" in text
        assert "100/100" in text
        assert "distance 0.3750" in text


def test_sparse_lines_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProjectionProgress(images=3, batch=2, steps=50, quiet=False)
    for group in (0, 1):
        for _ in range(50):
            progress.step(group, [0.5])
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "invert: progress: images 1-2 of 3, step 10 of 100, distance 0.5000, 0 min left"
    assert lines[-1] == "invert: progress: image 3 of 3, step 100 of 100, distance 0.5000"


def test_lines_have_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Output() as output:
        images = output.image_progress(4)
        batch = output.batch_progress(3)
        batch.image(0.5, is_new=False)  # of a run before this one: it says nothing about the speed
        now = 120.0
        images.step()
        batch.image(0.25, is_new=True)
        now = 240.0
        batch.image(None, is_new=True)
    assert capsys.readouterr().err.splitlines() == [
        "invert: progress: image 1 of 4, 6 min left",
        "invert: progress: 2 of 3 images, 30 images/h, 2 min left, mean distance 0.3750",
        "invert: progress: 3 of 3 images, 30 images/h, 0 min left, mean distance 0.3750, 1 failed",
    ]


def test_quiet_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    progress = ProjectionProgress(images=1, batch=1, steps=1, quiet=True)
    progress.step(0, [0.5])
    progress.close()
    assert terminal.getvalue() == ""


def test_total_follows_the_images_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProjectionProgress(images=40, batch=8, steps=10, quiet=False)
    progress.expect(1)
    for _ in range(10):
        progress.step(0, [0.5])
    assert capsys.readouterr().err.splitlines()[-1].endswith("image 1 of 1, step 10 of 10, distance 0.5000")
