"""The network that settings describe, of whichever family: the one place that asks which."""

from generator.config import (
    DiscriminatorSettings,
    GeneratorConfig,
    StyleGANDiscriminatorConfig,
    StyleGANSynthesisConfig,
    SynthesisSettings,
)
from generator.networks.discriminator import Discriminator
from generator.networks.discriminator_stylegan import StyleGANDiscriminator
from generator.networks.mapping import MappingNetwork
from generator.networks.synthesis_stylegan import StyleGANSynthesisNetwork
from generator.networks.synthesis_stylegan2 import SynthesisNetwork

__all__ = ["AnyDiscriminator", "AnySynthesis", "make_discriminator", "make_mapping", "make_synthesis"]

AnySynthesis = SynthesisNetwork | StyleGANSynthesisNetwork
AnyDiscriminator = Discriminator | StyleGANDiscriminator


def make_mapping(config: GeneratorConfig) -> MappingNetwork:
    """Return the new mapping network of a generator."""
    stylegan = isinstance(config.synthesis, StyleGANSynthesisConfig)
    return MappingNetwork(config.mapping, gain_in_weight=stylegan)


def make_synthesis(config: SynthesisSettings) -> AnySynthesis:
    """Return a new synthesis network."""
    if isinstance(config, StyleGANSynthesisConfig):
        return StyleGANSynthesisNetwork(config)
    return SynthesisNetwork(config)


def make_discriminator(config: DiscriminatorSettings) -> AnyDiscriminator:
    """Return a new discriminator."""
    if isinstance(config, StyleGANDiscriminatorConfig):
        return StyleGANDiscriminator(config)
    return Discriminator(config)
