"""Put a projector together from a network file and settings: distance, start, device."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from invert.projection.config import ProjectConfig
from invert.projection.latents import Start, start_at_centre
from invert.projection.perceptual import Perceptual
from invert.projection.projector import Projector
from invert.projection.start import BankStart, bank_size, load_bank

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["build_projector", "settle_bank"]


def settle_bank(config: ProjectConfig, resolution: int) -> ProjectConfig:
    """Return the settings with the size of the bank, where one is used: it is part of the method."""
    if not config.starts_from_bank or config.bank is not None:
        return config
    return dataclasses.replace(config, bank=bank_size(resolution))


def build_projector(
    loaded: "LoadedNetwork",
    config: ProjectConfig,
    *,
    batch: int,
    device: str,
    on_message: Callable[[str], None] | None = None,
) -> Projector:
    """Return what projects images into a network, with the start that the preset asks for.

    Args:
        loaded: The network. config: Settings; see `settle_bank`.
        batch, device: See `Projector`.
        on_message: Called with a line while samples to start from have to be drawn.

    Raises:
        UsageError: See `Projector`.
    """
    generator = loaded.generator.to(device)
    perceptual = Perceptual(config.lpips).to(device)
    start: Start = start_at_centre
    if config.starts_from_bank:
        samples = config.bank or bank_size(generator.config.synthesis.img_resolution)
        weights = loaded.provenance.weights_sha256
        # Before the network is frozen, as it is for the images that a user draws with it.
        bank = load_bank(generator, weights, samples, class_index=config.class_index, on_message=on_message)
        start = BankStart(bank, generator, perceptual)
    return Projector(generator, perceptual, config, batch=batch, device=device, start=start)
