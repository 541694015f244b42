"""The first StyleGAN (Karras et al. 2019) as a family of networks; see `generator.families.Family` for the names."""

from typing import TYPE_CHECKING, Final

from generator.config import MappingConfig
from generator.stylegan.config import (
    FAMILY,
    StyleGANDiscriminatorConfig,
    StyleGANSynthesisConfig,
    discriminator_settings,
    synthesis_settings,
    training_settings,
)
from generator.stylegan.tensors import (
    discriminator_config,
    discriminator_shapes,
    generator_config,
    synthesis_shapes,
)

if TYPE_CHECKING:
    from generator.mapping import MappingNetwork
    from generator.stylegan.discriminator import StyleGANDiscriminator
    from generator.stylegan.synthesis import StyleGANSynthesisNetwork

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
ARCHITECTURES: Final[tuple[str, ...]] = (FAMILY,)
DISCRIMINATORS: Final = ARCHITECTURES
LABEL_MODE: Final = "concat"
OWN_SETTINGS: Final[dict[str, object]] = {
    "synthesis_input": "constant",
    "use_styles": True,
    "normalisation": "instance",
}

SynthesisConfig = StyleGANSynthesisConfig
DiscriminatorConfig = StyleGANDiscriminatorConfig


def make_mapping(config: MappingConfig) -> "MappingNetwork":
    """Return a new mapping network."""
    from generator.mapping import MappingNetwork

    return MappingNetwork(config, gain_in_weight=True)


def make_synthesis(config: StyleGANSynthesisConfig) -> "StyleGANSynthesisNetwork":
    """Return a new synthesis network."""
    from generator.stylegan.synthesis import StyleGANSynthesisNetwork

    return StyleGANSynthesisNetwork(config)


def make_discriminator(config: StyleGANDiscriminatorConfig) -> "StyleGANDiscriminator":
    """Return a new discriminator."""
    from generator.stylegan.discriminator import StyleGANDiscriminator

    return StyleGANDiscriminator(config)
