"""The families of networks: the one table, and the one place that asks which family something belongs to.

A family is a folder: its package offers the names of `Family`. Nothing here imports torch before a network is made, so
that a network file can be read and a command's options listed without it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import generator.stylegan as stylegan
import generator.stylegan2 as stylegan2
import generator.stylegan3 as stylegan3
from generator.config import DiscriminatorSettings, GeneratorConfig, MappingConfig, SynthesisSettings, from_dict
from generator.errors import ConfigError, shown
from generator.settings import require
from generator.tensors import Hints, Shape, Shapes

if TYPE_CHECKING:
    from generator.bases import DiscriminatorBase, SynthesisBase
    from generator.mapping import MappingNetwork

__all__ = [
    "ARCHITECTURES",
    "DISCRIMINATORS",
    "FAMILIES",
    "Family",
    "discriminator_from_dict",
    "family_of",
    "family_trained_as",
    "generator_from_dict",
    "refuse_foreign_settings",
]


class Family(Protocol):
    """What a family's package offers."""

    @property
    def NAME(self) -> str | None:  # noqa: N802
        """What the family's settings in a file carry as `family`; None where they carry nothing."""
        ...

    @property
    def ARCHITECTURES(self) -> tuple[str, ...]:  # noqa: N802
        """Names of its generators' architectures in the settings of a training run."""
        ...

    @property
    def DISCRIMINATORS(self) -> tuple[str, ...]:  # noqa: N802
        """Names of its discriminators' architectures there; none where another family's are taken."""
        ...

    @property
    def LABEL_MODE(self) -> str:  # noqa: N802
        """How labels enter its mapping network, see `MappingConfig.label_mode`."""
        ...

    @property
    def OWN_SETTINGS(self) -> Mapping[str, object]:  # noqa: N802
        """Settings of a training run that only some families' generators have, with the value that changes nothing."""
        ...

    @property
    def SynthesisConfig(self) -> Callable[..., SynthesisSettings]:  # noqa: N802
        """The class of the synthesis network's settings."""
        ...

    @property
    def DiscriminatorConfig(self) -> Callable[..., DiscriminatorSettings]:  # noqa: N802
        """The class of the discriminator's settings."""
        ...

    def synthesis_settings(self, training: Any) -> SynthesisSettings:
        """Return the synthesis network that a training run asks for."""
        ...

    def discriminator_settings(self, training: Any) -> DiscriminatorSettings:
        """Return the discriminator that a training run asks for."""
        ...

    def training_settings(self, config: Any) -> dict[str, Any]:
        """Return the settings of a training run that only this family's generators have, as such a network needs them.

        Args:
            config: Settings of the synthesis network.

        Raises:
            ConfigError: No run has such a network.
        """
        ...

    def generator_config(self, shapes: Shapes, hints: Hints) -> GeneratorConfig:
        """Return the generator that has these tensors."""
        ...

    def discriminator_config(self, shapes: Shapes, hints: Hints, *, c_dim: int, selects: bool) -> DiscriminatorSettings:
        """Return the discriminator that has these tensors.

        Args:
            shapes: Shapes of its tensors by name.
            hints: What they cannot tell.
            c_dim: Number of classes, where shapes cannot tell it.
            selects: Whether a label selects one of several outputs.
        """
        ...

    def synthesis_shapes(self, config: Any) -> dict[str, Shape]:
        """Return the shape of every tensor of a synthesis network."""
        ...

    def discriminator_shapes(self, config: Any) -> dict[str, Shape]:
        """Return the shape of every tensor of a discriminator."""
        ...

    def make_mapping(self, config: MappingConfig) -> "MappingNetwork":
        """Return a new mapping network."""
        ...

    def make_synthesis(self, config: Any) -> "SynthesisBase":
        """Return a new synthesis network."""
        ...

    def make_discriminator(self, config: Any) -> "DiscriminatorBase":
        """Return a new discriminator."""
        ...


FAMILIES: tuple[Family, ...] = (stylegan2, stylegan, stylegan3)

ARCHITECTURES = tuple(name for family in FAMILIES for name in family.ARCHITECTURES)
"""Names of all architectures of generators in the settings of a training run."""

DISCRIMINATORS = tuple(name for family in FAMILIES for name in family.DISCRIMINATORS)
"""Names of all architectures of discriminators there."""


def family_of(config: SynthesisSettings | DiscriminatorSettings) -> Family:
    """Return the family that a network's settings belong to."""
    for family in FAMILIES:
        if type(config) in (family.SynthesisConfig, family.DiscriminatorConfig):
            return family
    raise TypeError(f"{type(config).__name__} is not the settings of a network of a known family")


def family_trained_as(architecture: str) -> Family:
    """Return the family that has an architecture, as the settings of a training run name it.

    Raises:
        ConfigError: There is no such architecture.
    """
    for family in FAMILIES:
        if architecture in family.ARCHITECTURES:
            return family
    raise ConfigError(f"there is no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}")


def refuse_foreign_settings(training: Any) -> None:
    """Check that a training run sets nothing that its generator's family does not have.

    Args:
        training: Settings of the run, a `generator.training.config.TrainConfig`.

    Raises:
        ConfigError: It does.
    """
    architecture = training.generator_architecture
    own = family_trained_as(architecture).OWN_SETTINGS
    for family in FAMILIES:
        for name, neutral in family.OWN_SETTINGS.items():
            value = getattr(training, name)
            fits = name in own or value == neutral
            require(fits, f"{name} is {value!r}, which a {architecture!r} generator does not have")


def generator_from_dict(values: Any) -> GeneratorConfig:
    """Build a generator's settings, of whichever family, from what `to_dict` gave and JSON carried.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or range.
    """
    require(isinstance(values, dict), "GeneratorConfig settings are not an object")
    unknown = sorted(set(values) - {"mapping", "synthesis"})
    require(not unknown, f"GeneratorConfig has no setting {', '.join(map(shown, unknown[:4]))}")
    mapping, synthesis = values.get("mapping", {}), values.get("synthesis", {})
    synthesis_config = from_dict(_named(synthesis).SynthesisConfig, synthesis)
    return GeneratorConfig(from_dict(MappingConfig, mapping), synthesis_config)


def discriminator_from_dict(values: Any) -> DiscriminatorSettings:
    """Build a discriminator's settings, of whichever family, from what `to_dict` gave and JSON carried.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or range.
    """
    return from_dict(_named(values).DiscriminatorConfig, values)


def _named(values: Any) -> Family:
    """Return the family that settings in a file name."""
    name = values.get("family") if isinstance(values, dict) else None
    for family in FAMILIES:
        if name == family.NAME:
            return family
    raise ConfigError(f"there is no network family {shown(name)}")
