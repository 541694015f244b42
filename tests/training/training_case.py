"""A data set in memory and settings so small that a training step takes a moment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generator.training.config import TrainConfig
from generator.training.trainer import Trainer


class ArrayImages:
    """Random images; implements `generator.training.images.Images`, and notes which were asked for."""

    def __init__(self, size: int = 40, resolution: int = 16, channels: int = 3, classes: int = 0) -> None:
        rng = np.random.RandomState(size)
        self.array: NDArray[np.uint8] = rng.randint(0, 256, [size, channels, resolution, resolution], np.uint8)
        self.resolution, self.channels, self.classes = resolution, channels, classes
        self.labels = np.arange(size) % classes if classes else None
        self.fingerprint = "random"
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.array)

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        self.asked.append(list(indices))
        return self.array[list(indices)]


def tiny(**changes: Any) -> TrainConfig:
    """16 px, a batch of 8; R1 every fourth step and path length every other."""
    settings: dict[str, Any] = {
        "resolution": 16,
        "z_dim": 16,
        "w_dim": 16,
        "mapping_layers": 2,
        "channel_base": 64,
        "channel_max": 16,
        "batch": 8,
        "mbstd_group_size": 4,
        "r1_gamma": 1.0,
        "r1_interval": 4,
        "path_length_interval": 2,
        "ema_half_life_kimg": 0.1,
    }
    return TrainConfig(**{**settings, **changes})


def trained(config: TrainConfig, steps: int, **options: Any) -> Trainer:
    """Return a trainer after some steps on its own copy of the random images."""
    images = ArrayImages(40, config.resolution, config.channels, config.classes)
    trainer = Trainer(config, images, **options)
    train(trainer, steps)
    return trainer


def train(trainer: Trainer, steps: int) -> None:
    """Take some more steps."""
    for _ in trainer.run(trainer.images + steps * trainer.config.batch):
        pass


def parameters(trainer: Trainer) -> dict[str, Tensor]:
    """Return the parameters of both networks and of the average, as they are now."""
    networks = {"G": trainer.generator, "D": trainer.discriminator, "EMA": trainer.average}
    named = {f"{prefix}.{name}": value for prefix, n in networks.items() for name, value in n.named_parameters()}
    return {name: value.detach().clone() for name, value in named.items()}


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest difference of a tensor, as a share of the tensor's largest value."""
    assert one.keys() == other.keys()
    return max(
        float((one[name] - other[name]).abs().max() / other[name].abs().max().clamp(min=1e-3))
        for name in one
        if one[name].numel()
    )


def is_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are the same to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
