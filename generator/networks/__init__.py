"""Networks of StyleGAN and StyleGAN2: mapping, synthesis, the two together, and the discriminators."""

from generator.networks.discriminator import Discriminator
from generator.networks.discriminator_stylegan import StyleGANDiscriminator
from generator.networks.families import AnyDiscriminator, AnySynthesis, make_discriminator, make_synthesis
from generator.networks.generator import Generator
from generator.networks.mapping import MappingNetwork
from generator.networks.noise_inputs import NoiseInput
from generator.networks.synthesis_stylegan import StyleGANSynthesisNetwork
from generator.networks.synthesis_stylegan2 import SynthesisNetwork

__all__ = [
    "AnyDiscriminator",
    "AnySynthesis",
    "Discriminator",
    "Generator",
    "MappingNetwork",
    "NoiseInput",
    "StyleGANDiscriminator",
    "StyleGANSynthesisNetwork",
    "SynthesisNetwork",
    "make_discriminator",
    "make_synthesis",
]
