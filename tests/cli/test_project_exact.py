"""`invert project --preset exact` as a user runs it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import save_network
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.store.npz import read_projection
from tests.cli.conftest import Invert


def test_what_is_found_is_kept_and_shown(invert: Invert, network: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, [32, 32, 3], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    settings = ("--preset", "exact", "--steps", 2, "--restarts", 1, "--bank", 20, "--lpips", "alex", "--quiet")
    for out in ("folder", "latents.h5"):
        assert (
            invert("project", tmp_path / "image.png", "--network", network, "--out", tmp_path / out, *settings).code
            == 0
        )
    with np.load(tmp_path / "folder" / "image.npz") as arrays:
        assert arrays["q"] == pytest.approx(arrays["misfit"] + arrays["latent_norm"])
        assert str(arrays["stopped"]) == "stalled"
    with Image.open(tmp_path / "folder" / "image.png") as picture:
        assert picture.width == 3 * 32
        assert picture.height > 32
    lines = invert("show", tmp_path / "latents.h5", "--json").records()
    assert lines[0]["rms"] > 1
    assert lines[0]["noise_kind"] == "stored"
    table = invert("show", tmp_path / "latents.h5").out
    assert "rms" in table
    assert "exact, at most 2 steps" in table
    verified = invert("verify", tmp_path / "latents.h5")
    assert verified.code == 0


@pytest.mark.slow
@pytest.mark.parametrize("told", [False, True])
def test_images_of_a_conditional_network_are_explained_whatever_their_class(
    invert: Invert, tmp_path: Path, told: bool
) -> None:
    """Without --class, latents of all classes are searched."""
    torch.manual_seed(0)
    synthesis = SynthesisConfig(w_dim=16, img_resolution=32, img_channels=1, channel_base=128, channel_max=16)
    generator = Generator(GeneratorConfig(MappingConfig(16, 3, 16, 2), synthesis))
    save_network(tmp_path / "net.safetensors", generator)
    network = ("--network", tmp_path / "net.safetensors", "--quiet")
    assert invert("generate", *network, "--seeds", "1-3", "--class", 2, "--out", tmp_path / "images").code == 0
    method = ("--preset", "exact", "--processing", "none", "--bank", 200, "--threads", 1)
    one = ("--class", 2) if told else ()
    result = invert("project", tmp_path / "images", *network, *method, *one, "--out", tmp_path / "found")
    assert result.code == 0, result.err
    for seed in (1, 2, 3):
        found = read_projection(tmp_path / "found" / f"seed{seed:04}.npz")
        assert found.rms < 1.2 * found.expected_rms < 0.4
