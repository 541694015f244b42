"""Who may work on an output: one process alone, or several shards, each with its own share.

Three kinds of lock lie in the work folder's `locks`; the kernel drops each when its process dies.

    run.lock       Held exclusively by who works alone, packs or removes the folder; shared by all shards.
    shard-I-of-N   Held exclusively by the one process that does share I: a second one for the same share is refused.
    manifest.lock  Held for a moment by who begins the journal, so that shards which start together agree on settings.

They are always taken in this order, run.lock first, so no two processes can wait for each other; nor do they wait at
all, but for the manifest, which is written in a moment. A shard holds run.lock for as long as it works: whoever takes
it exclusively knows that no shard is at work, which is what makes packing safe. A shared lock cannot be turned into an
exclusive one without letting go, in between another may pack and remove the folder: who has it alone looks anew.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from invert.durable import TEMPORARY_PREFIX, destination, ensure_folder, rename
from invert.errors import BusyError, OutputError, UnreadableError, UsageError
from invert.images.opening import read_regular
from invert.locking import exclusive_lock, shared_lock
from invert.store.manifest import MAX_MANIFEST, Manifest, ManifestVersionError

__all__ = ["MAX_SHARDS", "OutputLock", "Shard", "WorkFolder", "hold_folder", "lock_output", "read_manifest"]

Shard = tuple[int, int]

_SUFFIX = ".work"
MAX_SHARDS = 100_000

_FILES = {
    "entries": re.compile(r"[0-9a-f]{64}\.entry", re.ASCII),
    "failures": re.compile(r"[0-9a-f]{64}\.json", re.ASCII),
    "parts": re.compile(r"[0-9]{1,6}-of-[0-9]{1,6}\.json", re.ASCII),
    "locks": re.compile(r"(run|manifest|shard-[0-9]{1,6}-of-[0-9]{1,6})\.lock", re.ASCII),
}


class WorkFolder:
    """Where things are in a work folder.

    Args:
        out: The output, as the user names it.

    Attributes:
        target: The file that `out` leads to; the work folder is beside it, so that every name leads to one folder.

    Raises:
        OutputError: The output is a folder, a device or the like.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.target = destination(out)
        self.path = self.target.with_name(self.target.name + _SUFFIX)
        self.manifest = self.path / "manifest.json"
        self.packed = self.path / "packed.json"
        self.packing = self.path / f"{TEMPORARY_PREFIX}packing.tmp"
        self.locks = self.path / "locks"

    def entry(self, key: str) -> Path:
        return self.path / "entries" / f"{key}.entry"

    def failure(self, key: str) -> Path:
        return self.path / "failures" / f"{key}.json"

    def part(self, shard: Shard) -> Path:
        return self.path / "parts" / f"{shard[0]}-of-{shard[1]}.json"

    def keys(self, folder: str) -> set[str]:
        """Return the names, without suffix, of this program's files in "entries", "failures" or "parts".

        Raises:
            OutputError: The folder cannot be read.
        """
        try:
            with os.scandir(self.path / folder) as entries:
                return {item.name.partition(".")[0] for item in entries if _FILES[folder].fullmatch(item.name)}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise OutputError(f"cannot be read, {error.strerror or error}", path=self.path / folder) from error

    def parts(self) -> set[Shard]:
        """Return the shards that have been through their images."""
        pairs = (name.split("-of-") for name in self.keys("parts"))
        return {(int(first), int(second)) for first, second in pairs}

    def missing_parts(self) -> set[Shard] | None:
        """Return the shards that have not been through their images; None when none at all has."""
        done = self.parts()
        missing = [{(i, n) for i in range(1, n + 1)} - done for n in {n for _, n in done if 1 <= n <= MAX_SHARDS}]
        return min(missing, key=len, default=None)

    def clear(self) -> None:
        """Remove images, failures and parts, the manifest last; for who holds the folder alone.

        Raises:
            OSError: Something cannot be removed.
        """
        # Parts first: with one left, entries that are half removed would be packed as if they were all. The manifest
        # last: as long as there are entries, it says of which settings they are.
        for folder in ("parts", "entries", "failures"):
            self._empty(folder)
        for path in (self.manifest, self.packed, self.packing):
            path.unlink(missing_ok=True)

    def remove(self) -> bool:
        """Remove the folder and what this program put there; for who holds it alone. Tell whether it is gone.

        It may be interrupted anywhere: the next `lock_output` finds it marked and removes the rest.
        """
        # The mark comes first: without a manifest the folder is no journal any more, whatever is left of it.
        with contextlib.suppress(OSError, OutputError):
            if self.manifest.exists():
                rename(self.manifest, self.packed)
            self.clear()
            self._empty("locks")
            self.path.rmdir()
        return not self.path.exists()

    def sweep(self) -> None:
        """Remove what a killed run left half written; for who holds the folder alone."""
        for folder in (self.path, self.path / "entries", self.path / "failures", self.path / "parts"):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _empty(self, folder: str) -> None:
        path = self.path / folder
        if path.is_dir():
            for name in os.listdir(path):
                if _FILES[folder].fullmatch(name) or name.startswith(TEMPORARY_PREFIX):
                    (path / name).unlink()
            # A file of somebody else's stays, and the folder with it.
            with contextlib.suppress(OSError):
                path.rmdir()


def read_manifest(work: WorkFolder) -> Manifest | None:
    """Return what the images of a work folder have in common; None when nothing was begun.

    Raises:
        UsageError: It is damaged or of another version.
    """
    try:
        return Manifest.from_bytes(read_regular(work.manifest, MAX_MANIFEST))
    except UnreadableError as error:
        if error.fault == "missing":
            return None
        raise OutputError(error.reason, path=work.manifest, advice=error.advice) from error
    except ManifestVersionError as error:
        reason = f"is in {error} of its format, which this program does not know"
        raise _work_usage(reason, work.manifest, "work-version") from error
    except (ValueError, TypeError, KeyError) as error:
        raise _work_usage("is damaged or was not written by this program", work.manifest, "work-damaged") from error


def _work_usage(reason: str, path: Path, code: str) -> UsageError:
    advice = "Choose another --out, or --overwrite to start afresh."
    return UsageError(reason, path=path, advice=advice, code=code)


_TRIES = 50


class OutputLock:
    """An output, and its work folder, that this process holds: alone, or as one of several shards.

    Attributes:
        out: The output, as the user names it.
        work: The folder beside it.
        shard: (I, N) with 1 <= I <= N, or None.
        exclusive: Whether nobody else can hold it.
        removed: Whether this process removed the work folder: what is in its place now is not its own.
    """

    def __init__(self, out: Path, shard: Shard | None) -> None:
        if shard is not None and not 1 <= shard[0] <= shard[1] <= MAX_SHARDS:
            raise UsageError(f"shard {shard[0]} of {shard[1]} is not among 1 to {MAX_SHARDS}")
        self.out, self.shard = out, shard
        self.work = WorkFolder(out)
        self.exclusive = False
        self.removed = False
        self._held = contextlib.ExitStack()

    @property
    def begun(self) -> bool:
        """Whether an earlier run, or another shard, has begun to fill the work folder."""
        return self.work.manifest.exists()

    def take(self) -> None:
        """Take the locks.

        Raises:
            BusyError: Another process has them.
            OutputError: The work folder cannot be made.
        """
        for attempt in range(_TRIES):
            try:
                ensure_folder(self.work.locks, within=self.work.path.parent)
                # What a killed run left is removed by who has the output alone. A shard, which shares it with others
                # that are at work, must do so only where the folder was packed already: then nobody works in it.
                if self.shard is None or self.work.packed.exists():
                    self._take_alone()
                    self._tidy_up()
                if self.shard is not None:
                    self.release()
                    # Its own lock second: its holder is then sure that nobody removes the folder under it.
                    self._held.enter_context(self._run_lock(shared=True))
                    self._held.enter_context(exclusive_lock(self._shard_lock(self.shard), self.out))
                return
            except OutputError as error:
                self.release()
                # Whoever held it alone is removing the folder this very moment: it is made again, and locked there.
                if error.code != "output-no-folder" or attempt == _TRIES - 1:
                    raise
                time.sleep(0.01)
            except BaseException:
                self.release()
                raise

    def make_exclusive(self) -> None:
        """Hold the output alone from now on, no longer as a shard.

        The locks are let go before the exclusive one is taken: another may have packed the output in between.

        Raises:
            BusyError: Others hold it too. This process holds nothing any more then.
        """
        if not self.exclusive:
            self.release()
            self._take_alone()

    def remove(self) -> bool:
        """Remove the work folder, and the locks with it: nobody is kept out any more. Tell whether it is gone."""
        self.removed = True
        return self.work.remove()

    def release(self) -> None:
        """Let others have it."""
        self.exclusive = False
        self._held.close()

    def leave(self) -> None:
        """Let others have it, and leave no folder in which nothing was begun."""
        try:
            with contextlib.suppress(BusyError, OutputError):
                if not self.removed and not self.begun:
                    self.make_exclusive()
                    if not self.begun:
                        self.remove()
        finally:
            self.release()

    def _take_alone(self) -> None:
        self._held.enter_context(self._run_lock(shared=False))
        self.exclusive = True

    def _tidy_up(self) -> None:
        if self.work.packed.exists():
            with contextlib.suppress(OSError):
                self.work.clear()
        self.work.sweep()

    @contextlib.contextmanager
    def _run_lock(self, *, shared: bool) -> Iterator[None]:
        take = shared_lock if shared else exclusive_lock
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(take(self.work.locks / "run.lock", self.out))
            except BusyError:
                # Shards hold it together: their own locks say who they are.
                for path in sorted(self.work.locks.glob("shard-*.lock")):
                    with exclusive_lock(path, self.out):
                        pass
                raise
            yield

    def _shard_lock(self, shard: Shard) -> Path:
        return self.work.locks / f"shard-{shard[0]}-of-{shard[1]}.lock"


@contextlib.contextmanager
def lock_output(out: Path, shard: Shard | None = None) -> Iterator[OutputLock]:
    """Hold an output for the length of the block; nothing heavy need be imported before.

    Args:
        out: The output. Its folder is made when missing; in its place nothing changes.
        shard: (I, N) when N processes share the work; without, nobody else may hold the output.

    Raises:
        BusyError: Another process holds it.
        OutputError: The work folder cannot be made.
        UsageError: There is no such shard.
    """
    lock = OutputLock(out, shard)
    lock.take()
    try:
        yield lock
    finally:
        lock.leave()


@contextlib.contextmanager
def hold_folder(work: Path, output: Path, shard: Shard | None = None) -> Iterator[None]:
    """Hold a work folder for the length of the block: alone, or together with the other shards.

    Args:
        work: The folder, made when missing.
        output: What it is for, to be named where another process has it.
        shard: (I, N) when N processes share the images.

    Raises:
        BusyError: Another process has it.
        OutputError: It cannot be made.
    """
    ensure_folder(work)
    with contextlib.ExitStack() as held:
        if shard is None:
            held.enter_context(exclusive_lock(work / ".lock", output))
        else:
            held.enter_context(shared_lock(work / ".lock", output))
            held.enter_context(exclusive_lock(work / f".shard-{shard[0]}-of-{shard[1]}.lock", output))
        yield
