"""Killed, or told of a full or failing disk, at any system call that makes something durable: nothing done is lost.

strace injects the signal or the error, so each case is a certain point of a run, the same every time. A run has two
processes: the journal's, and the one that packs; both count their calls, and the journal's comes first.
"""

import collections
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from invert.store.locks import WorkFolder
from tests.batch.batch_case import check, only
from tests.batch.journal_child import FAILS, main, names_of

CHECKOUT = Path(__file__).parents[2]
PYTHON = os.path.realpath(sys.executable)
COUNT = 5

CALLS = {
    "write": "write",
    "pwrite64": "pwrite64",
    "fsync": "fsync",
    "rename": "?rename,?renameat,?renameat2",
    "unlink": "?unlink,?unlinkat",
    "mkdir": "?mkdir,?mkdirat",
    "rmdir": "?rmdir",
    "ftruncate": "ftruncate",
}

strace = pytest.mark.skipif(not shutil.which("strace"), reason="injecting faults needs strace (Debian package strace)")


def command(out: Path, count: int, *options: str) -> list[str]:
    return [PYTHON, "-m", "tests.batch.journal_child", os.fspath(out), str(count), *options]


def run(*prefix: str, out: Path, count: int = COUNT, options: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    # The interpreter behind the environment's link would not find what is installed there.
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*prefix, *command(out, count, *options)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | variables,
        timeout=240,
    )


def traced(calls: str, log: str | os.PathLike[str] = os.devnull, inject: str = "") -> list[str]:
    prefix = ["strace", "-f", "-qq", "-o", os.fspath(log), "-e", f"trace={calls}", "-e", "signal=none"]
    # With its filter in the kernel strace is quick, but injects errors only.
    prefix += [] if "signal" in inject else ["--seccomp-bpf"]
    return [*prefix, *(["-e", f"inject={calls}:{inject}"] if inject else [])]


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbs: its file, and how often each of its processes makes each call."""

    data: bytes
    journal: dict[str, int]
    packing: dict[str, int]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    out, log = folder / "latents.h5", folder / "log"
    result = run(*traced(",".join(CALLS.values()), log), out=out)
    assert (result.returncode, result.stderr) == (0, "")
    counts: dict[str, collections.Counter[str]] = {}
    for line in log.read_text().splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found:
            name = next(name for name, calls in CALLS.items() if found[2] in calls.replace("?", "").split(","))
            counts.setdefault(found[1], collections.Counter())[name] += 1
    processes = list(counts.values())
    journal = processes[0]
    # Of the process that packs, its main thread; the other one only waits.
    packing = max(processes[1:], key=lambda counter: counter.total())
    assert journal["fsync"] > 2 * COUNT
    assert packing["pwrite64"] > 20
    return Whole(out.read_bytes(), dict(journal), dict(packing))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A finished file of other settings."""
    out = tmp_path_factory.mktemp("earlier") / "latents.h5"
    assert main([str(out), "3", "--steps", "5"]) == 0
    return out.read_bytes()


def rerun_and_compare(out: Path, data: bytes, options: Sequence[str] = ()) -> None:
    """Run the same command again: it ends well, with the file of a run that nothing disturbed and nothing else."""
    assert main([str(out), str(COUNT), *options]) == 0
    assert out.read_bytes() == data
    assert only(out.parent) == ["latents.h5"]


def times_of(whole: Whole, call: str) -> int:
    return max(whole.journal.get(call, 0), whole.packing.get(call, 0))


def some_of(whole: Whole, call: str) -> list[int]:
    """Return a few numbers of a call: the first, in the middle and last of each process."""
    points = set()
    journal, packing = whole.journal.get(call, 0), whole.packing.get(call, 0)
    if journal:
        points |= {1, (journal + 1) // 2, journal}
    if packing > journal:
        points |= {journal + 1, (journal + packing) // 2, packing}
    return sorted(points)


def kill(whole: Whole, out: Path, call: str, number: int, earlier: bytes | None = None) -> None:
    """Kill a run on its way into a call, then run it again."""
    if earlier is not None:
        out.write_bytes(earlier)
    options = ["--overwrite"] * (earlier is not None)
    result = run(*traced(CALLS[call], inject=f"signal=SIGKILL:when={number}"), out=out, options=options)
    if number <= whole.journal.get(call, 0):
        assert result.returncode == -signal.SIGKILL, (call, number)
    else:
        # Only the process that packs got so far: the other one reports it.
        assert result.returncode == 6, (call, number, result.stderr)
        assert result.stderr.startswith(f"output '{out}': it could not be packed, the process was ended by SIGKILL. ")
        assert result.stderr.count("\n") == 1
    # The old file, no file or the new one; never half of one.
    found = out.read_bytes() if out.exists() else None
    assert found in (earlier, whole.data), (call, number)
    begun = WorkFolder(out).manifest.exists()
    rerun_and_compare(out, whole.data, [] if begun or found == whole.data else options)


def fail(whole: Whole, out: Path, call: str, when: str, error: str, earlier: bytes) -> None:
    """Let a call of a run fail, then run it again."""
    out.write_bytes(earlier)
    prefix = traced(CALLS[call], inject=f"error={error}:when={when}")
    result = run(*prefix, out=out, options=["--overwrite"])
    found = out.read_bytes()
    assert found in (earlier, whole.data), (call, when)
    if result.returncode == 0:
        # Whatever failed was not needed: the file is whole.
        assert found == whole.data, (call, when)
        assert call in ("unlink", "rmdir", "rename", "fsync", "mkdir")
    else:
        assert result.returncode == 6, (call, when, result.stderr)
        assert re.fullmatch(r"output '[^\n]+\n", result.stderr), result.stderr
        assert "Traceback" not in result.stderr
        assert not list(out.parent.rglob(".invert-*")) or call == "unlink"
    begun = WorkFolder(out).manifest.exists()
    rerun_and_compare(out, whole.data, [] if begun or found == whole.data else ["--overwrite"])


# A few points


@strace
@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "pwrite64", "fsync", "rename", "unlink"])
def test_killed_at_some_calls(whole: Whole, tmp_path: Path, call: str) -> None:
    for number in some_of(whole, call)[::2] if call in ("write", "fsync") else some_of(whole, call):
        folder = tmp_path / str(number)
        folder.mkdir()
        kill(whole, folder / "latents.h5", call, number)


@pytest.mark.slow
@strace
def test_killed_while_replacing_an_earlier_output(whole: Whole, tmp_path: Path, earlier: bytes) -> None:
    last = whole.journal["rename"]
    # The last one but one puts the file in its place; the last one begins to tidy up.
    for number in (last - 1, last):
        folder = tmp_path / str(number)
        folder.mkdir()
        kill(whole, folder / "latents.h5", "rename", number, earlier)


@strace
@pytest.mark.parametrize(
    ("call", "error"), [("write", "ENOSPC"), ("pwrite64", "ENOSPC"), ("fsync", "EIO"), ("rename", "EIO")]
)
def test_disk_that_fails_at_some_calls(whole: Whole, tmp_path: Path, call: str, error: str, earlier: bytes) -> None:
    journal = whole.journal.get(call, 0)
    points = {"write": [1, 3, journal], "pwrite64": [1, journal + 1, 30], "fsync": [3, journal - 2], "rename": [1]}
    for number in points[call]:
        folder = tmp_path / str(number)
        folder.mkdir()
        # What is full stays full.
        when = f"{number}+" if call == "pwrite64" else str(number)
        fail(whole, folder / "latents.h5", call, when, error, earlier)


@strace
def test_failed_sync_of_the_file_is_no_success(whole: Whole, tmp_path: Path) -> None:
    """The syncs of a run end with that of the file, its folder, and the folder that is tidied up."""
    for number in (whole.journal["fsync"] - 2, whole.journal["fsync"] - 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        out = folder / "latents.h5"
        result = run(*traced("fsync", inject=f"error=EIO:when={number}"), out=out)
        assert result.returncode == 6
        assert result.stderr.startswith(f"output '{out}': Input/output error. Check the disk, then run the same")
        # Where the file's own sync failed, it does not appear at all.
        assert out.exists() == (number == whole.journal["fsync"] - 1)
        assert WorkFolder(out).manifest.exists()
        rerun_and_compare(out, whole.data)


# All points


@strace
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", CALLS)
def test_killed_at_every_call(whole: Whole, tmp_path: Path, call: str, earlier: bytes) -> None:
    for number in range(1, times_of(whole, call) + 1):
        for before in (None, earlier) if number <= whole.journal.get(call, 0) else (None,):
            folder = tmp_path / f"{number}-{before is None}"
            folder.mkdir()
            kill(whole, folder / "latents.h5", call, number, before)


@strace
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("call", CALLS)
def test_disk_that_fails_at_every_call(whole: Whole, tmp_path: Path, call: str, error: str, earlier: bytes) -> None:
    for number in range(1, times_of(whole, call) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        fail(whole, folder / "latents.h5", call, str(number), error, earlier)


# Any time


def kill_at_random_times(folder: Path, repeats: int, seed: int) -> None:
    """Kill runs of 20 images at random times; what was finished is not done again, and the end is the same."""
    count, source = 20, random.Random(seed)
    reference = folder / "reference.h5"
    assert run(out=reference, count=count).returncode == 0
    data, finished, left = reference.read_bytes(), 0, 0
    for repeat in range(repeats):
        out = folder / str(repeat) / "latents.h5"
        out.parent.mkdir()
        child = subprocess.Popen(
            command(out, count, "--pause", "0.05", "--tell"),
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert child.stdout is not None
        # At a time by its own clock: on a busy machine it may be slow, and this process too.
        told = [child.stdout.readline() for _ in range(source.randrange(count // 2))]
        time.sleep(source.uniform(0, 0.1))
        child.kill()
        done = set("".join([*told, child.communicate()[0]]).split())
        again = run(out=out, count=count, options=["--tell"])
        assert (again.returncode, again.stderr) == (0, ""), repeat
        redone = set(again.stdout.split())
        assert not done & redone, repeat
        finished, left = finished + len(done), left + len(redone)
        assert out.read_bytes() == data, repeat
        assert only(out.parent) == ["latents.h5"], repeat
    assert check(reference) == count - count // FAILS == len(names_of(count)) - count // FAILS
    # They were killed in the midst of it, not all before or after.
    assert finished > 0
    assert left > 0


@pytest.mark.slow
def test_killed_at_random_times(tmp_path: Path) -> None:
    kill_at_random_times(tmp_path, 6, seed=0)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_killed_at_thirty_random_times(tmp_path: Path) -> None:
    kill_at_random_times(tmp_path, 30, seed=1)
