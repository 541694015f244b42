"""Small training runs as a user starts them."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Invert, Result

SMALL = (
    *("--config", "tiny", "--device", "cpu", "--threads", 1, "--batch", 8, "--kimg", 0.1, "--tick-kimg", 0.04),
    *("--snapshot-kimg", 0.08),
    *("--set", "z_dim=16", "--set", "w_dim=16", "--set", "channel_base=64", "--set", "channel_max=16"),
    *("--set", "r1_interval=4", "--set", "path_length_interval=2"),
    *("--augment", "ada", "--set", "augment_kimg=0.2", "--set", "augment_target=-0.9"),
)
"""13 steps of 8 images of 16 px; ticks at 40, 80 and the end, snapshots at 80 and the end. Later options win.

They are augmented, with a p that may move by 0.16 every 4 steps.
"""

SHORT = (*SMALL, "--kimg", 0.016)
"""Two steps."""

Data = Callable[..., Path]


def write_images(folder: Path, count: int = 24, channels: int = 3, classes: int = 0, seed: int = 0) -> Path:
    """Write a data set of random images of 16 px."""
    folder.mkdir(parents=True)
    rng = np.random.RandomState(seed)
    names = [f"{index:02d}.png" for index in range(count)]
    for name in names:
        pixels = rng.randint(0, 256, [16, 16, channels], np.uint8)
        Image.fromarray(pixels.squeeze()).save(folder / name)
    if classes:
        labels = {"labels": [[name, index % classes] for index, name in enumerate(names)]}
        (folder / "dataset.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 images."""
    return write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder that a run gets."""
    return tmp_path / "run"


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


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def log(folder: Path) -> list[dict[str, Any]]:
    """Return the log without what depends on the clock."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]
    return [{k: v for k, v in one.items() if k not in ("seconds", "images_per_second")} for one in records]


def newest_state(folder: Path) -> Path:
    return max(folder.glob("state-*.safetensors"))


def assert_same_end(run: Path, expected: Path) -> None:
    """Assert that two runs ended with the same bits: network, state, samples and log."""
    assert newest_state(run).name == newest_state(expected).name
    assert newest_state(run).read_bytes() == newest_state(expected).read_bytes()
    fakes = max(path.name for path in expected.glob("fakes-*.png"))
    for name in ("network.safetensors", fakes, "reals.png"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name
    assert log(run) == log(expected)
    assert not list(run.glob(".invert-*"))


PROGRESS = r"^invert: progress: (\d+) of"
"""A progress line, and how many images it speaks of."""


def images_seen(line: str) -> int:
    """Return how many images a progress line speaks of, 0 for other lines."""
    match = re.match(PROGRESS, line)
    return int(match[1]) if match else 0


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
