"""`invert train` of StyleGAN networks that grow, as a user runs it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from generator.files.reading import load
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS, settings_with
from tests.cli.conftest import Invert
from tests.cli.train_case import assert_same_end, log, newest_state, visible
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture

GROWN = (
    *(
        "--config",
        "stylegan-small",
        "--growing",
        "--device",
        "cpu",
        "--threads",
        1,
        "--batch",
        8,
        "--mapping-layers",
        2,
    ),
    *("--set", "z_dim=16", "--set", "w_dim=16", "--set", "channel_base=64", "--set", "channel_max=16"),
    *("--set", "growing_stage_kimg=0.016", "--set", "growing_fade_kimg=0.032"),
    *("--set", "batch_by_resolution=16:4", "--kimg", 0.06, "--tick-kimg", 0.016, "--snapshot-kimg", 0.032),
)
"""16 images of 8 px in batches of 8, then a fade to 16 px over 32 in batches of 4; a snapshot in its middle."""

ARCHITECTURES = ("generator_architecture", "discriminator_architecture")


@pytest.fixture
def train(invert: Invert, images: Path, run: Path) -> Invert:
    """Run `invert train` through a fade into tmp_path/run; later options win."""
    return lambda *arguments: invert("train", "--data", images, "--out", run, *GROWN, *arguments)


def side_of(path: Path) -> int:
    with Image.open(path) as image:
        return image.size[0]


def test_a_run_that_ends_before_it_has_grown_says_so(train: Invert) -> None:
    result = train("--kimg", 0.02)
    assert result.code == 0
    assert "this run ends at 16 px; the networks have grown to 16 px after 0.048 thousand images" in result.err
    assert "this run ends" not in train("--kimg", 0.06).err


def test_short_presets_grow_in_the_time_they_have() -> None:
    short = [name for name, preset in TRAINING_PRESETS.items() if preset.lengths.kimg < 1000]
    assert short == ["small", "stylegan-small", "tiny"]
    for preset in short:
        revised = {} if preset == "stylegan-small" else dict.fromkeys(ARCHITECTURES, "orig")  # skip does not grow
        settings = settings_with(preset, {**revised, "growing": True, "resolution": 32, "channels": 1})
        stage = TrainConfig(**settings).growth_schedule().at(TRAINING_PRESETS[preset].lengths.images - 1)
        assert (stage.resolution, stage.alpha) == (32, 1.0)


def test_a_batch_of_the_user_counts_at_every_resolution(invert: Invert, images: Path, run: Path) -> None:
    small = ("--set", "channel_base=64", "--set", "channel_max=16", "--mapping-layers", 1, "--threads", 1)
    result = invert(
        "train", "--data", images, "--out", run, "--config", "stylegan", *small, "--batch", 4, "--kimg", 0.008
    )
    assert result.code == 0, result.err
    settings = json.loads((run / "settings.json").read_bytes())["settings"]
    assert (settings["batch"], settings.get("batch_by_resolution", "")) == (4, "")
    assert (
        settings["learning_rate_by_resolution"] == TRAINING_PRESETS["stylegan"].settings["learning_rate_by_resolution"]
    )
    assert [tick["images"] for tick in log(run)][-1] == 8


def test_a_run_that_grows(train: Invert, invert: Invert, run: Path, tmp_path: Path) -> None:
    result = train()
    assert result.code == 0, result.err
    stages = re.findall(r"(\d+) of 60 images.*left, (\d+) px, alpha ([\d.]+), G ", result.err)
    assert stages == [("16", "16", "0.00"), ("32", "16", "0.50"), ("48", "16", "1.00"), ("60", "16", "1.00")]
    assert [(one["resolution"], one["alpha"]) for one in log(run)] == [(16, 0), (16, 0.5), (16, 1), (16, 1)]
    settings = json.loads((run / "settings.json").read_text())["settings"]
    assert settings["growing"] is True
    assert settings["batch_by_resolution"] == "16:4"

    # the grid of the beginning has 8 px for each image, the later ones 16
    assert side_of(run / "fakes-000000000.png") == 12 * 8
    assert side_of(run / "fakes-000000032.png") == 12 * 16

    middle = run / "network-000000032.safetensors"
    assert load(middle).generator.config.synthesis.alpha == 0.5
    about = invert("info", middle)
    assert about.code == 0, about.err
    assert "16 x 16, 3 channels, saved while it grew: layers at 16 px faded in to 0.5" in about.out
    assert "stylegan" in about.out
    for network in (middle, run / "network.safetensors"):
        out = tmp_path / network.stem
        generated = invert("generate", "--network", network, "--seeds", "0", "--out", out)
        assert generated.code == 0, generated.err
        assert side_of(out / "seed0000.png") == 16

    report = invert("train-report", run)
    assert report.code == 0, report.err
    page = (run / "report.html").read_text()
    assert "Progressive growing" in page
    assert '<th scope="row">16 px</th><td class="n">0.016</td><td class="n">0.048</td>' in page


def test_a_snapshot_before_the_last_resolution_is_smaller(train: Invert, invert: Invert, run: Path) -> None:
    assert train("--kimg", 0.008, "--quiet").code == 0
    assert "8 x 8, 3 channels\n" in invert("info", run / "network.safetensors").out
    synthesis = load(run / "network.safetensors").generator.config.synthesis
    assert (synthesis.img_resolution, synthesis.alpha, synthesis.num_ws) == (8, 1.0, 4)


def test_stopped_inside_a_fade_and_resumed(train: Invert, run: Path, images: Path, invert: Invert) -> None:
    """Killed after the snapshot in the middle of the fade: what came later is lost, and done again."""
    assert train("--quiet").code == 0
    expected = run.rename(run.with_name("expected"))
    # a length of its own ends with a snapshot where the other run has one too
    assert train("--kimg", 0.032, "--quiet").code == 0
    assert newest_state(run).name == "state-000000000032.safetensors"
    assert train("--resume", "--quiet").code == 0
    assert_same_end(run, expected)


ABLATIONS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "traditional": (
        ["--latent-input", "--no-styles", "--normalisation", "pixel", "--no-noise"],
        {"synthesis_input": "latent", "use_styles": False, "normalisation": "pixel", "use_noise": False},
    ),
    "wgan": (
        ["--loss", "wgan-gp", "--mixing", 0.5, "--augment", "none"],
        {"loss": "wgan-gp", "r1_gamma": 0.0, "style_mixing": 0.5},
    ),
    "plain": (["--no-growing", "--mapping-layers", 0], {"mapping_layers": 0, "r1_gamma": 1.0}),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_reach_the_settings(train: Invert, run: Path, name: str) -> None:
    switches, expected = ABLATIONS[name]
    result = train("--kimg", 0.024, "--quiet", *switches)
    assert result.code == 0, result.err
    settings = json.loads((run / "settings.json").read_text())["settings"]
    assert {key: settings[key] for key in expected} == expected
    assert ("growing" in settings) is (name != "plain")
    last = log(run)[-1]
    assert ("gradient_penalty" in last["losses"]) is (name == "wgan")
    assert ("resolution" in last) is (name != "plain")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "batch_by_resolution=8"], "batch_by_resolution is '8', not RESOLUTION:VALUE, ..."),
        (["--set", "batch_by_resolution=9:8"], "batch_by_resolution: 9 is not a power of two"),
        (["--set", "batch_by_resolution=8:6"], "batch is 6, not a whole number"),
        (["--set", "growing_start=64"], "growing_start is 64, not a power of two in 4..16"),
        (["--set", "growing_fade_kimg=-1"], "growing_fade_kimg is -1.0"),
        (["--no-styles"], "a constant input without styles gives one image whatever w is"),
        (["--no-demodulation"], "demodulate is False, which a 'stylegan' generator does not have"),
        (["--loss", "wgan-gp", "--gamma", 1], "r1_gamma is 1.0, but WGAN-GP has a penalty of its own"),
        (["--mixing", 2], "'--mixing': 2.0 is not in [0, 1]"),
        (["--generator", "skip"], "'skip' networks do not grow"),
        (["--spectral-norm", "gd"], "spectral_norm is 'gd'"),
        (["--micro-batch", 8], "a batch of 4 cannot be cut into parts of 8"),
    ],
    ids=str,
)
def test_wrong_usage(train: Invert, run: Path, arguments: list[Any], message: str) -> None:
    result = train(*arguments)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("invert: error: ")
    assert message in line
    assert not run.exists() or visible(run) == []
