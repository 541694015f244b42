"""One job of a SLURM array: what is known of it, from squeue and from the file it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invert.errors import ExitCode

if TYPE_CHECKING:
    import submitit

__all__ = ["ArrayEvent", "Job"]

_GOOD = {ExitCode.OK, ExitCode.PARTIAL}
_ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "MISSING",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
_PATIENCE = 5  # polls: the file of a job that SLURM says has ended may be late on a shared file system


@dataclass(frozen=True)
class ArrayEvent:
    """Something changed for a job.

    Attributes:
        shard: From 1.
        state: SLURM's word, as PENDING, RUNNING, COMPLETED, TIMEOUT; MISSING when SLURM knows the job no more.
        attempt: From 1; an event with the next number means that the shard was submitted again.
        exit_code: Of the command, negative for a signal; None while it runs, or when it could not tell.
        log: What the command writes to its stdout and stderr.
    """

    shard: int
    state: str
    attempt: int
    exit_code: int | None
    log: Path


class Job:
    """One attempt at a shard."""

    def __init__(self, shard: int, attempt: int, handle: "submitit.Job[int]") -> None:
        self.shard, self.attempt, self._handle = shard, attempt, handle
        self.state = "PENDING"
        self.exit_code: int | None = None
        self._ended_for = 0

    @property
    def event(self) -> ArrayEvent:
        return ArrayEvent(self.shard, self.state, self.attempt, self.exit_code, self._handle.paths.stdout)

    @property
    def is_good(self) -> bool:
        return self.exit_code in _GOOD

    @property
    def is_lost(self) -> bool:
        """Whether it ended by no fault of its own; who cancels a job does not want it back."""
        by_signal = self.exit_code is None or self.exit_code < 0 or self.exit_code > 128
        return by_signal and self.state != "CANCELLED"

    def has_ended(self, states: Mapping[str, str] | None, files: set[str]) -> bool:
        """Take in the news, and tell whether there can be no more.

        Args:
            states: What SLURM says of each job; None when it did not answer.
            files: Names in the folder, listed after SLURM was asked.
        """
        if self._handle.paths.result_pickle.name in files:
            self.exit_code = _exit_code(self._handle)
        if self.is_good:
            self.state = "COMPLETED"
            return True
        if states is None:
            return False
        # What ended is listed for some minutes, but for a job that is cancelled before it began.
        state = states.get(self._handle.job_id, "CANCELLED" if self.state == "PENDING" else "MISSING")
        if state not in _ENDED:
            # What ended it before does not count: SLURM itself starts a job again whose machine failed.
            self.state, self.exit_code, self._ended_for = state, None, 0
            return False
        self._ended_for += 1
        if self.exit_code is None and self._ended_for <= _PATIENCE:
            return False
        # Such a job ends well for SLURM, whatever the command in it said.
        self.state = "FAILED" if state == "COMPLETED" else state
        return True


def _exit_code(handle: "submitit.Job[int]") -> int | None:
    """Return what the command ended with; None when the job was ended before it could tell."""
    from submitit.core.utils import UncompletedJobError

    try:
        return handle.result()
    except (UncompletedJobError, OSError, EOFError):
        return None
