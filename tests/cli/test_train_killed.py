"""Training runs that were killed or stopped, and resumed by the same command."""

import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from generator.training.state import state_from_bytes
from generator.training.trainer import Trainer
from invert.runs.folder import RunFolder
from invert.runs.log import TickLog
from tests import self_signal
from tests.cli.conftest import Invert
from tests.cli.train_case import PROGRESS, SMALL, assert_same_end, log, newest_state, visible
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture

pytestmark = pytest.mark.usefixtures("default_signals")

LONG = (*SMALL, "--kimg", 0.24, "--snapshot-kimg", 0.12)
"""30 steps, a tick every 5 and a snapshot every 15: time to be killed."""


@pytest.fixture
def train(invert: Invert, images: Path, run: Path) -> Invert:
    return lambda *arguments: invert("train", "--data", images, "--out", run, *arguments, "--quiet")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Callable[..., Path]:
    """Return the folder of a run with these settings that nothing disturbed, not to be changed."""
    from invert.cli.main import main

    made: dict[tuple[Any, ...], Path] = {}

    def build(*arguments: object) -> Path:
        if arguments not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            threads = torch.get_num_threads()
            assert main(["train", "--data", str(images), "--out", str(folder), *map(str, arguments), "--quiet"]) == 0
            torch.set_num_threads(threads)
            made[arguments] = folder
        return made[arguments]

    return build


def interrupted_after(images: Path, run: Path, count: int, seconds: float, number: signal.Signals) -> tuple[int, str]:
    """Start LONG in a process, send it a signal some time after it has seen so many images; return how it ended."""
    command = ("train", "--data", images, "--out", run, *LONG)
    process = self_signal.start(number, "stderr", PROGRESS, count, *command, seconds=seconds)
    messages = process.communicate(timeout=240)[1]
    return process.returncode, messages


@pytest.mark.long
def test_killed_twice_at_random_moments(
    train: Invert, uninterrupted: Callable[..., Path], images: Path, run: Path
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"random.Random({seed})")  # pytest shows it when the test fails
    moments = random.Random(seed)
    for low, high in ((40, 100), (120, 180)):
        count, seconds = moments.randint(low, high), moments.uniform(0, 0.1)
        code, messages = interrupted_after(images, run, count, seconds, signal.SIGKILL)
        assert code == -signal.SIGKILL, messages
    assert train(*LONG).code == 0
    assert_same_end(run, uninterrupted(*LONG))


@pytest.mark.slow
def test_asked_to_stop(train: Invert, uninterrupted: Callable[..., Path], images: Path, run: Path) -> None:
    code, messages = interrupted_after(images, run, 80, 0.05, signal.SIGTERM)
    assert code == 143
    note, error = messages.splitlines()[-2:]
    match = re.fullmatch(r"invert: note: stopped after (\d+) images; the same command again resumes .*", note)
    assert match is not None, messages
    assert error == "invert: error: asked to stop. What was finished is kept."
    seen = int(match[1])
    assert 80 <= seen < 240
    assert newest_state(run).name == f"state-{seen:012d}.safetensors"
    assert int(state_from_bytes(newest_state(run).read_bytes())["images"]) == seen
    assert train(*LONG).code == 0
    assert_same_end(run, uninterrupted(*LONG))


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, *numbers: signal.Signals) -> None:
    """Let signals come while a step is being done."""
    real: Any = Trainer._step

    def disturbed(self: Trainer, images: torch.Tensor) -> None:
        real(self, images)
        if self.step == step:
            for number in numbers:
                signal.raise_signal(number)

    monkeypatch.setattr(Trainer, "_step", disturbed)


@pytest.mark.parametrize(
    ("number", "code", "step"),
    [(signal.SIGINT, 130, 7), (signal.SIGTERM, 143, 5), (signal.SIGHUP, 129, 7)],
    ids=["SIGINT amid a tick", "SIGTERM when a tick is due", "SIGHUP amid a tick"],
)
def test_the_step_is_finished_and_saved(
    train: Invert,
    uninterrupted: Callable[..., Path],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
    step: int,
) -> None:
    handlers = [signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with monkeypatch.context() as disturbance:
        at_step(disturbance, step, number)
        result = train(*SMALL)
    assert result.code == code
    assert result.out == ""
    assert newest_state(run).name == f"state-{8 * step:012d}.safetensors"
    assert [one["images"] for one in log(run)] == [40]
    assert [signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert train(*SMALL).code == 0
    assert_same_end(run, uninterrupted(*SMALL))


def test_ignored_signals_stay_ignored(
    train: Invert, uninterrupted: Callable[..., Path], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`nohup invert train` goes on after the hang-up, and one in the background when Ctrl-C is for another."""
    numbers = (signal.SIGHUP, signal.SIGINT)
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    with monkeypatch.context() as disturbance:
        at_step(disturbance, 7, *numbers)
        assert train(*SMALL).code == 0
    assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 2
    assert_same_end(run, uninterrupted(*SMALL))


@pytest.mark.parametrize("step", [10, 13], ids=["when a snapshot is due", "at the end"])
def test_a_snapshot_that_is_due_is_made(
    train: Invert, uninterrupted: Callable[..., Path], run: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as disturbance:
        at_step(disturbance, step, signal.SIGTERM)
        assert train(*SMALL).code == 143
    assert f"network-{8 * step:09d}.safetensors" in visible(run)
    assert [one["images"] for one in log(run)] == [40, 80, 104][: 2 if step == 10 else 3]
    assert train(*SMALL).code == 0
    if step == 10:
        assert_same_end(run, uninterrupted(*SMALL))


def test_the_second_signal_acts_at_once(
    train: Invert, uninterrupted: Callable[..., Path], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as disturbance:
        at_step(disturbance, 12, signal.SIGINT, signal.SIGINT)
        assert train(*SMALL).code == 130
    assert newest_state(run).name == "state-000000000080.safetensors"
    assert train(*SMALL).code == 0
    assert_same_end(run, uninterrupted(*SMALL))


@pytest.mark.parametrize("place", ["network.safetensors", "log", "state", "after"])
def test_killed_while_a_snapshot_is_written(
    train: Invert, uninterrupted: Callable[..., Path], run: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Before each of the files of the snapshot at 80, and after the last of them."""
    write, add, save = RunFolder.write, TickLog.add, RunFolder.save_state

    def killed_write(self: RunFolder, name: str, content: bytes) -> None:
        if name == place:
            raise KeyboardInterrupt
        write(self, name, content)

    def killed_add(self: TickLog, record: dict[str, Any]) -> None:
        if place == "log" and record["images"] == 80:
            raise KeyboardInterrupt
        add(self, record)

    def killed_save(self: RunFolder, images: int, content: bytes) -> None:
        if place == "state":
            raise KeyboardInterrupt
        save(self, images, content)
        if place == "after":
            raise KeyboardInterrupt

    with monkeypatch.context() as killer:
        killer.setattr(RunFolder, "write", killed_write)
        killer.setattr(TickLog, "add", killed_add)
        killer.setattr(RunFolder, "save_state", killed_save)
        assert train(*SMALL).code == 130
    assert bool(list(run.glob("state-*"))) is (place == "after")
    assert train(*SMALL).code == 0
    assert_same_end(run, uninterrupted(*SMALL))
