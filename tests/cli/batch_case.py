"""Small batch projections as a user starts them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.cli.conftest import ROOT, Invert

QUICK = ("--steps", 5, "--lpips", "alex", "--threads", 1, "--batch", 4)
KEEP = ("--save-noise", "float32", "--save-images")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 6)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "latents.h5"


@pytest.fixture
def project(invert: Invert, network: Path, out: Path) -> Invert:
    """Run `invert project` with five steps on the small network, into latents.h5; later options win."""
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", out, "--quiet", *arguments)


def write_images(folder: Path, count: int, seed: int = 0) -> Path:
    """Write images of 32 px, each another, in a folder and one below it."""
    rng = np.random.RandomState(seed)
    for index in range(count):
        path = folder / ("sub" if index % 3 == 2 else "") / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, [32, 32, 3], np.uint8)).save(path)
    return folder


def command(*arguments: object) -> Sequence[str]:
    return [sys.executable, "-m", "invert", "project", *map(str, arguments)]


def start(*arguments: object, **variables: str) -> "subprocess.Popen[str]":
    """Start `invert project` in a process of its own, and group of its own."""
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, **variables}
    return subprocess.Popen(command(*arguments), cwd=ROOT, env=environment, process_group=0, **pipes)


def entries(out: Path) -> list[Path]:
    """Return the finished images of a journal."""
    return sorted((out.with_name(out.name + ".work") / "entries").glob("*.entry"))


def leftovers(out: Path) -> list[str]:
    """Return what stands beside an output that is not an image's folder."""
    return sorted(path.name for path in out.parent.iterdir() if path.name not in (out.name, "images"))


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)
