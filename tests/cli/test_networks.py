"""`invert info` and `invert convert` as a user runs them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from generator.files.reading import load
from tests.cli.conftest import ROOT, Invert


def test_info_for_people(invert: Invert, network: Path) -> None:
    result = invert("info", network)
    assert result.code == 0, result.err
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in result.out.splitlines() if line}
    assert lines["family"] == "stylegan2-ada-pytorch"
    assert hashlib.sha256(network.read_bytes()).hexdigest() in result.out
    assert lines["images"] == "32 x 32, 3 channels"
    assert lines["latents"] == "z 16, w 24, 3 mapping layers"
    assert "torch_utils.persistence._reconstruct_persistent_obj" in result.out
    assert lines["synthesis.b32.conv0"] == "1,561"


def test_info_counts_every_parameter(invert: Invert, network: Path) -> None:
    (record,) = invert("info", network, "--json").records()
    loaded = load(network)
    assert loaded.discriminator is not None
    for name, module in (("generator", loaded.generator), ("discriminator", loaded.discriminator)):
        count = sum(parameter.numel() for parameter in module.parameters())
        assert record["parameters"][name] == count
        assert sum(layer["parameters"] for layer in record["layers"][name]) == count
    assert record["config"]["generator"]["synthesis"]["img_resolution"] == 32
    assert record["weights_sha256"] == loaded.provenance.weights_sha256
    assert record["embeds_source"] is False


def test_info_needs_no_torch(network: Path) -> None:
    run = f"import sys; from invert.cli.main import main; code = main(['info', {str(network)!r}])"
    program = f"{run}; sys.exit(code or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")


def test_info_refuses(invert: Invert, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02cposix\nsystem\n(S'touch sentinel'\ntR.")
    result = invert("info", path)
    assert result.code == 4
    assert "posix.system" in result.err
    assert len(result.err.splitlines()) == 1


def test_convert_and_back(invert: Invert, network: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    result = invert("convert", network, first)
    assert result.code == 0, result.err
    assert hashlib.sha256(first.read_bytes()).hexdigest() in result.out
    (record,) = invert("convert", first, second, "--json").records()
    assert first.read_bytes() == second.read_bytes()
    assert record["source_sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    before, after = (json.loads(invert("info", path, "--json").out) for path in (network, first))
    for key in ("weights_sha256", "family", "config", "layers"):
        assert before[key] == after[key]


def test_converted_network_draws_the_same(invert: Invert, network: Path, tmp_path: Path) -> None:
    converted = tmp_path / "one.safetensors"
    assert invert("convert", network, converted).code == 0
    for path, out in ((network, tmp_path / "a"), (converted, tmp_path / "b")):
        assert invert("generate", "--network", path, "--seeds", "5", "--out", out).code == 0
    assert (tmp_path / "a" / "seed0005.png").read_bytes() == (tmp_path / "b" / "seed0005.png").read_bytes()


def test_convert_writes_over_nothing_unasked(invert: Invert, network: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    path.write_bytes(b"mine")
    assert invert("convert", network, path).code == 2
    assert path.read_bytes() == b"mine"
    assert invert("convert", network, path, "--overwrite").code == 0
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(("name", "code"), [("one.pkl", 2), ("none/one.safetensors", 6)])
def test_convert_to_where_it_cannot(invert: Invert, network: Path, tmp_path: Path, name: str, code: int) -> None:
    result = invert("convert", network, tmp_path / name)
    assert result.code == code
    assert name in result.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["info", "convert"])
def test_missing_file_is_usage(invert: Invert, tmp_path: Path, command: str) -> None:
    result = invert(command, tmp_path / "none.pkl", *([tmp_path / "x.safetensors"] if command == "convert" else []))
    assert result.code == 2
    assert result.err.startswith("invert: error: ")
    assert "none.pkl" in result.err
