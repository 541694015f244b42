"""`invert project` into a network whose own images have black bars, as those of LSUN Car have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generator.files.invert_format import save_network
from generator.files.reading import load
from invert.projection.network_bars import bars_of_network
from invert.store.npz import read_projection
from tests.cli.conftest import ROOT, Invert

QUICK = ("--steps", 0, "--lpips", "alex", "--threads", 1)


@pytest.fixture
def cars(network: Path, tmp_path: Path) -> Path:
    """Write a network that is black above and below, whatever w is: its constant is, and nothing fills it later."""
    loaded = load(network)
    state = loaded.generator.synthesis.state_dict()
    state["b4.const"].zero_()[0, [0, 3]] = -100
    state["b4.conv1.weight"].zero_()[0, 0, 1, 1] = 1
    state["b4.conv1.affine.weight"].zero_()
    state["b4.torgb.affine.weight"].zero_()
    state["b4.torgb.weight"].zero_()[:, 0] = 20
    path = tmp_path / "cars.safetensors"
    save_network(path, loaded.generator, family=loaded.provenance.family)
    return path


@pytest.fixture
def project(invert: Invert, cars: Path, tmp_path: Path) -> Invert:
    return lambda *arguments: invert("project", *QUICK, "--network", cars, "--out", tmp_path / "out", *arguments)


def test_bars_of_networks_are_recognised(cars: Path, network: Path) -> None:
    bars = bars_of_network(load(cars).generator.eval())
    assert bars is not None
    assert bars.axis == 0
    assert bars.first == bars.second > 1
    assert bars_of_network(load(network).generator.eval()) is None
    # garments on black have a frame, and no bars
    assert bars_of_network(load(ROOT / "data" / "networks" / "A.safetensors").generator.eval()) is None


def test_an_image_with_bars_into_a_network_with_bars(project: Invert, tmp_path: Path) -> None:
    pixels = np.random.RandomState(3).randint(17, 256, [32, 32, 3], np.uint8)
    pixels[:4] = pixels[28:] = 0
    barred, wide, full = tmp_path / "barred.png", tmp_path / "wide.png", tmp_path / "full.png"
    Image.fromarray(pixels).save(barred)
    Image.fromarray(pixels[4:28]).save(wide)
    pixels[:4] = pixels[28:] = 99
    Image.fromarray(pixels).save(full)
    result = project(barred, wide, full)
    assert result.code == 0, result.err
    notes = [line for line in result.err.splitlines() if "black bars" in line]
    assert len(notes) == 2
    assert "the network's own images have black bars above and below" in notes[0]
    assert "barred.png': its black bars above and below do not count" in notes[1]
    assert "wide.png': 32 x 24 is not square: it is put on black" in result.err
    found = {name: read_projection(tmp_path / "out" / f"{name}.npz") for name in ("barred", "wide", "full")}
    assert found["barred"].distance == found["wide"].distance
    policy = found["full"].method["image_policy"]
    assert (policy["fit"], policy["bars"]) == ("pad", "left out")
    # resumed as it was begun; asked for otherwise it is another method
    again = project(barred, wide, full, "--quiet")
    assert (again.code, again.out.count("(finished before)")) == (0, 3)
    assert "image_policy" in project(full, "--fit", "crop", "--quiet").err
    assert project(full, "--fit", "crop", "--overwrite").code == 0
    whole = read_projection(tmp_path / "out" / "full.npz")
    assert "fit" not in whole.method["image_policy"]
    assert whole.distance == found["full"].distance  # an image without bars is untouched


def test_other_networks_crop_as_before(
    invert: Invert, network: Path, image: Callable[..., Path], tmp_path: Path
) -> None:
    common = ("project", image("a.png"), "--network", network, *QUICK)
    result = invert(*common, "--out", tmp_path / "auto")
    assert (result.code, "black bars" in result.err) == (0, False)
    assert invert(*common, "--out", tmp_path / "crop", "--fit", "crop").code == 0
    auto, crop = ((tmp_path / folder / "a.npz").read_bytes() for folder in ("auto", "crop"))
    assert auto == crop
