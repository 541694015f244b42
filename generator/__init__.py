"""Networks of the StyleGAN families: trainable, and usable without the command line.

    import generator

    network = generator.load("ffhq.pkl")    # .generator, .discriminator, .provenance
    found = generator.inspect("ffhq.pkl")   # what the file holds, read without torch
    generator.save("ffhq.safetensors", network.generator, network.discriminator)
    trainer = generator.Trainer(generator.TrainConfig(resolution=32), images)

Importing this package imports nothing heavy: a name is imported from its module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from generator.openmp import import_torch

if TYPE_CHECKING:
    from generator.files.invert_format import save_network as save
    from generator.files.reading import inspect, load
    from generator.networks import Generator
    from generator.training.config import TrainConfig
    from generator.training.trainer import Trainer

__all__ = ["Generator", "TrainConfig", "Trainer", "inspect", "load", "save"]

_HOMES = {
    "Generator": ("generator.networks", "Generator"),
    "TrainConfig": ("generator.training.config", "TrainConfig"),
    "Trainer": ("generator.training.trainer", "Trainer"),
    "inspect": ("generator.files.reading", "inspect"),
    "load": ("generator.files.reading", "load"),
    "save": ("generator.files.invert_format", "save_network"),
}
"""Where each public name lives: its module, and what it is called there."""

_NEEDS_TORCH = ("Generator", "Trainer", "load", "save")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NEEDS_TORCH:
        import_torch()
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
