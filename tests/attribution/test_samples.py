"""The samples that a calibration is made with."""

from pathlib import Path

import numpy as np
from PIL import Image

from generator.loaders import load
from invert.attribution.samples import FIRST_SEED, draw_samples
from invert.sampling import draw_picture, seed_latent


def test_samples_have_stored_and_random_noise_in_turn(tmp_path: Path, network: Path) -> None:
    generator = load(network).generator.eval()
    paths = list(draw_samples(generator, tmp_path, 4))
    for number, path in enumerate(paths):
        seed = FIRST_SEED + number
        assert path.name == f"seed{seed}.png"
        ws = generator.mapping_ws(seed_latent(seed, generator.config.mapping.z_dim))
        pictures = {noise: draw_picture(generator, ws, noise, seed) for noise in ("const", "random")}
        assert not np.array_equal(pictures["const"], pictures["random"])
        drawn = np.asarray(Image.open(path)).reshape(pictures["const"].shape)
        assert np.array_equal(drawn, pictures["random" if number % 2 else "const"])


def test_samples_that_are_there_are_left_alone(tmp_path: Path, network: Path) -> None:
    generator = load(network).generator.eval()
    first = list(draw_samples(generator, tmp_path, 2))
    first[0].write_bytes(b"mine")
    assert list(draw_samples(generator, tmp_path, 3))[:2] == first
    assert first[0].read_bytes() == b"mine"
