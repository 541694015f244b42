"""What every loader gives: settings and float32 arrays under our names, with no torch in sight."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from generator import tensors
from generator.config import DiscriminatorSettings, GeneratorConfig
from generator.errors import NetworkFileError
from generator.files.pickles.records import Array
from generator.files.weights import Weight, check_shapes, digest, resample_taps, shapes_of, to_float32
from generator.shapes import discriminator_shapes, generator_shapes
from generator.stylegan import tensors as stylegan_tensors
from generator.tensors import Hints, compare

__all__ = ["LoadedState", "Part", "assemble"]


@dataclass(frozen=True)
class LoadedState:
    """A network as a file holds it.

    Attributes:
        generator_config, generator_state: The (EMA) generator. `mapping.w_avg` is absent where the file has none.
        discriminator_config, discriminator_state: The discriminator, or None.
        family: Who wrote the file: "stylegan2-ada-pytorch", "stylegan2-tensorflow",
            "stylegan-tensorflow", "rosinality" or "invert".
        settings: The file's own settings as JSON types; only ever shown.
        warnings: What a user should know about the conversion.
        globals_asked: Python names that the file asks for; none of them was looked up.
        embeds_source: The file carries program text (which was not read).
        source_sha256: Hash of the file that these weights came from first, where this one says so.
    """

    generator_config: GeneratorConfig
    generator_state: dict[str, Array]
    discriminator_config: DiscriminatorSettings | None
    discriminator_state: dict[str, Array] | None
    family: str
    settings: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    globals_asked: list[str] = field(default_factory=list)
    embeds_source: bool = False
    source_sha256: str | None = None

    def weights_sha256(self) -> str:
        """Return the hash of the generator's weights: the same for every kind of file that holds them."""
        return digest(self.generator_state)


@dataclass(frozen=True)
class Part:
    """One network of a file: its tensors under our names, and what they cannot tell.

    Attributes:
        weights: Tensors; filters end in `resample_filter`.
        c_dim: Discriminator only: classes that are selected, one output each; None means a projection or no labels.
    """

    weights: Mapping[str, Weight]
    hints: Hints
    c_dim: int | None = None


def assemble(
    generator: Part,
    discriminator: Part | None,
    *,
    family: str,
    settings: dict[str, Any],
    optional: frozenset[str] = frozenset(),
    warnings: tuple[str, ...] = (),
) -> LoadedState:
    """Check both networks and put them together.

    Args:
        generator: The generator's part.
        discriminator: The discriminator's part, if the file has one.
        family: Who wrote the file.
        settings: For `LoadedState`.
        optional: Tensors of the generator that may be missing.
        warnings: Known already.

    Raises:
        NetworkFileError: Tensors, settings and a known architecture do not agree.
    """
    weights, hints = _split_filters(generator)
    described = stylegan_tensors if hints.stylegan else tensors
    config = described.generator_config(shapes_of(weights), hints)
    check_shapes(weights, generator_shapes(config), optional)
    compare(hints.claims, config)
    state, notes = to_float32(weights)
    d_config: DiscriminatorSettings | None = None
    d_state: dict[str, Array] | None = None
    d_notes: list[str] = []
    if discriminator is not None:
        weights, hints = _split_filters(discriminator)
        c_dim = discriminator.c_dim
        d_config = (stylegan_tensors if hints.stylegan else tensors).discriminator_config(
            shapes_of(weights), hints, c_dim=c_dim or 0, selects=c_dim is not None
        )
        check_shapes(weights, discriminator_shapes(d_config), frozenset())
        compare(hints.claims, d_config)
        _check_pair(config, d_config)
        d_state, d_notes = to_float32(weights)
    return LoadedState(
        generator_config=config,
        generator_state=state,
        discriminator_config=d_config,
        discriminator_state=d_state,
        family=family,
        settings=settings,
        warnings=[*warnings, *notes, *(f"discriminator: {note}" for note in d_notes)],
    )


def _split_filters(part: Part) -> tuple[dict[str, Weight], Hints]:
    """Turn filter buffers into a setting."""
    weights: dict[str, Weight] = {}
    filters: dict[str, Array] = {}
    for name, item in part.weights.items():
        if name.rsplit(".", 1)[-1] == "resample_filter":
            filters[item.source] = item.array
        else:
            weights[name] = item
    return weights, replace(part.hints, resample_filter=resample_taps(filters)) if filters else part.hints


def _check_pair(generator: GeneratorConfig, discriminator: DiscriminatorSettings) -> None:
    drawn, seen = generator.synthesis, discriminator
    if (drawn.img_resolution, drawn.img_channels) != (seen.img_resolution, seen.img_channels):
        draws = f"{drawn.img_channels} x {drawn.img_resolution} px"
        sees = f"{seen.img_channels} x {seen.img_resolution} px"
        raise NetworkFileError(f"damaged: its generator draws {draws} images, its discriminator takes {sees}")
