"""The main path without the names that Windows' Python lacks, and with its kind of locks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT

LOCKS = """
import tests.windows_like, os, sys
from generator.system import lock_file, read_at
from invert.locking import exclusive_lock, shared_lock
from invert.errors import BusyError
path = sys.argv[1]

def refused(take):
    try:
        with take(path):
            return False
    except BusyError as error:
        return str(error)

with exclusive_lock(path):
    assert f"process {os.getpid()} on " in refused(exclusive_lock)
    assert refused(shared_lock)
with shared_lock(path), shared_lock(path):
    assert refused(exclusive_lock)
assert not refused(exclusive_lock)
file = os.open(__file__ if "__file__" in globals() else path, os.O_RDONLY)
assert read_at(file, 0, 0) == b""
"""


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the locks of this test are Linux's")
def test_the_main_path(network: Path, image: Callable[..., Path], tmp_path: Path) -> None:
    images = image("a.png").parent
    image("b.png")
    small = ("--network", network, "--steps", 1, "--lpips", "alex", "--device", "cpu", "--threads", 1)
    found = tmp_path / "folder" / "a.npz"
    done = python(
        *("-m", "tests.windows_like", "info", network),
        *("THEN", "project", images, *small, "--out", tmp_path / "folder"),
        *("THEN", "project", images, *small, "--out", tmp_path / "file.h5", "--workers", 2),
        *("THEN", "verify", tmp_path / "file.h5"),
        *("THEN", "show", tmp_path / "file.h5"),
        *("THEN", "render", tmp_path / "file.h5", "--network", network, "--out", tmp_path / "rendered"),
        *("THEN", "generate", "--network", network, "--seeds", found, "--out", tmp_path / "a.png"),
        *("THEN", "convert", network, tmp_path / "network.safetensors"),
        *("THEN", "dataset", images, tmp_path / "images.zip"),
        *("THEN", "doctor"),
    )
    assert done.returncode == 0, done.stderr
    assert "bug" not in done.stderr
    for name in ("folder/b.npz", "a.png", "network.safetensors", "images.zip", "rendered/000000-a.png"):
        assert (tmp_path / name).is_file(), name


@pytest.mark.skipif(sys.platform != "linux", reason="the locks of this test are Linux's")
def test_locks_of_ranges(tmp_path: Path) -> None:
    done = python("-c", LOCKS, tmp_path / "x.lock")
    assert done.returncode == 0, done.stderr
