"""StyleGAN3 (Karras et al. 2021) as a family of networks; see `generator.families.Family` for what each name is.

Its discriminator is StyleGAN2's.
"""

from typing import TYPE_CHECKING, Final

import generator.stylegan2 as stylegan2
from generator.config import MappingConfig
from generator.stylegan2 import (
    DiscriminatorConfig,
    discriminator_config,
    discriminator_settings,
    discriminator_shapes,
    make_discriminator,
)
from generator.stylegan3.config import (
    ARCHITECTURES,
    FAMILY,
    StyleGAN3SynthesisConfig,
    synthesis_settings,
    training_settings,
)
from generator.stylegan3.tensors import generator_config, synthesis_shapes

if TYPE_CHECKING:
    from generator.mapping import MappingNetwork
    from generator.stylegan3.synthesis import StyleGAN3SynthesisNetwork

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

NAME: Final[str | None] = FAMILY
DISCRIMINATORS: Final[tuple[str, ...]] = ()
LABEL_MODE: Final = "embed"
OWN_SETTINGS: Final[dict[str, object]] = {"conv_clamp": 0.0, "layer_schedule": "", "magnitude_half_life_kimg": 20.0}

SynthesisConfig = StyleGAN3SynthesisConfig


def make_mapping(config: MappingConfig) -> "MappingNetwork":
    """Return a new mapping network."""
    return stylegan2.make_mapping(config)


def make_synthesis(config: StyleGAN3SynthesisConfig) -> "StyleGAN3SynthesisNetwork":
    """Return a new synthesis network."""
    from generator.stylegan3.synthesis import StyleGAN3SynthesisNetwork

    return StyleGAN3SynthesisNetwork(config)
