"""`invert train` as a user runs it."""

import gzip
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from generator.files.reading import load
from generator.training.state import state_bytes, state_from_bytes
from generator.training.trainer import Trainer
from invert.locking import exclusive_lock
from tests.cli.conftest import ROOT, Invert, Result
from tests.cli.train_case import SMALL, assert_same_end, images_seen, log, newest_state, visible, write_images
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture

SHORT = (*SMALL, "--kimg", 0.016)
"""Two steps."""


@pytest.fixture
def train(invert: Invert, images: Path, run: Path) -> Invert:
    """Run `invert train` for 13 steps into tmp_path/run; later options win."""
    return lambda *arguments: invert("train", "--data", images, "--out", run, *SMALL, *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A run of 13 steps, not to be changed."""
    from invert.cli.main import main

    folder = tmp_path_factory.mktemp("finished") / "run"
    threads = torch.get_num_threads()
    assert main(["train", "--data", str(images), "--out", str(folder), *map(str, SMALL), "--quiet"]) == 0
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def at_80(run: Path, finished: Path) -> Path:
    """A run with the same settings that was killed after its snapshot at 80 images."""
    shutil.copytree(finished, run)
    newest_state(run).unlink()
    shutil.copy(run / "network-000000080.safetensors", run / "network.safetensors")
    for name in ("network-000000104.safetensors", "fakes-000000104.png"):
        (run / name).unlink()
    return run


def one_error(result: Result) -> str:
    """Return the one line that a refused command wrote."""
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith("invert: error: ")
    assert line.isprintable()
    return line


def size_and_mode(path: Path) -> tuple[tuple[int, int], str]:
    with Image.open(path) as image:
        return image.size, image.mode


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
        (["--batch", 5], "a batch of 5 is not a whole number of minibatch-deviation groups of 4"),
        (["--batch", 0], "'--batch': 0 is not 1 or more"),
        (["--micro-batch", 3], "a batch of 8 cannot be cut into parts of 3"),
        (["--micro-batch", 0], "--micro-batch"),
        (["--cond"], "--cond: the data has no labels"),
        (["--resolution", 32], "--resolution 32: the images have 16 px"),
        (["--seed", -1], "'--seed': -1 is not 0 or more"),
        (["--gamma", -1], "'--gamma': -1.0 is not 0 or more"),
        (["--gamma", "much"], "'--gamma': 'much' is not a valid float"),
        (["--augment", "fixed:2"], "'--augment': fixed:2 is not none, ada, diff or fixed:P with P in [0, 1]"),
        (["--augment-groups", "blit,hue"], "blit,hue is not some of blit,geom,color,filter,noise,cutout"),
        (["--mirror", "z"], "--mirror"),
        (["--subset", 25], "subset is 25, but there are 24 images"),
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


def test_data_that_cannot_be_used(invert: Invert, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    for data, code in (("empty", 5), ("text", 5), ("nowhere", 2)):
        result = invert("train", "--data", tmp_path / data, "--out", run, *SMALL)
        assert result.code == code
        assert str(tmp_path / data) in one_error(result)
    odd = write_images(tmp_path / "odd", count=3)
    Image.new("RGB", (17, 16)).save(odd / "odd.png")
    result = invert("train", "--data", odd, "--out", run, *SMALL)
    assert result.code == 2
    assert "invert dataset" in one_error(result)


def test_bad_images_are_left_out_and_told(invert: Invert, run: Path, tmp_path: Path) -> None:
    data = write_images(tmp_path / "some", count=9)
    (data / "04.png").write_bytes((data / "04.png").read_bytes()[:200])
    result = invert("train", "--data", data, "--out", run, *SHORT, "--quiet")
    assert result.code == 0
    (line,) = result.err.splitlines()
    assert line.startswith(f"invert: warning: image '{data / '04.png'}'")
    assert json.loads((run / "settings.json").read_text())["data"]["images"] == 8


def write_idx(folder: Path, count: int = 20) -> Path:
    """Write grey images of 16 px with labels 0 to 3 as the files of MNIST are written."""
    folder.mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, [count, 16, 16], np.uint8)
    header = struct.pack(">HBB3I", 0, 8, 3, count, 16, 16)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
    labels = struct.pack(">HBBI", 0, 8, 1, count) + bytes(index % 4 for index in range(count))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return folder / "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize("kind", ["idx", "folder"])
def test_conditional_and_grey_networks(invert: Invert, run: Path, tmp_path: Path, kind: str) -> None:
    grey = kind == "idx"
    data = write_idx(tmp_path / "idx") if grey else write_images(tmp_path / "labelled", classes=4)
    result = invert("train", "--data", data, "--out", run, *SHORT, "--cond", "--quiet")
    assert result.code == 0, result.err
    mode = "L" if grey else "RGB"
    assert {size_and_mode(path)[1] for path in run.glob("*.png")} == {mode}
    network = run / "network.safetensors"
    about = invert("info", network).out
    assert f"16 x 16, {1 if grey else 3} channel" in about
    assert load(network).generator.config.mapping.c_dim == 4
    common = ("generate", "--network", network, "--seeds", "0", "--out")
    assert invert(*common, tmp_path / "none").code == 2
    generated = []
    for index in (0, 3):
        assert invert(*common, tmp_path / str(index), "--class", index).code == 0
        path = tmp_path / str(index) / "seed0000.png"
        assert size_and_mode(path) == ((16, 16), mode)
        generated.append(path.read_bytes())
    assert generated[0] != generated[1]
    # without --cond the labels are of no use
    assert invert("train", "--data", data, "--out", tmp_path / "plain", *SHORT, "--quiet").code == 0
    assert load(tmp_path / "plain" / "network.safetensors").generator.config.mapping.c_dim == 0


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


def test_micro_batches_may_change_between_parts_of_a_run(train: Invert, at_80: Path, finished: Path) -> None:
    result = train("--micro-batch", 4, "--quiet")
    assert result.code == 0, result.err
    for mine, whole in zip(log(at_80), log(finished), strict=True):
        assert mine["losses"] == pytest.approx(whole["losses"], rel=1e-4)


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
