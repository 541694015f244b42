"""Verdicts and calibrations by the functions of `import invert`, as a user calls them."""

import contextlib
import io
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import invert
from invert.batch.work import Done
from invert.cli.main import main
from tests.api.api_case import Pixels, as_float, as_pil, pixels

ATTRIBUTING: dict[str, Any] = {"steps": 3, "lpips": "alex", "bank": 40, "threads": 1, "device": "cpu", "batch": 4}
LOOSE: dict[str, Any] = {"rate": 0.3, "count": 24}
"""A rate of 30 % needs 9 negatives for the threshold, 17 in all: a test of the way, not of the numbers."""

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images that no network made."""
    path = tmp_path_factory.mktemp("others")
    for seed in range(20):
        Image.fromarray(pixels(100 + seed)).save(path / f"{seed:02d}.png")
    return path


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory, network: Path, others: Path) -> Path:
    """A network beside the calibration that the command made of it."""
    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copy(network, folder / "net.pkl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INVERT_CACHE", str(folder / "cache"))
        command("calibrate", "--network", folder / "net.pkl", "--real", others, "--fpr", 0.3, "--count", 24, *flags())
    return folder / "net.pkl"


def flags() -> list[object]:
    named = {name: value for name, value in ATTRIBUTING.items() if name != "device"}
    return [part for name, value in named.items() for part in (f"--{name}", value)] + ["--workers", 1, "--quiet"]


def command(*arguments: object) -> list[dict[str, Any]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.usefixtures("private_cache")
def test_verdicts_are_those_of_the_command(calibrated: Path, folder: Path) -> None:
    *records, _ = command("attribute", folder, "--network", calibrated, "--threads", 1, "--quiet")
    found = list(invert.attribute(folder, calibrated, threads=1))
    assert len(records) == len(found) == 3
    for record, one in zip(records, found, strict=True):
        (answer,), (finding,) = one.answers, record["findings"]
        assert one.name == record["path"]
        assert str(one.outcome) == record["verdict"]
        assert answer.distance == record["distances"]["net"]
        assert answer.p_values == (finding["evidence"]["p0"], finding["evidence"]["p1"])
        assert answer.ratio == finding["evidence"]["likelihood_ratio"]
        assert answer.score == finding["evidence"]["score"]
        assert answer.evidence["lpips"] == finding["measured"]["lpips"]


@pytest.mark.usefixtures("private_cache")
def test_images_from_memory_are_judged_as_files_are(calibrated: Path, folder: Path) -> None:
    expected = [one.answers[0].evidence for one in invert.attribute(folder, calibrated, threads=1, batch=2)]
    steps: list[Any] = []
    images: list[Any] = [as_pil(0), pixels(1), as_float(2)]
    verdicts = invert.attribute(iter(images), invert.load(calibrated), threads=1, batch=2, on_step=steps.append)
    found = list(verdicts)
    assert [one.name for one in found] == ["000000", "000001", "000002"]
    assert [one.answers[0].evidence for one in found] == expected
    assert [(record.group, record.step, len(record.distances)) for record in steps] == [
        *((0, step, 2) for step in range(3)),
        *((1, step, 1) for step in range(3)),
    ]
    assert verdicts.candidates[0].name == "net"


@pytest.mark.usefixtures("private_cache")
def test_two_networks_are_asked_of_a_stream_and_of_bad_images(network: Path, folder: Path) -> None:
    (folder / "1.png").write_bytes(b"not an image")
    settings = {**ATTRIBUTING, "threshold": 50, "batch": 1}
    paths = (folder / f"{number % 3}.png" for number in range(5))
    failures: list[Any] = []
    found = list(invert.attribute(paths, [network, network], on_failure=failures.append, **settings))
    assert [Path(one.name).name for one in found] == ["0.png", "2.png", "0.png"]
    assert [Path(failure.path).name for failure in failures] == ["1.png", "1.png"]
    for one in found:
        first, second = one.answers
        assert first.distance == second.distance
        assert one.threshold_rule.startswith("below 50 for")
    with pytest.raises(invert.ImageError, match=r"1\.png"):
        list(invert.attribute(folder, network, **settings))

    def broken() -> Iterator[Pixels]:
        yield pixels(0)
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="camera"):
        list(invert.attribute(itertools.chain([pixels(1)] * 12, broken()), [network, network], **settings))


@pytest.mark.usefixtures("private_cache")
def test_what_verdicts_refuse(calibrated: Path, folder: Path, network: Path) -> None:
    for settings, message in (
        ({"steps": 7, "calibration": calibrated.with_suffix(".calibration.json")}, "steps: 3, now 7"),
        ({"threshold": 1, "rate": 0.1}, "promises no rate"),
        ({"score": "pixels"}, "pixels"),
        ({"stepz": 3}, "stepz"),
        ({"rate": 2}, "between 0 and 1"),
        ({"threshold": -1}, "no distance"),
        ({"on_failure": "shrug"}, "shrug"),
        ({"preset": "fast"}, "no evidence"),
        ({"preset": "quick"}, "quick"),
    ):
        with pytest.raises(invert.UsageError, match=message):
            invert.attribute(folder, calibrated, **settings)  # type: ignore[arg-type]
    with pytest.raises(invert.UsageError, match="no network"):
        invert.attribute(folder, [])
    with pytest.raises(invert.NoInputError, match="no images"):
        invert.attribute([], calibrated)
    said: list[str] = []
    (one,) = invert.attribute(folder / "0.png", network, on_warning=said.append, **ATTRIBUTING)
    assert one.outcome is None
    assert any("there is no calibration" in line for line in said)


@pytest.mark.slow
@pytest.mark.usefixtures("private_cache")
def test_a_calibration_is_that_of_the_command(calibrated: Path, others: Path, folder: Path, tmp_path: Path) -> None:
    written = calibrated.with_suffix(".calibration.json").read_bytes()
    out = tmp_path / "mine.json"
    made = invert.calibrate(calibrated, others, out=out, **LOOSE, **ATTRIBUTING)
    assert out.read_bytes() == written
    assert not Path(f"{out}.work").exists()
    with pytest.raises(invert.UsageError, match="exists already"):
        invert.calibrate(calibrated, others, out=out, **LOOSE, **ATTRIBUTING)
    # Images from memory measure the same, and the calibration serves as it is.
    images = [Image.open(path) for path in sorted(others.iterdir())]
    again = invert.calibrate(invert.load(calibrated), images, **LOOSE, **ATTRIBUTING)
    assert [one.evidence for one in again.others[0].measurements] == [
        one.evidence for one in made.others[0].measurements
    ]
    shutil.copy(calibrated, tmp_path / "alone.pkl")
    (one,) = invert.attribute(folder / "0.png", tmp_path / "alone.pkl", calibration=again, threads=1)
    (other,) = invert.attribute(folder / "0.png", calibrated, threads=1)
    assert one.outcome == other.outcome is not None
    assert one.answers[0].p_values == other.answers[0].p_values


@pytest.mark.slow
@pytest.mark.usefixtures("private_cache")
def test_a_calibration_is_resumed(calibrated: Path, others: Path, tmp_path: Path) -> None:
    written = calibrated.with_suffix(".calibration.json").read_bytes()
    out = tmp_path / "mine.json"

    class StoppedError(Exception):
        pass

    done = []

    def stop(event: Any) -> None:
        if isinstance(event, Done):
            done.append(event.name)
            if len(done) == 30:
                raise StoppedError

    with pytest.raises(StoppedError):
        invert.calibrate(calibrated, others, out=out, on_event=stop, **LOOSE, **ATTRIBUTING)
    assert not out.exists()
    with pytest.raises(invert.UsageError, match="steps: 3, now 4"):
        invert.calibrate(calibrated, others, out=out, **LOOSE, **{**ATTRIBUTING, "steps": 4})
    new: list[bool] = []
    counted: list[int] = []
    invert.calibrate(
        calibrated,
        others,
        out=out,
        on_count=counted.append,
        on_event=lambda event: new.append(event.is_new) if isinstance(event, Done) else None,
        **LOOSE,
        **ATTRIBUTING,
    )
    assert counted == [44]
    assert (new.count(False), new.count(True)) == (30, 14)
    assert out.read_bytes() == written


@pytest.mark.slow
@pytest.mark.usefixtures("private_cache")
def test_a_named_work_folder_is_kept(calibrated: Path, others: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings: dict[str, Any] = {"work": tmp_path / "work", **LOOSE, **ATTRIBUTING}
    (tmp_path / "real").mkdir()
    for path in others.iterdir():
        shutil.copy(path, tmp_path / "real")
    (tmp_path / "real" / "bad.png").write_bytes(b"no image")
    first = invert.calibrate(calibrated, tmp_path / "real", on_warning=said.append, **settings)
    assert any("bad.png" in line for line in said)
    events: list[Any] = []
    again = invert.calibrate(calibrated, tmp_path / "real", on_event=events.append, **settings)
    assert not any(isinstance(event, Done) and event.is_new for event in events)
    assert [one.evidence for one in again.own.measurements] == [one.evidence for one in first.own.measurements]
    with pytest.raises(invert.UsageError, match=r"real.*needs another name"):
        invert.calibrate(calibrated, others, {"real": others}, **LOOSE, **ATTRIBUTING)
    with pytest.raises(invert.UsageError, match="needs 299 for the threshold"):
        invert.calibrate(calibrated, others, **ATTRIBUTING)
