"""The journal: what is finished stays finished, what is damaged is done again, and all of it is packed."""

import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from invert.errors import ExitCode, NoInputError, OutputError, UsageError
from invert.hdf5.pack import pack
from invert.store.journal import Counts, begin_journal, open_journal
from invert.store.locks import WorkFolder, lock_output
from invert.store.names import in_shard, name_key
from tests.batch.batch_case import (
    ENTRY,
    FAILURES,
    MANIFEST,
    check,
    fill,
    is_finished,
    make_entries,
    make_entry,
    make_manifest,
    only,
    write_batch,
)
from tests.batch.journal_child import main, names_of

# Images


def test_what_is_saved_is_finished_for_the_same_file_only(out: Path) -> None:
    with open_journal(out, MANIFEST) as journal:
        assert not is_finished(journal)
        journal.save(ENTRY)
    with open_journal(out, MANIFEST) as journal:
        found = journal.finished(ENTRY.name, ENTRY.file_sha256)
        assert found is not None
        assert (found.name, found.distance, found.status) == (ENTRY.name, ENTRY.distance, "ok")
        assert not is_finished(journal, name=b"x.png")
        assert not is_finished(journal, file_sha256="0" * 64)
        assert journal.counts() == Counts(1, 0)


def test_failed_images_are_tried_again_and_replaced(out: Path) -> None:
    with open_journal(out, MANIFEST) as journal:
        journal.fail(ENTRY.name, "image-truncated", "is cut off")
        assert journal.counts() == Counts(0, 1)
        assert not is_finished(journal)
        journal.save(ENTRY)
        assert journal.counts() == Counts(1, 0)
        assert only(out.parent / "latents.h5.work/failures") == []
        journal.fail(ENTRY.name, "image-truncated", "is cut off")
        assert journal.counts() == Counts(0, 1)
        assert not is_finished(journal)


def test_where_both_are_there_the_result_counts(out: Path) -> None:
    """So a save that was killed before the failure was removed is complete."""
    with open_journal(out, MANIFEST) as journal:
        journal.fail(ENTRY.name, "image-truncated", "is cut off")
        failure = WorkFolder(out).failure(name_key(ENTRY.name))
        content = failure.read_bytes()
        journal.save(ENTRY)
        failure.write_bytes(content)
        assert journal.counts() == Counts(1, 0)
        journal.complete(1)
    with lock_output(out) as lock:
        found = pack(lock)
    assert (found.rows, found.failures) == (1, 0)


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"new\nline", b"a\\b", b"/abs/x.png", b"..", b"n" * 4000, b"\xff" * 300]
)
def test_names_of_all_kinds_come_back_from_the_file(out: Path, name: bytes) -> None:
    from invert.hdf5.reading import Latents

    failed = name + b"!"
    with lock_output(out) as lock:
        journal = begin_journal(lock, MANIFEST)
        journal.save(make_entry(MANIFEST, name))
        journal.fail(failed, "image-format", "reason\nof two lines")
        journal.complete(2)
        pack(lock)
    assert only(out.parent) == ["latents.h5"]
    assert check(out) == 1
    with Latents(out) as latents:
        assert latents.names == [name]
        assert latents[0].name == name
        [(_, failure)] = latents.failures
        assert (failure.name, failure.reason) == (failed, "reason\\nof two lines")


def test_failures_of_images_that_are_gone_are_dropped_and_results_are_not(out: Path) -> None:
    with open_journal(out, MANIFEST) as journal:
        journal.save(ENTRY)
        for name in (b"gone", b"there"):
            journal.fail(name, "image-truncated", "is cut off")
        journal.drop_failures([b"there"])
        assert journal.counts() == Counts(1, 1)
        assert journal.gone([b"there"]) == 1
        assert journal.gone([ENTRY.name]) == 0
        assert is_finished(journal)


def test_a_share_drops_its_own_failures_only(out: Path) -> None:
    names = [b"%d.png" % number for number in range(20)]
    with open_journal(out, MANIFEST) as journal:
        for name in names:
            journal.fail(name, "image-truncated", "is cut off")
        journal.drop_failures([], shard=(1, 2))
        assert journal.counts() == Counts(0, sum(in_shard(name, (2, 2)) for name in names))


def test_full_disk_while_saving(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_journal(out, MANIFEST) as journal:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(OutputError, match="no space left") as caught:
            journal.save(ENTRY)
        monkeypatch.undo()
        assert caught.value.exit_code == ExitCode.OUTPUT
        assert not is_finished(journal)
        assert only(out.parent / "latents.h5.work/entries") == []


# Damage


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "renamed", "folder"])
def test_damaged_entries_are_done_again(out: Path, damage: str) -> None:
    entries = make_entries(MANIFEST)
    with open_journal(out, MANIFEST) as journal:
        fill(journal, entries, FAILURES)
    work = WorkFolder(out)
    path, other = (work.entry(name_key(entry.name)) for entry in entries[:2])
    data = path.read_bytes()
    if damage == "renamed":
        path.write_bytes(other.read_bytes())
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"torn": data[:-100], "empty": b"", "flipped": data[:200] + b"\xa5" + data[201:]}[damage])
    with lock_output(out) as lock:
        if damage != "folder":
            with pytest.raises(NoInputError, match=f"damaged, '{path.name}' for one. Run the same") as caught:
                pack(lock)
            assert caught.value.code == "entry-damaged"
        warnings: list[str] = []
        journal = begin_journal(lock, MANIFEST, on_warning=warnings.append)
        redone = [entry for entry in entries if not journal.finished(entry.name, entry.file_sha256)]
        assert redone == entries[:1]
        if damage != "renamed":
            [warning] = warnings
            assert path.name in warning
            assert warning.endswith("the image is done again")
        if damage == "folder":
            path.rmdir()
        fill(journal, redone, FAILURES)
        pack(lock)
    write_batch(out.with_name("whole.h5"), MANIFEST, entries)
    assert out.read_bytes() == out.with_name("whole.h5").read_bytes()


def test_entries_of_another_batch_are_done_again(out: Path, tmp_path: Path) -> None:
    """Somebody copied the entries of a run with other settings into this one's folder."""
    other = make_manifest(steps=5)
    with open_journal(tmp_path / "other.h5", other) as journal:
        journal.save(make_entry(other, ENTRY.name))
    key = name_key(ENTRY.name)
    with open_journal(out, MANIFEST) as journal:
        foreign = WorkFolder(tmp_path / "other.h5").entry(key)
        WorkFolder(out).entry(key).write_bytes(foreign.read_bytes())
        assert not is_finished(journal)


def test_intact_part_of_a_damaged_journal_can_be_packed(out: Path) -> None:
    entries = make_entries(MANIFEST)
    with lock_output(out) as lock:
        journal = begin_journal(lock, MANIFEST)
        fill(journal, entries, FAILURES)
        path = WorkFolder(out).entry(name_key(entries[2].name))
        path.write_bytes(b"")
        failure = WorkFolder(out).failure(name_key(FAILURES[0].name))
        failure.write_bytes(failure.read_bytes()[:-20])
        found = pack(lock, partial=True)
    assert (found.rows, found.failures) == (len(entries) - 1, 1)
    assert sorted(found.damaged) == sorted([path.name, failure.name])
    assert found.work_left == WorkFolder(out).path
    assert check(out) == len(entries) - 1


# The end


def test_no_clock_decides_anything(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs backwards from 1970 in one of two runs."""
    assert main([str(out), "4"]) == 0
    clock = iter(range(10**6, -(10**6), -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 10**9)
    other = out.with_name("other.h5")
    with open_journal(other, MANIFEST) as journal:
        journal.save(make_entry(MANIFEST, names_of(1)[0]))
    for path in other.with_name("other.h5.work").rglob("*"):
        os.utime(path, (0, 0))
    assert main([str(other), "4"]) == 0
    assert other.read_bytes() == out.read_bytes()


def test_unfinished_run_is_not_packed(out: Path) -> None:
    with lock_output(out) as lock:
        with pytest.raises(NoInputError, match="nothing to pack"):
            pack(lock)
        journal = begin_journal(lock, MANIFEST)
        journal.save(ENTRY)
        with pytest.raises(UsageError, match=r"no run has been through all images\. Run the same 'invert project'"):
            pack(lock)
        assert pack(lock, partial=True).rows == 1
        assert is_finished(journal)
        journal.complete(1)
        assert pack(lock).work_left is None
    assert only(out.parent) == ["latents.h5"]


def test_run_taken_up_again_is_unfinished_until_it_says_so(out: Path) -> None:
    """It may have been given more images since it came to its end the first time."""
    with lock_output(out) as lock:
        begin_journal(lock, MANIFEST).complete(0)
    with lock_output(out) as lock:
        begin_journal(lock, MANIFEST).save(ENTRY)
    with lock_output(out) as lock, pytest.raises(UsageError, match="is not finished"):
        pack(lock)


def test_missing_shards_are_named(out: Path) -> None:
    entries = make_entries(MANIFEST, 12)
    for index in (3, 1):
        with lock_output(out, (index, 4)) as lock:
            journal = begin_journal(lock, MANIFEST)
            mine = [entry for entry in entries if in_shard(entry.name, (index, 4))]
            for entry in mine:
                journal.save(entry)
            journal.complete(len(mine), lock.shard)
            assert lock.work.missing_parts()
    with lock_output(out) as lock, pytest.raises(UsageError, match=r"of its 4 shards these are missing: 2, 4\. Run"):
        pack(lock)
    assert WorkFolder(out).missing_parts() == {(2, 4), (4, 4)}


def test_shards_give_the_file_of_one_run(out: Path) -> None:
    assert main([str(out), "10"]) == 0
    sharded = out.with_name("sharded.h5")
    for shard in ("2/3", "3/3", "1/3"):
        assert not sharded.exists()
        assert main([str(sharded), "10", "--shard", shard]) == 0
    assert sharded.read_bytes() == out.read_bytes()
    assert only(out.parent) == ["latents.h5", "sharded.h5"]
    assert main([str(sharded), "10", "--shard", "2/3"]) == 0
    assert only(out.parent) == ["latents.h5", "sharded.h5"]


def test_last_share_packs_over_what_a_killed_one_left_half_packed(out: Path) -> None:
    with lock_output(out, (1, 1)) as lock:
        fill(begin_journal(lock, MANIFEST), [ENTRY])
        lock.work.packing.write_bytes(b"half")
        pack(lock)
    assert only(out.parent) == ["latents.h5"]


def test_entry_of_the_same_name_replaces_the_first(out: Path) -> None:
    newer = replace(ENTRY, distance=0.5, file_sha256="1" * 64)
    with open_journal(out, MANIFEST) as journal:
        journal.save(ENTRY)
        journal.save(newer)
        assert not is_finished(journal)
        assert is_finished(journal, file_sha256="1" * 64)
        assert journal.counts() == Counts(1, 0)
