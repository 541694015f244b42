"""Outputs are whole or untouched, errors say what to do, and one process holds one output."""

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from invert.durable import TEMPORARY_PREFIX, append, atomic_file, write_atomic
from invert.errors import ExitCode, OutputError
from tests.image_factory import run_unprivileged


def only(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def failing(error: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    return fail


def test_new_file_and_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_atomic(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomic(path, b"")
    assert path.read_bytes() == b""
    with atomic_file(str(path)) as file:
        file.write(b"a" * 100_000)
        file.seek(0)
        file.write(b"b")
        assert path.read_bytes() == b""
    assert path.read_bytes() == b"b" + b"a" * 99_999
    assert only(tmp_path) == ["out.json"]


def test_order_of_what_makes_it_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content before the name, the name before the folder: any other order can lose both old and new."""
    events: list[tuple[str, str, str]] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        # What is synced must hold the data already: nothing may linger in a buffer of Python's.
        events.append(("fsync", target.name, "" if target.is_dir() else target.read_text()))
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        events.append(("replace", Path(source).name, Path(target).name))
        assert Path(source).parent == tmp_path
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "x", b"data")
    temporary = events[0][1]
    assert re.fullmatch(re.escape(TEMPORARY_PREFIX) + r"[0-9a-f]{16}\.tmp", temporary)
    assert events == [("fsync", temporary, "data"), ("replace", temporary, "x"), ("fsync", tmp_path.name, "")]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_interrupted_block_leaves_the_old_file_and_nothing_else(tmp_path: Path, kind: type[BaseException]) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def work() -> None:
        with atomic_file(path) as file:
            file.write(b"half of it")
            raise kind

    with pytest.raises(kind):
        work()
    assert path.read_bytes() == b"old"
    assert only(tmp_path) == ["x"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (errno.ENOSPC, "output-no-space", r"no space left, 4 bytes needed, \d+ bytes free\. Free some space"),
        (errno.EDQUOT, "output-no-space", "no space left, 4 bytes needed"),
        (errno.EROFS, "output-read-only", "the file system is read-only"),
        (errno.EACCES, "output-permission", "no permission to write there"),
        (errno.EIO, "output-io", "Input/output error. Check the disk"),
    ],
)
def test_failed_step_is_reported_and_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: int, code: str, says: str
) -> None:
    path = tmp_path / "x"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, step, failing(error))
    with pytest.raises(OutputError, match=says) as caught:
        write_atomic(path, b"new!")
    monkeypatch.undo()
    assert caught.value.code == code
    assert caught.value.exit_code == ExitCode.OUTPUT == 6
    assert str(caught.value).startswith(f"output '{path}': ")
    assert path.read_bytes() == b"old"
    assert only(tmp_path) == ["x"]


def test_failed_sync_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync the kernel may have dropped the data; a second one would report success."""
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError):
        write_atomic(tmp_path / "x", b"data")
    assert len(calls) == 1
    assert only(tmp_path) == []


@pytest.mark.parametrize(("error", "fails"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_folder_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, fails: bool) -> None:
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, os.strerror(error))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if fails:
        with pytest.raises(OutputError):
            write_atomic(tmp_path / "x", b"data")
    else:
        write_atomic(tmp_path / "x", b"data")
    assert (tmp_path / "x").read_bytes() == b"data"
    assert only(tmp_path) == ["x"]


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    def work() -> None:
        with atomic_file(tmp_path / "x"):
            (tmp_path / "missing").read_bytes()

    with pytest.raises(FileNotFoundError):
        work()
    assert only(tmp_path) == []


def test_what_cannot_be_an_output(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    cases = {
        "folder": "output-is-folder",
        "pipe": "output-not-regular",
        "/dev/full": "output-not-regular",
        "/dev/null": "output-not-regular",
        "missing/x": "output-no-folder",
        "file/x": "output-not-folder",
        "n" * 300: "output-name",
        "loop": "output-is-link",
    }
    for name, code in cases.items():
        with pytest.raises(OutputError) as caught:
            write_atomic(tmp_path / name, b"data")
        assert caught.value.code == code, name
        assert "\n" not in str(caught.value)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert only(tmp_path) == ["file", "folder", "loop", "pipe"]


def test_a_link_in_the_place_of_an_output_is_refused_and_named(tmp_path: Path) -> None:
    """Somebody else may have put it there; what it leads to stays as it was."""
    (tmp_path / "thesis.txt").write_bytes(b"PRECIOUS")
    for target in ("thesis.txt", "nowhere"):
        link = tmp_path / "out"
        link.symlink_to(target)
        for write in (lambda path: write_atomic(path, b"new"), lambda path: append(path, b"new", 0)):
            with pytest.raises(OutputError, match=rf"out': it is a link to '{target}', which") as caught:
                write(link)
            assert caught.value.code == "output-is-link"
        link.unlink()
    assert (tmp_path / "thesis.txt").read_bytes() == b"PRECIOUS"
    assert only(tmp_path) == ["thesis.txt"]


def test_a_folder_that_is_a_link_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").symlink_to("disk")
    write_atomic(tmp_path / "here/out", b"new")
    assert (tmp_path / "disk/out").read_bytes() == b"new"


@pytest.mark.parametrize("name", [b"caf\xe9", b"new\nline", b"-x", "😀".encode(), b"n" * 255])
def test_names_of_all_kinds(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    write_atomic(path, b"data")
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    assert path.read_bytes() == b"data"


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic("x", b"data")
    assert (tmp_path / "x").read_bytes() == b"data"


def test_many_writers_end_with_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    contents = [bytes([value]) * 50_000 for value in range(8)]
    threads = [
        threading.Thread(target=lambda data=data: [write_atomic(path, data) for _ in range(5)]) for data in contents
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_bytes() in contents
    assert path.read_bytes() in contents
    assert only(tmp_path) == ["x"]


KILLED_CHILD = """
import os, signal, sys
from invert.durable import write_atomic
countdown = int(sys.argv[2])

def guarded(real):
    def call(*arguments):
        global countdown
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call

os.fsync, os.replace, os.open = guarded(os.fsync), guarded(os.replace), guarded(os.open)
write_atomic(sys.argv[1], b"new" * 100000)
"""


def test_killed_at_every_step(tmp_path: Path) -> None:
    old, new = b"old" * 100_000, b"new" * 100_000
    outcomes = []
    for step in range(1, 7):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = folder / "x"
        path.write_bytes(old)
        child = subprocess.run([sys.executable, "-c", KILLED_CHILD, path, str(step)])
        assert child.returncode == (-signal.SIGKILL if step < 6 else 0)
        outcomes.append(path.read_bytes())
        leftovers = [name for name in only(folder) if name != "x"]
        assert all(name.startswith(TEMPORARY_PREFIX) for name in leftovers)
        # The next run is not in its way.
        write_atomic(path, b"again")
        assert path.read_bytes() == b"again"
    # Killed before opening, syncing and renaming: the old file; before opening and syncing the folder: the new one.
    assert outcomes == [old, old, old, new, new, new]


FULL_CHILD = """
import os, resource, signal, sys
from invert.durable import write_atomic
from invert.errors import OutputError
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomic(sys.argv[1], b"x" * 1_000_000)
except OutputError as error:
    print(error.code, int(error.exit_code), str(error).split("': ")[1])
"""


def test_file_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    result = subprocess.run(
        [sys.executable, "-c", FULL_CHILD, path, "limit"], capture_output=True, text=True, check=True
    )
    assert re.match(r"output-no-space 6 no space left, 1000000 bytes needed, \d+ bytes free\. Free", result.stdout)
    assert path.read_bytes() == b"old"
    assert only(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("size=256k", "output-no-space 6 no space left, 1000000 bytes needed, "),
        ("ro", "output-read-only 6 the file system is read-only. Choose another output."),
    ],
)
def test_full_and_read_only_disks(tmp_path: Path, options: str, says: str) -> None:
    """A real file system of 256 kB, and a read-only one, each mounted for this child alone."""
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"', options]
    try:
        subprocess.run([*mount, tmp_path, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a file system needs root and unshare")
    child = [sys.executable, "-c", FULL_CHILD, tmp_path / "x", "disk"]
    result = subprocess.run([*mount, tmp_path, *child], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(says)


DENIED_CHILD = """
import sys
from invert.durable import ensure_folder, write_atomic
from invert.locking import exclusive_lock
from invert.errors import OutputError
for action in (
    lambda: write_atomic(sys.argv[1] + "/x", b"data"),
    lambda: ensure_folder(sys.argv[1] + "/sub"),
    lambda: exclusive_lock(sys.argv[1] + "/lock").__enter__(),
):
    try:
        action()
    except OutputError as error:
        print(error.code, str(error).split("': ")[1])
"""


def test_folder_without_permission() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        result = run_unprivileged(DENIED_CHILD, name)
        assert only(Path(name)) == []
    assert result.stdout == "output-permission no permission to write there. Choose another output.\n" * 3


def test_append_cuts_off_what_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_bytes(b"one\ntw")
    append(path, b"two\n", 4)
    assert path.read_bytes() == b"one\ntwo\n"
    for gone, size in ((tmp_path / "gone", 0), (path, 99)):
        with pytest.raises(OutputError, match="it was removed or cut off by something else"):
            append(gone, b"two\n", size)
    assert path.read_bytes() == b"one\ntwo\n"
    with pytest.raises(OutputError, match="it is a folder"):
        append(tmp_path, b"two\n", 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="it is a device, pipe or socket"):
        append(tmp_path / "pipe", b"two\n", 0)


def test_append_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index"
    path.write_bytes(b"one\n")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"no space left, 4 bytes needed"):
        append(path, b"two\n", 4)
    assert path.read_bytes() == b"one\n"
