"""What a network file gives: settings and float32 arrays under our names, and the networks built from them.

Nothing here imports torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from generator.config import DiscriminatorSettings, GeneratorConfig
from generator.errors import NetworkFileError, escaped, shown
from generator.families import Family, family_of
from generator.files.pickles.records import Array
from generator.files.weights import Weight, check_shapes, resample_taps, shapes_of, state_digest, to_float32
from generator.settings import map_shape
from generator.tensors import Hints, Shape, mapping_shapes

if TYPE_CHECKING:
    from generator.bases import DiscriminatorBase
    from generator.networks import Generator

__all__ = [
    "LoadedNetwork",
    "LoadedState",
    "Part",
    "Provenance",
    "Tuned",
    "assemble",
    "discriminator_shapes",
    "generator_shapes",
    "readable",
]

_TUNED: Final = "tuned"
_MAX_TEXT: Final = 4096

MEAN_LATENTS: Final = 10_000  # as StyleGAN2 estimates its centre (Karras et al. 2020, appendix D)


@dataclass(frozen=True)
class LoadedState:
    """A network as a file holds it.

    Attributes:
        generator_config: Settings of the averaged generator.
        generator_state: Its tensors, float32, by name; `mapping.w_avg` is absent where the file has none.
        discriminator_config: Settings of the discriminator, or None.
        discriminator_state: Its tensors, float32, by name, or None.
        family: Code that wrote the file: "stylegan2-ada-pytorch", "stylegan2-tensorflow", "stylegan-tensorflow",
            "rosinality" or "invert".
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
        return state_digest(self.generator_state)


@dataclass(frozen=True)
class Provenance:
    """Where a network came from.

    Attributes:
        path: The file.
        sha256: Hash of the bytes that were read.
        weights_sha256: Hash of the generator's weights, the same whatever kind of file holds them.
        family: The code that wrote the network first.
        source_sha256: Hash of the file that it came from first: this file, unless it was converted.
        settings: The settings that file carried, as JSON types; only ever shown.
        warnings: What a user should know about the conversion.
    """

    path: Path
    sha256: str
    weights_sha256: str
    family: str
    source_sha256: str
    settings: dict[str, Any]
    warnings: list[str]

    @property
    def tuned(self) -> "Tuned | None":
        """Which network it was before it was fitted to one image, and to which; None for all others."""
        return Tuned.of(self.settings)


@dataclass(frozen=True)
class Tuned:
    """What a network that was fitted to one image says of itself.

    Attributes:
        network_sha256: Hash of the file that it was tuned from.
        image: Name of the image.
        pixel_sha256: Hash of its pixels, see `invert.images.target.pixel_sha256`.
    """

    network_sha256: str
    image: str
    pixel_sha256: str

    def record(self) -> dict[str, Any]:
        """Return what is written into the network's settings, as JSON types."""
        return {_TUNED: {"from": self.network_sha256, "for": self.image, "pixel_sha256": self.pixel_sha256}}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Tuned | None":
        """Read it from a network's settings."""
        found = settings.get(_TUNED)
        if not isinstance(found, dict):
            return None
        texts = [found.get(key) for key in ("from", "for", "pixel_sha256")]
        if not all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in texts):
            return None
        return cls(*map(str, texts))

    def __str__(self) -> str:
        return f"tuned from {self.network_sha256[:12]}... for {escaped(self.image)}"


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that was read from a file, on the CPU and in evaluation mode.

    Attributes:
        generator: The averaged generator.
        discriminator: The discriminator, or None.
        provenance: Where the two came from.
    """

    generator: "Generator"
    discriminator: "DiscriminatorBase | None"
    provenance: Provenance


@dataclass(frozen=True)
class Part:
    """One network of a file: its tensors under our names, and what they cannot tell.

    Attributes:
        weights: Its tensors under our names; filters end in `resample_filter`.
        hints: What the tensors cannot tell.
        c_dim: In a discriminator, number of classes that a label selects, one output each; None: it projects the
            label, or has none.
    """

    weights: Mapping[str, Weight]
    hints: Hints
    c_dim: int | None = None


def generator_shapes(config: GeneratorConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a generator's state, without building it."""
    mapping = mapping_shapes(config.mapping)
    mapping["mapping.w_avg"] = (config.mapping.w_dim,)
    return mapping | family_of(config.synthesis).synthesis_shapes(config.synthesis)


def discriminator_shapes(config: DiscriminatorSettings) -> dict[str, Shape]:
    """Return the shape of every tensor of a discriminator's state, without building it."""
    return family_of(config).discriminator_shapes(config)


def readable(read: Callable[[], Part]) -> tuple[Part | None, tuple[str, ...]]:
    """Return a discriminator's part, or a note where it is of a kind that is not supported.

    No image of the generator needs it: it is left out then. What is damaged is an error as everywhere.
    """
    try:
        return read(), ()
    except NetworkFileError as error:
        if not error.is_unsupported:
            raise
        reason = error.reason.removeprefix("unsupported: ")
        return None, (f"the discriminator is of another kind and was left out: {reason}",)


def assemble(
    architecture: Family,
    generator: Part,
    discriminator: Part | None,
    *,
    family: str,
    settings: dict[str, Any],
    warnings: tuple[str, ...] = (),
) -> LoadedState:
    """Check both networks and put them together.

    A missing mean of w is found when the generator is built; noise maps are missing all together, or none is.

    Args:
        architecture: The family that the networks belong to.
        generator: The generator's part.
        discriminator: The discriminator's part, if the file has one.
        family: Code that wrote the file, see `LoadedState`.
        settings: What the file says of itself, see `LoadedState`.
        warnings: Warnings that are known already.

    Raises:
        NetworkFileError: Tensors, settings and a known architecture do not agree.
    """
    weights, hints = _split_filters(generator)
    config = architecture.generator_config(shapes_of(weights), hints)
    shapes = generator_shapes(config)
    maps = {name: shape for name, shape in shapes.items() if name.endswith(".noise_const")}
    left_out = {"mapping.w_avg"} if maps.keys() & weights.keys() else {"mapping.w_avg", *maps}
    check_shapes(weights, shapes, frozenset(left_out))
    _compare(hints.claims, config)
    state, notes = to_float32(weights)
    if "mapping.w_avg" not in weights:
        notes.append(f"the file has no mean latent; it is the mean of {MEAN_LATENTS} latents mapped with a fixed seed")
    if maps and not maps.keys() & weights.keys():
        state |= _noise_maps(maps)
        notes.append("the file has no noise maps; they are drawn with a fixed seed")
    d_config: DiscriminatorSettings | None = None
    d_state: dict[str, Array] | None = None
    d_notes: list[str] = []
    if discriminator is not None:
        weights, hints = _split_filters(discriminator)
        c_dim, hints = discriminator.c_dim, replace(hints, start=map_shape(config.synthesis, 4))
        d_config = architecture.discriminator_config(
            shapes_of(weights), hints, c_dim=c_dim or 0, selects=c_dim is not None
        )
        check_shapes(weights, discriminator_shapes(d_config), frozenset())
        _compare(hints.claims, d_config)
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


def _noise_maps(shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Draw the maps of a network that was written without any, always the same."""
    rng = np.random.RandomState(0)  # its stream is the same in every version of numpy
    return {name: rng.standard_normal(shapes[name]).astype(np.float32) for name in sorted(shapes)}


def _compare(claims: Mapping[str, Any], config: GeneratorConfig | DiscriminatorSettings) -> None:
    """Compare a file's settings with what its tensors say.

    Raises:
        NetworkFileError: A setting says something else than the tensors.
    """
    facts: dict[str, Any] = {}
    parts: tuple[Any, ...] = (config.mapping, config.synthesis) if isinstance(config, GeneratorConfig) else (config,)
    for part in parts:
        facts |= vars(part)
    if isinstance(config, GeneratorConfig):
        facts["num_ws"] = config.synthesis.num_ws
    # widths were compared when the channels were found; None stands for a default
    for key in ("channel_base", "channel_max", "channels", "resample_filter", "blur_filter", "start"):
        facts.pop(key, None)
    for key, claimed in claims.items():
        known = facts.get(key) is not None and type(claimed) in (bool, int, float, str)
        if known and claimed != facts[key]:
            raise NetworkFileError(f"refused: its settings say {key} {shown(claimed)}, its tensors say {facts[key]}")


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
    gives, takes = (f"{part.img_channels} x {part.img_resolution} px" for part in (generator.synthesis, discriminator))
    if gives != takes:
        raise NetworkFileError(f"damaged: its generator gives {gives} images, its discriminator takes {takes}")
