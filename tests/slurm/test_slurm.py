"""Shards as jobs of a real SLURM: all of the work is done once, whatever becomes of the jobs on the way."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invert.batch.slurm import ArrayEvent, ShardError, run_array
from invert.errors import ExitCode, OutputError, UsageError

pytestmark = pytest.mark.timeout(300)

STAND_IN = Path(__file__).parent / "stand_in.py"
POLL = 0.2


class Run:
    """A job array of stand-ins: its journal, and what was told of it."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.logs = folder / "journal", folder / "logs"
        self.journal.mkdir()
        self.events: list[ArrayEvent] = []
        self.hold = self.journal / "hold"
        self.hold.touch()

    def __call__(
        self,
        *arguments: object,
        shards: int = 2,
        then: Callable[[ArrayEvent], None] = lambda event: None,
        parameters: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        def told(event: ArrayEvent) -> None:
            self.events.append(event)
            then(event)

        command = [sys.executable, str(STAND_IN), str(self.journal), *map(str, arguments)]
        run_array(command, shards, self.logs, parameters=parameters or {}, on_event=told, poll=POLL, **settings)

    def done(self) -> dict[int, int]:
        """Return how often each number was worked on."""
        files = self.journal.glob("number-*")
        return {int(path.name.partition("-")[2]): len(path.read_text().splitlines()) for path in files}

    def pid(self, shard: int) -> int:
        return int((self.journal / f"pid-{shard}").read_text())

    def ends(self, shard: int) -> list[tuple[int, int | None]]:
        """Return attempt and exit code of each end of a shard."""
        running = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING")
        return [(e.attempt, e.exit_code) for e in self.events if e.shard == shard and e.state not in running]


@pytest.fixture
def run(tmp_path: Path, slurm: Path) -> Run:
    return Run(tmp_path)


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def active() -> str:
    """Return what SLURM has not ended yet."""
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout


def job_number(log: Path) -> str:
    return log.name.removesuffix("_0_log.out")


def test_all_shards_run_once_with_a_log_each_and_leave_nothing_else(run: Run) -> None:
    run("--numbers", 7, shards=3, parameters={"time": 5, "cpus_per_task": 1, "partition": "main", "comment": "a b"})
    assert run.done() == dict.fromkeys(range(7), 1)
    assert [run.ends(shard) for shard in (1, 2, 3)] == [[(1, 0)]] * 3
    logs = {event.shard: event.log for event in run.events}
    for shard, log in logs.items():
        assert f"shard {shard}\n" in log.read_text()
    # One array: the jobs share a number. No pickle stays, and nobody else may look.
    assert len({log.name.partition("_")[0] for log in logs.values()}) == 1
    (folder,) = run.logs.iterdir()
    assert sorted(folder.iterdir()) == sorted(logs.values())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["command", pytest.param("submitit", marks=pytest.mark.long), "script"])
def test_a_job_killed_half_way_goes_on_where_it_was(run: Run, what: str) -> None:
    killed: list[int] = []

    def kill(event: ArrayEvent) -> None:
        if event.shard == 2 and event.state == "RUNNING" and event.attempt == 1:
            until(lambda: len([number for number in run.done() if number % 2]) == 2)
            pid = run.pid(2)
            killed.append(pid)
            if what == "command":
                os.kill(pid, signal.SIGKILL)
            elif what == "submitit":
                parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
                os.kill(int(parent), signal.SIGKILL)
            else:
                subprocess.run(["scancel", "--batch", "--signal=KILL", job_number(event.log)], check=True)
            until(lambda: not alive(pid))
            run.hold.unlink()

    run("--numbers", 8, "--hold-after", 2, then=kill)
    # Were the first attempt still alive, it would have been in the second one's way.
    assert run.done() == dict.fromkeys(range(8), 1)
    assert [int((run.journal / f"number-{number}").read_text()) for number in (1, 3)] == killed * 2
    assert int((run.journal / "number-7").read_text()) == run.pid(2) != killed[0]
    assert run.ends(1) == [(1, 0)]
    assert run.ends(2) == [(1, -signal.SIGKILL if what == "command" else None), (2, 0)]


def test_images_that_failed_are_no_failure_of_the_shard(run: Run) -> None:
    run("--code", ExitCode.PARTIAL)
    assert run.ends(1) == run.ends(2) == [(1, 3)]
    assert {event.state for event in run.events if event.exit_code is not None} == {"COMPLETED"}


def test_another_exit_code_is_told_with_its_log_and_the_other_shards_go_on(run: Run) -> None:
    with pytest.raises(ShardError) as caught:
        run("--code", ExitCode.USAGE, "--of-shard", 1, "--pause", 0.1)
    (log,) = {event.log for event in run.events if event.shard == 1}
    assert str(caught.value) == (
        f"log '{log}': shard 1/2 ended with exit code 2. What is finished is kept; run the same command again."
    )
    assert "shard 1\n" in log.read_text()
    assert caught.value.exit_code == ExitCode.USAGE
    assert run.ends(1) == [(1, 2)]
    assert run.ends(2) == [(1, 0)]
    assert run.done() == dict.fromkeys(range(8), 1)


def test_what_is_lost_again_and_again_is_an_error(run: Run) -> None:
    with pytest.raises(ShardError, match="shard 2/2 was lost in attempt 2, as FAILED"):
        run("--signal", signal.SIGTERM.value, "--of-shard", 2, resubmit=1)
    assert run.ends(2) == [(1, -15), (2, -15)]


@pytest.mark.parametrize("shard", [2, 4], ids=["running", "pending"])
def test_a_job_that_somebody_cancels_stays_cancelled(run: Run, shard: int) -> None:
    def cancel(event: ArrayEvent) -> None:
        if event.shard == 2 and event.state == "RUNNING":
            until(lambda: (run.journal / "pid-2").exists())
            (log,) = {seen.log for seen in run.events if seen.shard == shard}
            subprocess.run(["scancel", job_number(log)], check=True)
            if shard == 2:
                until(lambda: not alive(run.pid(2)))
            run.hold.unlink()

    with pytest.raises(ShardError, match=f"shard {shard}/4 was cancelled"):
        run("--hold-after", 1, shards=4, then=cancel)
    assert [attempt for attempt, _ in run.ends(shard)] == [1]
    assert all(run.ends(other) == [(1, 0)] for other in {1, 2, 3, 4} - {shard})


@pytest.mark.long  # SLURM waits for two minutes before it does
@pytest.mark.timeout(400)
def test_a_job_that_slurm_starts_again_is_followed(run: Run) -> None:
    def requeue(event: ArrayEvent) -> None:
        if event.shard == 2 and event.state == "RUNNING" and not (run.journal / "again").exists():
            until(lambda: bool(run.done().get(1)))
            (run.journal / "again").touch()
            subprocess.run(["scontrol", "requeue", job_number(event.log)], check=True)

    run("--pause", 0.3, then=requeue)
    assert run.done() == dict.fromkeys(range(8), 1)
    assert run.ends(2) == [(1, 0)]


def test_interrupting_cancels_the_jobs(run: Run) -> None:
    def interrupt(event: ArrayEvent) -> None:
        if event.state == "RUNNING":
            until(lambda: (run.journal / f"pid-{event.shard}").exists())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("--pause", 20, shards=4, then=interrupt)
    until(lambda: not active())
    assert not any(alive(int(path.read_text())) for path in run.journal.glob("pid-*"))
    assert run.done() == {}


def test_slurm_refuses_a_partition_that_there_is_not(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"SLURM refuses the jobs: .*[Ii]nvalid partition") as caught:
        run(parameters={"partition": "elsewhere"})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert run.events == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"array": "0-3"}, "the option 'array' of sbatch is set by this program"),
        ({"ntasks_per_node": 2}, "the option 'ntasks-per-node' of sbatch is set by this program"),
        ({"comment": "x\ntouch /tmp/x"}, "is not an option of sbatch"),
        ({"a b": 1}, "is not an option of sbatch"),
    ],
)
def test_parameters_that_cannot_be(run: Run, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(parameters=parameters)
    assert message in str(caught.value)
    assert not run.logs.exists()


def test_a_folder_whose_name_is_a_pattern_to_slurm(run: Run, tmp_path: Path) -> None:
    run.logs = tmp_path / "100%"
    with pytest.raises(UsageError, match="SLURM takes a % in a name for a pattern"):
        run()


def test_a_file_in_the_place_of_the_folder(run: Run) -> None:
    run.logs.touch()
    with pytest.raises(OutputError):
        run()


def test_without_slurm_or_submitit_the_message_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(UsageError) as caught:
        run()
    assert str(caught.value) == "this machine has no SLURM (sbatch is not there)"
    for name in ("sbatch", "srun", "squeue", "scancel"):
        (programs / name).symlink_to("/bin/true")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError) as caught:
        run()
    assert str(caught.value) == "submitit is not installed. Install it with: pip install 'invert[slurm]'."
    assert not run.logs.exists()
