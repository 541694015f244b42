"""The commands on a file of the first StyleGAN, and on its conversion: no option says which family it is."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import save_network
from generator.files.reading import load
from generator.networks import Generator
from generator.stylegan.config import StyleGANSynthesisConfig
from invert.store.npz import read_projection
from tests.cli.conftest import Invert
from tests.golden_data import GOLDEN

STYLEGAN = GOLDEN / "nvidia_tf_stylegan1.pkl"
QUICK = ("--steps", 4, "--lpips", "alex", "--quiet", "--threads", 1)


@pytest.fixture
def converted(invert: Invert, tmp_path: Path) -> Path:
    path = tmp_path / "converted.safetensors"
    assert invert("convert", STYLEGAN, path).code == 0
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_info(invert: Invert) -> None:
    result = invert("info", STYLEGAN)
    assert result.code == 0, result.err
    summary = result.out.partition("\n\n")[0]  # tables follow, one of them headed "generator" too
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in summary.splitlines()}
    assert lines["family"] == "stylegan-tensorflow"
    assert lines["images"] == "32 x 32, 3 channels"
    assert lines["latents"] == "z 16, w 24, 4 mapping layers"
    assert lines["generator"].startswith("stylegan, ")
    assert lines["discriminator"].startswith("stylegan, ")
    (record,) = invert("info", STYLEGAN, "--json").records()
    loaded = load(STYLEGAN)
    assert loaded.discriminator is not None
    for name, module in (("generator", loaded.generator), ("discriminator", loaded.discriminator)):
        count = sum(parameter.numel() for parameter in module.parameters())
        assert record["parameters"][name] == count
        assert sum(layer["parameters"] for layer in record["layers"][name]) == count
    assert record["config"]["generator"]["synthesis"]["family"] == "stylegan"


def test_convert_and_back(invert: Invert, converted: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    (record,) = invert("convert", converted, again, "--json").records()
    assert converted.read_bytes() == again.read_bytes()
    assert record["source_sha256"] == hashlib.sha256(STYLEGAN.read_bytes()).hexdigest()
    before, after = (json.loads(invert("info", path, "--json").out) for path in (STYLEGAN, converted))
    for key in ("weights_sha256", "family", "config", "layers"):
        assert before[key] == after[key]


def test_generate(invert: Invert, converted: Path, tmp_path: Path) -> None:
    for path, out in ((STYLEGAN, tmp_path / "a"), (converted, tmp_path / "b")):
        arguments = ("--seeds", "5-6", "--psi", 0.7, "--cutoff", 4, "--grid", "--out", out)
        assert invert("generate", "--network", path, *arguments).code == 0
    for name in ("seed0005.png", "seed0006.png", "grid.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (pixels(tmp_path / "a" / "seed0005.png") != pixels(tmp_path / "a" / "seed0006.png")).any()


def test_project_a_image(invert: Invert, converted: Path, image: Callable[..., Path], tmp_path: Path) -> None:
    one = image("one.png")
    results = []
    for network, out in ((STYLEGAN, tmp_path / "a"), (converted, tmp_path / "b")):
        result = invert("project", one, *QUICK, "--network", network, "--out", out)
        assert result.code == 0, result.err
        results.append(read_projection(out / "one.npz"))
    stored, other = results
    assert stored.w.shape == (1, 24)
    assert sorted(len(values) for values in stored.noise.values()) == [4, 4, 8, 8, 16, 16, 32, 32]
    assert set(stored.noise) >= {"b4.input", "b4.conv1", "b8.conv0"}
    assert np.isfinite(stored.curve).all()
    assert (stored.distance, stored.w.tobytes()) == (other.distance, other.w.tobytes())


def test_project_a_folder_and_render_it(
    invert: Invert, converted: Path, image: Callable[..., Path], tmp_path: Path
) -> None:
    folder = image("one.png").parent
    image("two.png")
    out = tmp_path / "out.h5"
    keep = ("--save-noise", "float32", "--save-images")
    result = invert("project", folder, *QUICK, "--network", STYLEGAN, "--out", out, *keep)
    assert result.code == 0, result.err
    with h5py.File(out) as file:
        found = file["reconstruction"][:]
    for name, network in (("a", STYLEGAN), ("b", converted)):
        result = invert("render", out, "--network", network, "--out", tmp_path / name)
        assert result.code == 0, result.err
        generated = np.stack([pixels(path) for path in sorted((tmp_path / name).glob("*.png"))])
        np.testing.assert_array_equal(generated, found)


def test_a_network_without_styles_is_projected_too(invert: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    """w then enters at the input alone."""
    synthesis = StyleGANSynthesisConfig(
        16, 32, channel_base=128, channel_max=8, input="latent", use_styles=False, use_noise=False
    )
    path = tmp_path / "plain.safetensors"
    save_network(path, Generator(GeneratorConfig(MappingConfig(16, 0, 16, 0), synthesis)))
    result = invert("project", image("one.png"), *QUICK, "--network", path, "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert read_projection(tmp_path / "out" / "one.npz").noise == {}
