"""`invert generate` as a user runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from generator.files.invert_format import save_network
from generator.files.reading import load
from tests.cli.conftest import Invert
from tests.golden_data import load_networks


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def generate(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    return lambda *arguments: invert("generate", "--network", network, "--out", tmp_path / "out", *arguments)


def test_images_are_those_of_the_network(generate: Invert, network: Path, tmp_path: Path) -> None:
    result = generate("--seeds", "3,0-1")
    assert result.code == 0, result.err
    assert result.out == f"generated 3 images in {tmp_path / 'out'}\n"
    assert names(tmp_path / "out") == ["seed0000.png", "seed0001.png", "seed0003.png"]
    generator = load(network).generator
    z = torch.from_numpy(np.random.RandomState(3).randn(1, 16)).float()
    with torch.no_grad():
        image = generator(z)[0].permute(1, 2, 0).numpy()
    expected = np.clip(np.floor(image.astype(np.float64) * 127.5 + 128), 0, 255)
    assert np.abs(pixels(tmp_path / "out" / "seed0003.png") - expected).max() <= 1


def test_a_image_does_not_depend_on_the_other_seeds(generate: Invert, tmp_path: Path) -> None:
    assert generate("--seeds", "0-3", "--noise", "random").code == 0
    assert generate("--seeds", "3", "--noise", "random", "--out", tmp_path / "alone").code == 0
    one, other = tmp_path / "alone" / "seed0003.png", tmp_path / "out" / "seed0003.png"
    assert one.read_bytes() == other.read_bytes()


def test_truncation(generate: Invert, tmp_path: Path) -> None:
    assert generate("--seeds", "0-1", "--psi", 0).code == 0
    first, second = (pixels(tmp_path / "out" / f"seed000{i}.png") for i in (0, 1))
    np.testing.assert_array_equal(first, second)
    assert generate("--seeds", "0-1", "--psi", 0, "--cutoff", 2, "--out", tmp_path / "cut").code == 0
    assert (pixels(tmp_path / "cut" / "seed0000.png") != pixels(tmp_path / "cut" / "seed0001.png")).any()


@pytest.mark.parametrize("noise", ["random", "zero"])
def test_noise(generate: Invert, tmp_path: Path, noise: str) -> None:
    assert generate("--seeds", "0").code == 0
    assert generate("--seeds", "0", "--noise", noise, "--out", tmp_path / "other").code == 0
    assert (tmp_path / "other" / "seed0000.png").read_bytes() != (tmp_path / "out" / "seed0000.png").read_bytes()


def test_noise_of_the_seeds_stream_follows_z(generate: Invert, network: Path, tmp_path: Path) -> None:
    assert generate("--seeds", "7", "--noise", "stream").code == 0
    generator = load(network).generator
    random = np.random.RandomState(7)
    z = torch.from_numpy(random.randn(1, 16)).float()
    maps = {
        name: torch.from_numpy(random.randn(1, 1, r, r)).float() for name, r in generator.synthesis.noise_sizes.items()
    }
    with torch.no_grad():
        image = generator(z, noise=maps)[0].permute(1, 2, 0).numpy()
    expected = np.clip(np.floor(image.astype(np.float64) * 127.5 + 128), 0, 255)
    assert np.abs(pixels(tmp_path / "out" / "seed0007.png") - expected).max() <= 1
    (tmp_path / "photo.npz").touch()
    refused = generate("--seeds", tmp_path / "photo.npz", "--noise", "stream", "--out", tmp_path / "none")
    assert refused.code == 2
    assert "stream of a seed" in refused.err


def test_words_of_earlier_versions(generate: Invert, tmp_path: Path) -> None:
    for old, new in (("const", "fixed"), ("none", "zero")):
        assert generate("--seeds", "0", "--noise", old, "--out", tmp_path / old).code == 0
        assert generate("--seeds", "0", "--noise", new, "--out", tmp_path / new).code == 0
        assert (tmp_path / old / "seed0000.png").read_bytes() == (tmp_path / new / "seed0000.png").read_bytes()


def test_one_image_goes_into_the_file_that_was_named(generate: Invert, tmp_path: Path) -> None:
    result = generate("--seeds", "4", "--out", tmp_path / "me.png")
    assert (result.code, result.out) == (0, f"generated 1 image in {tmp_path / 'me.png'}\n")
    assert generate("--seeds", "4").code == 0
    assert (tmp_path / "me.png").read_bytes() == (tmp_path / "out" / "seed0004.png").read_bytes()
    assert "exists already" in generate("--seeds", "4", "--out", tmp_path / "me.png").err
    several = generate("--seeds", "4,5", "--out", tmp_path / "us.png")
    assert several.code == 2
    assert "is one image, and 2 are to be written" in several.err
    assert not (tmp_path / "us.png").exists()


def test_a_projection_is_generated_again_with_its_own_noise(
    invert: Invert, generate: Invert, network: Path, tmp_path: Path
) -> None:
    assert generate("--seeds", "1", "--noise", "random", "--out", tmp_path / "photo.png").code == 0
    settings = ("--network", network, "--steps", 3, "--lpips", "alex", "--threads", 1, "--device", "cpu", "--batch", 1)
    assert invert("project", tmp_path / "photo.png", *settings, "--out", tmp_path / "found").code == 0
    assert generate("--seeds", tmp_path / "found" / "photo.npz", "--out", tmp_path / "again.png").code == 0
    both = pixels(tmp_path / "found" / "photo.png")
    again = pixels(tmp_path / "again.png").astype(int)
    assert np.abs(again - both[:, both.shape[1] // 2 :]).max() <= 1
    assert generate("--seeds", f"{tmp_path / 'found' / 'photo.npz'},2", "--noise", "fixed").code == 0
    assert names(tmp_path / "out") == ["photo.png", "seed0002.png"]
    assert np.abs(pixels(tmp_path / "out" / "photo.png").astype(int) - again).max() > 1
    packed = tmp_path / "found.h5"
    assert invert("project", tmp_path / "photo.png", *settings, "--out", packed, "--save-noise", "float32").code == 0
    assert generate("--seeds", f"{packed}:0", "--out", tmp_path / "row.png").code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "row.png"), again)


def test_a_projection_without_its_noise_is_said(
    invert: Invert, generate: Invert, network: Path, tmp_path: Path
) -> None:
    assert generate("--seeds", "1", "--out", tmp_path / "photo.png").code == 0
    settings = ("--network", network, "--steps", 1, "--lpips", "alex", "--threads", 1, "--device", "cpu")
    assert invert("project", tmp_path / "photo.png", *settings, "--out", tmp_path / "found.h5").code == 0
    result = generate("--seeds", f"{tmp_path / 'found.h5'}:0")
    assert result.code == 0
    assert "found.h5:0: its noise maps were not kept; those stored in the network are taken" in result.err
    assert names(tmp_path / "out") == ["found-000000.png"]


def test_a_projection_that_is_not_there(generate: Invert, tmp_path: Path) -> None:
    result = generate("--seeds", tmp_path / "gone.npz")
    assert result.code == 5
    assert "gone.npz': there is no such file" in result.err
    assert not (tmp_path / "out").exists()


def test_batches(generate: Invert, tmp_path: Path) -> None:
    assert generate("--seeds", "0-4").code == 0
    for batch, seeds in ((4, "0-4"), (4, "3-4")):
        assert generate("--seeds", seeds, "--batch", batch, "--out", tmp_path / seeds).code == 0
        single, together = (pixels(tmp_path / folder / "seed0004.png").astype(int) for folder in ("out", seeds))
        assert np.abs(single - together).max() <= 1
    assert (tmp_path / "0-4" / "seed0004.png").read_bytes() == (tmp_path / "3-4" / "seed0004.png").read_bytes()


def test_grid(generate: Invert, tmp_path: Path) -> None:
    result = generate("--seeds", "0-4", "--grid", "--json")
    assert [record["code"] for record in result.records()] == ["generated"] * 5 + ["done"]
    grid = pixels(tmp_path / "out" / "grid.png")
    assert grid.shape == (64, 96, 3)
    np.testing.assert_array_equal(grid[32:, 32:64], pixels(tmp_path / "out" / "seed0004.png"))
    assert not grid[32:, 64:].any()


def test_nothing_is_written_over_unasked(generate: Invert, tmp_path: Path) -> None:
    assert generate("--seeds", "0").code == 0
    before = (tmp_path / "out" / "seed0000.png").read_bytes()
    result = generate("--seeds", "1,0", "--psi", 0.5)
    assert result.code == 2
    assert "seed0000.png': exists already" in result.err
    assert names(tmp_path / "out") == ["seed0000.png"]
    assert generate("--seeds", "0", "--psi", 0.5, "--overwrite").code == 0
    assert (tmp_path / "out" / "seed0000.png").read_bytes() != before


def test_classes(invert: Invert, generate: Invert, tmp_path: Path) -> None:
    path = tmp_path / "conditional.safetensors"
    save_network(path, load_networks("conditional")[1])
    classes = load_networks("conditional")[1].config.mapping.c_dim
    common = ("generate", "--network", path, "--seeds", "0")
    result = invert(*common, "--out", tmp_path / "none")
    assert result.code == 2
    assert f"--class 0 to {classes - 1}" in result.err
    assert invert(*common, "--out", tmp_path / "far", "--class", classes).code == 2
    assert generate("--seeds", "0", "--class", 0).code == 2
    for index in (0, 1):
        assert invert(*common, "--out", tmp_path / str(index), "--class", index).code == 0
    assert (tmp_path / "0" / "seed0000.png").read_bytes() != (tmp_path / "1" / "seed0000.png").read_bytes()


def test_grey_network(invert: Invert, tmp_path: Path) -> None:
    from generator.config import GeneratorConfig, MappingConfig
    from generator.networks import Generator
    from generator.stylegan2.config import SynthesisConfig

    synthesis = SynthesisConfig(8, 16, img_channels=1, channel_base=64, channel_max=8)
    save_network(tmp_path / "grey.safetensors", Generator(GeneratorConfig(MappingConfig(8, 0, 8, 1), synthesis)))
    common = ("generate", "--network", tmp_path / "grey.safetensors")
    assert invert(*common, "--seeds", "0,1", "--grid", "--out", tmp_path).code == 0
    assert pixels(tmp_path / "seed0001.png").shape == (16, 16)
    assert pixels(tmp_path / "grid.png").shape == (16, 32)


@pytest.mark.parametrize("seeds", ["", "a", "3-1", "1,,2", "-1", "1-", "0-4294967296", "0-99999999", "٣"])
def test_seeds_that_are_none(generate: Invert, tmp_path: Path, seeds: str) -> None:
    result = generate(f"--seeds={seeds}")
    assert result.code == 2
    assert "--seeds" in result.err
    assert not (tmp_path / "out").exists()


def test_cutoff_beyond_the_network(generate: Invert, network: Path, tmp_path: Path) -> None:
    styles = load(network).generator.num_ws
    result = generate("--seeds", "0", "--cutoff", 99)
    assert result.code == 2
    assert f"--cutoff 99: the network has {styles} styles" in result.err
    assert not (tmp_path / "out").exists()
    assert generate("--seeds", "0", "--cutoff", styles).code == 0


def test_infinite_psi(generate: Invert) -> None:
    assert generate("--seeds", "0", "--psi", "inf").code == 2
