"""`invert project` into one HDF5 file: runs that were killed or stopped, and large ones."""

import contextlib
import io
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import self_signal
from tests.cli.batch_case import KEEP, QUICK, entries, leftovers, start, write_images
from tests.cli.batch_case import images as images  # a fixture
from tests.cli.batch_case import out as out  # a fixture
from tests.cli.batch_case import project as project  # a fixture
from tests.cli.conftest import Invert, Result


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Callable[..., Path]:
    """Return the file of six images that a run with these settings makes when nothing disturbs it."""
    from invert.cli.main import main

    made: dict[tuple[object, ...], Path] = {}

    def build(*settings: object) -> Path:
        if settings not in made:
            folder = tmp_path_factory.mktemp("whole")
            out = folder / "latents.h5"
            arguments = (*QUICK, "--network", network, "--out", out, "--quiet", write_images(folder / "images", 6))
            threads = torch.get_num_threads()
            with contextlib.redirect_stdout(io.StringIO()):
                assert main(["project", *map(str, (*arguments, *settings))]) == 0
            torch.set_num_threads(threads)
            made[settings] = out
        return made[settings]

    return build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "number", "code"),
    [
        (1, signal.SIGINT, 130),
        (2, signal.SIGTERM, 143),
        pytest.param(1, signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(2, signal.SIGINT, 130, marks=pytest.mark.long),
    ],
)
def test_interrupted_and_resumed(
    project: Invert,
    network: Path,
    images: Path,
    out: Path,
    whole: Callable[..., Path],
    number: signal.Signals,
    code: int,
    workers: int,
) -> None:
    slow = (*QUICK, "--steps", 20, "--batch", 1, "--network", network, "--json")
    command = ("project", *slow, "--out", out, "--workers", workers, images)
    process = self_signal.start(number, "stdout", "projected", 1, *command, seconds=0.03)
    found, messages = process.communicate(timeout=240)
    assert process.returncode == code, messages
    assert "Traceback" not in messages
    first, *_, summary = map(json.loads, found.splitlines())
    assert (first["code"], summary["code"]) == ("projected", "interrupted")
    assert 1 <= len(entries(out)) < 6
    assert not out.exists()
    result = project("--steps", 20, "--batch", 1, "--json", images)
    assert result.code == 0
    assert result.records()[-1]["reused"] >= summary["projected"]
    assert out.read_bytes() == whole("--steps", 20, "--batch", 1).read_bytes()


@pytest.mark.slow
def test_a_worker_that_is_killed(network: Path, out: Path, tmp_path: Path) -> None:
    import psutil

    many = write_images(tmp_path / "many", 16)
    slow = (*QUICK, "--steps", 80, "--batch", 1, "--network", network, "--json")
    process = start(*slow, "--out", out, "--workers", 2, many)
    assert process.stdout is not None
    process.stdout.readline()
    children = [one for one in psutil.Process(process.pid).children() if one.status() != psutil.STATUS_ZOMBIE]
    workers = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    _, messages = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "a worker process stopped early: SIGKILL (9) ended it" in messages
    assert len(entries(out)) >= 1


@pytest.fixture
def uninterrupted(whole: Callable[..., Path]) -> Path:
    return whole(*KEEP)


@pytest.mark.slow
@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.long), 3, 5])
@pytest.mark.timeout(300)
def test_killed_and_resumed(
    project: Invert, network: Path, images: Path, out: Path, uninterrupted: Path, after: int
) -> None:
    """Killed at the first sign that so many images are done; what was done then is not done again."""
    arguments = (*QUICK, *KEEP, "--network", network, "--out", out, images, "--json")
    process = start(*arguments)
    assert process.stdout is not None
    for _ in range(after):
        process.stdout.readline()
    process.kill()
    process.communicate(timeout=240)
    kept = {path.name: path.stat().st_mtime_ns for path in entries(out)}
    result: Result = project(images, *KEEP, "--json")
    assert result.code == 0
    assert result.records()[-1].get("reused", 6) >= after
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert leftovers(out) == []
    assert len(kept) >= after or after > 4  # all were done: the file may have been packed already


@pytest.mark.long
@pytest.mark.timeout(600)
def test_killed_at_any_time(network: Path, images: Path, out: Path, uninterrupted: Path) -> None:
    """30 runs, killed at random times again and again until one ends."""
    rng = np.random.RandomState(0)
    arguments = (*QUICK, *KEEP, "--network", network, "--out", out, images, "-q")
    for _ in range(30):
        process = start(*arguments)
        try:
            process.wait(1.5 + 2 * rng.rand())
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        if out.exists():
            assert out.read_bytes() == uninterrupted.read_bytes()
            out.unlink()
    last = start(*arguments)
    last.communicate(timeout=240)
    assert last.returncode == 0
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert leftovers(out) == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_memory_is_flat_over_2000_images(network: Path, tmp_path: Path) -> None:
    import psutil

    write_images(tmp_path / "images", 2000)
    arguments = ("--steps", 1, "--lpips", "alex", "--threads", 1, "--batch", 8, "--network", network)
    process = start(*arguments, "--out", tmp_path / "a.h5", tmp_path / "images", "--json")
    watched = psutil.Process(process.pid)
    assert process.stdout is not None
    counts, memory, files = [], [], []
    for number, line in enumerate(process.stdout):
        if json.loads(line)["type"] == "image" and number > 200 and number % 20 == 0:
            counts.append(number)
            memory.append(watched.memory_info().rss)
            files.append(watched.num_fds())
    process.communicate(timeout=240)
    assert process.returncode == 0
    slope = float(np.polyfit(counts, memory, 1)[0])
    assert slope < 5000, f"{slope:.0f} bytes per image"
    assert max(files) - min(files) <= 2


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_folder_of_100_000_names(network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    sources = list(write_images(tmp_path / "few", 10).rglob("*.png"))
    for index in range(100_000):
        (folder / f"{index:06d}.png").hardlink_to(sources[index % 10])  # a file has 65 000 links at most
    shard: Any = ("--shard", "7/50000")
    process = start(*QUICK, *shard, "--network", network, "--out", tmp_path / "a.h5", folder, "--json")
    rest, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages
    assert 1 <= json.loads(rest.splitlines()[-1])["projected"] <= 8
