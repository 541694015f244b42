"""The program that packs a journal into HDF5: `python -m invert.hdf5.packing OUT [--partial]`.

It runs as a process of its own, for the HDF5 library ends the whole process when the disk is full. What it writes is
the work folder's half-written file and nothing else; who started it puts that in place. It reports in JSON Lines to
descriptor 1, and ends when its standard input is closed: with who started it.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invert.errors import InvertError
from invert.hdf5.reading import Latents
from invert.hdf5.verification import verify
from invert.hdf5.writing import Contents, OnProgress, collect, write
from invert.store.locks import WorkFolder, read_manifest

__all__ = ["main"]

_ERRNO = re.compile(r"errno = (\d+)")

Report = Callable[..., None]


def main() -> None:
    """Pack, report and end the process."""
    # Ctrl-C reaches all processes of the terminal; who started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="ascii") as stream:

        def report(**values: Any) -> None:
            stream.write(json.dumps(values) + "\n")
            stream.flush()

        try:
            code = _pack(WorkFolder(Path(sys.argv[1])), "--partial" in sys.argv[2:], report)
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
    return error.errno if isinstance(error, OSError) else None


def _pack(work: WorkFolder, partial: bool, report: Report) -> int:
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
    _check(work.packing, contents, on_progress)
    report(
        rows=len(contents.names),
        failures=len(contents.failures),
        diverged=contents.diverged,
        damaged=contents.damaged,
        size=size,
        sha256=sha256,
    )
    return 0


def _check(path: Path, contents: Contents, on_progress: OnProgress) -> None:
    """Read the file back, all of it."""
    with Latents(path) as latents:
        verify(latents, lambda done, total: on_progress("checking", done, total))
        if (len(latents), latents.failure_count) != (len(contents.names), len(contents.failures)):
            raise ValueError("the file has other counts than the journal")


if __name__ == "__main__":
    main()
