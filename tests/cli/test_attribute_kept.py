"""What `invert attribute` and `invert calibrate` keep on the way, share among processes, and take from `project`."""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invert.attribution.answers import AnswerStore
from invert.attribution.measurements import MeasurementStore
from tests.cli.batch_case import write_images
from tests.cli.conftest import Invert, Result

METHOD = ("--steps", 1, "--lpips", "alex", "--bank", 20, "--batch", 4)
pytestmark = pytest.mark.slow

PNG = re.compile(rb"data:image/png;base64,[^\"]+")
CALIBRATION = (*METHOD, "--fpr", 0.3, "--count", 8, "--workers", 1, "-q")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path_factory.getbasetemp() / "kept-cache"))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A folder with a network, its calibration, and the images that it was made with; not to be changed."""
    from invert.cli.main import main

    folder = tmp_path_factory.mktemp("case")
    shutil.copy(network, folder / "net.pkl")
    write_images(folder / "real", 18, seed=1)
    arguments = ("--network", folder / "net.pkl", "--real", folder / "real", *CALIBRATION, "--threads", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INVERT_CACHE", str(tmp_path_factory.getbasetemp() / "kept-cache"))
        assert main([str(one) for one in ("calibrate", *arguments)]) == 0
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 4, seed=3)


@pytest.fixture
def attribute(invert: Invert, case: Path) -> Invert:
    """Judge images by the calibration of the case; its batch is 4."""
    options = ("--network", case / "net.pkl", "--threads", 1, "--json", "-q")
    return lambda *arguments: invert("attribute", *options, "--batch", 4, *arguments)


class Stop:
    """Count what is measured, and let the user lose patience after so many images."""

    def __init__(self) -> None:
        self.measured = 0
        self.after: int | None = None

    def count(self) -> None:
        if self.measured == self.after:
            raise KeyboardInterrupt
        self.measured += 1


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    found = Stop()
    for store in (AnswerStore, MeasurementStore):
        keep: Callable[..., Any] = store.keep

        def counted(*arguments: Any, keep: Callable[..., Any] = keep) -> Any:
            found.count()
            return keep(*arguments)

        monkeypatch.setattr(store, "keep", counted)
    return found


def judged(result: Result) -> list[dict[str, Any]]:
    """Return what is said of each image, wherever it lies."""
    images = (record for record in result.records() if record["type"] == "image")
    return [{**record, "path": Path(record["path"]).name, "message": None} for record in images]


def test_a_stopped_command_resumes(attribute: Invert, images: Path, tmp_path: Path, stop: Stop) -> None:
    whole = attribute(images)
    assert whole.code == 0
    out = tmp_path / "out"
    stop.after = 2
    stopped = attribute(images, "--out", out)
    assert stopped.code == 130
    assert stopped.err == "invert: error: interrupted. What was finished is kept: the same command resumes.\n"
    stop.after = None
    assert attribute(images, "--out", out).out == whole.out
    assert stop.measured == 4
    # One image more costs one image, wherever the others lie now; and nothing costs nothing.
    images.rename(tmp_path / "moved")
    write_images(tmp_path / "moved", 5, seed=3)
    assert attribute(tmp_path / "moved", "--out", out).code == 0
    assert stop.measured == 5
    again = attribute(tmp_path / "moved", "--out", out)
    assert stop.measured == 5
    assert judged(again) == judged(attribute(tmp_path / "moved"))


def test_without_a_place_nothing_is_kept(
    attribute: Invert, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from invert.attribution.answers import Measured

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Measured, "of", stopped)
    monkeypatch.chdir(tmp_path)
    result = attribute(images)
    assert result.code == 130
    assert result.err == "invert: error: interrupted. Nothing is kept; with --out DIR the same command would resume.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_report_is_resumed_until_it_is_written(attribute: Invert, images: Path, tmp_path: Path, stop: Stop) -> None:
    report = tmp_path / "report.html"
    stop.after = 3
    assert attribute(images, "--report", report).code == 130
    assert (tmp_path / "report.html.work").is_dir()
    (tmp_path / "report.html.work" / "mine.txt").write_text("not the program's")
    stop.after = None
    assert attribute(images, "--report", report).code == 0
    assert stop.measured == 4
    resumed = report.read_bytes()
    assert len(PNG.findall(resumed)) >= 2 * 4
    assert [path.name for path in (tmp_path / "report.html.work").iterdir()] == ["mine.txt"]
    (tmp_path / "report.html.work" / "mine.txt").unlink()
    assert attribute(images, "--report", report, "--overwrite").code == 0
    assert PNG.findall(report.read_bytes()) == PNG.findall(resumed)
    assert not (tmp_path / "report.html.work").exists()


def test_what_is_damaged_is_asked_again(attribute: Invert, images: Path, tmp_path: Path, stop: Stop) -> None:
    out = tmp_path / "out"
    whole = attribute(images, "--out", out)
    first, second, third, _ = sorted(out.glob("*/answers/*.json"))
    first.write_bytes(first.read_bytes()[:-9])
    second.with_suffix(".png").write_bytes(b"no image")
    shutil.copy(third.with_suffix(".png"), first.with_suffix(".png"))
    assert attribute(images, "--out", out).out == whole.out
    assert stop.measured == 4 + 2


def test_other_settings_are_refused_and_open_ones_settled(
    invert: Invert, attribute: Invert, case: Path, images: Path, tmp_path: Path, stop: Stop
) -> None:
    out = tmp_path / "out"
    assert attribute(images, "--out", out).code == 0
    refused = attribute(images, "--out", out, "--batch", 3)
    assert refused.code == 2
    assert "batch: 4, now 3" in refused.err
    assert len(refused.err.splitlines()) == 1
    # Neither the batch nor the threads are the default ones here.
    assert invert("attribute", images, "--network", case / "net.pkl", "--out", out, "-q").code == 0
    assert stop.measured == 4


def test_one_by_one_is_another_arithmetic(invert: Invert, case: Path, images: Path) -> None:
    """The calibration of the case was made in batches of 4."""
    arguments = ("attribute", images / "000.png", "--network", case / "net.pkl", "-q")
    for batch, warnings in ((1, 1), (2, 0), (None, 0)):
        result = invert(*arguments, *(() if batch is None else ("--batch", batch)))
        assert result.code == 0
        assert result.err.count("was made in batches of 4, and --batch is 1") == warnings


def test_shards_share_the_images(attribute: Invert, images: Path, tmp_path: Path, stop: Stop) -> None:
    out = tmp_path / "out"
    shares = [judged(attribute(images, "--out", out, "--shard", f"{number}/3")) for number in (1, 2, 3)]
    assert sorted(len(share) for share in shares) != [0, 0, 4]
    assert stop.measured == 4
    whole = attribute(images, "--out", out)
    assert stop.measured == 4
    by_path = sorted((one for share in shares for one in share), key=lambda one: str(one["path"]))
    assert by_path == sorted(judged(whole), key=lambda one: str(one["path"]))
    for more in (("--shard", "1/2"), ("--engine", "slurm")):
        assert "Add --out DIR" in attribute(images, *more).err
    assert attribute(images, "--out", out, "--shard", "1/2", "--report", tmp_path / "r.html").code == 2


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the jobs of SLURM here, one after the other; `tests/slurm` has a real one."""
    from invert.cli.main import main
    from invert.commands import array

    logs: list[str] = []

    def run_array(command: list[str], shards: int, folder: Path, *, parameters: object, on_event: object) -> None:
        logs.append(folder.name)
        for number in range(1, shards + 1):
            with contextlib.redirect_stdout(io.StringIO()):
                assert main([*command[3:], "--shard", f"{number}/{shards}"]) == 0

    monkeypatch.setattr(array, "run_array", run_array)
    return logs


def test_jobs_share_the_images(
    attribute: Invert, images: Path, case: Path, tmp_path: Path, stop: Stop, jobs: list[str]
) -> None:
    out, report = tmp_path / "out", tmp_path / "report.html"
    engine = ("--engine", "slurm", "--shards", 2)
    calibration = ("--calibration", case / "net.calibration.json")
    result = attribute(images, "--out", out, "--report", report, *engine, *calibration)
    assert result.code == 0
    assert jobs == ["out.slurm"]
    assert stop.measured == 4
    assert judged(result) == judged(attribute(images))
    assert report.exists()
    assert len(list(out.glob("*/answers/*.json"))) == 4


def test_jobs_share_a_calibration(invert: Invert, case: Path, tmp_path: Path, stop: Stop, jobs: list[str]) -> None:
    out = tmp_path / "shared.json"
    method = [*CALIBRATION, "--threads", 1]
    del method[method.index("--workers") : method.index("--workers") + 2]
    arguments = ("calibrate", "--network", case / "net.pkl", "--real", case / "real", *method, "-o", out)
    assert invert(*arguments, "--engine", "slurm", "--shards", 3).code == 0
    assert stop.measured == 8 + 18
    assert out.read_bytes() == (case / "net.calibration.json").read_bytes()
    assert jobs == ["shared.json.slurm"]
    refused = invert(*arguments, "--engine", "slurm", "--workers", 2)
    assert "does not go with" in refused.err


@pytest.mark.long
def test_processes_share_the_images(attribute: Invert, images: Path, case: Path, tmp_path: Path) -> None:
    (images / "bad.png").write_bytes(b"no image")
    two = ("--network", case / "net.pkl", "--fpr", 0.6)
    alone, shared = (attribute(images, *two, "--workers", workers) for workers in (1, 2))
    assert alone.code == shared.code == 3
    assert shared.out == alone.out
    assert shared.err == alone.err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_finished_projections_are_judged_as_they_are(
    invert: Invert, attribute: Invert, images: Path, case: Path, tmp_path: Path, stop: Stop
) -> None:
    (images / "bad.png").write_bytes(b"no image")
    project = ("project", images, "--network", case / "net.pkl", "--threads", 1, "-q")
    out = tmp_path / "a.h5"
    method = ("--preset", "verdict", *METHOD)
    assert invert(*project, *method, "--save-images", "--out", out).code == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("invert.projection.projector.Projector.run", None)
        result = attribute(out)
    assert result.code == 3
    assert sorted(judged(result), key=str) == sorted(judged(attribute(images)), key=str)
    assert attribute(out, "--report", tmp_path / "r.html").code == 3
    assert "000.png" in (tmp_path / "r.html").read_text()

    def refused(*arguments: object) -> str:
        found = attribute(*arguments)
        assert found.code == 2
        assert len(found.err.splitlines()) == 1
        return found.err

    assert "not judged together with images" in refused(out, images)
    assert "out, workers and shard have no part in it" in refused(out, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    other = tmp_path / "other.h5"
    assert invert(*project, *method, "--steps", 2, "--save-images", "--out", other).code == 3
    # The calibration is of another method: it is not used, and there are distances without a verdict.
    unjudged = attribute(other)
    assert unjudged.code == 3
    assert "is not used: was made with another method (steps: 1, now 2)" in unjudged.err
    assert all("verdict" not in record for record in unjudged.records())
    bare = tmp_path / "bare.h5"
    assert invert(*project, *method, "--out", bare).code == 3
    assert "--save-images" in refused(bare)


def test_the_network_of_finished_projections(invert: Invert, images: Path, case: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    paper = ("--steps", 2, "--lpips", "alex", "-q")
    assert invert("project", images, "--network", case / "net.pkl", *paper, "--save-images", "--out", out).code == 0
    other = invert("attribute", out, "--network", "data/networks/B.safetensors")
    assert other.code == 2
    assert "projections into another network than B" in other.err
    # Without a calibration the paper's own distances are there all the same.
    shutil.copy(case / "net.pkl", tmp_path / "copy.pkl")
    found = invert("attribute", out, "--network", tmp_path / "copy.pkl", "--json", "-q", "--threshold", 50)
    assert found.code in (0, 2)


def test_shards_of_a_calibration(invert: Invert, case: Path, tmp_path: Path, stop: Stop) -> None:
    out = tmp_path / "shared.json"
    arguments = ("calibrate", "--network", case / "net.pkl", "--real", case / "real", *CALIBRATION, "-o", out)
    first = invert(*arguments, "--threads", 1, "--shard", "1/2", "--json")
    assert first.code == 0
    measured = first.records()[-1]["measured"]
    assert 0 < measured < 8 + 18
    stop.after = 8 + 18 - 1
    stopped = invert(*arguments, "--shard", "2/2")
    assert stopped.code == 130
    assert "What was finished is kept: the same command resumes." in stopped.err
    stop.after = None
    assert invert(*arguments, "--shard", "2/2").code == 0
    assert stop.measured == 8 + 18
    assert not out.exists()
    assert invert(*arguments).code == 0
    assert stop.measured == 8 + 18
    assert out.read_bytes() == (case / "net.calibration.json").read_bytes()
    assert json.loads(out.read_bytes())["run"]["batch"] == 4
    assert not out.with_name("shared.json.work").exists()
