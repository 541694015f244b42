"""Pack the journal of a batch into its HDF5 file, whole or not at all.

The packing itself is done by a process of its own, `_main` below, for the HDF5 library ends the whole process when the
disk is full. What that process writes is the work folder's half-written file and nothing else; `pack`, which started
it, puts the file in place. It reports in JSON Lines to descriptor 1, and ends when its standard input is closed: with
the process that started it.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.jsontext import read_json
from invert.durable import atomic_path
from invert.errors import InvertError, NoInputError, OutputError, UnreadableError, UsageError, display_path
from invert.hdf5.reading import Latents
from invert.hdf5.verification import verify
from invert.hdf5.writing import Contents, OnProgress, collect, write
from invert.store.locks import OutputLock, WorkFolder, read_manifest
from invert.store.names import one_line

__all__ = ["PackResult", "pack"]

Report = Callable[..., None]

_ERRNO = re.compile(r"errno = (\d+)")

_OVERHEAD = 1 << 20
_AGAIN = "Run the same 'invert project' command again."
_PARTIAL = "or pack what there is with 'invert pack --partial'"


@dataclass(frozen=True)
class PackResult:
    """What was written.

    Attributes:
        out: The file.
        rows: How many images have a result.
        failures: How many images have none.
        diverged: How many of the rows are of a diverged optimisation.
        damaged: Files of the journal that were left out; only ever with `partial`.
        sha256: Digest of the file.
        size: Size of the file in bytes.
        work_left: The work folder, unless it was removed.
    """

    out: Path
    rows: int
    failures: int
    diverged: int
    damaged: tuple[str, ...]
    sha256: str
    size: int
    work_left: Path | None


def pack(lock: OutputLock, *, partial: bool = False, on_progress: OnProgress | None = None) -> PackResult:
    """Write the HDF5 file of an output from its journal, then remove the work folder.

    The file is there whole or not at all; the journal stays until it is.

    Args:
        lock: The output; where it is shared, this process has it alone afterwards.
        partial: Pack what is intact of a run that has not come to its end, and keep the work folder.
        on_progress: Called with "reading", "writing" or "checking", the images done, and all of them.

    Raises:
        BusyError: Other shards are at work.
        UsageError: Some images are not done yet.
        NoInputError: There is nothing to pack, or a part of it is damaged.
        OutputError: It cannot be written. An earlier output is as before, and so is the journal.
    """
    lock.make_exclusive()
    work = lock.work
    work.sweep()
    if read_manifest(work) is None:
        raise NoInputError("there is nothing to pack", path=lock.out, code="nothing-to-pack")
    if not partial:
        _require_all(work)
    needed = _space_needed(work)
    with atomic_path(lock.out, work.packing, needed):
        found = _Packing(work, partial, on_progress).run()
    removed = not partial and lock.remove()
    return PackResult(
        out=lock.out,
        rows=found["rows"],
        failures=found["failures"],
        diverged=found["diverged"],
        damaged=tuple(found["damaged"]),
        sha256=found["sha256"],
        size=found["size"],
        work_left=None if removed else work.path,
    )


def _require_all(work: WorkFolder) -> None:
    missing = work.missing_parts()
    if missing is None:
        reason = "is not finished, no run has been through all images"
        raise UsageError(reason, path=work.out, advice=f"{_AGAIN[:-1]}, {_PARTIAL}.", code="not-finished")
    if missing:
        which = ", ".join(str(shard) for shard, _ in sorted(missing)[:10])
        reason = f"is not finished, of its {min(missing)[1]} shards these are missing: {which}"
        raise UsageError(reason, path=work.out, advice=f"Run them, {_PARTIAL}.", code="not-finished")


def _space_needed(work: WorkFolder) -> int:
    """Return how many bytes the file has at most, after a look whether there is room for them."""
    needed = _OVERHEAD
    try:
        for folder in ("entries", "failures"):
            with os.scandir(work.path / folder) as files:
                needed += sum(file.stat().st_size for file in files)
        free = shutil.disk_usage(work.target.parent).free
    except OSError as error:
        raise OutputError(f"cannot be read, {error.strerror or error}", path=work.path) from error
    if free < needed:
        reason = f"no space left, {needed} bytes needed, {free} bytes free"
        raise OutputError(reason, path=work.out, advice=f"Free some space. {_AGAIN}", code="output-no-space")
    return needed


class _Packing:
    """The process that packs, and what it reports."""

    def __init__(self, work: WorkFolder, partial: bool, on_progress: OnProgress | None) -> None:
        self._work, self._partial = work, partial
        self._on_progress = on_progress or (lambda *_: None)

    def run(self) -> dict[str, Any]:
        """Run it to its end and return its last report, the result.

        Raises:
            NoInputError: The journal is damaged. OutputError: It cannot be written. OSError: For `atomic_path` to say.
        """
        command = [sys.executable, "-P", "-m", "invert.hdf5.pack", os.fspath(self._work.target)]
        last: dict[str, Any] = {}
        with subprocess.Popen(
            command + ["--partial"] * self._partial,
            stdin=subprocess.PIPE,  # stays open: its end tells the child that this process has ended
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        ) as child:
            try:
                for line in child.stdout or ():
                    last = read_json(line, surrogates=True)
                    if "stage" in last:
                        self._on_progress(last["stage"], last["done"], last["total"])
            except BaseException:
                child.kill()
                raise
        if child.returncode == 0 and "sha256" in last:
            return last
        raise self._failed(last, child.returncode)

    def _failed(self, last: dict[str, Any], code: int) -> Exception:
        if "damaged" in last:
            entry = display_path(last["first"])
            reason = f"{last['damaged']} files of its journal are damaged, '{entry}' for one"
            advice = f"{_AGAIN[:-1]}, which does them again, {_PARTIAL}."
            return NoInputError(reason, path=self._work.path, advice=advice, code="entry-damaged")
        if last.get("errno"):
            return OSError(last["errno"], os.strerror(last["errno"]))
        reason = (
            f"it could not be packed: {one_line(last.get('reason') or last.get('error') or f'it ended with {code}')}"
        )
        if code < 0:
            reason = f"it could not be packed, the process was ended by {signal.Signals(-code).name}"
        advice = f"Look whether the disk is full or failing. {_AGAIN} Nothing that was finished is lost."
        return OutputError(reason, path=self._work.out, advice=advice, code="output-packing")


def _environment() -> dict[str, str]:
    """Return the variables for the child: it finds modules where this process does, and loads no plugins."""
    variables = {key: value for key, value in os.environ.items() if key != "HDF5_PLUGIN_PATH"}
    folders = [os.path.abspath(folder) for folder in sys.path]
    variables["PYTHONPATH"] = os.pathsep.join(folder for folder in folders if os.pathsep not in folder)
    return variables | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _main() -> None:
    """Be the process that packs: `python -m invert.hdf5.pack OUT [--partial]`."""
    # Ctrl-C reaches all processes of the terminal; who started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="ascii") as stream:

        def report(**values: Any) -> None:
            stream.write(json.dumps(values) + "\n")
            stream.flush()

        try:
            code = _pack_and_report(WorkFolder(Path(sys.argv[1])), "--partial" in sys.argv[2:], report)
        except BaseException as error:
            report(error=_kind(error), reason=str(error), errno=_errno(error))
            code = 1
        # Not by way of the library's own end: after a failed write it crashes there.
        os._exit(code)


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(1)


def _kind(error: BaseException) -> str:
    if isinstance(error, OSError):
        return "io"
    return "input" if isinstance(error, InvertError) else type(error).__name__


def _errno(error: BaseException) -> int | None:
    # The library often says it in words alone, and not always by an OSError.
    if isinstance(error, OSError | RuntimeError) and (found := _ERRNO.search(str(error))):
        return int(found[1])
    if isinstance(error, UnreadableError) and error.__cause__ is not None:
        error = error.__cause__.__cause__ or error
    return error.errno if isinstance(error, OSError) else None


def _pack_and_report(work: WorkFolder, partial: bool, report: Report) -> int:
    manifest = read_manifest(work)
    if manifest is None:
        raise ValueError("nothing was begun")

    def on_progress(stage: str, done: int, total: int) -> None:
        report(stage=stage, done=done, total=total)

    contents = collect(work, manifest, on_progress)
    if contents.damaged and not partial:
        report(damaged=len(contents.damaged), first=contents.damaged[0])
        return 1
    write(work, contents, on_progress)
    with open(work.packing, "rb") as file:
        size, sha256 = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
    _read_back(work.packing, contents, on_progress)
    report(
        rows=len(contents.names),
        failures=len(contents.failures),
        diverged=contents.diverged,
        damaged=contents.damaged,
        size=size,
        sha256=sha256,
    )
    return 0


def _read_back(path: Path, contents: Contents, on_progress: OnProgress) -> None:
    """Read the file back, all of it."""
    with Latents(path) as latents:
        verify(latents, lambda done, total: on_progress("checking", done, total))
        if (len(latents), latents.failure_count) != (len(contents.names), len(contents.failures)):
            raise ValueError("the file has other counts than the journal")


if __name__ == "__main__":
    _main()
