"""The folder of a batch that was begun: its settings do not mix, and files of others stay."""

import json
from pathlib import Path

import pytest

from invert.batch.resume import finished_output
from invert.errors import ExitCode, NoInputError, OutputError, UsageError
from invert.hdf5.pack import pack
from invert.store.journal import Counts, begin_journal, join_journal, open_journal
from invert.store.locks import WorkFolder, lock_output, read_manifest
from tests.batch.batch_case import (
    ENTRY,
    FAILURES,
    MANIFEST,
    check,
    fill,
    is_finished,
    make_manifest,
    only,
    write_batch,
)


def test_other_settings_are_refused_naming_the_keys(out: Path) -> None:
    with open_journal(out, MANIFEST) as journal:
        journal.save(ENTRY)
    changed = make_manifest(steps=4, noise="none", run={"threads": 2})
    with pytest.raises(UsageError) as caught, open_journal(out, changed):
        pass
    assert caught.value.exit_code == ExitCode.USAGE == 2
    assert caught.value.code == "settings-differ"
    assert str(caught.value).startswith(
        f"output '{out}': was begun with other settings "
        "(steps: 3, now 4; threads: 1, now 2; stored noise: float32, now none). Use the same settings,"
    )
    with open_journal(out, MANIFEST) as journal:
        assert is_finished(journal)
    with open_journal(out, changed, overwrite=True) as journal:
        assert journal.counts() == Counts(0, 0)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (json.dumps({"format": "invert batch", "version": 99}), "work-version", "is in version 99 of its format"),
        (MANIFEST.to_bytes()[:-40].decode(), "work-damaged", "is damaged"),
        ("", "work-damaged", "is damaged"),
        ("{" * 100_000, "work-damaged", "is damaged"),
    ],
)
def test_work_folder_of_another_version_or_damaged(out: Path, content: str, code: str, says: str) -> None:
    with open_journal(out, MANIFEST):
        pass
    work = WorkFolder(out)
    work.manifest.write_text(content)
    with pytest.raises(UsageError, match=says) as caught, open_journal(out, MANIFEST):
        pass
    assert caught.value.code == code
    assert "--overwrite" in caught.value.advice
    with open_journal(out, MANIFEST, overwrite=True):
        assert read_manifest(work) == MANIFEST


def test_output_that_exists_is_not_begun_over(out: Path) -> None:
    write_batch(out, MANIFEST, [ENTRY])
    data = out.read_bytes()
    found = finished_output(out)
    assert found is not None
    assert (found.manifest, found.images, found.failures) == (MANIFEST, 1, len(FAILURES))
    with pytest.raises(UsageError, match="exists already") as caught, open_journal(out, MANIFEST):
        pass
    assert caught.value.code == "output-exists"
    assert only(out.parent) == ["latents.h5"]
    with open_journal(out, MANIFEST, overwrite=True) as journal:
        journal.complete(0)
        assert out.read_bytes() == data
    with lock_output(out) as lock:
        pack(lock)
    assert check(out) == 0


@pytest.mark.parametrize("content", [b"", b"notes", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_somebody_elses_file_is_refused(out: Path, content: bytes) -> None:
    out.write_bytes(content)
    with pytest.raises(UsageError, match="exists already, but") as caught:
        finished_output(out)
    assert caught.value.code == "output-foreign"
    assert out.read_bytes() == content


def test_nothing_there(out: Path) -> None:
    assert finished_output(out) is None
    with pytest.raises(NoInputError, match="nothing was begun"):
        join_journal(out)


def test_process_that_was_started_joins(out: Path) -> None:
    with open_journal(out, MANIFEST) as journal:
        joined = join_journal(out)
        assert joined.manifest == MANIFEST
        joined.save(ENTRY)
        assert is_finished(journal)


def test_files_of_others_stay_and_so_does_their_folder(out: Path) -> None:
    with lock_output(out) as lock:
        journal = begin_journal(lock, MANIFEST)
        notes = WorkFolder(out).path / "entries/notes.txt"
        notes.write_text("mine")
        fill(journal, [ENTRY])
        found = pack(lock)
    assert found.work_left == WorkFolder(out).path
    assert notes.read_text() == "mine"
    assert check(out) == 1
    # The next run is not in its way.
    with open_journal(out, MANIFEST, overwrite=True) as journal:
        assert journal.counts() == Counts(0, 0)


def test_half_written_files_of_a_killed_run_are_swept(out: Path) -> None:
    with open_journal(out, MANIFEST):
        pass
    work = WorkFolder(out).path
    stale = [work / ".invert-packing.tmp", work / "entries/.invert-00.tmp", work / "failures/.invert-00.tmp"]
    for path in stale:
        path.write_bytes(b"half")
    with open_journal(out, MANIFEST):
        assert not any(path.exists() for path in stale)


def test_output_in_a_folder_that_is_missing_and_not_through_a_link(tmp_path: Path) -> None:
    out = tmp_path / "new/deep/latents.h5"
    write_batch(out, MANIFEST, [ENTRY])
    link = tmp_path / "link.h5"
    link.symlink_to("new/deep/linked.h5")
    with pytest.raises(OutputError, match=r"is a link to .new/deep/linked"):
        write_batch(link, MANIFEST, [ENTRY])
    assert only(tmp_path) == ["link.h5", "new"]
    assert only(out.parent) == ["latents.h5"]


@pytest.mark.parametrize("place", ["latents.h5.work", "latents.h5.work/locks", "latents.h5.work/entries"])
def test_a_link_in_the_place_of_a_work_folder_is_refused(tmp_path: Path, place: str) -> None:
    """Somebody who may write beside the output cannot have files made or removed elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{'0' * 64}.entry").touch()
    link = tmp_path / "out" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(OutputError, match=f"{place.rpartition('/')[2]}': it is a link to"):
        write_batch(tmp_path / "out/latents.h5", MANIFEST, [ENTRY])
    assert only(elsewhere) == [f"{'0' * 64}.entry"]
