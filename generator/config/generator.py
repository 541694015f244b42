"""Settings of a whole generator, of either family, and the networks of the papers."""

import dataclasses
from dataclasses import dataclass

from generator.config.checks import require
from generator.config.stylegan import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.config.stylegan2 import DiscriminatorConfig, MappingConfig, SynthesisConfig

__all__ = [
    "STYLEGAN_CONFIGURATIONS",
    "DiscriminatorSettings",
    "GeneratorConfig",
    "SynthesisSettings",
    "config_e",
    "config_f",
    "config_stylegan",
]

SynthesisSettings = SynthesisConfig | StyleGANSynthesisConfig
DiscriminatorSettings = DiscriminatorConfig | StyleGANDiscriminatorConfig

STYLEGAN_CONFIGURATIONS = "abcdef"
"""The rows of table 1 of Karras et al. 2019."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Mapping and synthesis together; the family is that of the synthesis network."""

    mapping: MappingConfig = dataclasses.field(default_factory=MappingConfig)
    synthesis: SynthesisSettings = dataclasses.field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        require(
            self.mapping.w_dim == self.synthesis.w_dim,
            f"the mapping network gives w of {self.mapping.w_dim}, the synthesis network takes {self.synthesis.w_dim}",
        )


def config_f(img_resolution: int = 1024, img_channels: int = 3) -> GeneratorConfig:
    """Return StyleGAN2 configuration F, the paper's large networks (table 1)."""
    return GeneratorConfig(synthesis=SynthesisConfig(img_resolution=img_resolution, img_channels=img_channels))


def config_e(img_resolution: int = 1024, img_channels: int = 3) -> GeneratorConfig:
    """Return StyleGAN2 configuration E: half of F's channels from 64 px up (table 1)."""
    synthesis = SynthesisConfig(img_resolution=img_resolution, img_channels=img_channels, channel_base=16384)
    return GeneratorConfig(synthesis=synthesis)


def config_stylegan(img_resolution: int = 1024, img_channels: int = 3, row: str = "f") -> GeneratorConfig:
    """Return the generator of one row of table 1 of Karras et al. 2019; F is StyleGAN.

    Args:
        img_resolution, img_channels: Of the pictures.
        row: "a" progressive growing as it was; "b" with the blur of its bilinear sampling; "c" with mapping network
            and styles; "d" without the traditional input; "e" with noise inputs; "f" the same network, trained with
            mixing regularisation.

    Raises:
        ConfigError: There is no such row, or no such picture.
    """
    require(len(row) == 1 and row in STYLEGAN_CONFIGURATIONS, f"table 1 has rows a to f, not {row!r}")
    styled = row >= "c"
    synthesis = StyleGANSynthesisConfig(
        img_resolution=img_resolution,
        img_channels=img_channels,
        input="constant" if row >= "d" else "latent",
        use_styles=styled,
        use_noise=row >= "e",
        normalisation="instance" if styled else "pixel",
        blur_filter=(1.0,) if row == "a" else (1.0, 2.0, 1.0),
    )
    return GeneratorConfig(MappingConfig(num_layers=8 if styled else 0, label_mode="concat"), synthesis)
