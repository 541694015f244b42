"""The journal of a batch: each finished image is a file of its own at once, so that nothing done is ever lost.

    with lock_output(out, shard) as lock:           # before anything heavy is imported
        done = finished_output(out)                 # an output of before; compare its manifest
        journal = begin_journal(lock, manifest)     # refuses a work folder made with other settings
        journal.finished(name, file_sha256) or journal.keep(name, projection) or journal.fail(name, code, reason)
        journal.complete(images, shard)
        pack(lock)                                  # of `invert.hdf5.pack`

Processes that a lock's holder starts use `join_journal(out)`.

An image is in one of four states, told from which of its two files are there, entries/KEY.entry and failures/KEY.json:

    neither        It is to be done.
    entry          It is finished, if the entry is intact and of the same file; otherwise it is to be done.
    failure        It has no result. It is tried again by the next run.
    both           It is finished: the entry counts.

Each change is one write of a whole file or one removal, ordered so that a run killed between two of them leaves a state
that is true. A new result is written before the failure of before is removed: killed in between, both are there and the
result counts. A failure removes the result of before, which is of another content of the file, before it is written:
killed in between, neither is there and the image is done again; in the other order the stale result would count.
The manifest is the first file to come and the last to go, so that a work folder with entries always says of which
settings they are; `parts` says which shards have been through their images, and only then anything is packed.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from invert.durable import ensure_folder, write_atomic
from invert.errors import BusyError, NoInputError, OutputError, UnreadableError, UsageError, display_path
from invert.images.opening import read_regular
from invert.locking import exclusive_lock
from invert.store.entry import MAX_ENTRY, EntryError, decode, encode, encode_failure, read_failure
from invert.store.locks import OutputLock, Shard, WorkFolder, lock_output, read_manifest
from invert.store.manifest import Manifest
from invert.store.names import check_name, in_shard, name_key
from invert.store.result import Failure, Result

if TYPE_CHECKING:
    from invert.projection.projector import Projection

__all__ = [
    "Counts",
    "Journal",
    "begin_journal",
    "join_journal",
    "open_journal",
    "output_usage",
    "patient_lock",
]

_WAIT = 0.05  # seconds, for another shard that is writing the manifest
_WAITS = 100

_FRESH = "Use the same settings, another --out, or --overwrite to start afresh."


class Counts(NamedTuple):
    """How many images have a result, and how many have failed for good."""

    finished: int
    failed: int


class Journal:
    """The images of one output, on their way into one file; a `invert.store.protocol.ImageStore`.

    Made by `begin_journal` or `join_journal`. Its methods may be called by several threads and processes at once.

    Attributes:
        manifest: What all images have in common.
    """

    def __init__(self, work: WorkFolder, manifest: Manifest, on_warning: Callable[[str], None] | None = None) -> None:
        self.manifest = manifest
        self._work = work
        self._on_warning = on_warning or (lambda _: None)

    def finished(self, name: bytes, file_sha256: str) -> Result | None:
        """Return the result of an image that is done, intact and of the same file; None when it is to be done."""
        path = self._work.entry(name_key(name))
        try:
            found = decode(read_regular(path, MAX_ENTRY, follow=False), self.manifest)
        except (UnreadableError, EntryError) as error:
            if isinstance(error, UnreadableError) and error.fault == "missing":
                return None
            reason = error.reason if isinstance(error, UnreadableError) else error
            self._on_warning(f"entry '{display_path(path)}': {reason}; the image is done again")
            return None
        return found if found.name == name and found.file_sha256 == file_sha256 else None

    def save(self, result: Result) -> None:
        """Keep the result of an image; what an earlier run knows of it is replaced.

        Raises:
            OutputError: It cannot be written.
            EntryError: It does not go with the manifest.
        """
        key = name_key(check_name(result.name))
        write_atomic(self._work.entry(key), encode(result, self.manifest))
        # In this order: where both are there, the entry counts.
        self._unlink(self._work.failure(key))

    def keep(self, name: bytes, projection: "Projection") -> Result:
        """Keep a projection; see `save`."""
        result = Result.of(name, projection)
        self.save(result)
        return result

    def fail(self, name: bytes, code: str, reason: str) -> None:
        """Keep that an image has no result; an earlier result of it, from another file, is dropped.

        Raises:
            OutputError: It cannot be written.
        """
        key = name_key(check_name(name))
        # In this order: a stale result beside the failure would count.
        self._unlink(self._work.entry(key))
        write_atomic(self._work.failure(key), encode_failure(Failure(name, code, reason)))

    def has_entry(self, name: bytes) -> bool:
        """Tell whether an image has a result, of whatever file."""
        return self._work.entry(name_key(name)).exists()

    def drop_failures(self, names: Iterable[bytes], shard: Shard | None = None) -> None:
        """Forget the failures of images that are not there any more; results are never dropped.

        Args:
            names: Names of the images that are there.
            shard: Look at this share of the images only.

        Raises:
            OutputError: Something cannot be removed.
        """
        for key in self._work.keys("failures") - {name_key(name) for name in names}:
            failure = read_failure(self._work.failure(key))
            if failure is None or in_shard(failure.name, shard):
                self._unlink(self._work.failure(key))

    def gone(self, names: Iterable[bytes]) -> int:
        """Return how many images have a result but are not among these: their files are not there any more."""
        return len(self._work.keys("entries") - {name_key(name) for name in names})

    def counts(self) -> Counts:
        """Count files, without looking into them; those of other shards too."""
        entries, failures = self._work.keys("entries"), self._work.keys("failures")
        return Counts(len(entries), len(failures - entries))

    def complete(self, images: int, shard: Shard | None = None) -> None:
        """Note that this run, or this shard, has been through all its images.

        Raises:
            OutputError: It cannot be written.
        """
        write_atomic(self._work.part(shard or (1, 1)), json.dumps({"images": images}).encode() + b"\n")

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot be removed, {error.strerror or error}", path=path) from error


def begin_journal(
    lock: OutputLock,
    manifest: Manifest,
    *,
    overwrite: bool = False,
    on_warning: Callable[[str], None] | None = None,
) -> Journal:
    """Begin the journal of an output, or resume it.

    Args:
        lock: The output.
        manifest: What all its images have in common.
        overwrite: Discard what an earlier run left in the work folder. An output that exists stays until packing.
        on_warning: Called with a line for each entry that is damaged and has to be done again.

    Raises:
        UsageError: The work folder was begun with other settings or is damaged; or the output exists, nothing
            was begun, and `overwrite` is not set.
        OutputError: The work folder cannot be written.
    """
    work = lock.work
    if overwrite:
        _discard(lock)
    # Shards hold the output together and may begin at once: one writes the manifest, the others compare theirs.
    with patient_lock(work.locks / "manifest.lock", lock.out):
        before = read_manifest(work)
        if before is None:
            if not overwrite and os.path.lexists(work.target):
                raise output_usage("exists already", lock.out, "output-exists")
            write_atomic(work.manifest, manifest.to_bytes())
    changes = [] if before is None else before.changes_to(manifest)
    if changes:
        raise output_usage(f"was begun with other settings ({'; '.join(changes)})", lock.out, "settings-differ")
    for folder in ("entries", "failures", "parts"):
        ensure_folder(work.path / folder, within=work.path.parent)
    try:
        # This run may be given more images than an earlier one had been through: it is unfinished until it says so.
        work.part(lock.shard or (1, 1)).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written, {error.strerror or error}", path=work.path) from error
    return Journal(work, manifest, on_warning)


def join_journal(out: Path, on_warning: Callable[[str], None] | None = None) -> Journal:
    """Return the journal of an output for a process that was started by the one which holds the lock.

    Raises:
        UsageError: The work folder is damaged.
        NoInputError: Nothing was begun.
    """
    work = WorkFolder(out)
    manifest = read_manifest(work)
    if manifest is None:
        raise NoInputError("nothing was begun", path=out, code="nothing-begun")
    return Journal(work, manifest, on_warning)


@contextlib.contextmanager
def open_journal(
    out: Path,
    manifest: Manifest,
    *,
    shard: Shard | None = None,
    overwrite: bool = False,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[Journal]:
    """Lock an output and begin its journal at once; see `lock_output` and `begin_journal`."""
    with lock_output(out, shard) as lock:
        yield begin_journal(lock, manifest, overwrite=overwrite, on_warning=on_warning)


def _discard(lock: OutputLock) -> None:
    if not lock.exclusive:
        advice = f"Remove the folder '{display_path(lock.work.path)}' and the output first."
        raise UsageError("--overwrite does not go with shards, which would remove each other's work", advice=advice)
    try:
        lock.work.clear()
    except OSError as error:
        reason = f"an earlier result cannot be removed, {error.strerror or error}"
        raise OutputError(reason, path=lock.work.path) from error


class OutputUsageError(UsageError):
    """What is in the place of the output does not go with the command."""

    what = "output"


def output_usage(reason: str, path: Path, code: str) -> UsageError:
    """Return the error for an output that does not go with the command, with what can be done.

    Args:
        reason: What is wrong with it.
        path: The output.
        code: Stable name of the reason.
    """
    return OutputUsageError(reason, path=path, advice=_FRESH, code=code)


@contextlib.contextmanager
def patient_lock(path: Path, output: Path) -> Iterator[None]:
    """Hold a lock that is never held for long: wait for it for a few seconds.

    Raises:
        BusyError: Somebody holds it all the same.
        OutputError: The file cannot be made.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(_WAITS):
            try:
                stack.enter_context(exclusive_lock(path, output))
                break
            except BusyError:
                if attempt == _WAITS - 1:
                    raise
                time.sleep(_WAIT)
        yield
