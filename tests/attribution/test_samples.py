"""The samples that a calibration is made with."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from generator.config import GeneratorConfig, MappingConfig
from generator.files.reading import load
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.attribution.populations import FIRST_SEED, generate_samples
from invert.projection.latents import class_label, seed_latent
from invert.projection.synthesis import synthesise_image


def test_samples_have_stored_and_random_noise_in_turn(tmp_path: Path, network: Path) -> None:
    generator = load(network).generator.eval()
    paths = list(generate_samples(generator, tmp_path, 4))
    for number, path in enumerate(paths):
        seed = FIRST_SEED + number
        assert path.name == f"seed{seed}.png"
        ws = generator.mapping_ws(seed_latent(seed, generator.config.mapping.z_dim))
        images = {noise: synthesise_image(generator, ws, noise, seed) for noise in ("const", "random")}
        assert not np.array_equal(images["const"], images["random"])
        generated = np.asarray(Image.open(path)).reshape(images["const"].shape)
        assert np.array_equal(generated, images["random" if number % 2 else "const"])


def test_samples_that_are_there_are_left_alone(tmp_path: Path, network: Path) -> None:
    generator = load(network).generator.eval()
    first = list(generate_samples(generator, tmp_path, 2))
    first[0].write_bytes(b"mine")
    assert list(generate_samples(generator, tmp_path, 3))[:2] == first
    assert first[0].read_bytes() == b"mine"


def test_each_class_is_drawn_with_both_kinds_of_noise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    synthesis = SynthesisConfig(w_dim=8, img_resolution=8, channel_base=64, channel_max=8)
    generator = Generator(GeneratorConfig(MappingConfig(z_dim=8, c_dim=2, w_dim=8, num_layers=1), synthesis)).eval()
    for name, parameter in generator.named_parameters():
        if "noise_strength" in name:
            torch.nn.init.constant_(parameter, 1.0)
    for number, path in enumerate(generate_samples(generator, tmp_path, 4)):
        seed = FIRST_SEED + number
        ws = generator.mapping_ws(seed_latent(seed, 8), class_label(number // 2, 2))
        generated = np.asarray(Image.open(path)).reshape(8, 8, 3)
        assert np.array_equal(generated, synthesise_image(generator, ws, "random" if number % 2 else "const", seed))
