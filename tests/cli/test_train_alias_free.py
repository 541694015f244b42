"""`invert train --config stylegan3-t`, and what the other commands do with its networks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Invert, Result
from tests.cli.test_train import in_two as in_two  # a fixture
from tests.cli.train_case import SMALL, log, newest_state
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture

NETWORK = (
    *SMALL,
    *("--config", "stylegan3-t", "--kimg", 0.04, "--tick-kimg", 0.016, "--snapshot-kimg", 0.04),
    *("--set", "channel_base=32", "--set", "channel_max=4", "--set", "discriminator_channel_base=64"),
    *("--set", "layer_schedule=num_layers:4,num_critical:1,margin_size:2", "--set", "augment_interval=2"),
    *("--set", "blur_warmup_sigma=2", "--set", "blur_warmup_kimg=0.032"),
)
"""5 steps of 8 images of 16 px with five layers, augmented, the first four of them blurred. Later options win."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A run that is not to be changed."""
    from invert.cli.main import main

    folder = tmp_path_factory.mktemp("finished") / "run"
    threads = torch.get_num_threads()
    assert main(["train", "--data", str(images), "--out", str(folder), *map(str, NETWORK), "--quiet"]) == 0
    torch.set_num_threads(threads)
    return folder


def test_a_run_says_what_it_takes_and_resumes_to_the_bit(
    invert: Invert, images: Path, run: Path, finished: Path
) -> None:
    begun = invert("train", "--data", images, "--out", run, *NETWORK, "--kimg", 0.016)
    assert begun.code == 0, begun.err
    assert "R1 gamma of stylegan3-t for 16 px and batches of 8: 0.03125" in begun.err
    assert invert("train", "--data", images, "--out", run, *NETWORK, "-q").code == 0
    records = log(run)
    assert [one["blur_sigma"] for one in records] == [1.0, 0.0, 0.0]
    assert [one["blur_sigma"] for one in log(finished)] == [1.0, 0.0, 0.0]
    assert records[1]["augment_p"] > 0
    assert all(one["losses"]["path_length"] is None for one in records)
    assert newest_state(run).read_bytes() == newest_state(finished).read_bytes()
    assert (run / "network.safetensors").read_bytes() == (finished / "network.safetensors").read_bytes()
    settings = json.loads((run / "settings.json").read_text())["settings"]
    expected = {"mapping_layers": 2, "w_avg_passes": "discriminator", "style_mixing": 0.0, "learning_rate": 0.0025}
    assert {name: settings[name] for name in expected} == expected


def test_other_commands_take_the_network(invert: Invert, finished: Path, tmp_path: Path) -> None:
    network = finished / "network.safetensors"
    assert "stylegan3-t" in invert("info", network).out
    moved = ("generate", "--network", network, "--seeds", "0-1", "--translate", "0.1,0", "--out", tmp_path / "moved")
    assert invert(*moved).code == 0
    assert invert("train-report", finished).code == 0
    page = (finished / "report.html").read_text()
    assert "blur of what the discriminator sees" in page


def test_started_from_the_network_of_a_run(
    invert: Invert, images: Path, run: Path, finished: Path, tmp_path: Path
) -> None:
    network = finished / "network.safetensors"
    start = ("train", "--data", images, "--config", "stylegan3-t", "--batch", 8, "--kimg", 0.008, "--threads", 1)
    switches = ("--from", network, "--set", "discriminator_channel_base=64", "--set", "discriminator_channel_max=16")
    result = invert(*start, "--out", run, *switches)
    assert result.code == 0, result.err
    assert "layers that start afresh: D b16.fromrgb, D b16.conv0," in result.err
    settings = json.loads((run / "settings.json").read_text())["settings"]
    assert settings["layer_schedule"] == "num_layers:4,num_critical:1,margin_size:2"
    assert "blur_warmup_sigma" not in settings
    other = invert(*start, "--out", tmp_path / "other", *switches, "--generator", "skip", "--no-mirror")
    assert other.code == 2
    assert "layer_schedule is 'num_layers:4,num_critical:1,margin_size:2', which a 'skip' generator does" in other.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--growing",), "'stylegan3-t' networks do not grow"),
        (("--spectral-norm", "g"), "spectral_norm is 'g', which a 'stylegan3-t' generator does not have"),
        (
            ("--config", "tiny", "--generator", "stylegan3-r"),
            "generator has no noise inputs: --no-noise",
        ),
        (("--discriminator", "stylegan3-t"), "'stylegan3-t' is not one of"),
        (("--set", "layer_schedule=num_layer:3"), "'num_layer' is not one of num_layers, num_critical, first_cutoff"),
        (("--set", "layer_schedule=num_layers:99"), "num_layers is 99, not an integer in 2..32"),
        (("--set", "blur_warmup_sigma=-1"), "blur_warmup_sigma is -1.0, not in [0, 100]"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_one_line(
    invert: Invert, images: Path, run: Path, options: tuple[str, ...], says: str
) -> None:
    plain = (*SMALL, "--config", "stylegan3-t", "--set", "channel_base=32")
    result = invert("train", "--data", images, "--out", run, *plain, *options)
    assert result.code == 2
    assert says in result.err
    assert len([line for line in result.err.splitlines() if "error:" in line]) == 1


@pytest.mark.long
def test_two_processes_train_as_one(in_two: Callable[..., Result], images: Path, run: Path, finished: Path) -> None:
    result = in_two("--data", images, "--out", run, *NETWORK, "--json")
    assert result.code == 0, result.err
    for mine, theirs in zip(log(run), log(finished), strict=True):
        assert mine["losses"] == {
            k: v if v is None else pytest.approx(v, rel=1e-4) for k, v in theirs["losses"].items()
        }
        assert mine["scores"] == pytest.approx(theirs["scores"], rel=1e-3, abs=1e-5)
        assert mine["blur_sigma"] == theirs["blur_sigma"]
