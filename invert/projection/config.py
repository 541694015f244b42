"""Settings of a projection, each declared once; `invert.projection.records` has the records that come from them.

A field of `ProjectConfig` is all that a new setting takes: its command-line option, its environment variable, the
arguments of a job of SLURM, its place in a record and how it is read back from there follow from the field.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from generator.settings import setting, setting_of
from invert.errors import UsageError
from invert.projection.presets import PRESET_SETTINGS, PRESETS, Constants, ExactConstants

__all__ = [
    "BANK_VERSION",
    "FINALISTS",
    "METHOD_SETTINGS",
    "NOISE_ALIASES",
    "SEED_NOISE",
    "STARTS",
    "SYNTHESIS_NOISE",
    "Entry",
    "ProjectConfig",
    "arguments_of",
    "option_of",
    "value_type",
    "with_defaults",
]

NOISE_ALIASES = {"const": "fixed", "none": "zero", "own": "kept"}
"""Words for noise maps that stand for others: those of earlier versions, and own for those of a projection."""

SYNTHESIS_NOISE = ("fixed", "random", "zero")
"""Noise maps to generate images with: those stored in the network, fresh ones, or zero."""

SEED_NOISE = (*SYNTHESIS_NOISE, "stream")
"""The same for images of seeds, whose random numbers go on after z: `invert.projection.synthesis.stream_maps`."""

SPACE_WEIGHT = 0.01
"""Of the pull of the styles of W+ towards the mean w, beside LPIPS."""

STARTS = ("centre", "bank", "encoder")
"""Words for where optimisations start; all others are names of files."""

BANK_VERSION = 1
FINALISTS = 16
"""How many of a bank's samples, the nearest by pixels, are compared by LPIPS."""


@dataclass(frozen=True)
class Entry:
    """How a setting stands in the method record: as it is under its key, unless it is written in a way of its own.

    Args:
        key: Its key in the record.
        write: Returns all entries that the setting gives; none where it has no say.
        read: Returns the setting from a record.
    """

    key: str
    write: "Callable[[ProjectConfig], dict[str, Any]] | None" = None
    read: Callable[[Mapping[str, Any]], Any] | None = None


def _write_preset(config: "ProjectConfig") -> dict[str, Any]:
    return {"preset": config.preset, "constants": dataclasses.asdict(config.constants)}


def _write_space(config: "ProjectConfig") -> dict[str, Any]:
    pull = {"space_weight": config.space_weight} if config.space == "w+" else {}
    return {} if config.space == "w" else {"space": config.space, **pull}


def _write_start(config: "ProjectConfig") -> dict[str, Any]:
    given = config.start
    # A file is in the record with its digest: see `invert.projection.session.open_session`.
    return {"start": given} if given in STARTS and given != config.constants.start else {}


def _write_bank(config: "ProjectConfig") -> dict[str, Any]:
    if not config.starts_from_bank:
        return {}
    return {"bank": {"version": BANK_VERSION, "samples": config.bank, "finalists": FINALISTS}}


def _read_bank(record: Mapping[str, Any]) -> Any:
    return record["bank"]["samples"] if "bank" in record else None


_METHOD, _COMPUTATION = "Method", "Computation"


@dataclass(frozen=True)
class ProjectConfig:
    """Settings of a projection.

    The order of the fields is that of the options in `--help` and of the keys in the records. Beside what every
    setting declares (see `generator.settings.setting`) a field says:

    - `entry`: how it stands in the method record, for settings that change distances. With `later` it stands at the
      end, and is left out where it has its default: records from before there was the setting keep their digest.
    - `run`: that it belongs to the run record, for settings that change bits alone.
    - `aliases`: words that the command line takes for others.
    - `metavar`: what stands for its value in `--help`.
    - `unset`: that None leaves it open, and what `--help` says is taken then. What an output was made with is taken
      when it is resumed.

    Raises:
        UsageError: A value is out of range.
    """

    preset: str = setting(
        "paper",
        choices=PRESETS,
        help="Method: that of the StyleGAN2 paper, that of its published code, the short one of verdicts, or exact: "
        "the likelihood of the pixels.",
        group=_METHOD,
        entry=Entry("preset", write=_write_preset),
    )
    steps: int = setting(
        1000,
        minimum=0,
        maximum=10**7,
        help="Number of optimisation steps.",
        group=_METHOD,
        metavar="N",
        entry=Entry("steps"),
    )
    lpips: str = setting(
        "vgg",
        choices=("vgg", "alex"),
        help="Backbone of the LPIPS distance.",
        group=_METHOD,
        entry=Entry("lpips"),
    )
    noise: str = setting(
        "optimise",
        choices=("optimise", "fixed", "zero", "both"),
        aliases=NOISE_ALIASES,
        help="Noise maps: optimised together with w, those stored in the network, or zero; preset exact can try both, "
        "the stored ones first.",
        group=_METHOD,
        entry=Entry("noise"),
    )
    noise_weight: float = setting(
        1e5,
        minimum=0,
        below=math.inf,
        help="Weight of the noise regularisation.",
        group=_METHOD,
        metavar="X",
        entry=Entry("noise_weight"),
    )
    restarts: int = setting(
        1,
        minimum=1,
        maximum=1000,
        help="Independent optimisations of each image, of which the best one counts.",
        group=_METHOD,
        metavar="N",
        entry=Entry("restarts"),
    )
    class_index: int | None = setting(
        None,
        minimum=0,
        help="Class of a conditional network, counted from 0.",
        option="--class",
        group=_METHOD,
        metavar="K",
        entry=Entry("class"),
    )
    precision: str = setting(
        "float32",
        choices=("float32", "bfloat16"),
        help="Number format of the feature maps; bfloat16 suits processors that compute in it.",
        group=_METHOD,
        entry=Entry("precision"),
    )
    bank: int | None = setting(
        None,
        minimum=1,
        maximum=100_000,
        help="Number of samples among which presets verdict and exact find their start.",
        group=_METHOD,
        metavar="N",
        unset="by the images' size",
        later=True,
        entry=Entry("bank", write=_write_bank, read=_read_bank),
    )
    processing: str = setting(
        "none",
        help="What happened to the images after they were synthesised, for preset exact.",
        group=_METHOD,
        metavar="KIND",
        later=True,
        entry=Entry("processing"),
    )
    transform: str = setting(
        "fixed",
        choices=("fixed", "optimise"),
        help="Shift and rotation of what a StyleGAN3 network generates: none, or optimised together with w.",
        group=_METHOD,
        later=True,
        entry=Entry("transform"),
    )
    space: str = setting(
        "w",
        choices=("w", "w+", "z"),
        help="Space that is searched: one w for all layers, one for each (W+), or the z that is mapped to w.",
        group=_METHOD,
        later=True,
        entry=Entry("space", write=_write_space, read=lambda record: record.get("space", "w")),
    )
    space_weight: float = setting(
        SPACE_WEIGHT,
        minimum=0,
        below=math.inf,
        help="Weight of the pull of each style towards the mean w, with --space w+.",
        group=_METHOD,
        metavar="X",
        later=True,
        entry=Entry(
            "space_weight", write=lambda config: {}, read=lambda record: record.get("space_weight", SPACE_WEIGHT)
        ),
    )
    start: str | None = setting(
        None,
        help="Where optimisations start: centre (the mean w), bank (the nearest of the samples), encoder (what the "
        "network's encoder tells, see train-encoder), or a FILE: another encoder; an earlier projection, NAME.npz, "
        "FILE.h5:ROW, or FILE.h5 for the images that it has; or latents of other programs (latents.pt).",
        group=_METHOD,
        metavar="WHERE",
        unset="by the preset",
        later=True,
        entry=Entry(
            "start", write=_write_start, read=lambda record: record["start"] if record.get("start") in STARTS else None
        ),
    )
    mask: str | None = setting(
        None,
        help="Image of the network's size whose white pixels count; the others of an image may become anything.",
        group=_METHOD,
        metavar="MASK.png",
        later=True,
        # Its digest is in the record: see `invert.projection.session`.
        entry=Entry("mask", write=lambda config: {}, read=lambda record: None),
    )
    tune: int = setting(
        0,
        minimum=0,
        maximum=10**6,
        help="Steps in which the network itself is then fitted to each image (pivotal tuning), and written beside it.",
        group=_METHOD,
        metavar="N",
        later=True,
        entry=Entry("tune"),
    )
    seed: int = setting(
        0,
        minimum=0,
        maximum=2**63 - 1,
        help="Seed of the random numbers; each image has a stream of its own.",
        group=_COMPUTATION,
        metavar="N",
        run=True,
    )
    batch: int | None = setting(
        None,
        minimum=1,
        maximum=4096,
        help="Number of images that are optimised together.",
        group=_COMPUTATION,
        metavar="N",
        unset="by the images' size and the device",
        run=True,
    )
    threads: int | None = setting(
        None,
        minimum=1,
        maximum=4096,
        help="CPU threads of each process.",
        group=_COMPUTATION,
        metavar="N",
        unset="by the processors",
        run=True,
    )
    device: str = setting(
        "auto",
        pattern=(r"[a-z]{2,16}(:\d{1,3})?", "auto, cpu, cuda, cuda:K, mps or another device of torch"),
        help="Device that computes: auto (CUDA where it can be used), cpu, cuda, cuda:K, mps ...",
        metavar="DEVICE",
        group=_COMPUTATION,
        run=True,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), value_type(field)
            if value is None and field.default is None:
                continue
            if not isinstance(value, (int, float) if kind is float else kind):
                raise UsageError(f"{option_of(field)} {value!r} is not of the type {kind.__name__}.")
            wanted = setting_of(field).wanted(value)
            if wanted is not None:
                raise UsageError(f"{option_of(field)} {value!r} is not {wanted}.")

        if self.noise == "both" and not self.is_exact:
            raise UsageError("--noise both goes with --preset exact", advice="Choose optimise, fixed or zero.")
        if self.processing != "none" and not self.is_exact:
            raise UsageError("--processing goes with --preset exact", advice="Add --preset exact.")
        for name in ("space", "start", "mask", "tune", "transform"):
            value = getattr(self, name)
            if self.is_exact and value not in (None, "w", 0, "fixed"):
                advice = "It searches w alone, from samples on, and compares whole images where they are."
                raise UsageError(f"--{name} {value} does not go with --preset exact", advice=advice)
        if self.space_weight != SPACE_WEIGHT and self.space != "w+":
            raise UsageError("--space-weight goes with --space w+", advice="Add --space w+.")

    @property
    def starts_from_bank(self) -> bool:
        """Whether optimisations start from a bank of samples."""
        return (self.start or self.constants.start) == "bank"

    @property
    def start_file(self) -> str | None:
        """The file of latents that optimisations start from, with its row where one is named; None for no file."""
        return None if self.start in (None, *STARTS) or self.starts_from_encoder else self.start

    @property
    def starts_from_encoder(self) -> bool:
        """Whether optimisations start at what an encoder tells: the network's own, or one that `start` names."""
        at = self.start or self.constants.start
        return at == "encoder" or at.endswith(".safetensors")

    @property
    def is_exact(self) -> bool:
        """Whether the preset explains images to the last level."""
        return isinstance(self.constants, ExactConstants)

    @property
    def constants(self) -> Constants | ExactConstants:
        """The preset's constants."""
        return PRESETS[self.preset].constants


METHOD_SETTINGS = tuple(
    field.name for field in dataclasses.fields(ProjectConfig) if "entry" in setting_of(field).others
)
"""The settings that belong to the method record."""


def option_of(field: "dataclasses.Field[Any]") -> str:
    """Return the name of a setting's command-line option, such as "--noise-weight"."""
    return setting_of(field).option or f"--{field.name.replace('_', '-')}"


def value_type(field: "dataclasses.Field[Any]") -> type:
    """Return the type of a setting's values, None aside."""
    if isinstance(field.type, types.UnionType):
        (kind,) = (one for one in typing.get_args(field.type) if one is not types.NoneType)
    else:
        kind = field.type
    return typing.cast(type, kind)


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of `ProjectConfig` with the defaults of their preset where none, or None, are given.

    Raises:
        KeyError: There is no such preset.
    """
    usual = {field.name: field.default for field in dataclasses.fields(ProjectConfig)}
    usual |= PRESETS[settings["preset"]].defaults
    return {**settings, **{name: usual[name] for name in PRESET_SETTINGS if settings.get(name) is None}}


def arguments_of(config: ProjectConfig, unlike: ProjectConfig | None = None) -> list[str]:
    """Return the command-line arguments that give these settings.

    Args:
        config: The settings; None is left out.
        unlike: With other settings, only the settings that differ are named.

    Returns:
        Options and their values, such as ["--steps", "50"].
    """
    arguments = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is not None and (unlike is None or value != getattr(unlike, field.name)):
            arguments += [option_of(field), str(value)]
    return arguments
