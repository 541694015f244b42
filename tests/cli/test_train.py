"""`invert train` as a user runs it."""

import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from generator.files.reading import load
from generator.training.trainer import Trainer
from invert.locking import exclusive_lock
from tests.cli.conftest import ROOT, Invert, Result
from tests.cli.train_case import (
    SMALL,
    assert_same_end,
    images_seen,
    log,
    newest_state,
    one_error,
    size_and_mode,
    visible,
)
from tests.cli.train_case import at_80 as at_80  # a fixture
from tests.cli.train_case import finished as finished  # a fixture
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture
from tests.cli.train_case import train as train  # a fixture


def test_what_a_run_leaves(train: Invert, invert: Invert, run: Path, finished: Path, tmp_path: Path) -> None:
    result = train()
    assert result.code == 0, result.err
    assert_same_end(run, finished)
    assert result.out == f"trained on 104 images: {run / 'network.safetensors'}\n"
    # R1 and path length were in steps 0, 4, 8, 12 and in every other one
    assert [images_seen(line) for line in result.err.splitlines()] == [40, 80, 104]
    assert ", 0 min left, G " in result.err.splitlines()[-1]
    assert "-0 min" not in result.err
    expected = ["fakes-000000000.png", "fakes-000000080.png", "fakes-000000104.png", "log.jsonl"]
    expected += ["network-000000080.safetensors", "network-000000104.safetensors", "network.safetensors"]
    expected += ["reals.png", "settings.json", "state-000000000080.safetensors", "state-000000000104.safetensors"]
    assert [name for name in visible(run) if name != "tensorboard"] == expected
    assert (run / "network.safetensors").read_bytes() == (run / "network-000000104.safetensors").read_bytes()
    sheets = {(run / name).read_bytes() for name in expected if name.startswith("fakes")}
    assert len(sheets) == 3
    assert {size_and_mode(run / f"fakes-{n:09d}.png") for n in (0, 80, 104)} == {((192, 192), "RGB")}
    assert size_and_mode(run / "reals.png") == ((80, 80), "RGB")  # 24 images

    settings = json.loads((run / "settings.json").read_text())
    assert settings["settings"]["z_dim"] == 16
    assert settings["settings"]["batch"] == 8
    assert settings["data"]["images"] == 24

    assert invert("info", run / "network.safetensors").code == 0
    made = invert("generate", "--network", run / "network.safetensors", "--seeds", "0-1", "--out", tmp_path / "made")
    assert made.code == 0, made.err
    assert size_and_mode(tmp_path / "made" / "seed0000.png") == ((16, 16), "RGB")
    origin = load(run / "network.safetensors").provenance.settings
    assert origin["images"] == 104
    assert origin["training"] == settings["settings"]
    assert origin["data"]["fingerprint"] == settings["data"]["fingerprint"]


def test_what_the_log_says(finished: Path) -> None:
    first, second, last = log(finished)
    assert [one["tick"] for one in (first, second, last)] == [1, 2, 3]
    assert [one["images"] for one in (first, second, last)] == [40, 80, 104]
    assert ["partial" in one for one in (first, second, last)] == [False, False, True]
    assert first["network"] is None
    assert first["resolution_shares"] is None
    assert (last["network"], last["fakes"]) == ("network-000000104.safetensors", "fakes-000000104.png")
    assert list(last["resolution_shares"]) == ["4", "8", "16"]
    assert sum(last["resolution_shares"].values()) == pytest.approx(1)
    for one in (first, second, last):
        assert set(one["losses"]) == {"generator", "discriminator", "r1", "path_length"}
        assert set(one["scores"]) == {"real", "fake"}
        numbers = [*one["losses"].values(), *one["scores"].values(), one["path_length_average"]]
        assert all(math.isfinite(number) for number in numbers)
    times = [json.loads(line)["seconds"] for line in (finished / "log.jsonl").read_bytes().splitlines()]
    assert times == sorted(times)
    assert times[0] > 0


def test_logged_losses_are_the_trainers(train: Invert, run: Path, images: Path) -> None:
    """The first tick's means, with the penalty R1 as it enters the loss: times gamma / 2."""
    from generator.training.config import TrainConfig
    from invert.datasets.training_images import open_images

    assert train("--kimg", 0.04, "--gamma", 3).code == 0
    settings = json.loads((run / "settings.json").read_text())["settings"]
    trainer = Trainer(TrainConfig(**settings), open_images(images))
    for _ in trainer.run(40):
        pass
    found, (logged,) = trainer.losses(), log(run)
    r1 = found["r1"]
    assert r1 is not None
    assert logged["losses"]["r1"] == pytest.approx(1.5 * r1)
    assert logged["losses"]["path_length"] == pytest.approx(found["path_length"])
    assert logged["losses"]["generator"] == pytest.approx(found["generator"])
    assert logged["scores"]["fake"] == pytest.approx(found["fake"])
    assert logged["path_length_average"] == pytest.approx(float(trainer.path_length_average))


def test_json_lines(train: Invert, run: Path) -> None:
    result = train("--json", "--quiet", "--kimg", 0.048)
    assert result.err == ""
    *ticks, summary = result.records()
    assert [(one["type"], one["images"]) for one in ticks] == [("tick", 40), ("tick", 48)]
    assert (summary["type"], summary["code"], summary["images"]) == ("summary", "done", 48)
    assert summary["network"] == str(run / "network.safetensors")
    assert summary["last"]["losses"] == log(run)[-1]["losses"]


def test_links_in_a_run_folder_are_refused(train: Invert, run: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("PRECIOUS")
    for name in (".lock", "settings.json"):
        run.mkdir()
        (run / name).symlink_to(thesis)
        result = train("--overwrite")
        assert result.code in (2, 6)
        assert name in one_error(result)
        assert "link" in result.err
        shutil.rmtree(run)
    assert thesis.read_text() == "PRECIOUS"


def test_folders_of_others_are_refused(train: Invert, run: Path) -> None:
    run.mkdir()
    (run / "network.safetensors").write_text("mine")
    for arguments in ((), ("--overwrite",)):
        result = train(*arguments)
        assert result.code == 2
        assert f"'{run}': is not empty and not a training run" in one_error(result)
    assert visible(run) == ["network.safetensors"]
    shutil.rmtree(run)
    run.write_text("a file")
    assert train().code == 2


def test_a_run_in_use(run: Path, images: Path) -> None:
    """Another process is told at once: before torch is loaded, which takes seconds."""
    run.mkdir()
    code = (
        "import sys; from invert.cli.main import main; c = main(sys.argv[1:])\nprint('torch' in sys.modules)\nexit(c)"
    )
    command = [sys.executable, "-c", code, "train", "--data", images, "--out", run, *SMALL]
    with exclusive_lock(run / ".lock"):
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
        )
    assert (done.returncode, done.stdout) == (7, "False\n")
    assert done.stderr.startswith(f"invert: error: output '{run}': in use by process {os.getpid()} on ")
    assert visible(run) == []


def test_help_and_wrong_usage_load_no_torch() -> None:
    for arguments in (["--help"], ["--data", ".", "--out", "nowhere", "--set", "x=1"], ["--what"]):
        code = "import sys; from invert.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
        command = [sys.executable, "-c", code, "train", *arguments]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=240, check=False).returncode == 0


def poisoned(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let a weight become infinite in a step."""
    real: Any = Trainer._step

    def with_accident(self: Trainer, images: torch.Tensor) -> None:
        real(self, images)
        if self.step == step:
            with torch.no_grad():
                next(self.generator.parameters()).view(-1)[0] = math.inf

    monkeypatch.setattr(Trainer, "_step", with_accident)


def test_numbers_that_are_none_end_the_run(train: Invert, run: Path) -> None:
    result = train("--set", "learning_rate=1e30", "--quiet")
    assert result.code == 8
    line = one_error(result)
    assert "not finite at tick 1, after 40 images; there is no snapshot yet" in line
    assert not list(run.glob("*.safetensors"))
    assert log(run) == []


def test_the_last_good_snapshot_is_kept(
    train: Invert, at_80: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = at_80
    with monkeypatch.context() as accident:
        poisoned(accident, 11)
        result = train("--quiet")
    assert result.code == 8
    last = run / "network.safetensors"
    assert f"at tick 3, after 104 images; the last good snapshot is '{last}'" in one_error(result)
    assert last.read_bytes() == (finished / "network-000000080.safetensors").read_bytes()
    assert newest_state(run).name == "state-000000000080.safetensors"
    assert [one["images"] for one in log(run)] == [40, 80]
    # it was an accident: the same command goes on from there
    assert train("--quiet").code == 0
    assert_same_end(run, finished)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nonsense=1"], "there is no setting 'nonsense'"),
        (["--set", "nonsense"], "'nonsense' is not NAME=VALUE"),
        (["--set", "z_dim=many"], "'many' is not an integer"),
        (["--set", "z_dim=0"], "z_dim"),
        (["--set", "learning_rate=nan"], "learning_rate is nan, not a finite number"),
        (["--set", "learning_rate=0"], "learning_rate is 0.0, not more than 0"),
        (["--set", "lazy=maybe"], "'maybe' is not true or false"),
        (["--set", "adam_beta2=1"], "adam_beta2 is 1.0, not in [0, 1)"),
        (["--set", "mbstd_channels=5"], "mbstd_channels"),
        (["--kimg", 0], "'--kimg': 0.0 is not in [0.001, 1e+09]"),
        (["--kimg", "nan"], "'--kimg': nan is not in [0.001, 1e+09]"),
        (["--tick-kimg", -1], "'--tick-kimg': -1.0 is not in"),
        (["--snapshot-kimg", 0], "'--snapshot-kimg': 0.0 is not in"),
        (["--set", "classes=3"], "classes=3: the images say that, --cond or --attribute, and --from"),
        (["--set", f"start={'0' * 64}"], "the images say that"),
        (["--batch", 5], "batch is 5, not a whole number of minibatch-deviation groups of 4 (mbstd_group_size)"),
        (["--batch", 5], "See --set mbstd_group_size=, --batch."),
        (["--batch", 0], "'--batch': 0 is not 1 or more"),
        (["--micro-batch", 3], "a batch of 8 cannot be cut into parts of 3"),
        (["--micro-batch", 0], "--micro-batch"),
        (["--cond"], "--cond: the data has no labels"),
        (["--resolution", 32], "--resolution 32: the images have 16 px"),
        (["--seed", -1], "'--seed': -1 is not 0 or more"),
        (["--gamma", -1], "'--gamma': -1.0 is not 0 or more"),
        (["--gamma", "auto", "--loss", "wgan-gp"], "r1_gamma is auto, but WGAN-GP has a penalty of its own"),
        (["--growing"], "'skip' networks do not grow. See --growing/--no-growing."),
        (["--attribute", "hair"], "has no attributes. They are `attributes` in its dataset.json; --cond takes labels."),
        (["--gamma", "much"], "'--gamma': 'much' is not a valid float"),
        (["--augment", "fixed:2"], "'--augment': fixed:2 is not none, ada, diff or fixed:P with P in [0, 1]"),
        (["--augment-groups", "blit,hue"], "blit,hue is not some of blit,geom,color,filter,noise,cutout"),
        (["--mirror", "z"], "--mirror"),
        (["--subset", 25], "subset is 25, but there are 24 images. See --subset."),
        (["--freeze-d", 99], "freeze_d is 99, but the discriminator has"),
        (["--from", "nowhere.pkl"], "nowhere.pkl"),
        (["--generator", "unet"], "--generator"),
        (["--spectral-norm", "x"], "--spectral-norm"),
        (["--config", "huge"], "--config"),
        (["--device", "tpu"], "--device"),
    ],
    ids=str,
)
def test_wrong_usage(train: Invert, run: Path, arguments: list[Any], message: str) -> None:
    result = train(*arguments)
    assert result.code == 2
    assert message in one_error(result)
    assert not run.exists() or visible(run) == []


def test_every_switch_reaches_the_settings(train: Invert, run: Path) -> None:
    switches = ["--no-path-length", "--no-lazy", "--no-demodulation", "--mirror", "--generator", "resnet"]
    switches += ["--discriminator", "skip", "--spectral-norm", "gd", "--seed", "4", "--gamma", "0.5"]
    result = train("--kimg", 0.016, "--micro-batch", 4, "--quiet", *switches)
    assert result.code == 0, result.err
    settings = json.loads((run / "settings.json").read_text())["settings"]
    expected = {
        "path_length_weight": 0.0,
        "lazy": False,
        "demodulate": False,
        "mirror": True,
        "generator_architecture": "resnet",
        "discriminator_architecture": "skip",
        "spectral_norm": "gd",
        "seed": 4,
        "r1_gamma": 0.5,
        "z_dim": 16,
        "batch": 8,
    }
    assert {name: settings[name] for name in expected} == expected
    (last,) = log(run)
    assert last["losses"]["path_length"] is None
    assert last["path_length_average"] is None
    assert last["resolution_shares"] is None


def test_tensorboard_events(train: Invert, run: Path, finished: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of that library
        pytest.importorskip("torch.utils.tensorboard")
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shutil.copytree(finished, run)
    assert train("--quiet", "--kimg", 0.13).code == 0
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"losses/generator", "losses/r1", "scores/real", "resolution_shares/16"} <= set(events.Tags()["scalars"])
    logged = [(one["images"], pytest.approx(one["losses"]["r1"], rel=1e-6)) for one in log(run)]
    assert [(event.step, event.value) for event in events.Scalars("losses/r1")] == logged
    assert [images for images, _ in logged] == [40, 80, 120, 136]


def test_without_tensorboard_there_is_only_the_log(
    train: Invert, at_80: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(at_80 / "tensorboard", ignore_errors=True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = train("--quiet")
    assert (result.code, result.err) == (0, "")
    assert not (at_80 / "tensorboard").exists()
    assert_same_end(at_80, finished)


@pytest.mark.slow
def test_two_processes_train_as_one(
    in_two: Callable[..., Result], train: Invert, images: Path, run: Path, finished: Path
) -> None:
    """13 steps with R1 and path length in them: the same losses to rounding, and one of the two speaks and writes."""
    result = in_two("--data", images, "--out", run, *SMALL, "--json")
    assert result.code == 0, result.err
    *ticks, summary = result.records()
    assert [one["images"] for one in ticks] == [40, 80, 104]
    assert summary["code"] == "done"
    lines = result.err.splitlines()
    assert [images_seen(line) for line in lines] == [40, 80, 104], result.err
    together, alone = log(run), log(finished)
    assert len(together) == len(alone)
    for mine, theirs in zip(together, alone, strict=True):
        assert mine["losses"] == pytest.approx(theirs["losses"], rel=1e-4)
        assert mine["scores"] == pytest.approx(theirs["scores"], rel=1e-4, abs=1e-5)
        assert mine["path_length_average"] == pytest.approx(theirs["path_length_average"], rel=1e-4)
    assert {name for name in visible(run) if name != "tensorboard"} == set(visible(finished)) - {"tensorboard"}
    # what two processes began one can go on with
    assert train("--kimg", 0.13, "--quiet").code == 0
    assert [one["images"] for one in log(run)] == [40, 80, 120, 136]


@pytest.fixture(scope="module")
def in_two() -> Callable[..., Result]:
    """Run `invert train` in two processes that torchrun starts."""

    def start(*arguments: object) -> Result:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
        command = [sys.executable, *launcher, "-m", "invert", "train", *arguments]
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return start


def test_precision_belongs_to_the_run(train: Invert, invert: Invert, run: Path) -> None:
    assert train("--precision", "bfloat16").code == 0
    assert json.loads((run / "settings.json").read_text())["settings"]["precision"] == "bfloat16"
    assert invert("train-report", run).code == 0
    assert "bfloat16" in (run / "report.html").read_text()
    assert "precision" in one_error(train())
    refused = train("--precision", "bfloat16", "--overwrite", "--no-lazy")
    assert "without lazy regularisation" in one_error(refused)
