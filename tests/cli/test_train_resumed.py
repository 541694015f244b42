"""`invert train` in the folder of a run that was there before: resumed, refused, or begun again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from generator.training.state import state_bytes, state_from_bytes
from tests.cli.conftest import Invert
from tests.cli.train_case import SMALL, assert_same_end, log, newest_state, one_error, visible, write_images
from tests.cli.train_case import at_80 as at_80  # a fixture
from tests.cli.train_case import finished as finished  # a fixture
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture
from tests.cli.train_case import train as train  # a fixture


def test_a_finished_run_grows(train: Invert, run: Path, finished: Path, tmp_path: Path) -> None:
    """To 0.1 and then to 0.15 thousand images is, to the bit, to 0.15 at once."""
    shutil.copytree(finished, run)
    before = {name: (run / name).read_bytes() for name in visible(run) if name != "tensorboard"}
    assert train("-q", "--resume").out == f"trained on 104 images: {run / 'network.safetensors'}\n"
    again = {name: (run / name).read_bytes() for name in before}
    assert {name for name in before if again[name] != before[name]} <= {"log.jsonl"}
    grown = train("--kimg", 0.15)
    assert grown.code == 0
    assert "invert: note: resuming after 104 images" in grown.err
    assert train("--kimg", 0.15, "--out", tmp_path / "at once").code == 0
    assert_same_end(run, tmp_path / "at once")
    assert newest_state(run).name == "state-000000000152.safetensors"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "all"])
def test_damaged_states(train: Invert, run: Path, finished: Path, damage: str) -> None:
    """An older state, or the start, leads to the same bits."""
    shutil.copytree(finished, run)
    newest = newest_state(run)
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) * 3 // 4] ^= 16
    (run / "network.safetensors").unlink()
    newest.write_bytes(content[:-1000] if damage == "cut" else b"" if damage == "empty" else content)
    if damage == "all":
        for path in run.glob("state-*.safetensors"):
            path.write_bytes(b"")
    result = train("--resume")
    assert result.code == 0, result.err
    complaints = [line for line in result.err.splitlines() if line.startswith("invert: warning: state '")]
    assert len(complaints) == (2 if damage == "all" else 1)
    assert str(newest) in complaints[0]
    assert "damaged" in complaints[0]
    assert ("resuming after 80 images" in result.err) is (damage != "all")
    assert_same_end(run, finished)


def test_a_hostile_state_is_refused(train: Invert, run: Path, finished: Path) -> None:
    """Its checksum is right, and a moment of its optimiser has another shape than the parameter: exit code 4."""
    shutil.copytree(finished, run)
    newest = newest_state(run)
    state = state_from_bytes(newest.read_bytes())
    state["adam.D.b4.fc.weight:exp_avg"] = torch.zeros(1)
    newest.write_bytes(state_bytes(state))
    result = train("--resume")
    assert result.code == 4
    line = one_error(result)
    assert f"training state '{newest}': damaged: it is not a state of this run" in line
    assert "'adam.D.b4.fc.weight:exp_avg' is float32 [1]" in line


def test_a_log_that_was_cut_off_or_lost(train: Invert, run: Path, finished: Path) -> None:
    shutil.copytree(finished, run)
    newest_state(run).unlink()
    text = (run / "log.jsonl").read_text()
    (run / "log.jsonl").write_text(text[:-30])
    assert train("--quiet").code == 0
    assert_same_end(run, finished)
    (run / "log.jsonl").unlink()
    assert train("--quiet", "--kimg", 0.12).code == 0
    assert [one["images"] for one in log(run)] == [120]


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (["--seed", 3], "seed: 0, now 3"),
        (["--gamma", 2, "--mirror"], "mirror: False, now True; r1_gamma: 1.0, now 2.0"),
        (["--no-lazy"], "lazy: True, now False"),
        (["--set", "learning_rate=0.001"], "learning_rate: 0.002, now 0.001"),
        (["--config", "small"], "mapping_layers: 2, now 8"),
        (["--loss", "relativistic"], "loss: logistic, now relativistic"),
        (["--from", "tests/golden/nvidia_ada.pkl"], "start (sha256 of --from): none, now "),
    ],
    ids=str,
)
def test_other_settings_are_refused_by_name(
    invert: Invert, finished: Path, images: Path, arguments: list[Any], difference: str
) -> None:
    before = {name: (finished / name).read_bytes() for name in visible(finished) if name != "tensorboard"}
    result = invert("train", "--data", images, "--out", finished, *SMALL, *arguments)
    assert result.code == 2
    line = one_error(result)
    for piece in difference.split("; "):
        assert piece in line
    assert "--overwrite" in line
    assert str(finished) in line
    assert {name: (finished / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("name", "words"), [("lazy", "settings.lazy: None, now True"), ("seed", "settings.seed: None, now 0")]
)
def test_settings_that_lost_a_key_are_not_taken_for_the_default(
    train: Invert, at_80: Path, name: str, words: str
) -> None:
    record = json.loads((at_80 / "settings.json").read_text())
    del record["settings"][name]
    (at_80 / "settings.json").write_text(json.dumps(record))
    result = train()
    assert (result.code, words in result.err) == (2, True), result.err


BEFORE = ("--no-mirror", "--set", "ema_warmup=0.05", "--set", "w_avg_passes=generator")
"""What makes of stylegan2-e what it was in earlier versions."""


@pytest.mark.slow
def test_a_run_of_an_earlier_preset_is_resumed_as_it_was(train: Invert, run: Path) -> None:
    preset = ("--config", "stylegan2-e", "--quiet")
    assert train("--kimg", 0.016, *preset, *BEFORE).code == 0
    begun = (run / "settings.json").read_bytes()
    result = train("--kimg", 0.032, *preset[:2])
    assert result.code == 0, result.err
    told = "begun with stylegan2-e as an earlier version had it, and is resumed so: mirror=False, "
    assert told in result.err
    assert (run / "settings.json").read_bytes() == begun
    assert [one["images"] for one in log(run)][-1] == 32


def test_other_data_are_refused(invert: Invert, finished: Path, tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", count=23)
    result = invert("train", "--data", other, "--out", finished, *SMALL)
    assert result.code == 2
    assert "data: " in one_error(result)


def test_overwrite_begins_again(train: Invert, run: Path, finished: Path) -> None:
    assert train("--seed", 3, "--kimg", 0.016, "--quiet").code == 0
    assert "fakes-000000016.png" in visible(run)
    (run / "notes.txt").write_text("mine")
    assert train("--overwrite", "--quiet").code == 0
    assert (run / "notes.txt").read_text() == "mine"
    (run / "notes.txt").unlink()
    assert_same_end(run, finished)
    assert visible(run) == visible(finished)
    assert len(list(run.glob("tensorboard/*"))) == len(list(finished.glob("tensorboard/*")))


def test_resume_insists_on_a_run(train: Invert, run: Path) -> None:
    result = train("--resume")
    assert result.code == 2
    assert f"'{run}': there is no run to resume" in one_error(result)
    assert not run.exists() or visible(run) == []


def test_micro_batches_may_change_between_parts_of_a_run(train: Invert, at_80: Path, finished: Path) -> None:
    result = train("--micro-batch", 4, "--quiet")
    assert result.code == 0, result.err
    for mine, whole in zip(log(at_80), log(finished), strict=True):
        assert mine["losses"] == pytest.approx(whole["losses"], rel=1e-4)
