"""What a command does before it does its work: as little as possible."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Invert

# A second of processor time would be more than a busy machine lets one measure; what is imported can be counted.
IMPORTS = """
import json, sys
from invert.cli.main import main
code = main(json.loads(sys.argv[1]))
heavy = ["torch", "torch._dynamo", "torchvision", "lpips", "scipy", "sklearn", "matplotlib", "sympy"]
print(json.dumps([code, [name for name in heavy if name in sys.modules]]))
"""


def imported(*arguments: object) -> tuple[int, list[str]]:
    """Return how a command ends in a process of its own, and which heavy modules it imported."""
    command = [sys.executable, "-c", IMPORTS, json.dumps(list(map(str, arguments)))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    code, names = json.loads(done.stdout.splitlines()[-1])
    return code, names


@pytest.mark.slow
def test_a_projection_imports_torch_and_nothing_around_it(network: Path, tmp_path: Path) -> None:
    image = ROOT / "data" / "samples" / "A" / "seed0000.png"
    settings = ("--steps", 1, "--lpips", "alex", "--device", "cpu", "--threads", 1, "-q")
    assert imported("project", image, "--network", network, *settings, "--out", tmp_path / "out") == (0, ["torch"])


@pytest.mark.parametrize("command", ["project", "attribute"])
def test_an_image_that_is_not_there(invert: Invert, tmp_path: Path, command: str) -> None:
    out = ("--out", tmp_path / "out") if command == "project" else ()
    result = invert(command, tmp_path / "nosuch.png", *out)
    assert result.code == 5
    assert result.err.splitlines()[-1].endswith("nosuch.png': there is no such file. Check the name.")
    assert list(tmp_path.iterdir()) == []
    assert imported(command, tmp_path / "nosuch.png", *out) == (5, [])


def test_several_images_that_are_not_there(invert: Invert, tmp_path: Path) -> None:
    result = invert("project", tmp_path / "a.png", tmp_path / "b.png", "--out", tmp_path / "out.h5")
    assert result.code == 5
    assert "a.png': there is no such file" in result.err
    assert "b.png': there is no such file" in result.err
    assert "none of the 2 images that were named can be opened" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [("--steps", "many"), ("--batch", 0), ("--noise", "loud"), ("--device", "7"), ("--out", "x.png")], ids=str
)
def test_wrong_settings(network: Path, tmp_path: Path, wrong: tuple[object, ...]) -> None:
    image = ROOT / "data" / "samples" / "A" / "seed0000.png"
    assert imported("project", image, "--network", network, "--out", tmp_path / "out", *wrong) == (2, [])
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(invert: Invert, network: Path, tmp_path: Path) -> None:
    image = ROOT / "data" / "samples" / "A" / "seed0000.png"
    for device, reason in (("mps", "no mps device"), ("nonsense", "none that PyTorch"), ("cuda:999", "cuda")):
        result = invert("project", image, "--network", network, "--out", tmp_path / "out", "--device", device)
        assert result.code == 2
        assert f"--device {device}: " in result.err or f"--device {device} is" in result.err
        assert reason in result.err
        assert list(tmp_path.iterdir()) == []
