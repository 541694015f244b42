"""From the shapes of tensors to settings, and back: what the families share.

A file's own settings are only compared with what its tensors say, see `Hints.claims`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generator.config import DiscriminatorSettings, MappingConfig
from generator.errors import NetworkFileError, shown
from generator.settings import MAX_RESOLUTION, SQUARE, map_shape

__all__ = [
    "Hints",
    "Shape",
    "Shapes",
    "channels_of",
    "count_layers",
    "critic_shapes",
    "mapping_of",
    "mapping_shapes",
    "resolutions_of",
    "size_of",
]

CHANNEL_DEFAULTS = (32768, 512)

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Hints:
    """What shapes cannot tell, as found in the file.

    Attributes:
        activation: Activation of the layers.
        conv_clamp: Limit on the absolute values of feature maps; None: no limit.
        resample_filter: Taps of the low-pass filter; for StyleGAN those of the blur.
        mapping_activation: Activation of the mapping network.
        lr_multiplier: Learning rate of the mapping network relative to the others.
        w_avg_beta: How much of the running mean w is kept at each step.
        mbstd_group_size: Images in a group of the minibatch deviation; None: the whole batch.
        normalisation: How StyleGAN normalises feature maps.
        start: Of a discriminator, height and width of its last feature maps: those of its generator's constant.
        claims: The file's own settings under our names; where shapes can tell, both must agree.
    """

    activation: str = "lrelu"
    conv_clamp: float | None = None
    resample_filter: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
    mapping_activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float = 0.995
    mbstd_group_size: int | None = 4
    normalisation: str = "instance"
    start: tuple[int, ...] = SQUARE
    claims: Mapping[str, Any] = field(default_factory=dict)


def resolutions_of(shapes: Shapes, prefix: str) -> list[int]:
    """Return the resolutions of the blocks, 4 px first."""
    found = {int(match[1]) for name in shapes if (match := re.match(rf"{prefix}b(\d{{1,6}})\.", name))}
    top = max(found, default=0)
    expected = [4 << i for i in range(max(top.bit_length() - 2, 0))]
    if not found or top > MAX_RESOLUTION or sorted(found) != expected:
        sides = ", ".join(map(str, sorted(found)[:16])) or "none"
        raise NetworkFileError(
            f"unsupported: its blocks are for {sides} px, not for 4, 8, 16 ... up to {MAX_RESOLUTION}"
        )
    return expected


def size_of(shapes: Shapes, name: str, dimensions: int, axis: int) -> int:
    """Return one size of a tensor that must be there.

    Args:
        shapes: Shapes of the network's tensors by name.
        name: Name of the tensor.
        dimensions: Number of dimensions that it must have.
        axis: The dimension whose size is wanted.

    Raises:
        NetworkFileError: It is missing, or has another number of dimensions.
    """
    shape = shapes.get(name)
    if shape is None:
        raise NetworkFileError(f"damaged: it lacks '{name}'")
    if len(shape) != dimensions:
        raise NetworkFileError(f"damaged: '{name}' has shape {shape}, not {dimensions} dimensions")
    return shape[axis]


def count_layers(shapes: Shapes, prefix: str) -> int:
    """Return the number of layers `prefix`0, `prefix`1, ... up to the last one there is."""
    found = (re.match(rf"{re.escape(prefix)}(\d{{1,4}})\.", name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def mapping_of(shapes: Shapes, hints: Hints, *, layers_needed: bool = True) -> MappingConfig:
    """Return the mapping network that has these tensors.

    Args:
        shapes: Shapes of the generator's tensors.
        hints: What they cannot tell.
        layers_needed: Whether a mapping network without layers is refused.

    Raises:
        NetworkFileError: A tensor is missing, or the network is none that is supported.
        ConfigError: A setting is out of range.
    """
    layers = count_layers(shapes, "mapping.fc")
    conditional = "mapping.embed.weight" in shapes or "mapping.label_matrix" in shapes
    embeds = "mapping.embed.weight" in shapes
    if not layers and layers_needed:
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


def channels_of(widths: Mapping[int, int], claims: Mapping[str, Any]) -> tuple[int, int, tuple[int, ...] | None]:
    """Describe the widths by `channel_base` and `channel_max` if any do, else by a list."""
    claimed = [claims.get(key) for key in ("channel_base", "channel_max")]
    if any(type(value) is int for value in claimed):
        base, limit = (
            value if type(value) is int else default for value, default in zip(claimed, CHANNEL_DEFAULTS, strict=True)
        )
        if any(min(base // r, limit) != width for r, width in widths.items()):
            said = f"channel_base {shown(base)} and channel_max {shown(limit)}"
            raise NetworkFileError(f"refused: its settings say {said}, its tensors say {list(widths.values())}")
        return base, limit, None
    limit = max(widths.values())
    bases = {width * r for r, width in widths.items() if width < limit} or {limit * max(widths)}
    base = bases.pop()
    if not bases and all(min(base // r, limit) == width for r, width in widths.items()):
        return base, limit, None
    return *CHANNEL_DEFAULTS, tuple(widths.values())


def mapping_shapes(config: MappingConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a mapping network's state, but for `w_avg`."""
    shapes: dict[str, Shape] = {}
    if config.c_dim and config.label_mode == "embed":
        shapes |= {"mapping.embed.weight": (config.label_dim, config.c_dim), "mapping.embed.bias": (config.label_dim,)}
    elif config.c_dim:
        shapes["mapping.label_matrix"] = (config.c_dim, config.z_dim)
    for i, (width, out) in enumerate(config.layer_widths):
        shapes |= {f"mapping.fc{i}.weight": (out, width), f"mapping.fc{i}.bias": (out,)}
    return shapes


def critic_shapes(config: DiscriminatorSettings, outputs: int) -> dict[str, Shape]:
    """Return the shape of every tensor that discriminators of all families have.

    Args:
        config: Settings of the discriminator.
        outputs: Number of values that its last layer gives.
    """
    shapes: dict[str, Shape] = {}
    widths, colours = config.widths, config.img_channels
    everywhere = config.growing or config.architecture == "skip"
    for r, width in sorted(widths.items(), reverse=True):
        if everywhere or r == config.img_resolution:
            shapes |= {f"b{r}.fromrgb.weight": (width, colours, 1, 1), f"b{r}.fromrgb.bias": (width,)}
        if r > 4:
            below = widths[r // 2]
            shapes |= {f"b{r}.conv0.weight": (width, width, 3, 3), f"b{r}.conv0.bias": (width,)}
            shapes |= {f"b{r}.conv1.weight": (below, width, 3, 3), f"b{r}.conv1.bias": (below,)}
    width = widths[4]
    shapes |= {"b4.conv.weight": (width, width + config.mbstd_channels, 3, 3), "b4.conv.bias": (width,)}
    shapes |= {"b4.fc.weight": (width, width * math.prod(map_shape(config, 4))), "b4.fc.bias": (width,)}
    return {**shapes, "b4.out.weight": (outputs, width), "b4.out.bias": (outputs,)}
