"""One process holds one output; folders are created durably."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from invert.durable import ensure_folder, write_atomic
from invert.errors import BusyError, ExitCode, OutputError
from invert.locking import exclusive_lock, shared_lock


def only(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def failing(error: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    return fail


# Folders


def test_folders_are_created_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    assert ensure_folder(tmp_path / "a/b") == tmp_path / "a/b"
    assert (tmp_path / "a/b").is_dir()
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    assert ensure_folder(str(tmp_path / "a/b")) == tmp_path / "a/b"
    assert len(synced) == 2


def test_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ensure_folder("a")
    ensure_folder(".")
    assert only(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["file", "file/below", "dangling"])
def test_file_in_the_place_of_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(OutputError, match="a file is in the place of a folder") as caught:
        ensure_folder(tmp_path / name)
    assert caught.value.code == "output-not-folder"


# Locks


def test_second_holder_is_told_who_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "same").symlink_to("out")
    with exclusive_lock(tmp_path / "out/lock"):
        for name in (tmp_path / "out/lock", "out/lock", "same/lock", "./out/../same/lock"):
            with pytest.raises(BusyError, match=rf"in use by process {os.getpid()} on \S+\. Wait") as caught:
                exclusive_lock(name).__enter__()
            assert caught.value.exit_code == ExitCode.BUSY == 7
        with pytest.raises(BusyError, match=r"^output 'results\.h5': "):
            exclusive_lock("out/lock", output="results.h5").__enter__()
        with exclusive_lock("other"):
            pass
    with exclusive_lock("same/lock"):
        pass


def test_lock_is_released_by_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with exclusive_lock(tmp_path / "lock"):
            raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            work()


HOLDING_CHILD = """
import sys, time
from invert.locking import exclusive_lock
with exclusive_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_of_another_process_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    child = subprocess.Popen([sys.executable, "-c", HOLDING_CHILD, path], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"in use by process {child.pid} on "):
            exclusive_lock(path).__enter__()
    finally:
        child.kill()
        child.communicate()
    # No cleaning up: the kernel released it, the stale file means nothing.
    with exclusive_lock(path):
        pass


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"12", b"x y", b"9" * 5000])
def test_lock_file_with_strange_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    with exclusive_lock(path):
        path.write_bytes(content)
        with pytest.raises(BusyError, match="in use by another process"):
            exclusive_lock(path).__enter__()


@pytest.mark.parametrize("lock", [exclusive_lock, shared_lock])
def test_what_is_no_lock_is_refused_and_stays(tmp_path: Path, lock: Any) -> None:
    """A link, a second name, a pipe, or a file of somebody else's under the name of a lock: none is written to."""
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("PRECIOUS")
    (tmp_path / "link.lock").symlink_to("thesis.txt")
    (tmp_path / "nowhere.lock").symlink_to("nowhere")
    os.link(thesis, tmp_path / "second.lock")
    os.mkfifo(tmp_path / "pipe.lock")
    (tmp_path / "own.lock").write_text("[[package]]\n")
    for name, says in (("link", "is a link to"), ("nowhere", "is a link to")):
        with pytest.raises(OutputError, match=says):
            lock(tmp_path / f"{name}.lock").__enter__()
    for name in ("second", "pipe", "own"):
        with pytest.raises(OutputError, match=rf"{name}.lock': it is not a lock of this program"):
            lock(tmp_path / f"{name}.lock").__enter__()
    assert thesis.read_text() == "PRECIOUS"
    assert (tmp_path / "own.lock").read_text() == "[[package]]\n"
    assert not (tmp_path / "nowhere").exists()


def test_lock_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="its folder does not exist"):
        exclusive_lock(tmp_path / "missing/lock").__enter__()
    monkeypatch.setattr("fcntl.flock", failing(errno.ENOLCK))
    with pytest.raises(OutputError, match="No locks available"):
        exclusive_lock(tmp_path / "lock").__enter__()


def test_no_descriptor_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        write_atomic(tmp_path / "x", b"data")
        with exclusive_lock(tmp_path / "lock"), pytest.raises(BusyError):
            exclusive_lock(tmp_path / "lock").__enter__()
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    for _ in range(5):
        with pytest.raises(OutputError):
            write_atomic(tmp_path / "x", b"data")
    assert len(os.listdir("/proc/self/fd")) == before
