"""Shards as jobs of SLURM: one array, followed to its end; what was lost on the way is submitted again.

    run_array([sys.executable, "-m", "invert", "project", ...], 8, folder, parameters={"time": 60}, on_event=show)

Job I of N runs the command with `--shard I/N`. A shard that runs again skips what its journal has: so a job that was
killed, ran out of time or lost its machine costs the image it was at, and nothing is done twice.

What SLURM says comes from squeue, which every SLURM has; sacct needs a database that many do without. A job's exit code
comes from the file that submitit writes when it has ended. Such files are pickles: they are made, and read back, in a
new folder that only this user can look into, and are no input that anybody else gives.
"""

import contextlib
import io
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invert.durable import ensure_folder
from invert.errors import ExitCode, InvertError, OutputError, UsageError

if TYPE_CHECKING:
    import submitit
    from submitit import SlurmExecutor

__all__ = ["ArrayEvent", "Attempt", "ShardError", "run_array"]

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
        exit_code: Exit code of the command, negative for a signal; None while it runs, or when it could not tell.
        log: What the command writes to its stdout and stderr.
    """

    shard: int
    state: str
    attempt: int
    exit_code: int | None
    log: Path


class Attempt:
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


# What a job array is made of: another value would run a shard twice, or hide its log.
_OWN = {"array", "chdir", "error", "job-name", "nodes", "ntasks", "ntasks-per-node", "output", "wait", "wrap"}
_ANSWER = 60.0  # seconds, for SLURM's programs


class ShardError(InvertError):
    """A shard failed: by its own exit code, or it was lost too often."""

    code = "shard-failed"
    what = "log"


def run_array(
    command: Sequence[str],
    shards: int,
    folder: Path,
    *,
    parameters: Mapping[str, str | int],
    on_event: Callable[[ArrayEvent], None],
    resubmit: int = 2,
    poll: float = 2.0,
) -> None:
    """Run all shards of a command as one job array, and wait until each has ended well.

    A failed shard stops no other one. When this is interrupted, the jobs are cancelled.

    Args:
        command: Program and arguments of a shard, without `--shard I/N`. It ends with an exit code of this package.
        shards: Number of jobs, from 1.
        folder: On a file system that all machines share; each call makes a folder of its own in it, where logs stay.
        parameters: Options of sbatch, as partition, time (minutes, or SLURM's notation), cpus_per_task, mem, gres;
            True for one without a value.
        on_event: Called for each change.
        resubmit: How often a shard is submitted again that was killed, ran out of time or lost its machine.
        poll: Seconds between looks.

    Raises:
        ShardError: A shard failed, was cancelled, or was lost more often than `resubmit`. The others have ended.
        UsageError: There is no submitit or no SLURM here, or SLURM refuses the parameters.
        OutputError: The folder cannot be made or read.
    """
    array = _Array(list(command), shards, _executor(folder, shards, parameters), on_event)
    try:
        array.run(resubmit, poll)
    except BaseException:
        array.cancel()
        raise


class _Array:
    def __init__(
        self, command: list[str], shards: int, executor: "SlurmExecutor", on_event: Callable[[ArrayEvent], None]
    ) -> None:
        self._command, self._shards, self._executor, self._tell = command, shards, executor, on_event
        # Jobs are found by this name: it is known before their numbers are, and random.
        self._name = executor.folder.name

    def run(self, resubmit: int, poll: float) -> None:
        failed: list[Attempt] = []
        jobs = self._submit(dict.fromkeys(range(1, self._shards + 1), 1))
        while jobs:
            time.sleep(poll)
            ended = self._look(jobs)
            jobs = [job for job in jobs if job not in ended]
            again = {job.shard: job.attempt + 1 for job in ended if job.is_lost and job.attempt <= resubmit}
            failed += [job for job in ended if not job.is_good and job.shard not in again]
            jobs += self._submit(again)
        self._remove_pickles()
        if failed:
            raise _error(failed[0], self._shards)

    def cancel(self) -> None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", f"--name={self._name}"], capture_output=True, timeout=_ANSWER)

    def _submit(self, attempts: Mapping[int, int]) -> list[Attempt]:
        """Submit shards, each with the number of its attempt."""
        if not attempts:
            return []
        from submitit.core.utils import FailedJobError

        commands = [[*self._command, "--shard", f"{shard}/{self._shards}"] for shard in attempts]
        try:
            # submitit prints what sbatch says; here it goes into the error.
            with contextlib.redirect_stderr(io.StringIO()):
                handles = self._executor.map_array(subprocess.call, commands)
        except FailedJobError as error:
            reason = " ".join(str(error).split()).removeprefix("sbatch: error: ").rstrip(".")
            raise UsageError(f"SLURM refuses the jobs: {reason}", code="slurm-refused") from error
        except OSError as error:
            raise OutputError(error.strerror or str(error), path=self._executor.folder) from error
        jobs = [Attempt(*attempt, handle) for attempt, handle in zip(attempts.items(), handles, strict=True)]
        for job in jobs:
            self._tell(job.event)
        return jobs

    def _look(self, jobs: Sequence[Attempt]) -> list[Attempt]:
        """Tell what is new, and return the jobs that have ended."""
        states = _states(self._name)
        try:
            # After SLURM was asked: what it says has ended then has its file already. One listing is also what makes
            # a network file system look afresh.
            files = set(os.listdir(self._executor.folder))
        except OSError as error:
            raise OutputError(error.strerror or str(error), path=self._executor.folder) from error
        ended = []
        for job in jobs:
            before = job.state
            if job.has_ended(states, files):
                ended.append(job)
            if job in ended or job.state != before:
                self._tell(job.event)
        return ended

    def _remove_pickles(self) -> None:
        """Leave nothing but logs."""
        for path in self._executor.folder.iterdir():
            if path.suffix in (".pkl", ".sh"):
                path.unlink(missing_ok=True)


def _executor(folder: Path, shards: int, parameters: Mapping[str, str | int]) -> "SlurmExecutor":
    """Return what submits jobs, over a new folder whose name is the jobs' name.

    Raises:
        UsageError, OutputError: See `run_array`.
    """
    for program in ("sbatch", "srun", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise UsageError(f"this machine has no SLURM ({program} is not there)", code="no-slurm")
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        advice = "Install it with: pip install 'invert[slurm]'."
        raise UsageError("submitit is not installed", advice=advice, code="no-submitit") from error
    options = {_option(key, value): value for key, value in parameters.items()}
    path = ensure_folder(folder).resolve() / f"invert-{secrets.token_hex(8)}"
    if "%" in str(path):
        raise UsageError("SLURM takes a % in a name for a pattern", path=path.parent, advice="Choose another folder.")
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise OutputError(error.strerror or str(error), path=path) from error
    executor = SlurmExecutor(path)
    executor.update_parameters(
        job_name=path.name,
        time=None,  # of the partition; submitit would say five minutes
        wckey=None,
        stderr_to_stdout=True,
        use_srun=False,  # a step has one processor since SLURM 22.05, whatever its job has
        array_parallelism=shards,
        additional_parameters=options,
    )
    return executor


def _option(key: str, value: str | int) -> str:
    option = key.replace("_", "-")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", option, re.ASCII) or not str(value).isprintable():
        raise UsageError(f"{key!r}: {value!r} is not an option of sbatch")
    if option in _OWN:
        raise UsageError(f"the option {option!r} of sbatch is set by this program")
    return option


def _states(name: str) -> dict[str, str] | None:
    """Return the state of each job of that name; None when SLURM does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--name={name}", "--format=%i %T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.partition(" ") for line in answer.stdout.splitlines())
    return {number: state.strip() for number, _, state in lines}


def _error(job: Attempt, shards: int) -> ShardError:
    event = job.event
    if event.state == "CANCELLED":
        reason = "was cancelled"
    elif job.is_lost:
        reason = f"was lost in attempt {event.attempt}, as {event.state}"
    else:
        reason = f"ended with exit code {event.exit_code}"
    advice = "What is finished is kept; run the same command again."
    error = ShardError(f"shard {job.shard}/{shards} {reason}", path=event.log, advice=advice)
    if not job.is_lost and event.exit_code in list(ExitCode):
        error.exit_code = ExitCode(event.exit_code)
    return error
