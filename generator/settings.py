"""Settings: how a class declares one, and the limits on those of networks.

Whatever a file asks for is checked against these limits before a tensor is allocated.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from generator.errors import ConfigError, shown

__all__ = [
    "ACTIVATIONS",
    "MAX_CHANNELS",
    "MAX_DIM",
    "MAX_LAYERS",
    "MAX_RESOLUTION",
    "SQUARE",
    "Flag",
    "NetworkSettings",
    "Setting",
    "check_fields",
    "check_growth",
    "check_image",
    "check_start",
    "check_taps",
    "check_types",
    "is_left_out",
    "map_shape",
    "require",
    "require_finite",
    "require_size",
    "rule_of",
    "setting",
    "setting_of",
    "widths_of",
]

ACTIVATIONS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")

MAX_RESOLUTION = 4096
SQUARE = (4, 4)
"""Height and width of the constant from which a network with square images begins."""
MAX_CHANNELS = 2048
MAX_LAYERS = 32
MAX_DIM = 8192
MAX_WORD = 100
MAX_ITEMS = 64


class NetworkSettings(Protocol):
    """What the settings of synthesis networks and discriminators of all families have in common."""

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
    def architecture(self) -> str: ...
    @property
    def activation(self) -> str: ...
    @property
    def growing(self) -> bool: ...
    @property
    def widths(self) -> dict[int, int]: ...


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def check_types(config: Any) -> None:
    """Check that every field of a settings dataclass has exactly the type that it is declared with.

    An integer stands for a floating-point number, and nothing else for anything else: true is no number. Numbers are
    finite and fit a float, texts and tuples are short. So whatever comes after may compare and compute.

    Args:
        config: The settings, of the types bool, int, float, str and tuples of one of these, or None where declared.

    Raises:
        ConfigError: A field has another type.
    """
    for name, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        require(any(_is_of(value, one) for one in kinds), f"{name} is {shown(value)}, not {_words_of(kinds)}")


def _is_of(value: object, kind: Any) -> bool:
    if kind is float:
        return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 1 << 63)
    if typing.get_origin(kind) is tuple:
        one = typing.get_args(kind)[0]
        return isinstance(value, tuple) and len(value) <= MAX_ITEMS and all(_is_of(item, one) for item in value)
    if kind is str:
        return type(value) is str and len(value) <= MAX_WORD
    return type(value) is kind


def _words_of(kinds: tuple[Any, ...]) -> str:
    words = {bool: "true or false", int: "an integer", float: "a finite number", str: "a word", types.NoneType: "none"}
    return " or ".join(words.get(kind, "a short list of numbers") for kind in kinds)


def require_size(name: str, value: int, low: int, high: int) -> None:
    """Check that a setting is an integer in low..high.

    Args:
        name: Name of the setting, for the error.
        value: Its value.
        low: The least value, itself allowed.
        high: The greatest value, itself allowed.

    Raises:
        ConfigError: It is not.
    """
    require(type(value) is int and low <= value <= high, f"{name} is {shown(value)}, not an integer in {low}..{high}")


def require_finite(name: str, value: float | None) -> None:
    """Check that a setting is a positive number, or None.

    Raises:
        ConfigError: It is not.
    """
    require(value is None or (math.isfinite(value) and value > 0), f"{name} is {shown(value)}, not a positive number")


def check_image(config: NetworkSettings) -> None:
    """Check the size of the images and the widths of the feature maps.

    Raises:
        ConfigError: One is out of range.
    """
    resolution = config.img_resolution
    require_size("img_resolution", resolution, 4, MAX_RESOLUTION)
    require(resolution & (resolution - 1) == 0, f"img_resolution is {resolution}, not a power of two")
    require(config.img_channels in (1, 3, 4), f"img_channels is {shown(config.img_channels)}, not 1, 3 or 4")
    require_size("channel_base", config.channel_base, 1, 1 << 20)
    require_size("channel_max", config.channel_max, 1, MAX_CHANNELS)
    if config.channels is not None:
        levels = resolution.bit_length() - 2
        require(len(config.channels) == levels, f"channels has {len(config.channels)} entries, not {levels}")
    for resolution_, width in config.widths.items():
        require_size(f"channels at {resolution_} px", width, 1, MAX_CHANNELS)


def check_growth(growing: bool, alpha: float, resolution: int) -> None:
    """Check the settings of a network that grows, or was saved while it did.

    Args:
        growing: Whether it has colour layers at every resolution.
        alpha: How far its last layers have faded in, in [0, 1].
        resolution: Side of its images in pixels.

    Raises:
        ConfigError: They contradict each other.
    """
    require(isinstance(growing, bool), f"growing is {shown(growing)}, not true or false")
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 <= alpha <= 1
    require(number, f"alpha is {shown(alpha)}, not in [0, 1]")
    require(alpha == 1 or (growing and resolution > 4), f"alpha is {shown(alpha)}, but no layers can fade in")


def check_taps(name: str, taps: tuple[float, ...]) -> None:
    """Check the taps of a low-pass filter.

    Raises:
        ConfigError: They are none.
    """
    good = 1 <= len(taps) <= 16 and all(math.isfinite(tap) for tap in taps)
    require(good, f"{name} {shown(taps)} is not 1 to 16 finite taps")
    require(abs(sum(taps)) > 1e-6, f"{name} sums to zero")


def widths_of(resolution: int, base: int, limit: int, channels: tuple[int, ...] | None) -> dict[int, int]:
    """Return the channels of the feature maps at each resolution, 4 px first.

    Args:
        resolution: Side of the images in pixels.
        base: There are min(base // r, limit) channels at resolution r.
        limit: The upper limit in that rule.
        channels: Channels listed one by one from 4 px upwards, in place of that rule.
    """
    levels = [4 << i for i in range(resolution.bit_length() - 2)]
    return {r: channels[i] if channels is not None else min(base // r, limit) for i, r in enumerate(levels)}


def rule_of(widths: Mapping[int, int]) -> tuple[int, int]:
    """Return the base and the limit of the rule that gives such channels, so far as there are any that do."""
    # where the limit does not count the product is the base, and elsewhere it is at most that
    return max(resolution * width for resolution, width in widths.items()), max(widths.values())


def check_start(start: tuple[int, ...], resolution: int) -> None:
    """Check the size of a network's constant.

    Raises:
        ConfigError: It is no height and width, or the images are too large.
    """
    require(len(start) == 2, f"start is {shown(start)}, not a height and a width")
    for size in start:
        require_size("start", size, 1, 16)
        require_size("a side of the images", size * resolution // 4, 1, MAX_RESOLUTION)


def map_shape(config: NetworkSettings, resolution: int) -> tuple[int, int]:
    """Return height and width of the feature maps at a resolution: not square where the constant is not.

    Args:
        config: Settings of a network; of a family without `start` its constant is 4 x 4.
        resolution: The resolution, as the network's layers are named by it.
    """
    height, width = getattr(config, "start", SQUARE)
    return resolution * height // 4, resolution * width // 4


_KEY = "setting"


@dataclass(frozen=True)
class Flag:
    """What it means to name a setting's command-line option where that takes no value, such as "--no-noise".

    Attributes:
        value: Value that the setting then has.
        help: What naming the option does, as one full sentence.
    """

    value: Any
    help: str


@dataclass(frozen=True)
class Setting:
    """What a configuration class declares about one of its fields, next to the field's name, type and default.

    Attributes:
        help: What the setting is, as one full sentence.
        choices: The values that it may have; None where any value of its type and range may be given.
        minimum: The least value, itself allowed.
        maximum: The greatest value, itself allowed.
        above: A bound that the value has to exceed.
        below: A bound that the value has to stay under.
        option: Name of its command-line option, such as "--steps"; None where it has no option of its own.
        flag: What naming that option means; None where it takes a value.
        group: Heading under which `--help` lists it.
        later: Whether files leave it out while it has its default, see `setting`.
        pattern: A regular expression that a text has to match as a whole, and what such a text is.
        others: Whatever else the program that declares the setting wants to know about it.
    """

    help: str = ""
    choices: tuple[Any, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    option: str | None = None
    flag: Flag | None = None
    group: str | None = None
    later: bool = False
    pattern: tuple[str, str] | None = None
    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def wanted(self, value: Any) -> str | None:
        """Return what a value should have been, such as "one of vgg, alex" or "in 1..4096"; None where it is allowed.

        A value of None is allowed: whether a setting may be None is a matter of its type.
        """
        if value is None:
            return None
        if self.choices is not None:
            return None if value in self.choices else f"one of {', '.join(map(str, self.choices))}"
        if self.pattern is not None:
            return None if re.fullmatch(self.pattern[0], value, re.ASCII) else self.pattern[1]
        low = self.minimum is None or value >= self.minimum
        high = self.maximum is None or value <= self.maximum
        inside = (self.above is None or value > self.above) and (self.below is None or value < self.below)
        return None if low and high and inside else self._range()

    def _range(self) -> str:
        """Return the range as text; one between two whole numbers is written as 1..4096."""
        left = self.minimum if self.above is None else self.above
        right = self.maximum if self.below is None else self.below
        if right is None:
            return f"more than {left:g}" if self.above is not None else f"{left:.15g} or more"
        if left is None:
            return f"less than {right:g}" if self.below is not None else f"{right:.15g} or less"
        if isinstance(self.minimum, int) and isinstance(self.maximum, int):
            return f"in {left}..{right}"
        opening, closing = "[" if self.above is None else "(", "]" if self.below is None else ")"
        return f"in {opening}{left:g}, {right:g}{closing}"


def setting(
    default: Any,
    *,
    help: str = "",
    choices: Iterable[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    option: str | None = None,
    flag: Flag | None = None,
    group: str | None = None,
    later: bool = False,
    pattern: tuple[str, str] | None = None,
    **others: Any,
) -> Any:
    """Return a dataclass field that declares a setting once: default, help, what is allowed, option.

    Args:
        default: Value where none is given.
        help: What the setting is, as one full sentence.
        choices: The values that it may have, in the order in which they are listed.
        minimum: The least value, itself allowed.
        maximum: The greatest value, itself allowed.
        above: A bound that the value has to exceed.
        below: A bound that the value has to stay under.
        option: Name of its command-line option, such as "--steps".
        flag: What naming that option means, where it takes no value.
        group: Heading under which `--help` lists it.
        later: Whether files leave the setting out while it has its default. Settings that are added to a class
            of which files exist are declared so: a network or a run that does not use the setting is then
            written as it was before there was one.
        pattern: What a text has to match as a whole, a regular expression, and what it then is.
        others: Whatever else the program that declares the setting wants to know about it; `Setting.others`.

    Returns:
        A `dataclasses.field`, typed Any so that it may stand for a field of any type.
    """
    declared = Setting(
        help,
        None if choices is None else tuple(choices),
        minimum,
        maximum,
        above,
        below,
        option,
        flag,
        group,
        later,
        pattern,
        MappingProxyType(others),
    )
    return dataclasses.field(default=default, metadata={_KEY: declared})


def setting_of(field: "dataclasses.Field[Any]") -> Setting:
    """Return what a field declares; an empty declaration where it was made without `setting`."""
    declared: Setting = field.metadata.get(_KEY, _UNDECLARED)
    return declared


def check_fields(config: Any) -> None:
    """Check the type of every field of a flat dataclass, and what the field declares to be allowed.

    Args:
        config: Settings of the types bool, int, float and str; any finite number stands for a float.

    Raises:
        ConfigError: A field has another type or value.
    """
    for field in dataclasses.fields(config):
        name, value, kind = field.name, getattr(config, field.name), typing.cast(Any, field.type)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) if kind is float else type(value) is kind):
            raise ConfigError(f"{name} is {value!r}, not {'a finite number' if kind is float else kind.__name__}")
        wanted = setting_of(field).wanted(value)
        if wanted is not None:
            raise ConfigError(f"{name} is {value!r}, not {wanted}")


_UNDECLARED = Setting()


def is_left_out(field: "dataclasses.Field[Any]", value: Any) -> bool:
    """Tell whether a field's value is not written to files, see `setting`."""
    return setting_of(field).later and bool(value == field.default)
