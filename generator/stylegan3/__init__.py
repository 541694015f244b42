"""StyleGAN3 (Karras et al. 2021) as a family of networks; see `generator.families.Family` for what each name is.

Its discriminator is StyleGAN2's.
"""

from typing import TYPE_CHECKING, Any, Final

import generator.stylegan2 as stylegan2
from generator.config import MappingConfig
from generator.errors import ConfigError
from generator.stylegan2 import (
    DiscriminatorConfig,
    discriminator_config,
    discriminator_settings,
    discriminator_shapes,
    make_discriminator,
)
from generator.stylegan3.config import FAMILY, StyleGAN3SynthesisConfig
from generator.stylegan3.tensors import generator_config, synthesis_shapes

if TYPE_CHECKING:
    from generator.mapping import MappingNetwork
    from generator.stylegan3.synthesis import StyleGAN3SynthesisNetwork

__all__ = [
    "ARCHITECTURES",
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
]

NAME: Final[str | None] = FAMILY
ARCHITECTURES: Final[tuple[str, ...]] = ()
LABEL_MODE: Final = "embed"
OWN_SETTINGS: Final[dict[str, object]] = {}

SynthesisConfig = StyleGAN3SynthesisConfig


def synthesis_settings(training: Any) -> StyleGAN3SynthesisConfig:
    """Refuse to be trained.

    Raises:
        ConfigError: Always: networks of this family are read and used, and not yet trained.
    """
    raise ConfigError("networks of StyleGAN3 are not trained here yet")


def make_mapping(config: MappingConfig) -> "MappingNetwork":
    """Return a new mapping network."""
    return stylegan2.make_mapping(config)


def make_synthesis(config: StyleGAN3SynthesisConfig) -> "StyleGAN3SynthesisNetwork":
    """Return a new synthesis network."""
    from generator.stylegan3.synthesis import StyleGAN3SynthesisNetwork

    return StyleGAN3SynthesisNetwork(config)
