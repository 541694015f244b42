"""Fresh samples of a network as picture files: 8-bit PNG, like any picture that is held against it."""

from collections.abc import Iterator
from pathlib import Path

import torch

from generator.networks import Generator
from invert.durable import ensure_folder, write_atomic
from invert.images import to_png_bytes
from invert.sampling import class_label, draw_picture, seed_latent

__all__ = ["FIRST_SEED", "SAMPLES_VERSION", "SAMPLE_NOISE", "draw_samples"]

SAMPLES_VERSION = 2  # raised when a seed gives another picture

FIRST_SEED = 1_000_000_000
"""Far from the seeds that people draw with: what is calibrated on must not be what is judged."""

SAMPLE_NOISE = "stored and random noise maps in turn"
"""Programs draw with the maps in the file or with fresh ones: pictures of both kinds are the network's own."""


def draw_samples(generator: Generator, folder: Path, count: int, class_index: int | None = None) -> Iterator[Path]:
    """Draw samples without truncation and write them, those that are there already excepted; yield their paths.

    Even ones have the noise maps that the network stores, odd ones random maps.

    Args:
        generator: The network. folder: Where they go.
        count: How many, from seed `FIRST_SEED` on; seeds are those of `invert generate`.
        class_index: Class of a conditional network; None takes the classes in turn.

    Raises:
        OutputError: A file cannot be written.
    """
    ensure_folder(folder)
    mapping = generator.config.mapping
    for number in range(count):
        seed = FIRST_SEED + number
        path = folder / f"seed{seed}.png"
        if not path.exists():
            chosen = class_index
            if chosen is None and mapping.c_dim:
                chosen = number // 2 % mapping.c_dim  # each class with both kinds of noise
            with torch.inference_mode():
                ws = generator.mapping_ws(seed_latent(seed, mapping.z_dim), class_label(chosen, mapping.c_dim))
            noise = "random" if number % 2 else "const"
            write_atomic(path, to_png_bytes(draw_picture(generator, ws, noise, seed)))
        yield path
