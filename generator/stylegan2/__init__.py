"""StyleGAN2 (Karras et al. 2020) as a family of networks; see `generator.families.Family` for what each name is."""

from typing import TYPE_CHECKING, Final

from generator.config import MappingConfig
from generator.stylegan2.config import (
    ARCHITECTURES,
    DiscriminatorConfig,
    SynthesisConfig,
    discriminator_settings,
    synthesis_settings,
    training_settings,
)
from generator.stylegan2.tensors import (
    discriminator_config,
    discriminator_shapes,
    generator_config,
    synthesis_shapes,
)

if TYPE_CHECKING:
    from generator.mapping import MappingNetwork
    from generator.stylegan2.discriminator import Discriminator
    from generator.stylegan2.synthesis import SynthesisNetwork

__all__ = [
    "ARCHITECTURES",
    "DISCRIMINATORS",
    "LABEL_MODE",
    "NAME",
    "OWN_SETTINGS",
    "DiscriminatorConfig",
    "SynthesisConfig",
    "discriminator_config",
    "discriminator_settings",
    "discriminator_shapes",
    "generator_config",
    "make_discriminator",
    "make_mapping",
    "make_synthesis",
    "synthesis_settings",
    "synthesis_shapes",
    "training_settings",
]

# The settings of this family name none in a file: they are older than the other families.
NAME: Final[str | None] = None
LABEL_MODE: Final = "embed"
DISCRIMINATORS: Final = ARCHITECTURES
OWN_SETTINGS: Final[dict[str, object]] = {"demodulate": True, "conv_clamp": 0.0}


def make_mapping(config: MappingConfig) -> "MappingNetwork":
    """Return a new mapping network."""
    from generator.mapping import MappingNetwork

    return MappingNetwork(config)


def make_synthesis(config: SynthesisConfig) -> "SynthesisNetwork":
    """Return a new synthesis network."""
    from generator.stylegan2.synthesis import SynthesisNetwork

    return SynthesisNetwork(config)


def make_discriminator(config: DiscriminatorConfig) -> "Discriminator":
    """Return a new discriminator."""
    from generator.stylegan2.discriminator import Discriminator

    return Discriminator(config)
