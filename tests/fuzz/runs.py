"""Files of a training run: its state, log and settings."""

import functools
import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.files import FIXTURES


@functools.cache
def _trainer() -> Any:
    from tests.training.training_case import tiny, trained

    return trained(tiny(), 1)


def states() -> list[bytes]:
    from generator.training.state import state_bytes

    return [state_bytes(_trainer().state())]


def changed_state(random: Random, data: bytes) -> bytes:
    """Change tensors of a training state; its checksum is right."""
    import torch

    from generator.training.state import state_bytes, state_from_bytes

    state = state_from_bytes(data)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(list(state))
        value = state[name]
        match random.randrange(8):
            case 0:
                del state[name]
            case 1:
                state[name] = torch.zeros(random.choice(([], [1], [0], [3, 5], [*value.shape, 1], value.shape[::-1])))
            case 2:
                kinds = (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64)
                state[name] = value.to(random.choice(kinds))
            case 3:
                state[name] = torch.full_like(value, random.choice((-1, 0, 1, 2)))
            case 4 if value.is_floating_point():
                state[name] = torch.full_like(value, random.choice((float("nan"), float("inf"), 1e30, -1.5)))
            case 5:
                state[random.choice((name + "2", "x", "adam.G.x:step", name.replace("exp_avg", "max")))] = value
            case 6:
                state[name] = state[random.choice(list(state))]
            case _:
                state[name] = torch.tensor(random.choice((-1, 1 << 62, 10**15)))
    return state_bytes({name: value.clone() for name, value in state.items()})


def read_state(data: bytes, _: Path) -> object:
    from generator.training.state import check_state, state_from_bytes
    from tests.training.training_case import train

    state = state_from_bytes(data)
    trainer = _trainer()
    check_state(state, trainer.layout())
    trainer.load_state(state)
    if trainer.images < 10**9 and hashlib.sha256(data).digest()[0] < 8:
        train(trainer, 1)
    return None


def read_log(data: bytes, folder: Path) -> object:
    from invert.runs.history import read_history
    from invert.runs.log import TickLog

    (folder / "settings.json").write_bytes((FIXTURES / "run" / "settings.json").read_bytes())
    (folder / "log.jsonl").write_bytes(data)
    try:
        return read_history(folder)
    finally:
        TickLog(folder, 100).close()


def read_settings(data: bytes, folder: Path) -> object:
    from invert.runs.folder import open_run_folder
    from invert.runs.history import read_history

    (folder / "settings.json").write_bytes(data)
    (folder / "log.jsonl").write_bytes((FIXTURES / "run" / "log.jsonl").read_bytes())
    try:
        return read_history(folder)
    finally:
        record = json.loads((FIXTURES / "run" / "settings.json").read_bytes())
        open_run_folder(folder, record, overwrite=False, resume=True)
