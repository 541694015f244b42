"""StyleGAN3's networks from the shapes of their tensors, and the shapes from their settings."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from generator.config import GeneratorConfig
from generator.errors import ConfigError, NetworkFileError
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from generator.tensors import Hints, Shape, Shapes, mapping_of, size_of

__all__ = ["generator_config", "synthesis_shapes"]

_LAYER = re.compile(r"synthesis\.(L(\d{1,3})_(\d{1,6})_(\d{1,6}))\.")
_FROM_SHAPES = ("w_dim", "img_resolution", "img_channels", "num_layers", "conv_kernel", "channels", "family")
_RULES = ((32768, 512), (65536, 1024))
"""Channels of the published configurations T and R."""


def generator_config(shapes: Shapes, hints: Hints) -> GeneratorConfig:
    """Return the generator that has these tensors.

    Args:
        shapes: Shapes of its tensors by name.
        hints: What they cannot tell; the schedule of the layers is among the claims.

    Raises:
        NetworkFileError: There is none within the limits of the settings.
    """
    found = {int(match[2]): match for name in shapes if (match := _LAYER.match(name))}
    if sorted(found) != list(range(len(found))) or len(found) < 3:
        raise NetworkFileError("unsupported: its layers are not L0, L1, L2 ... up to the one that gives the image")
    names = [found[i][1] for i in range(len(found))]
    count = len(names) - 1
    try:
        mapping = mapping_of(shapes, hints)
        channels = tuple(size_of(shapes, f"synthesis.{name}.bias", 1, 0) for name in names)
        settings = {
            "w_dim": mapping.w_dim,
            "img_resolution": int(found[count][3]),
            "img_channels": channels[count],
            "num_layers": count,
            "conv_kernel": size_of(shapes, f"synthesis.{names[0]}.weight", 4, 3),
            "conv_clamp": hints.conv_clamp,
            **_claimed(hints.claims),
        }
        return GeneratorConfig(mapping, _with_channels(settings, channels[:count], hints.claims))
    except ConfigError as error:
        raise NetworkFileError(f"unsupported: {error}") from None


def _claimed(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says of the schedule, which shapes do not tell."""
    names = [field.name for field in dataclasses.fields(StyleGAN3SynthesisConfig)]
    own = [name for name in names if name not in (*_FROM_SHAPES, "channel_base", "channel_max", "conv_clamp")]
    return {name: claims[name] for name in own if name in claims}


def _with_channels(
    settings: dict[str, Any], channels: tuple[int, ...], claims: Mapping[str, Any]
) -> StyleGAN3SynthesisConfig:
    """Describe the channels by `channel_base` and `channel_max` if any do, else by a list.

    Raises:
        NetworkFileError: The file's settings name a rule that its tensors do not follow.
    """
    default = StyleGAN3SynthesisConfig
    said = {key: claims[key] for key in ("channel_base", "channel_max") if type(claims.get(key)) is int}
    rules = [(default.channel_base, default.channel_max)] if said else _RULES
    for base, limit in rules:
        rule = {"channel_base": base, "channel_max": limit, **said}
        config = StyleGAN3SynthesisConfig(**settings, **rule)
        if tuple(signal.channels for signal in config.signals[:-1]) == channels:
            return config
    if said:
        raise NetworkFileError(f"refused: its settings say {said}, its tensors say {list(channels)} channels")
    return StyleGAN3SynthesisConfig(**settings, channels=channels)


def synthesis_shapes(config: StyleGAN3SynthesisConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a synthesis network's state, under `synthesis.`."""
    first = config.signals[0].channels
    shapes: dict[str, Shape] = {
        "synthesis.input.weight": (first, first),
        "synthesis.input.affine.weight": (4, config.w_dim),
        "synthesis.input.affine.bias": (4,),
        "synthesis.input.transform": (3, 3),
        "synthesis.input.freqs": (first, 2),
        "synthesis.input.phases": (first,),
    }
    for layer in config.layers:
        name, taken, given = f"synthesis.{layer.name}", layer.entering.channels, layer.leaving.channels
        shapes |= {
            f"{name}.affine.weight": (taken, config.w_dim),
            f"{name}.affine.bias": (taken,),
            f"{name}.weight": (given, taken, layer.kernel, layer.kernel),
            f"{name}.bias": (given,),
            f"{name}.magnitude_ema": (),
        }
    return shapes
