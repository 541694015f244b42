"""Settings that every family of networks shares: the mapping network, the generator, and their JSON.

Each family declares the settings of its synthesis network and discriminator in its own `config`; here is only what the
rest of the program may ask of them. Nothing here imports torch.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from generator.errors import ConfigError, shown
from generator.settings import (
    ACTIVATIONS,
    MAX_DIM,
    MAX_LAYERS,
    NetworkSettings,
    check_types,
    is_left_out,
    require,
    require_finite,
    require_size,
)

__all__ = [
    "DiscriminatorSettings",
    "GeneratorConfig",
    "MappingConfig",
    "SynthesisSettings",
    "from_dict",
    "to_dict",
]


class SynthesisSettings(NetworkSettings, Protocol):
    """Settings of a synthesis network w -> image, of whichever family."""

    @property
    def w_dim(self) -> int: ...
    @property
    def num_ws(self) -> int: ...
    @property
    def use_noise(self) -> bool: ...
    @property
    def alpha(self) -> float: ...


class DiscriminatorSettings(NetworkSettings, Protocol):
    """Settings of a discriminator image, c -> logit, of whichever family."""

    @property
    def c_dim(self) -> int: ...
    @property
    def mbstd_group_size(self) -> int | None: ...
    @property
    def mbstd_channels(self) -> int: ...


@dataclass(frozen=True)
class MappingConfig:
    """The mapping network z, c -> w, which StyleGAN and StyleGAN2 share.

    Attributes:
        z_dim: Width of the latent z; 0 for a network that maps labels alone.
        c_dim: Number of classes; 0 for a network without labels.
        w_dim: Width of w.
        num_layers: Number of dense layers.
        layer_dim: Width of the hidden layers; None: `w_dim`.
        embed_dim: Width of the embedded label; None: `w_dim`.
        label_mode: How a label enters: "embed" (StyleGAN2-ADA: a biased layer, normalised by itself) or "concat"
            (TensorFlow StyleGAN and StyleGAN2: a plain matrix, normalised together with z).
        activation: Activation of every layer, one of `ACTIVATIONS`.
        lr_multiplier: Learning rate of these layers relative to the rest of the generator.
        w_avg_beta: How much of the running mean w is kept at each step, in [0, 1).

    Raises:
        ConfigError: A setting is out of range.
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
        check_types(self)
        require_size("z_dim", self.z_dim, 0, MAX_DIM)
        require_size("c_dim", self.c_dim, 0, MAX_DIM)
        require(self.z_dim + self.c_dim > 0, "a mapping network needs a latent or a label: z_dim and c_dim are both 0")
        require_size("w_dim", self.w_dim, 1, MAX_DIM)
        require_size("num_layers", self.num_layers, 0, MAX_LAYERS)
        for name in ("layer_dim", "embed_dim"):
            if getattr(self, name) is not None:
                require_size(name, getattr(self, name), 1, MAX_DIM)
        require(self.label_mode in ("embed", "concat"), f"label_mode is {shown(self.label_mode)}, not embed or concat")
        require(self.activation in ACTIVATIONS, f"activation {shown(self.activation)} is not one of {ACTIVATIONS}")
        require_finite("lr_multiplier", self.lr_multiplier)
        require(0 <= self.w_avg_beta < 1, f"w_avg_beta is {shown(self.w_avg_beta)}, not in [0, 1)")

    @property
    def label_dim(self) -> int:
        """Width of what a label becomes before the first layer; 0 without labels."""
        if not self.c_dim:
            return 0
        return (self.embed_dim or self.w_dim) if self.label_mode == "embed" else self.z_dim

    @property
    def layer_widths(self) -> list[tuple[int, int]]:
        """Width of the input and of the output of each dense layer, first layer first."""
        hidden = [self.layer_dim or self.w_dim] * (self.num_layers - 1)
        widths = [self.z_dim + self.label_dim, *hidden, self.w_dim]
        return list(pairwise(widths))[: self.num_layers]

    def check_width(self) -> None:
        """Refuse a network without layers whose input cannot be its w.

        Raises:
            ConfigError: It is such a network.
        """
        if self.num_layers > 0:
            return
        # A label is embedded in as many numbers as w has, and z is to fit beside it.
        embeds = self.label_dim > 0 and self.label_mode == "embed" and self.embed_dim is None
        require(not embeds, "mapping_layers is 0, but labels that are embedded need a layer")
        width = self.z_dim + self.label_dim
        require(width == self.w_dim, f"a mapping network without layers needs w_dim {width}, not {self.w_dim}")


@dataclass(frozen=True)
class GeneratorConfig:
    """Mapping and synthesis together; the family is that of the synthesis network.

    Attributes:
        mapping: Settings of the mapping network.
        synthesis: Settings of the synthesis network.

    Raises:
        ConfigError: The two networks have w of different widths.
    """

    mapping: MappingConfig
    synthesis: SynthesisSettings

    def __post_init__(self) -> None:
        require(
            self.mapping.w_dim == self.synthesis.w_dim,
            f"the mapping network gives w of {self.mapping.w_dim}, the synthesis network takes {self.synthesis.w_dim}",
        )


_T = TypeVar("_T")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain JSON types, without those declared `later` that have their defaults."""
    return {
        field.name: to_dict(value) if dataclasses.is_dataclass(value) else value
        for field in dataclasses.fields(config)
        if not is_left_out(field, value := getattr(config, field.name))
    }


def from_dict(cls: Callable[..., _T], values: Any) -> _T:
    """Build a flat settings dataclass from what `to_dict` gave and JSON carried.

    Args:
        cls: The dataclass.
        values: Its settings by name; a list stands for a tuple, and a setting that is missing has its default.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or range.
    """
    name = getattr(cls, "__name__", "")
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    require(isinstance(values, dict), f"{name} settings are not an object")
    unknown = sorted(set(values) - known)
    require(not unknown, f"{name} has no setting {', '.join(map(shown, unknown[:4]))}")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
