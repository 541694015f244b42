"""The first StyleGAN's networks from the shapes of their tensors, and the shapes from their settings."""

from generator.config import GeneratorConfig
from generator.errors import ConfigError, NetworkFileError
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.tensors import (
    Hints,
    Shape,
    Shapes,
    channels_of,
    critic_shapes,
    mapping_of,
    resolutions_of,
    size_of,
)

__all__ = ["discriminator_config", "discriminator_shapes", "generator_config", "synthesis_shapes"]


def generator_config(shapes: Shapes, hints: Hints) -> GeneratorConfig:
    """Return the generator that has these tensors.

    Args:
        shapes: Shapes of its tensors by name.
        hints: What they cannot tell.

    Raises:
        NetworkFileError: There is none within the limits of `generator.settings`.
    """
    resolutions = resolutions_of(shapes, "synthesis.")
    widths = {r: size_of(shapes, f"synthesis.b{r}.conv1.bias", 1, 0) for r in resolutions}
    top = resolutions[-1]
    try:
        mapping = mapping_of(shapes, hints, layers_needed=False)
        base, limit, channels = channels_of(widths, hints.claims)
        synthesis = StyleGANSynthesisConfig(
            w_dim=mapping.w_dim,
            img_resolution=top,
            img_channels=size_of(shapes, f"synthesis.b{top}.torgb.bias", 1, 0),
            channel_base=base,
            channel_max=limit,
            channels=channels,
            blur_filter=hints.resample_filter,
            activation=hints.activation,
            input="latent" if "synthesis.b4.dense.weight" in shapes else "constant",
            use_styles=any(name.endswith(".affine.weight") for name in shapes),
            use_noise=any(name.endswith(".noise_strength") for name in shapes),
            normalisation=hints.normalisation,
            growing=_grows(shapes, resolutions, "synthesis.", "torgb"),
        )
        return GeneratorConfig(mapping, synthesis)
    except ConfigError as error:
        raise NetworkFileError(f"unsupported: {error}") from None


def discriminator_config(shapes: Shapes, hints: Hints, *, c_dim: int, selects: bool) -> StyleGANDiscriminatorConfig:
    """Return the discriminator that has these tensors.

    Args:
        shapes: Shapes of its tensors by name.
        hints: What they cannot tell.
        c_dim: Number of classes.
        selects: Not looked at: a label of this family can only select an output.

    Raises:
        NetworkFileError: There is none within the limits of `generator.settings`.
    """
    resolutions = resolutions_of(shapes, "")
    widths = {r: size_of(shapes, f"b{r}.{'conv0' if r > 4 else 'conv'}.bias", 1, 0) for r in resolutions}
    top = resolutions[-1]
    try:
        base, limit, channels = channels_of(widths, hints.claims)
        return StyleGANDiscriminatorConfig(
            c_dim=c_dim,
            img_resolution=top,
            img_channels=size_of(shapes, f"b{top}.fromrgb.weight", 4, 1),
            channel_base=base,
            channel_max=limit,
            channels=channels,
            blur_filter=hints.resample_filter,
            activation=hints.activation,
            mbstd_group_size=hints.mbstd_group_size,
            mbstd_channels=size_of(shapes, "b4.conv.weight", 4, 1) - widths[4],
            growing=_grows(shapes, resolutions, "", "fromrgb"),
        )
    except ConfigError as error:
        raise NetworkFileError(f"unsupported: {error}") from None


def _grows(shapes: Shapes, resolutions: list[int], prefix: str, colour: str) -> bool:
    """Say whether there are colour layers below the last resolution (or no resolution below it)."""
    below = resolutions[:-1]
    return not below or any(f"{prefix}b{r}.{colour}.weight" in shapes for r in below)


def synthesis_shapes(config: StyleGANSynthesisConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a synthesis network's state, under `synthesis.`."""
    shapes: dict[str, Shape] = {}
    for r, width in config.widths.items():
        block = f"synthesis.b{r}"
        if r == 4 and config.input == "constant":
            shapes[f"{block}.const"] = (width, 4, 4)
        elif r == 4:
            shapes[f"{block}.dense.weight"] = (width * 16, config.w_dim)
        else:
            shapes[f"{block}.conv0.weight"] = (width, config.widths[r // 2], 3, 3)
        shapes[f"{block}.conv1.weight"] = (width, width, 3, 3)
        for layer in ("input" if r == 4 else "conv0", "conv1"):
            shapes[f"{block}.{layer}.bias"] = (width,)
            if config.use_noise:
                shapes |= {f"{block}.{layer}.noise_const": (r, r), f"{block}.{layer}.noise_strength": (width,)}
            if config.use_styles:
                affine = f"{block}.{layer}.affine"
                shapes |= {f"{affine}.weight": (2 * width, config.w_dim), f"{affine}.bias": (2 * width,)}
        if config.growing or r == config.img_resolution:
            colours = config.img_channels
            shapes |= {f"{block}.torgb.weight": (colours, width, 1, 1), f"{block}.torgb.bias": (colours,)}
    return shapes


def discriminator_shapes(config: StyleGANDiscriminatorConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a discriminator's state."""
    return critic_shapes(config, config.outputs)
