"""Who may work on an output, over every name that leads to it, and after a process that was killed."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from invert.errors import BusyError, ExitCode, OutputError, UsageError
from invert.hdf5.pack import pack
from invert.store.journal import begin_journal
from invert.store.locks import lock_output
from tests.batch.batch_case import make_entry, make_manifest, only
from tests.batch.journal_child import main
from tests.image_factory import run_unprivileged

CHILD = [sys.executable, "-m", "tests.batch.journal_child"]
CHECKOUT = Path(__file__).parents[2]


@contextmanager
def holder(out: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run another process that has the journal open, until the block ends."""
    command = [*CHILD, os.fspath(out), "3", "--hold", "60", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("file_locking", [None, "FALSE"])
def test_second_process_ends_at_once(
    out: Path, monkeypatch: pytest.MonkeyPatch, file_locking: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over every name of the output; HDF5's own locks, which clusters switch off, play no part."""
    if file_locking is not None:
        monkeypatch.setenv("HDF5_USE_FILE_LOCKING", file_locking)
    folder = out.with_name("same")
    folder.symlink_to(".")
    monkeypatch.chdir(out.parent)
    with holder(out) as child:
        for name in (
            os.fspath(out),
            out.name,
            f"same/{out.name}",
            f"./same/../{out.parent.name}/{out.name}",
        ):
            start = time.monotonic()
            assert main([name, "3"]) == ExitCode.BUSY == 7
            assert time.monotonic() - start < 30, "as long as the other one holds it"
            message = capsys.readouterr().err
            assert message.startswith(f"output '{Path(name)}': in use by process {child.pid} on ")
            assert message.count("\n") == 1
        assert main(["other.h5", "3"]) == 0
        assert not out.exists()
        # The first one is unharmed.
        assert only(out.with_name("latents.h5.work")) == ["entries", "failures", "locks", "manifest.json", "parts"]
    assert main([out.name, "3"]) == 0
    assert only(out.parent) == ["latents.h5", "other.h5", "same"]
    assert out.read_bytes() == out.with_name("other.h5").read_bytes()


def test_exit_code_of_the_second_process(out: Path) -> None:
    with holder(out):
        second = subprocess.run([*CHILD, out, "3"], capture_output=True, text=True, cwd=CHECKOUT)
    assert second.returncode == 7
    assert "in use by process" in second.stderr


def test_killed_holder_leaves_no_lock(out: Path) -> None:
    with holder(out) as child:
        child.kill()
        child.wait()
        assert main([str(out), "3"]) == 0
    assert only(out.parent) == ["latents.h5"]


def test_shards_work_side_by_side_and_each_once(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holder(out, "--shard", "1/2") as child:
        assert main([str(out), "3", "--shard", "1/2"]) == 7
        assert f"in use by process {child.pid} on " in capsys.readouterr().err
        # Alone: refused, naming a process that is at work.
        assert main([str(out), "3"]) == 7
        assert f"in use by process {child.pid} on " in capsys.readouterr().err
        # Another share works, does not pack, and leaves the first one its own.
        assert main([str(out), "3", "--shard", "2/2"]) == 0
        assert not out.exists()
        with pytest.raises(UsageError, match="--overwrite does not go with shards"), lock_output(out, (2, 2)) as lock:
            begin_journal(lock, make_manifest(), overwrite=True)
    assert main([str(out), "3", "--shard", "1/2"]) == 0
    assert only(out.parent) == ["latents.h5"]


def test_no_packing_while_a_share_is_at_work(out: Path) -> None:
    with holder(out, "--shard", "1/2"):
        with lock_output(out, (2, 2)) as lock:
            begin_journal(lock, make_manifest())
            with pytest.raises(BusyError, match="in use by"):
                pack(lock, partial=True)
        with lock_output(out, (2, 2)) as lock:
            journal = begin_journal(lock, make_manifest())
            journal.complete(0, (1, 2))
            journal.complete(0, (2, 2))
            # All shares are through, but one of them still holds it.
            with pytest.raises(BusyError, match="in use by"):
                pack(lock)
    assert not out.exists()


def test_two_threads_or_blocks_of_one_process(out: Path) -> None:
    with lock_output(out), pytest.raises(BusyError, match=f"in use by process {os.getpid()} on "), lock_output(out):
        pass
    with lock_output(out, (1, 3)), lock_output(out, (3, 3)), pytest.raises(BusyError), lock_output(out, (3, 3)):
        pass


@pytest.mark.parametrize("shard", [(0, 1), (2, 1), (1, 0), (-1, 5), (1, 100_001)])
def test_shares_that_cannot_be(out: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="is not among"), lock_output(out, shard):
        pass
    assert only(out.parent) == []


def test_nothing_is_left_where_nothing_was_begun(out: Path) -> None:
    for shard in (None, (1, 2)):
        with lock_output(out, shard) as lock:
            assert not lock.begun
            assert lock.work.path.is_dir()
        assert only(out.parent) == []


@pytest.mark.parametrize("stage", range(5))
def test_removal_that_was_cut_off_is_taken_up(out: Path, stage: int) -> None:
    with lock_output(out) as lock:
        journal = begin_journal(lock, make_manifest())
        journal.save(make_entry(journal.manifest, b"x"))
        journal.complete(1)
    work = lock.work
    for path in [work.manifest, *work.path.rglob("*.entry"), work.part((1, 1))][:stage]:
        path.rename(work.packed) if path == work.manifest else path.unlink()
    if stage == 0:
        with lock_output(out) as lock:
            assert lock.begun
        return
    with lock_output(out, (1, 2) if stage % 2 else None) as lock:
        assert not lock.begun
        assert not work.keys("entries")
    assert only(out.parent) == []


@pytest.mark.parametrize("name", ["folder", "folder/", "file/latents.h5", "n" * 252, "loop"])
def test_where_no_output_can_be(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert main([os.path.join(tmp_path, name), "3"]) == ExitCode.OUTPUT == 6
    message = capsys.readouterr().err
    assert message.startswith("output '")
    assert message.count("\n") == 1
    assert only(tmp_path) == ["file", "folder", "loop"]
    assert only(tmp_path / "folder") == []


DENIED_CHILD = """
import sys
from tests.batch.journal_child import main
print(main([sys.argv[1], "3"]))
"""


def test_folder_without_permission() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        result = run_unprivileged(DENIED_CHILD, f"{name}/latents.h5")
        assert only(Path(name)) == []
    assert result.stdout == "6\n"
    assert result.stderr.startswith("output '")
    assert "no permission to write there. Choose another output." in result.stderr


def test_work_folder_that_somebody_else_owns() -> None:
    """The entries of a run as another user can be read, but not added to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        out = Path(name, "latents.h5")
        with lock_output(out) as lock:
            begin_journal(lock, make_manifest())
        for path in lock.work.locks.iterdir():
            path.chmod(0o666)
        result = run_unprivileged(DENIED_CHILD, str(out))
        assert result.stdout == "6\n"
        assert result.stderr.count("\n") == 1
        assert lock.begun


def test_errors_leave_the_locks_free(out: Path) -> None:
    def work() -> None:
        with lock_output(out) as lock:
            begin_journal(lock, make_manifest())
            raise OutputError("for a test")

    for _ in range(3):
        with pytest.raises(OutputError, match="for a test"):
            work()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OutputError, match="for a test"):
        work()
    assert len(os.listdir("/proc/self/fd")) == before
