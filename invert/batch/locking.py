"""Who may work on an output: one process alone, or several shards, each with its own share.

Whoever holds run.lock exclusively may pack and remove; shards share it, and each holds its own lock besides.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from invert.batch.work_folder import MAX_SHARDS, Shard, WorkFolder
from invert.durable import ensure_folder, exclusive_lock, shared_lock
from invert.errors import BusyError, OutputError, UsageError

__all__ = ["OutputLock", "Shard", "lock_output"]

_TRIES = 50


class OutputLock:
    """An output, and its work folder, that this process holds: alone, or as one of several shards.

    Attributes:
        out: As the user names it. work: The folder beside it. shard: (I, N) with 1 <= I <= N, or None.
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
            BusyError: Another process has them. OutputError: The work folder cannot be made.
        """
        for attempt in range(_TRIES):
            try:
                ensure_folder(self.work.locks)
                if self.shard is None or self.work.packed.exists():
                    self._take_alone()
                    self._tidy_up()
                if self.shard is not None:
                    self.release()
                    self._held.enter_context(self._run_lock(shared=True))
                    self._held.enter_context(exclusive_lock(self._shard_lock(self.shard), self.out))
                return
            except OutputError as error:
                self.release()
                # Whoever held it alone is removing it this very moment.
                if error.code != "output-no-folder" or attempt == _TRIES - 1:
                    raise
                time.sleep(0.01)
            except BaseException:
                self.release()
                raise

    def make_exclusive(self) -> None:
        """Hold the output alone from now on, no longer as a shard; who did so in between may have packed it.

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
        BusyError: Another process holds it. OutputError: The work folder cannot be made.
        UsageError: There is no such shard.
    """
    lock = OutputLock(out, shard)
    lock.take()
    try:
        yield lock
    finally:
        lock.leave()
