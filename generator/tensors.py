"""Find out what a network is from the shapes of its tensors; a file's settings are only compared with that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generator.config import DiscriminatorSettings, GeneratorConfig
from generator.errors import ConfigError, NetworkFileError
from generator.files.pickles.records import escaped
from generator.files.weights import Shape
from generator.settings import MAX_RESOLUTION
from generator.stylegan2.config import DiscriminatorConfig, MappingConfig, SynthesisConfig

__all__ = [
    "Hints",
    "Shapes",
    "channels_of",
    "compare",
    "discriminator_config",
    "generator_config",
    "mapping_of",
    "resolutions_of",
    "size_of",
]

CHANNEL_DEFAULTS = (32768, 512)

Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Hints:
    """What shapes cannot tell, as found in the file.

    Attributes:
        stylegan: The networks are those of the first StyleGAN.
        resample_filter: Taps; of StyleGAN the blur's. normalisation: Of StyleGAN's feature maps.
        claims: The file's own settings under our names; where shapes can tell, both must agree.
    """

    activation: str = "lrelu"
    conv_clamp: float | None = None
    resample_filter: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
    mapping_activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float = 0.995
    mbstd_group_size: int | None = 4
    stylegan: bool = False
    normalisation: str = "instance"
    claims: Mapping[str, Any] = field(default_factory=dict)


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
        )
        return GeneratorConfig(mapping, synthesis)
    except ConfigError as error:
        raise NetworkFileError(f"unsupported: {error}") from None


def discriminator_config(shapes: Shapes, hints: Hints, *, c_dim: int, selects: bool) -> DiscriminatorConfig:
    """Return the discriminator that has these tensors.

    Args:
        shapes: Its tensors.
        hints: What they cannot tell.
        c_dim: Number of classes, which the shapes of a `selects` discriminator cannot tell from none.
        selects: One output per class (TensorFlow StyleGAN2) instead of a projection.

    Raises:
        NetworkFileError: There is none within the limits of `generator.config`.
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
            mapping_layers=_count(shapes, "mapping.fc") if projects else DiscriminatorConfig.mapping_layers,
            mapping_lr_multiplier=hints.lr_multiplier if projects else DiscriminatorConfig.mapping_lr_multiplier,
        )
    except ConfigError as error:
        raise NetworkFileError(f"unsupported: {error}") from None


def compare(claims: Mapping[str, Any], config: GeneratorConfig | DiscriminatorSettings) -> None:
    """Hold a file's settings against its tensors.

    Raises:
        NetworkFileError: A setting says something else than the tensors.
    """
    facts: dict[str, Any] = {}
    parts: tuple[Any, ...] = (config.mapping, config.synthesis) if isinstance(config, GeneratorConfig) else (config,)
    for part in parts:
        facts |= vars(part)
    if isinstance(config, GeneratorConfig):
        facts["num_ws"] = config.synthesis.num_ws
    # widths were compared when the channels were found; None stands for a default
    for key in ("channel_base", "channel_max", "channels", "resample_filter", "blur_filter"):
        facts.pop(key, None)
    for key, claimed in claims.items():
        known = facts.get(key) is not None and type(claimed) in (bool, int, float, str)
        if known and claimed != facts[key]:
            raise NetworkFileError(f"refused: its settings say {key} {_shown(claimed)}, its tensors say {facts[key]}")


def _shown(value: object) -> str:
    text = str(value)
    return escaped(text if len(text) <= 40 else text[:40] + "...")


def resolutions_of(shapes: Shapes, prefix: str) -> list[int]:
    """Return the resolutions of the blocks, 4 px first."""
    found = {int(match[1]) for name in shapes if (match := re.match(rf"{prefix}b(\d{{1,6}})\.", name))}
    top = max(found, default=0)
    expected = [4 << i for i in range(max(top.bit_length() - 2, 0))]
    if not found or top > MAX_RESOLUTION or sorted(found) != expected:
        shown = ", ".join(map(str, sorted(found)[:16])) or "none"
        raise NetworkFileError(
            f"unsupported: its blocks are for {shown} px, not for 4, 8, 16 ... up to {MAX_RESOLUTION}"
        )
    return expected


def size_of(shapes: Shapes, name: str, dimensions: int, axis: int) -> int:
    """Return one size of a tensor that must be there."""
    shape = shapes.get(name)
    if shape is None:
        raise NetworkFileError(f"damaged: it lacks '{name}'")
    if len(shape) != dimensions:
        raise NetworkFileError(f"damaged: '{name}' has shape {shape}, not {dimensions} dimensions")
    return shape[axis]


def _count(shapes: Shapes, prefix: str) -> int:
    """Return the number of layers `prefix`0, `prefix`1, ... up to the last one there is."""
    found = (re.match(rf"{re.escape(prefix)}(\d{{1,4}})\.", name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def mapping_of(shapes: Shapes, hints: Hints) -> MappingConfig:
    """Return the mapping network that has these tensors."""
    layers = _count(shapes, "mapping.fc")
    conditional = "mapping.embed.weight" in shapes or "mapping.label_matrix" in shapes
    embeds = "mapping.embed.weight" in shapes
    if not layers and not hints.stylegan:
        raise NetworkFileError("unsupported: its mapping network has no layers")
    w_dim = size_of(shapes, f"mapping.fc{layers - 1}.bias" if layers else "mapping.w_avg", 1, 0)
    width = size_of(shapes, "mapping.fc0.weight", 2, 1) if layers else w_dim
    c_dim, embed_dim = 0, None
    z_dim = width
    if embeds:
        c_dim, embed_dim = size_of(shapes, "mapping.embed.weight", 2, 1), size_of(shapes, "mapping.embed.bias", 1, 0)
        z_dim = width - embed_dim
    elif conditional:
        c_dim, z_dim = (size_of(shapes, "mapping.label_matrix", 2, axis) for axis in (0, 1))
    layer_dim = size_of(shapes, "mapping.fc0.bias", 1, 0) if layers > 1 else w_dim
    return MappingConfig(
        z_dim=z_dim,
        c_dim=c_dim,
        w_dim=w_dim,
        num_layers=layers,
        layer_dim=None if layer_dim == w_dim else layer_dim,
        embed_dim=None if embed_dim == w_dim else embed_dim,
        label_mode="concat" if conditional and not embeds else "embed",
        activation=hints.mapping_activation,
        lr_multiplier=hints.lr_multiplier,
        w_avg_beta=hints.w_avg_beta,
    )


def _architecture(shapes: Shapes, resolutions: list[int], prefix: str, colour: str, hints: Hints) -> str:
    """Tell "skip", "resnet" and "orig" apart by where there are skip weights and colour layers."""
    if len(resolutions) == 1:  # all three are the same network
        claimed = hints.claims.get("architecture")
        return claimed if isinstance(claimed, str) else "skip"
    if any(f"{prefix}b{r}.skip.weight" in shapes for r in resolutions):
        return "resnet"
    return "skip" if any(f"{prefix}b{r}.{colour}.weight" in shapes for r in resolutions[:-1]) else "orig"


def channels_of(widths: Mapping[int, int], claims: Mapping[str, Any]) -> tuple[int, int, tuple[int, ...] | None]:
    """Describe the widths by `channel_base` and `channel_max` if any do, else by a list."""
    claimed = [claims.get(key) for key in ("channel_base", "channel_max")]
    if any(type(value) is int for value in claimed):
        base, limit = (
            value if type(value) is int else default for value, default in zip(claimed, CHANNEL_DEFAULTS, strict=True)
        )
        if any(min(base // r, limit) != width for r, width in widths.items()):
            shown = f"channel_base {_shown(base)} and channel_max {_shown(limit)}"
            raise NetworkFileError(f"refused: its settings say {shown}, its tensors say {list(widths.values())}")
        return base, limit, None
    limit = max(widths.values())
    bases = {width * r for r, width in widths.items() if width < limit} or {limit * max(widths)}
    base = bases.pop()
    if not bases and all(min(base // r, limit) == width for r, width in widths.items()):
        return base, limit, None
    return *CHANNEL_DEFAULTS, tuple(widths.values())
