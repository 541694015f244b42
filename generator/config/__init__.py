"""Settings of the networks: frozen dataclasses, validated once, with a JSON round trip."""

from generator.config.checks import ACTIVATIONS, MAX_RESOLUTION
from generator.config.generator import (
    STYLEGAN_CONFIGURATIONS,
    DiscriminatorSettings,
    GeneratorConfig,
    SynthesisSettings,
    config_e,
    config_f,
    config_stylegan,
)
from generator.config.later import later
from generator.config.serialisation import discriminator_from_dict, from_dict, to_dict
from generator.config.stylegan import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.config.stylegan2 import ARCHITECTURES, DiscriminatorConfig, MappingConfig, SynthesisConfig

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "MAX_RESOLUTION",
    "STYLEGAN_CONFIGURATIONS",
    "DiscriminatorConfig",
    "DiscriminatorSettings",
    "GeneratorConfig",
    "MappingConfig",
    "StyleGANDiscriminatorConfig",
    "StyleGANSynthesisConfig",
    "SynthesisConfig",
    "SynthesisSettings",
    "config_e",
    "config_f",
    "config_stylegan",
    "discriminator_from_dict",
    "from_dict",
    "later",
    "to_dict",
]
