"""Limits on settings, and how they are held: whatever a file asks for is bounded before a tensor is allocated."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

from generator.errors import ConfigError

__all__ = [
    "ACTIVATIONS",
    "MAX_CHANNELS",
    "MAX_DIM",
    "MAX_LAYERS",
    "MAX_RESOLUTION",
    "check_growth",
    "check_image",
    "check_taps",
    "is_left_out",
    "later",
    "require",
    "require_finite",
    "require_size",
    "widths_of",
]

ACTIVATIONS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")

MAX_RESOLUTION = 4096
MAX_CHANNELS = 2048
MAX_LAYERS = 32
MAX_DIM = 8192


class _Images(Protocol):
    """What the settings of synthesis networks and discriminators have in common."""

    @property
    def img_resolution(self) -> int: ...
    @property
    def img_channels(self) -> int: ...
    @property
    def channel_base(self) -> int: ...
    @property
    def channel_max(self) -> int: ...
    @property
    def channels(self) -> tuple[int, ...] | None: ...
    @property
    def widths(self) -> Mapping[int, int]: ...


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_size(name: str, value: int, low: int, high: int) -> None:
    """Hold a setting to be an integer in low..high."""
    require(isinstance(value, int) and low <= value <= high, f"{name} is {value!r}, not an integer in {low}..{high}")


def require_finite(name: str, value: float | None) -> None:
    """Hold a setting to be a positive number, or None."""
    require(value is None or (math.isfinite(value) and value > 0), f"{name} is {value!r}, not a positive number")


def check_image(config: _Images) -> None:
    """Hold the size of the images and the widths of the feature maps."""
    resolution = config.img_resolution
    require_size("img_resolution", resolution, 4, MAX_RESOLUTION)
    require(resolution & (resolution - 1) == 0, f"img_resolution is {resolution}, not a power of two")
    require(config.img_channels in (1, 3, 4), f"img_channels is {config.img_channels!r}, not 1, 3 or 4")
    require_size("channel_base", config.channel_base, 1, 1 << 20)
    require_size("channel_max", config.channel_max, 1, MAX_CHANNELS)
    if config.channels is not None:
        levels = resolution.bit_length() - 2
        require(len(config.channels) == levels, f"channels has {len(config.channels)} entries, not {levels}")
    for resolution_, width in config.widths.items():
        require_size(f"channels at {resolution_} px", width, 1, MAX_CHANNELS)


def check_growth(growing: bool, alpha: float, resolution: int) -> None:
    """Hold the settings of a network that grows, or was saved while it did."""
    require(isinstance(growing, bool), f"growing is {growing!r}, not true or false")
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 <= alpha <= 1
    require(number, f"alpha is {alpha!r}, not in [0, 1]")
    require(alpha == 1 or (growing and resolution > 4), f"alpha is {alpha!r}, but no layers can fade in")


def check_taps(name: str, taps: tuple[float, ...]) -> None:
    """Hold the taps of a low-pass filter."""
    good = 1 <= len(taps) <= 16 and all(math.isfinite(tap) for tap in taps)
    require(good, f"{name} {taps!r} is not 1 to 16 finite taps")
    require(abs(sum(taps)) > 1e-6, f"{name} sums to zero")


def widths_of(resolution: int, base: int, limit: int, channels: tuple[int, ...] | None) -> dict[int, int]:
    """Return the channels of the feature maps at each resolution, 4 px first."""
    levels = [4 << i for i in range(resolution.bit_length() - 2)]
    return {r: channels[i] if channels is not None else min(base // r, limit) for i, r in enumerate(levels)}


_KEY = "later"


def later(default: Any) -> Any:
    """Return a dataclass field that is left out of files while it has its default.

    So a network or a run that does not use it is written as it was before there was such a setting.
    """
    return dataclasses.field(default=default, metadata={_KEY: True})


def is_left_out(field: "dataclasses.Field[Any]", value: Any) -> bool:
    """Tell whether a field's value is not written."""
    return bool(field.metadata.get(_KEY)) and bool(value == field.default)
