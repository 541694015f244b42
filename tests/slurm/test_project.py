"""`invert project` as jobs of a real SLURM: the file is that of one process, to the byte, though a job was killed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from invert.batch.slurm import ArrayEvent, run_array
from invert.store.names import in_shard, name_key
from tests.image_factory import encode, image, save
from tests.slurm.test_slurm import job_number, until

pytestmark = pytest.mark.serial

IMAGES = 16


def invert(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "invert", *map(str, arguments)]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_shards_one_of_them_killed_make_the_file_of_one_process(slurm: Path, tmp_path: Path, network: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    names = [f"{number:02}.png" for number in range(IMAGES)]
    for number, name in enumerate(names):
        save(folder, encode(image(32, 32, seed=number)), name)
    settings = ["--network", network, "--steps", 15, "--lpips", "alex", "--batch", 1, "--threads", 1, "--device", "cpu"]
    out, alone = tmp_path / "X.h5", tmp_path / "alone.h5"
    subprocess.run(invert("project", folder, *settings, "--quiet", "--out", alone), check=True, capture_output=True)

    entries = tmp_path / "X.h5.work" / "entries"
    second = [entries / f"{name_key(name.encode())}.entry" for name in names if in_shard(name.encode(), (2, 2))]
    ended: dict[tuple[int, int], ArrayEvent] = {}
    killed = 0

    def follow(event: ArrayEvent) -> None:
        nonlocal killed
        ended[event.shard, event.attempt] = event
        if (event.shard, event.state, event.attempt) == (2, "RUNNING", 1):
            until(lambda: any(path.exists() for path in second))
            subprocess.run(["scancel", "--batch", "--signal=KILL", job_number(event.log)], check=True)
            killed = sum(path.exists() for path in second)

    command = invert("project", folder, *settings, "--out", out)
    run_array(command, 2, tmp_path / "slurm", parameters={}, on_event=follow, poll=0.2)
    assert 0 < killed < len(second)
    assert {key: event.exit_code for key, event in ended.items()} == {(1, 1): 0, (2, 1): None, (2, 2): 0}
    counts = re.search(r"(\d+) of (\d+) images done, (\d+) of them before", ended[2, 2].log.read_text())
    assert counts is not None
    done, all_of_them, before = map(int, counts.groups())
    assert done == all_of_them == len(second)
    # An image that was being written when the signal came may have been finished.
    assert killed <= before <= killed + 1
    subprocess.run(invert("pack", out), check=True, capture_output=True)
    assert out.read_bytes() == alone.read_bytes()


@pytest.mark.timeout(300)
def test_the_engine_submits_follows_and_packs(slurm: Path, tmp_path: Path, network: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        save(folder, encode(image(32, 32, seed=number)), f"{number:02}.png")
    (folder / "bad.png").write_bytes(b"not an image")
    settings = ["--network", network, "--steps", 5, "--lpips", "alex", "--batch", 1, "--threads", 1, "--device", "cpu"]
    out, alone = tmp_path / "X.h5", tmp_path / "alone.h5"
    one = subprocess.run(invert("project", folder, *settings, "--quiet", "--out", alone), capture_output=True)
    assert one.returncode == 3
    engine = ["--engine", "slurm", "--shards", 2, "--slurm", "time=5"]
    done = subprocess.run(
        invert("project", folder, *settings, "--out", out, *engine), capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines()[0] == "4 images done; 1 failed"
    assert "shard 2: completed, exit code" in done.stderr
    assert out.read_bytes() == alone.read_bytes()
    assert not (tmp_path / "X.h5.work").exists()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_calibration_and_verdicts_by_jobs(slurm: Path, tmp_path: Path, network: Path) -> None:
    """Jobs do the work: what is left for the command that submitted them is to sum up."""
    own, real = tmp_path / "net.pkl", tmp_path / "real"
    own.write_bytes(network.read_bytes())
    real.mkdir()
    for number in range(18):
        save(real, encode(image(32, 32, seed=number)), f"{number:02}.png")
    method = ["--network", own, "--steps", 1, "--lpips", "alex", "--bank", 20, "--threads", 1, "--device", "cpu"]
    calibrate = ["calibrate", "--real", real, *method, "--count", 8, "--fpr", 0.3]
    engine = ["--engine", "slurm", "--shards", 2, "--slurm", "time=5"]
    alone, shared = tmp_path / "alone.json", tmp_path / "net.calibration.json"
    subprocess.run(invert(*calibrate, "-o", alone, "--workers", 1, "-q"), check=True, capture_output=True)
    done = subprocess.run(invert(*calibrate, *engine), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "shard 2: completed, exit code 0" in done.stderr
    assert shared.read_bytes() == alone.read_bytes()

    attribute = ["attribute", real, "--network", own, "--threads", 1, "--device", "cpu"]
    expected = subprocess.run(invert(*attribute, "-q"), check=True, capture_output=True, text=True).stdout
    report, out = tmp_path / "report.html", tmp_path / "out"
    more = ["--out", out, "--report", report, *engine]
    found = subprocess.run(invert(*attribute, *more), capture_output=True, text=True, timeout=280)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[:20] == expected.splitlines()[:20]
    assert len(list(out.glob("*/answers/*.json"))) == 18
    assert report.exists()
