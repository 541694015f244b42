"""The command line as a user runs it, in this process or in one of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from invert import api
from invert.cli.main import main

ROOT = Path(__file__).parent.parent.parent


class Result(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Invert = Callable[..., Result]


@pytest.fixture
def invert(capsys: pytest.CaptureFixture[str], threads: None) -> Invert:
    """Run a command in this process."""

    def run(*arguments: object) -> Result:
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def in_a_process() -> Callable[..., Result]:
    """Run a command in a process of its own; keywords are environment variables, None unsets one."""

    def run(*arguments: object, **variables: str | None) -> Result:
        environment = {key: value for key, value in os.environ.items() if key not in variables}
        environment |= {key: value for key, value in variables.items() if value is not None}
        command = [sys.executable, "-m", "invert", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def image(tmp_path: Path) -> Callable[..., Path]:
    """Write an image that differs from every other; returns its path."""
    count = 0

    def write(name: str | bytes = "a.png", shade: int | None = None) -> Path:
        nonlocal count
        count += 1
        path = tmp_path / "images" / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = count if shade is None else 1000 + shade
        Image.fromarray(np.random.RandomState(seed).randint(0, 256, [32, 32, 3], np.uint8)).save(path, "png")
        return path

    return write


@pytest.fixture(scope="session")
def projected(network: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Any]]:
    """Two projections with noise maps of their own, and what the network synthesised from each."""
    folder = tmp_path_factory.mktemp("projected")
    found = []
    for seed in range(2):
        image = np.random.RandomState(seed).randint(0, 256, [32, 32, 3], np.uint8)
        out = folder / f"found{seed}"
        results = api.project(image, network, steps=2, lpips="alex", out=out, device="cpu", threads=1, batch=1)
        (result,) = results
        found.append((next(out.glob("*.npz")), result.image))
    return found


@pytest.fixture
def attribution_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the banks of samples from one test of attribution to the next."""
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path_factory.getbasetemp() / "attribution-cache"))


@pytest.fixture(scope="session")
def case(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its calibration, and the images that it was made with; not to be changed."""
    from tests.cli.attribute_case import LOOSE, QUICK
    from tests.cli.batch_case import write_images

    folder = tmp_path_factory.mktemp("case")
    shutil.copy(network, folder / "net.pkl")
    write_images(folder / "real", 20, seed=1)
    write_images(folder / "sibling", 20, seed=2)
    arguments = ("--network", folder / "net.pkl", "--real", folder / "real", "--other", folder / "sibling")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INVERT_CACHE", str(tmp_path_factory.getbasetemp() / "attribution-cache"))
        assert main([str(a) for a in ("calibrate", *arguments, *QUICK, *LOOSE, "--quiet")]) == 0
    return folder
