"""Settings of a whole generator, of either family, and the networks of the papers."""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from generator.errors import ConfigError
from generator.settings import is_left_out, require
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.stylegan2.config import DiscriminatorConfig, MappingConfig, SynthesisConfig

__all__ = [
    "STYLEGAN_CONFIGURATIONS",
    "DiscriminatorSettings",
    "GeneratorConfig",
    "SynthesisSettings",
    "config_e",
    "config_f",
    "config_stylegan",
    "discriminator_from_dict",
    "from_dict",
    "to_dict",
]

SynthesisSettings = SynthesisConfig | StyleGANSynthesisConfig
DiscriminatorSettings = DiscriminatorConfig | StyleGANDiscriminatorConfig

STYLEGAN_CONFIGURATIONS = "abcdef"
"""The rows of table 1 of Karras et al. 2019."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Mapping and synthesis together; the family is that of the synthesis network."""

    mapping: MappingConfig = dataclasses.field(default_factory=MappingConfig)
    synthesis: SynthesisSettings = dataclasses.field(default_factory=SynthesisConfig)

    def __post_init__(self) -> None:
        require(
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


def config_stylegan(img_resolution: int = 1024, img_channels: int = 3, row: str = "f") -> GeneratorConfig:
    """Return the generator of one row of table 1 of Karras et al. 2019; F is StyleGAN.

    Args:
        img_resolution, img_channels: Of the images.
        row: "a" progressive growing as it was; "b" with the blur of its bilinear sampling; "c" with mapping network
            and styles; "d" without the traditional input; "e" with noise inputs; "f" the same network, trained with
            mixing regularisation.

    Raises:
        ConfigError: There is no such row, or no such image.
    """
    require(len(row) == 1 and row in STYLEGAN_CONFIGURATIONS, f"table 1 has rows a to f, not {row!r}")
    styled = row >= "c"
    synthesis = StyleGANSynthesisConfig(
        img_resolution=img_resolution,
        img_channels=img_channels,
        input="constant" if row >= "d" else "latent",
        use_styles=styled,
        use_noise=row >= "e",
        normalisation="instance" if styled else "pixel",
        blur_filter=(1.0,) if row == "a" else (1.0, 2.0, 1.0),
    )
    return GeneratorConfig(MappingConfig(num_layers=8 if styled else 0, label_mode="concat"), synthesis)


T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain JSON types, without those declared `later` that have their defaults."""
    return {
        field.name: to_dict(value) if dataclasses.is_dataclass(value) else value
        for field in dataclasses.fields(config)
        if not is_left_out(field, value := getattr(config, field.name))
    }


def from_dict(cls: type[T], values: dict[str, Any]) -> T:
    """Build a settings dataclass from what `to_dict` gave and JSON carried.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or range.
    """
    require(isinstance(values, dict), f"{cls.__name__} settings are not an object")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    require(not unknown, f"{cls.__name__} has no setting {', '.join(map(repr, unknown))}")
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        kinds = _settings_classes(fields[name].type)
        if kinds:
            arguments[name] = from_dict(_of_family(kinds, value), value)
        else:
            arguments[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__}: {error}") from error


def discriminator_from_dict(values: dict[str, Any]) -> DiscriminatorSettings:
    """Build a discriminator's settings, of whichever family they are; see `from_dict`."""
    found: DiscriminatorSettings = from_dict(_of_family(_settings_classes(DiscriminatorSettings), values), values)
    return found


def _settings_classes(kind: Any) -> tuple[Any, ...]:
    """Return the settings dataclasses that a field's type allows."""
    return tuple(cls for cls in typing.get_args(kind) or (kind,) if dataclasses.is_dataclass(cls))


def _of_family(kinds: tuple[Any, ...], values: Any) -> Any:
    """Return the class whose `family` the values name; StyleGAN2's settings, the older ones, name none."""
    if len(kinds) == 1:
        return kinds[0]
    family = values.get("family") if isinstance(values, dict) else None
    for kind in kinds:
        if {field.name: field.default for field in dataclasses.fields(kind)}.get("family") == family:
            return kind
    raise ConfigError(f"there is no network family {family!r}")
