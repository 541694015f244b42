"""StyleGAN2's networks from the shapes of their tensors, and the shapes from their settings."""

from generator.config import GeneratorConfig
from generator.errors import ConfigError, NetworkFileError
from generator.settings import map_shape
from generator.stylegan2.config import DiscriminatorConfig, SynthesisConfig
from generator.tensors import (
    Hints,
    Shape,
    Shapes,
    channels_of,
    count_layers,
    critic_shapes,
    mapping_of,
    mapping_shapes,
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
        mapping = mapping_of(shapes, hints)
        base, limit, channels = channels_of(widths, hints.claims)
        synthesis = SynthesisConfig(
            w_dim=mapping.w_dim,
            img_resolution=top,
            img_channels=size_of(shapes, f"synthesis.b{top}.torgb.bias", 1, 0),
            channel_base=base,
            channel_max=limit,
            channels=channels,
            architecture=_architecture(shapes, resolutions, "synthesis.", "torgb", hints),
            resample_filter=hints.resample_filter,
            use_noise=any(name.endswith(".noise_strength") for name in shapes),
            activation=hints.activation,
            conv_clamp=hints.conv_clamp,
            start=tuple(size_of(shapes, "synthesis.b4.const", 3, axis) for axis in (1, 2)),
        )
        return GeneratorConfig(mapping, synthesis)
    except ConfigError as error:
        raise NetworkFileError(f"unsupported: {error}") from None


def discriminator_config(shapes: Shapes, hints: Hints, *, c_dim: int, selects: bool) -> DiscriminatorConfig:
    """Return the discriminator that has these tensors.

    Args:
        shapes: Shapes of its tensors by name.
        hints: What they cannot tell.
        c_dim: Number of classes, which the shapes of a `selects` discriminator cannot tell from none.
        selects: Whether there is one output per class (TensorFlow StyleGAN2) instead of a projection.

    Raises:
        NetworkFileError: There is none within the limits of `generator.settings`.
    """
    resolutions = resolutions_of(shapes, "")
    widths = {r: size_of(shapes, f"b{r}.{'conv0' if r > 4 else 'conv'}.bias", 1, 0) for r in resolutions}
    top = resolutions[-1]
    outputs = size_of(shapes, "b4.out.bias", 1, 0)
    if not selects and "mapping.embed.weight" in shapes:
        c_dim = size_of(shapes, "mapping.embed.weight", 2, 1)
    projects = bool(c_dim) and not selects
    try:
        base, limit, channels = channels_of(widths, hints.claims)
        return DiscriminatorConfig(
            c_dim=c_dim,
            img_resolution=top,
            img_channels=size_of(shapes, f"b{top}.fromrgb.weight", 4, 1),
            channel_base=base,
            channel_max=limit,
            channels=channels,
            architecture=_architecture(shapes, resolutions, "", "fromrgb", hints),
            resample_filter=hints.resample_filter,
            activation=hints.activation,
            conv_clamp=hints.conv_clamp,
            mbstd_group_size=hints.mbstd_group_size,
            mbstd_channels=size_of(shapes, "b4.conv.weight", 4, 1) - widths[4],
            label_mode="select" if selects else "project",
            cmap_dim=outputs if projects and outputs != widths[4] else None,
            mapping_layers=count_layers(shapes, "mapping.fc") if projects else DiscriminatorConfig.mapping_layers,
            mapping_lr_multiplier=hints.lr_multiplier if projects else DiscriminatorConfig.mapping_lr_multiplier,
            start=hints.start,
        )
    except ConfigError as error:
        raise NetworkFileError(f"unsupported: {error}") from None


def _architecture(shapes: Shapes, resolutions: list[int], prefix: str, colour: str, hints: Hints) -> str:
    """Tell "skip", "resnet" and "orig" apart by where there are skip weights and colour layers."""
    if len(resolutions) == 1:  # all three are the same network
        claimed = hints.claims.get("architecture")
        return claimed if isinstance(claimed, str) else "skip"
    if any(f"{prefix}b{r}.skip.weight" in shapes for r in resolutions):
        return "resnet"
    return "skip" if any(f"{prefix}b{r}.{colour}.weight" in shapes for r in resolutions[:-1]) else "orig"


def synthesis_shapes(config: SynthesisConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a synthesis network's state, under `synthesis.`."""
    shapes: dict[str, Shape] = {}
    for r, width in config.widths.items():
        block = f"synthesis.b{r}"
        layers = {"conv1": width}
        if r == 4:
            shapes[f"{block}.const"] = (width, *config.start)
        else:
            below = config.widths[r // 2]
            layers = {"conv0": below, "conv1": width}
            if config.architecture == "resnet":
                shapes[f"{block}.skip.weight"] = (width, below, 1, 1)
        for layer, channels in layers.items():
            shapes |= _modulated(f"{block}.{layer}", channels, width, 3, config.w_dim)
            if config.use_noise:
                shapes |= {f"{block}.{layer}.noise_const": map_shape(config, r), f"{block}.{layer}.noise_strength": ()}
        if config.architecture == "skip" or config.growing or r == config.img_resolution:
            shapes |= _modulated(f"{block}.torgb", width, config.img_channels, 1, config.w_dim)
    return shapes


def _modulated(layer: str, channels: int, out: int, kernel: int, w_dim: int) -> dict[str, Shape]:
    weights: dict[str, Shape] = {f"{layer}.weight": (out, channels, kernel, kernel), f"{layer}.bias": (out,)}
    return {**weights, f"{layer}.affine.weight": (channels, w_dim), f"{layer}.affine.bias": (channels,)}


def discriminator_shapes(config: DiscriminatorConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a discriminator's state."""
    shapes = critic_shapes(config, config.outputs)
    if config.architecture == "resnet":
        widths = config.widths
        shapes |= {f"b{r}.skip.weight": (widths[r // 2], width, 1, 1) for r, width in widths.items() if r > 4}
    return shapes if config.mapping is None else shapes | mapping_shapes(config.mapping)
