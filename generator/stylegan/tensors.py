"""Find out what a network of the first StyleGAN is from the shapes of its tensors."""

from generator.config import GeneratorConfig
from generator.errors import ConfigError, NetworkFileError
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.tensors import Hints, Shapes, channels_of, mapping_of, resolutions_of, size_of

__all__ = ["discriminator_config", "generator_config"]


def generator_config(shapes: Shapes, hints: Hints) -> GeneratorConfig:
    """Return the generator that has these tensors.

    Raises:
        NetworkFileError: There is none within the limits of `generator.config`.
    """
    resolutions = resolutions_of(shapes, "synthesis.")
    widths = {r: size_of(shapes, f"synthesis.b{r}.conv1.bias", 1, 0) for r in resolutions}
    top = resolutions[-1]
    try:
        mapping = mapping_of(shapes, hints)
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
        shapes: Its tensors.
        hints: What they cannot tell.
        c_dim: Number of classes. selects: Unused: a label can only select an output.

    Raises:
        NetworkFileError: There is none within the limits of `generator.config`.
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
