"""Processes that build native kernels at once: one builds, the others wait, and a killed one is in nobody's way."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from generator.ops.native.build import kernels_hash
from tests.ops.build_case import Tiny, go, leftovers, needs_compiler, wait_for


@needs_compiler
def test_stale_lock_file_does_not_matter(tiny: Tiny) -> None:
    path = tiny.ensure().cpu.path
    assert path is not None
    shutil.rmtree(path.parent)
    (lock,) = tiny.cache.glob("*.lock")
    os.utime(lock, (0, 0))
    assert tiny.ensure().cpu.loaded


@needs_compiler
def test_held_lock_is_waited_for_only_so_long(tiny: Tiny) -> None:
    path = tiny.ensure().cpu.path
    assert path is not None
    shutil.rmtree(path.parent)
    (lock,) = tiny.cache.glob("*.lock")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = tiny.ensure(timeout=0.2)
        assert result.cpu.code == "locked"
        assert kernels_hash() == "portable"
        assert "waiting" in tiny.told[0]
        assert f"'{lock}'" in tiny.told[1]
        assert tiny.calls == 2
    # Nothing is remembered of it.
    assert tiny.ensure().cpu.loaded


@needs_compiler
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_build(tiny: Tiny, children: list[subprocess.Popen[str]], number: signal.Signals) -> None:
    stuck = tiny.flag("stuck")
    child = tiny.child()
    children.append(child)
    go([child])
    wait_for(tiny.folder / "started")
    os.kill(child.pid, number)
    assert child.wait(120) != 0
    # An interrupt takes the compiler along and cleans up; a kill leaves both to the next build.
    killed = number == signal.SIGKILL
    assert len(leftovers(tiny.cache)) == killed
    if not killed:
        wait_for(Path("/proc", (tiny.folder / "started").read_text().strip()), gone=True)
    stuck.unlink()
    assert tiny.ensure(timeout=120).cpu.loaded
    assert leftovers(tiny.cache) == []


@needs_compiler
def test_two_processes_build_once(tiny: Tiny, children: list[subprocess.Popen[str]]) -> None:
    tiny.flag("slow")
    children += [tiny.child(), tiny.child()]
    go(children)
    outputs = [child.communicate(timeout=240)[0] for child in children]
    results = {re.findall(r"result: (.*)", output)[0] for output in outputs}
    assert len(results) == 1
    assert results.pop().startswith("loaded native-")
    assert tiny.calls == 2
    assert sorted("waiting" in output for output in outputs) == [False, True]


@needs_compiler
def test_two_processes_fail_once(tiny: Tiny, children: list[subprocess.Popen[str]]) -> None:
    tiny.flag("slow")
    tiny.source.write_text("this is not C++\n")
    children += [tiny.child(), tiny.child()]
    go(children)
    outputs = [child.communicate(timeout=240)[0] for child in children]
    assert ["result: build-failed portable" in output for output in outputs] == [True, True]
    assert tiny.calls == 1
    assert "".join(outputs).count("tries anew") == 1
