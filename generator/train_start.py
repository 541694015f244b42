"""How training starts: what is asked of the pictures, and the networks before the first step."""

import copy

import torch

from generator.data import Pictures, stream_seed
from generator.ema import update_ema
from generator.errors import ConfigError
from generator.networks import AnyDiscriminator, Generator, make_discriminator
from generator.spectral import add_spectral_norm, plain_weights
from generator.train_config import TrainConfig

__all__ = ["check_fit", "new_networks"]


def check_fit(config: TrainConfig, pictures: Pictures) -> None:
    """Hold a data set against the settings.

    Raises:
        ConfigError: They do not fit.
    """
    wanted = (config.resolution, config.channels)
    if (pictures.resolution, pictures.channels) != wanted:
        has = f"{pictures.resolution} px and {pictures.channels} channels"
        raise ConfigError(f"the pictures have {has}, the network {config.resolution} px and {config.channels}")
    if config.classes and (pictures.labels is None or pictures.classes != config.classes):
        raise ConfigError(f"the network has {config.classes} classes, the pictures {pictures.classes}")
    if not len(pictures):
        raise ConfigError("there are no pictures to train on")


def new_networks(config: TrainConfig, device: torch.device) -> tuple[Generator, AnyDiscriminator, Generator]:
    """Return the generator, the discriminator and the generator's average, as they begin."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("start", config.seed))
        generator = Generator(config.generator_config())
        discriminator = make_discriminator(config.discriminator_config())
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        if "g" in config.spectral_norm:
            add_spectral_norm(generator)
            update_ema(average, plain_weights(generator), {}, 0.0)
        if "d" in config.spectral_norm:
            add_spectral_norm(discriminator)
    for network in (generator, discriminator, average):
        network.to(device).to(memory_format=torch.channels_last)
    return generator, discriminator, average
