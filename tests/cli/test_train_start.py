"""What a run begins with: the augmentation that suits the images, and the layers of another network."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from generator.files.reading import load
from tests.cli.conftest import Invert
from tests.cli.train_case import SMALL, log
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture

SHORT = (*SMALL, "--kimg", 0.016)


def settings_of(run: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((run / "settings.json").read_text())["settings"]
    return settings


def test_a_run_of_few_images_is_augmented_unless_told_otherwise(
    invert: Invert, images: Path, run: Path, tmp_path: Path
) -> None:
    plain = SHORT[: SHORT.index("--augment")]
    told = "24 images are fewer than 50,000: --augment ada; without it: --augment none"
    common = ("train", "--data", images, *plain, "--kimg", 0.008, "--out")
    assert told in invert(*common, run).err
    assert settings_of(run)["augment"] == "ada"
    # a run goes on with what it began with, be it from before there was augmentation
    without = tmp_path / "none"
    assert invert(*common, without, "--augment", "none", "-q").code == 0
    assert "augment" not in settings_of(without)
    for folder in (run, without):
        resumed = invert(*common, folder, "--kimg", 0.016)
        assert resumed.code == 0, resumed.err
        assert told not in resumed.err


@pytest.mark.slow
def test_started_from_another_network(invert: Invert, images: Path, run: Path, tmp_path: Path) -> None:
    assert invert("train", "--data", images, "--out", tmp_path / "first", *SHORT, "-q").code == 0
    network = tmp_path / "first" / "network.safetensors"
    switches = ["--from", network, "--freeze-mapping", "--gamma", "auto", "--mirror", "xy", "--subset", 20]
    common = ("train", "--data", images, "--out", run, *SMALL, "--loss", "relativistic", "--kimg")
    result = invert(*common, 0.016, *switches)
    assert result.code == 0, result.err
    assert f"started from '{network}'; layers that start afresh: D b16.fromrgb, D b16.conv0," in result.err
    assert "--gamma auto: 0.0064" in result.err
    settings = settings_of(run)
    expected = {"r1_gamma": 0.0064, "mirror": True, "mirror_y": True, "subset": 20, "freeze_mapping": True}
    assert {name: settings[name] for name in expected} == expected
    assert settings["start"] == hashlib.sha256(network.read_bytes()).hexdigest()
    assert log(run)[-1]["losses"]["r2"] is not None
    mapping = "mapping.fc0.weight"
    start, end = load(network).generator.state_dict(), load(run / "network.safetensors").generator.state_dict()
    assert torch.equal(start[mapping], end[mapping])
    assert not torch.equal(start["synthesis.b16.conv1.weight"], end["synthesis.b16.conv1.weight"])
    # the same command goes on; without the network it is another run
    assert invert(*common, 0.024, *switches, "-q").code == 0
    other = invert(*common, 0.032, *switches[2:])
    assert other.code == 2
    assert "start (sha256 of --from): " in other.err
    assert ", now none. Use the same settings" in other.err
