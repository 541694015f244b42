"""Fresh samples of a network as picture files: 8-bit PNG, like any picture that is held against it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from generator.networks import Generator
from invert.drawing import to_uint8
from invert.durable import ensure_folder, write_atomic
from invert.images import to_png_bytes

__all__ = ["FIRST_SEED", "draw_samples"]

FIRST_SEED = 1_000_000_000
"""Far from the seeds that people draw with: what is calibrated on must not be what is judged."""


def draw_samples(generator: Generator, folder: Path, count: int, class_index: int | None = None) -> Iterator[Path]:
    """Draw samples without truncation and write them, those that are there already excepted; yield their paths.

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
        path = folder / f"seed{FIRST_SEED + number}.png"
        if not path.exists():
            z = torch.from_numpy(np.random.RandomState(FIRST_SEED + number).randn(1, mapping.z_dim)).float()
            c = None
            if mapping.c_dim:
                chosen = torch.tensor([number % mapping.c_dim if class_index is None else class_index])
                c = torch.nn.functional.one_hot(chosen, mapping.c_dim).float()
            with torch.inference_mode():
                image = generator(z, c)
            write_atomic(path, to_png_bytes(to_uint8(image)[0]))
        yield path
