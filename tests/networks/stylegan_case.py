"""Small networks of the first StyleGAN."""

import dataclasses
from typing import Any

import torch

from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.stylegan.discriminator import StyleGANDiscriminator


def small(**changes: Any) -> StyleGANSynthesisConfig:
    settings = {"w_dim": 6, "img_resolution": 16, "channel_base": 64, "channel_max": 6, **changes}
    return StyleGANSynthesisConfig(**settings)


def made(config: StyleGANSynthesisConfig, layers: int = 2) -> Generator:
    """Return a network whose noise and biases are not at the zeros they start from."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(MappingConfig(6, 0, 6, layers), config))
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise_strength", "bias")) and "mapping" not in name:
            parameter.data.normal_().mul_(0.5)
    return generator


def critic(**changes: Any) -> StyleGANDiscriminator:
    settings = {"img_resolution": 16, "channel_base": 64, "channel_max": 6, **changes}
    torch.manual_seed(0)
    return StyleGANDiscriminator(StyleGANDiscriminatorConfig(**settings))


def table_1_row(row: str, synthesis: StyleGANSynthesisConfig) -> GeneratorConfig:
    """Return the generator of a row of table 1 of Karras et al. 2019: F is StyleGAN, the others lack some of it."""
    styled = row >= "c"
    synthesis = dataclasses.replace(
        synthesis,
        input="constant" if row >= "d" else "latent",
        use_styles=styled,
        use_noise=row >= "e",
        normalisation="instance" if styled else "pixel",
        blur_filter=(1.0,) if row == "a" else (1.0, 2.0, 1.0),
    )
    mapping = MappingConfig(synthesis.w_dim, 0, synthesis.w_dim, num_layers=8 if styled else 0, label_mode="concat")
    return GeneratorConfig(mapping, synthesis)
