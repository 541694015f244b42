"""Networks: mapping, synthesis, the two together, and the discriminator."""

from generator.networks.discriminator import Discriminator
from generator.networks.generator import Generator
from generator.networks.mapping import MappingNetwork
from generator.networks.synthesis_stylegan2 import NoiseInput, SynthesisNetwork

__all__ = ["Discriminator", "Generator", "MappingNetwork", "NoiseInput", "SynthesisNetwork"]
