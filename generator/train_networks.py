"""From the flat settings of a training run to those of its networks."""

from typing import TYPE_CHECKING, Final

from generator.config import (
    DiscriminatorConfig,
    DiscriminatorSettings,
    GeneratorConfig,
    MappingConfig,
    StyleGANDiscriminatorConfig,
    StyleGANSynthesisConfig,
    SynthesisConfig,
    SynthesisSettings,
)
from generator.errors import ConfigError

if TYPE_CHECKING:
    from generator.train_config import TrainConfig

__all__ = ["STYLEGAN", "discriminator_config", "generator_config"]

STYLEGAN: Final = "stylegan"
_BLUR = (1.0, 2.0, 1.0)
_NO_BLUR = (1.0,)

# What one family has and the other has not, with the value that leaves it alone.
_ONLY_STYLEGAN2: dict[str, object] = {"demodulate": True, "conv_clamp": 0.0}
_ONLY_STYLEGAN: dict[str, object] = {"synthesis_input": "constant", "use_styles": True, "normalisation": "instance"}


def generator_config(config: "TrainConfig") -> GeneratorConfig:
    """Return the settings of the generator.

    Raises:
        ConfigError: They do not fit together.
    """
    stylegan = config.generator_architecture == STYLEGAN
    _refuse(config, _ONLY_STYLEGAN2 if stylegan else _ONLY_STYLEGAN, config.generator_architecture)
    if stylegan and "g" in config.spectral_norm:
        raise ConfigError(f"spectral_norm is {config.spectral_norm!r}, which a 'stylegan' generator does not have")
    mapping = MappingConfig(
        z_dim=config.z_dim,
        c_dim=config.classes,
        w_dim=config.w_dim,
        num_layers=config.mapping_layers,
        label_mode="concat" if stylegan else "embed",
        lr_multiplier=config.mapping_lr_multiplier,
        w_avg_beta=config.w_avg_beta,
    )
    width = config.z_dim * (2 if config.classes else 1) if stylegan else config.z_dim
    if not config.mapping_layers and width != config.w_dim:
        raise ConfigError(f"a mapping network without layers needs w_dim {width}, not {config.w_dim}")
    return GeneratorConfig(mapping, _synthesis_config(config))


def _synthesis_config(config: "TrainConfig") -> SynthesisSettings:
    if config.generator_architecture == STYLEGAN:
        return StyleGANSynthesisConfig(
            w_dim=config.w_dim,
            img_resolution=config.resolution,
            img_channels=config.channels,
            channel_base=config.channel_base,
            channel_max=config.channel_max,
            blur_filter=_BLUR if config.blur else _NO_BLUR,
            input=config.synthesis_input,
            use_styles=config.use_styles,
            use_noise=config.use_noise,
            normalisation=config.normalisation,
            growing=config.growing,
        )
    return SynthesisConfig(
        w_dim=config.w_dim,
        img_resolution=config.resolution,
        img_channels=config.channels,
        channel_base=config.channel_base,
        channel_max=config.channel_max,
        architecture=config.generator_architecture,
        use_noise=config.use_noise,
        demodulate=config.demodulate,
        conv_clamp=config.conv_clamp or None,
        growing=config.growing,
    )


def discriminator_config(config: "TrainConfig") -> DiscriminatorSettings:
    """Return the settings of the discriminator.

    Raises:
        ConfigError: They do not fit together.
    """
    base = config.discriminator_channel_base or config.channel_base
    limit = config.discriminator_channel_max or config.channel_max
    if config.discriminator_architecture == STYLEGAN:
        return StyleGANDiscriminatorConfig(
            c_dim=config.classes,
            img_resolution=config.resolution,
            img_channels=config.channels,
            channel_base=base,
            channel_max=limit,
            blur_filter=_BLUR if config.blur else _NO_BLUR,
            mbstd_group_size=config.mbstd_group_size,
            mbstd_channels=config.mbstd_channels,
            growing=config.growing,
        )
    return DiscriminatorConfig(
        c_dim=config.classes,
        img_resolution=config.resolution,
        img_channels=config.channels,
        channel_base=base,
        channel_max=limit,
        architecture=config.discriminator_architecture,
        conv_clamp=config.conv_clamp or None,
        mbstd_group_size=config.mbstd_group_size,
        mbstd_channels=config.mbstd_channels,
        mapping_layers=config.mapping_layers,
        mapping_lr_multiplier=config.mapping_lr_multiplier,
        growing=config.growing,
    )


def _refuse(config: "TrainConfig", settings: dict[str, object], architecture: str) -> None:
    for name, neutral in settings.items():
        if getattr(config, name) != neutral:
            raise ConfigError(f"{name} is {getattr(config, name)!r}, which a {architecture!r} generator does not have")
