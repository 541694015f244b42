"""The report of a training run, from folders that look like those of `invert train` and from worse ones."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from invert.errors import NoInputError
from invert.report import curves
from invert.runs.history import read_history
from invert.runs.report import MAX_GRIDS, training_report
from tests.test_page import Browse, Reader, Visit
from tests.test_page import browse as browse  # a fixture
from tests.training.report_case import (
    DATA,
    HOSTILE,
    SETTINGS,
    SOFTWARE,
    captions,
    record,
    rows,
    sheet,
    show,
    snapshot,
    whole_run,
    write_run,
)


@pytest.fixture
def real_figures() -> None:
    """Ask for this to have curves plotted; elsewhere they would cost a second for each report."""


@pytest.fixture(autouse=True)
def blank_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plot nothing, except where a test asks for `real_figures`."""
    if "real_figures" in request.fixturenames:
        return
    blank = curves.Plot(sheet(0), sheet(1))
    monkeypatch.setattr(curves, "plot_curves", lambda *_, **__: blank)
    monkeypatch.setattr(curves, "plot_shares", lambda *_, **__: blank)


def test_a_finished_run(real_figures: None, tmp_path: Path) -> None:
    page = show(whole_run(tmp_path / "faces"))
    assert "Training run: faces" in page.text
    assert "400 kimg seen, of 60,000 images of 32 x 32 pixels and 3 channels" in page.text
    assert rows(page, "images seen") == "400,000"
    assert rows(page, "time") == "1 h 9 min"
    assert rows(page, "images per second") == "96.1"
    assert rows(page, "weight of R1, gamma") == "1.0"
    assert rows(page, "data: path") == "data/garments.zip"
    assert rows(page, "torch") == "2.10.0"
    assert rows(page, "channel_base") == "1024"
    # First, last and evenly between, oldest to newest but for the newest, which stands beside the real ones.
    kimg = [float(caption.removesuffix(" kimg")) for caption in captions(page)]
    assert len(kimg) == MAX_GRIDS
    assert kimg[0] == 400
    assert kimg[1] == 20
    assert kimg[1:] == sorted(kimg[1:])
    gaps = np.diff([*kimg[1:], 400])
    assert 20 <= gaps.min() <= gaps.max() <= 40
    for caption in ("logistic losses", "R1 penalty", "Path length penalty", "Running average a", "Scores of real"):
        assert any(caption in (image["alt"] or "") for image in page.all("img")), caption
    assert "figure 8 of Karras et al. 2020" in page.text
    assert "kimg" in rows(page, "resolution20")
    assert rows(page, "4 px").count("%") == 2


def test_the_same_run_gives_the_same_page(real_figures: None, tmp_path: Path) -> None:
    whole_run(tmp_path, 40, 2)
    assert training_report(tmp_path).page == training_report(tmp_path).page


def test_one_tick_is_enough(real_figures: None, tmp_path: Path) -> None:
    page = show(write_run(tmp_path, [record(4, 400)], images=False))
    assert rows(page, "images seen") == "4,000"
    assert "'reals.png': there is no such file" in page.text
    page = show(write_run(tmp_path / "b", [snapshot(4, 400)]))
    assert captions(page) == ["4 kimg"]
    assert rows(page, "4 px").count("%") == 1


def test_records_that_lack_things(tmp_path: Path) -> None:
    bare = {"images": 4000}
    empty = record(8, 400, losses={}, scores=None, path_length_average=None, seconds=None)
    page = show(write_run(tmp_path, [{**bare, "fakes": None}, empty], settings={}))
    assert "The log has none" in page.text
    assert rows(page, "time") == "none"


def test_penalties_of_some_ticks_only(tmp_path: Path) -> None:
    ticks = [record(k, 400) for k in range(4, 401, 4)]
    for tick in ticks[::2]:
        tick["losses"] |= {"r1": None, "path_length": None}
    assert rows(show(write_run(tmp_path, ticks)), "R1 penalty") != "none"


def test_numbers_that_are_not_finite(real_figures: None, tmp_path: Path) -> None:
    ticks = [record(k, 40) for k in range(4, 41, 4)]
    ticks[5]["losses"]["generator"] = math.nan
    ticks[6]["losses"]["generator"] = math.inf
    ticks[7]["losses"] |= {"r1": 1e300, "path_length": -1e300}
    for tick in ticks:
        tick["scores"] = {"real": math.nan, "fake": 1e-320}
    shares = [{"4": 0.0}, {"4": math.nan}, {"4": -1.0, "8": 2.0}, {"4": 1e308, "8": 1e308}, {}]
    for tick, share in zip(ticks, shares, strict=False):
        tick["resolution_shares"] = share
    page = show(write_run(tmp_path, ticks))
    assert "Ticks with a number that is not finite: 10" in page.text
    assert rows(page, "score of real / generated images") == "nan / 1e-320"
    assert "measured at snapshots" in page.text


def test_an_unfinished_last_line_is_ignored(tmp_path: Path) -> None:
    log = whole_run(tmp_path, 40, 2) / "log.jsonl"
    whole = log.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in (1, len(last) // 2, len(last) - 2):
        log.write_bytes(whole[: len(whole) - len(last)] + last[:cut])
        assert rows(show(tmp_path), "images seen") == "36,000"
    log.write_bytes(whole[:-1])
    assert rows(show(tmp_path), "images seen") == "40,000"
    log.write_bytes(whole + b"\x00" * 4096)
    assert rows(show(tmp_path), "images seen") == "40,000"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b"[" * 50_000,
        b'{"images": 1.5}',
        b'{"images": true}',
        b'{"images": -1}',
        b'{"images": 1' + b"0" * 5000 + b"}",
        b'{"images": 1, "losses": []}',
        b'{"images": 1, "losses": {"r1": "x"}}',
        b'{"images": 1, "seconds": 1' + b"0" * 400 + b"}",
        b'{"images": 1, "fakes": 7}',
        b'{"images": 1, "resolution_shares": {"<b>": 1}}',
        b'{"images": 1, "resolution_shares": 1}',
        b'{"images": 1, "x": "' + b"y" * 70_000 + b'"}',
    ],
    ids=lambda line: line[:24].decode("latin-1"),
)
def test_a_damaged_line_is_one_clear_error(tmp_path: Path, line: bytes) -> None:
    log = whole_run(tmp_path, 40, 2) / "log.jsonl"
    lines = log.read_bytes().splitlines()
    lines[4] = line
    log.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(NoInputError, match=r"log\.jsonl': line 5 is damaged\. Remove") as caught:
        training_report(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_work_done_twice_counts_once(tmp_path: Path) -> None:
    ticks = [snapshot(k, 40) for k in range(4, 41, 4)]
    again = [record(k, 40) for k in (24, 28, 32)]
    page = show(write_run(tmp_path, ticks + again))
    assert rows(page, "images seen") == "32,000"
    assert captions(page) == ["20 kimg", "4 kimg", "8 kimg", "12 kimg", "16 kimg"]


def test_nothing_logged_yet(tmp_path: Path) -> None:
    write_run(tmp_path, [])
    for content in (None, b"", b'{"images": 40'):
        (tmp_path / "log.jsonl").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "log.jsonl").write_bytes(content)
        with pytest.raises(NoInputError, match="nothing is logged yet"):
            training_report(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file.*Name the folder of a training run"),
        (b"{", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"[]", "belongs to no training run"),
        (b'{"format": "invert projections"}', "belongs to no training run"),
        (b'{"format": "invert-training", "version": 2}', "another version"),
        (b'{"format": "invert-training", "version": 1, "data": []}', "damaged"),
        (b" " * (2 << 20), "over the 1.049 MB limit"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_settings_that_are_none(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = whole_run(tmp_path, 8, 1) / "settings.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NoInputError, match=reason):
        training_report(tmp_path)


def test_missing_and_damaged_images_are_said(tmp_path: Path) -> None:
    whole_run(tmp_path, 48, 12)
    grids = sorted(tmp_path.glob("fakes-*.png"))
    for path in grids[:7]:
        path.unlink()
    grids[8].write_bytes(grids[8].read_bytes()[:-50])
    grids[9].write_bytes(b"GIF89a")
    with open(grids[10], "ab") as file:
        file.truncate((16 << 20) + 1)
    (tmp_path / "reals.png").unlink()
    report = training_report(tmp_path)
    page = Reader(report.page)
    assert captions(page) == ["48 kimg", "32 kimg"]
    assert report.grids == 2
    text = "\n".join(report.missing)
    assert f"'{grids[0].name}' is not there" in text
    assert "2 more grids" in text
    assert f"'{grids[8].name}': the file is cut off" in text
    assert f"'{grids[10].name}': the file has 16.78 MB, over the 16.78 MB limit" in text
    assert "'reals.png': there is no such file" in text
    assert all(line in page.text for line in report.missing)


def test_grids_are_chosen_from_those_that_are_there(tmp_path: Path) -> None:
    whole_run(tmp_path, 400, 100)
    for path in sorted(tmp_path.glob("fakes-*.png"))[:-8]:
        path.unlink()
    assert len(captions(show(tmp_path))) == 8


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "..", ".", "", "a/b.png", "link.png", "pipe.png", "folder", HOSTILE]
)
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    secret = sheet(0.3, seed=7)
    (tmp_path / "secret.png").write_bytes(secret)
    run = tmp_path / "run"
    write_run(run, [record(4, 8), record(8, 8, fakes=name)], images=False)
    (run / "reals.png").symlink_to("../secret.png")
    (run / "link.png").symlink_to("../secret.png")
    os.mkfifo(run / "pipe.png")
    (run / "folder").mkdir()
    report = training_report(run)
    page = Reader(report.page)
    page.check_inert()
    assert not captions(page)
    assert "A grid of training images" not in str(page.tags)
    assert len(report.missing) == 2
    assert "'reals.png': it is a link" in report.missing


@pytest.mark.parametrize("name", ["settings.json", "log.jsonl"])
def test_files_of_the_run_are_files(tmp_path: Path, name: str) -> None:
    path = whole_run(tmp_path / "run", 8, 1) / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoInputError, match="it is a link"):
        training_report(tmp_path / "run")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NoInputError, match="it is a pipe, socket or device, not a file"):
        training_report(tmp_path / "run")


def test_hostile_values_change_nothing(tmp_path: Path) -> None:
    ticks = [snapshot(4, 8), snapshot(8, 8)]
    plain = show(write_run(tmp_path / "plain", ticks, settings={**SETTINGS, "name": "value"}))
    run = write_run(tmp_path / HOSTILE.partition("\x00")[0].replace("/", "_"), ticks)
    settings = {**SETTINGS, HOSTILE: HOSTILE, "batch": HOSTILE, "seed": {HOSTILE: [HOSTILE]}}
    about = {"settings": settings, "data": dict.fromkeys(DATA, HOSTILE), "software": dict.fromkeys(SOFTWARE, HOSTILE)}
    (run / "settings.json").write_text(json.dumps({"format": "invert-training", "version": 1, **about}))
    page = show(run)
    assert [name for name, _ in page.tags] == [name for name, _ in plain.tags]
    assert "<img src=x onerror=alert(1)>" in page.text


def test_long_lists_and_values_are_cut(tmp_path: Path) -> None:
    settings = {f"name{i}": "x" * 300 for i in range(1000)} | {"a": "y" * 100_000}
    report = training_report(write_run(tmp_path, [record(4, 8)], settings=settings, images=False))
    assert b"507 more are not shown" in report.page
    assert report.page.count(b"y" * 2001) == 0


def test_a_very_long_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invert.runs.history.MAX_TICKS", 100)
    folder = write_run(tmp_path, [record(k, 4000) for k in range(4, 4001, 4)], images=False)
    history = read_history(folder)
    images = [tick.images for tick in history.ticks]
    assert len(images) <= 100
    assert (images[0], images[-1]) == (4000, 4_000_000)
    assert images == sorted(set(images))
    assert "not every tick is plotted" in show(folder).text
    monkeypatch.setattr("invert.runs.history.MAX_LOG", 1000)
    with pytest.raises(NoInputError, match=r"over the 0\.001 MB limit"):
        read_history(folder)


def test_browser_is_content(real_figures: None, browse: Browse, tmp_path: Path) -> None:
    run = whole_run(tmp_path, 40, 4)
    settings = {**SETTINGS, HOSTILE: HOSTILE}
    about = {"format": "invert-training", "version": 1, "settings": settings, "data": DATA, "software": {}}
    (run / "settings.json").write_text(json.dumps(about))
    assert browse(training_report(run).page) == Visit([], [])
