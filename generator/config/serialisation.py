"""Settings as JSON and back."""

import dataclasses
import typing
from typing import Any, TypeVar

from generator.config.checks import require
from generator.config.generator import DiscriminatorSettings
from generator.config.later import is_left_out
from generator.errors import ConfigError

__all__ = ["discriminator_from_dict", "from_dict", "to_dict"]

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain JSON types, without the `later` ones that have their defaults."""
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
