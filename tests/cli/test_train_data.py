"""`invert train` and its data: what it takes, with labels and in grey, and what it refuses."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generator.files.reading import load
from tests.cli.conftest import Invert
from tests.cli.train_case import SHORT, SMALL, one_error, size_and_mode, write_images
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture
from tests.cli.train_case import train as train  # a fixture


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
