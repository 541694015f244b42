"""Settings of the networks: frozen dataclasses, validated once, with a JSON round trip."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, TypeVar

from generator.errors import ConfigError

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "DiscriminatorConfig",
    "GeneratorConfig",
    "MappingConfig",
    "SynthesisConfig",
    "config_e",
    "config_f",
    "from_dict",
    "to_dict",
]

ARCHITECTURES = ("skip", "resnet", "orig")
ACTIVATIONS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish")

# A file may ask for anything; these bound what is built before a single tensor is allocated.
MAX_RESOLUTION = 4096
MAX_CHANNELS = 2048
MAX_LAYERS = 32
MAX_DIM = 8192

T = TypeVar("T")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_size(name: str, value: int, low: int, high: int) -> None:
    _require(isinstance(value, int) and low <= value <= high, f"{name} is {value!r}, not an integer in {low}..{high}")


def _require_finite(name: str, value: float | None) -> None:
    _require(value is None or (math.isfinite(value) and value > 0), f"{name} is {value!r}, not a positive number")


@dataclass(frozen=True)
class MappingConfig:
    """The mapping network z, c -> w.

    `label_mode` says how a label enters: "embed" (StyleGAN2-ADA: a biased layer, normalised by itself)
    or "concat" (TensorFlow StyleGAN and StyleGAN2: a plain matrix, normalised together with z).
    `layer_dim` is the width of the hidden layers, `embed_dim` that of the embedded label.
    """

    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    num_layers: int = 8
    layer_dim: int | None = None
    embed_dim: int | None = None
    label_mode: str = "embed"
    activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float = 0.995

    def __post_init__(self) -> None:
        _require_size("z_dim", self.z_dim, 0, MAX_DIM)
        _require_size("c_dim", self.c_dim, 0, MAX_DIM)
        _require(self.z_dim + self.c_dim > 0, "a mapping network needs a latent or a label: z_dim and c_dim are both 0")
        _require_size("w_dim", self.w_dim, 1, MAX_DIM)
        _require_size("num_layers", self.num_layers, 0, MAX_LAYERS)
        for name in ("layer_dim", "embed_dim"):
            if getattr(self, name) is not None:
                _require_size(name, getattr(self, name), 1, MAX_DIM)
        _require(self.label_mode in ("embed", "concat"), f"label_mode is {self.label_mode!r}, not embed or concat")
        _require(self.activation in ACTIVATIONS, f"activation {self.activation!r} is not one of {ACTIVATIONS}")
        _require_finite("lr_multiplier", self.lr_multiplier)
        _require(0 <= self.w_avg_beta < 1, f"w_avg_beta is {self.w_avg_beta!r}, not in [0, 1)")


def _check_image(config: "SynthesisConfig | DiscriminatorConfig") -> None:
    resolution = config.img_resolution
    _require_size("img_resolution", resolution, 4, MAX_RESOLUTION)
    _require(resolution & (resolution - 1) == 0, f"img_resolution is {resolution}, not a power of two")
    _require(config.img_channels in (1, 3, 4), f"img_channels is {config.img_channels!r}, not 1, 3 or 4")
    _require_size("channel_base", config.channel_base, 1, 1 << 20)
    _require_size("channel_max", config.channel_max, 1, MAX_CHANNELS)
    if config.channels is not None:
        levels = resolution.bit_length() - 2
        _require(len(config.channels) == levels, f"channels has {len(config.channels)} entries, not {levels}")
    for resolution_, width in config.widths.items():
        _require_size(f"channels at {resolution_} px", width, 1, MAX_CHANNELS)
    _require(config.architecture in ARCHITECTURES, f"architecture {config.architecture!r} is not in {ARCHITECTURES}")
    _require(config.activation in ACTIVATIONS, f"activation {config.activation!r} is not one of {ACTIVATIONS}")
    _require(
        1 <= len(config.resample_filter) <= 16 and all(math.isfinite(tap) for tap in config.resample_filter),
        f"resample_filter {config.resample_filter!r} is not 1 to 16 finite taps",
    )
    _require(abs(sum(config.resample_filter)) > 1e-6, "resample_filter sums to zero")
    _require_finite("conv_clamp", config.conv_clamp)


def _widths(resolution: int, base: int, limit: int, channels: tuple[int, ...] | None) -> dict[int, int]:
    levels = [4 << i for i in range(resolution.bit_length() - 2)]
    return {r: channels[i] if channels is not None else min(base // r, limit) for i, r in enumerate(levels)}


@dataclass(frozen=True)
class SynthesisConfig:
    """The StyleGAN2 synthesis network w -> picture.

    Feature maps at resolution r have min(channel_base // r, channel_max) channels, unless `channels`
    lists them one by one from 4 px upwards.
    """

    w_dim: int = 512
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    architecture: str = "skip"
    resample_filter: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
    use_noise: bool = True
    demodulate: bool = True
    activation: str = "lrelu"
    conv_clamp: float | None = None

    def __post_init__(self) -> None:
        _require_size("w_dim", self.w_dim, 1, MAX_DIM)
        _check_image(self)

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the feature maps at each resolution, 4 px first."""
        return _widths(self.img_resolution, self.channel_base, self.channel_max, self.channels)

    @property
    def num_ws(self) -> int:
        """Number of style inputs, 2 log2(resolution) - 2."""
        return 2 * (self.img_resolution.bit_length() - 1) - 2


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator picture, c -> logit.

    `label_mode`: "project" (StyleGAN2-ADA: a mapped label times the features) or "select" (TensorFlow
    StyleGAN2: one output per class, the label picks its own). `mbstd_group_size` None takes the whole batch.
    """

    c_dim: int = 0
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[int, ...] | None = None
    architecture: str = "resnet"
    resample_filter: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
    activation: str = "lrelu"
    conv_clamp: float | None = None
    mbstd_group_size: int | None = 4
    mbstd_channels: int = 1
    label_mode: str = "project"
    cmap_dim: int | None = None
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01

    def __post_init__(self) -> None:
        _require_size("c_dim", self.c_dim, 0, MAX_DIM)
        _check_image(self)
        if self.mbstd_group_size is not None:
            _require_size("mbstd_group_size", self.mbstd_group_size, 1, 1 << 16)
        _require_size("mbstd_channels", self.mbstd_channels, 0, MAX_CHANNELS)
        _require(self.label_mode in ("project", "select"), f"label_mode is {self.label_mode!r}, not project or select")
        _require_size("mapping_layers", self.mapping_layers, 0, MAX_LAYERS)
        if self.cmap_dim is not None:
            _require_size("cmap_dim", self.cmap_dim, 1, MAX_DIM)
        _require_finite("mapping_lr_multiplier", self.mapping_lr_multiplier)

    @property
    def widths(self) -> dict[int, int]:
        """Channels of the feature maps at each resolution, 4 px first."""
        return _widths(self.img_resolution, self.channel_base, self.channel_max, self.channels)


@dataclass(frozen=True)
class GeneratorConfig:
    """Mapping and synthesis together."""

    mapping: MappingConfig = dataclasses.field(default_factory=MappingConfig)
    synthesis: SynthesisConfig = dataclasses.field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        _require(
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


def to_dict(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], values: dict[str, Any]) -> T:
    """Build a settings dataclass from what `to_dict` gave and JSON carried.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or range.
    """
    _require(isinstance(values, dict), f"{cls.__name__} settings are not an object")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    _require(not unknown, f"{cls.__name__} has no setting {', '.join(map(repr, unknown))}")
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        kind = fields[name].type
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            arguments[name] = from_dict(kind, value)
        else:
            arguments[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__}: {error}") from error
