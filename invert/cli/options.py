"""Options that several commands share, each of them once, and what their values stand for."""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from generator.settings import Setting, setting_of
from invert.cli.help import OUTPUT, Command, Option
from invert.cli.inputs import NETWORK_FILE
from invert.cli.output import Output
from invert.errors import UsageError, display_path
from invert.images.formats import EXTENSIONS
from invert.projection.config import (
    NOISE_ALIASES,
    SYNTHESIS_NOISE,
    ProjectConfig,
    option_of,
    value_type,
)
from invert.projection.presets import PRESET_SETTINGS, PRESETS
from invert.store.locks import MAX_SHARDS

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = [
    "COMPUTATION",
    "SEEDS",
    "SHARD",
    "Folder",
    "Unset",
    "Words",
    "as_json",
    "class_index",
    "command",
    "cutoff",
    "default_network",
    "device",
    "follow",
    "images_out",
    "load_network",
    "max_pixels",
    "network",
    "network_or_default",
    "noise_inputs",
    "option",
    "overwrite",
    "psi",
    "quiet",
    "settings",
    "threads",
    "workers",
]

MAX_SEEDS = 1_000_000

COMPUTATION = "Computation"
"""Heading of the options that say where and how it is computed."""

F = TypeVar("F", bound=Callable[..., Any])


def command(
    name: str | None = None, *, short_help: str, examples: Sequence[str]
) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a function a command; see `invert.cli.help.Command`.

    Args:
        name: The command's name; the function's when None.
        short_help: Its line in the list of commands.
        examples: Command lines as a user types them, shown at the end of its help.
    """
    return click.command(name, cls=Command, short_help=short_help, examples=examples)


def option(*names: str, group: str = "", **attributes: Any) -> Callable[[F], F]:
    """Return a decorator that adds an option; `group` is its heading in `--help`. Every --out is called -o too."""
    if "--out" in names and "-o" not in names:
        names = ("-o", *names)
    return click.option(*names, cls=Option, group=group, **attributes)


class Folder(click.Path):
    """A folder of results, which need not be there; a name that only an image has is a mistake."""

    def __init__(self, *, or_file: bool = False) -> None:
        super().__init__(file_okay=or_file, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = cast(Path, super().convert(value, param, ctx))
        if path.suffix.lower() in EXTENSIONS and not path.is_dir():
            self.fail(f"'{display_path(path)}' is the name of an image, and a folder is asked for.", param, ctx)
        return path


class Unset(str):
    """A setting that a command leaves open unless it is given: what `--help` says is taken then."""


def settings(
    kind: type,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
    group: str | None = None,
    environment: bool = True,
) -> Callable[[F], F]:
    """Return a decorator that adds the options of a class of settings, in the order of its fields.

    Args:
        kind: A dataclass whose fields are made by `generator.settings.setting`, such as `ProjectConfig`.
        only: The fields to take; all of them when None.
        without: The fields to leave out.
        defaults: What the command has as default in place of the field's; `Unset` for None.
        group: Heading of all these options in place of that of each field.
        environment: Whether options that are not given take their values from environment variables.
    """
    fields = [field for field in dataclasses.fields(kind) if only is None or field.name in only]
    options = [
        _setting_option(field, (defaults or {}).get(field.name, _default(kind, field)), group, environment)
        for field in fields
        if field.name not in without
    ]

    def decorate(function: F) -> F:
        for add in reversed(options):
            function = add(function)
        return function

    return decorate


def _setting_option(
    field: "dataclasses.Field[Any]", default: Any, group: str | None, environment: bool
) -> Callable[[F], F]:
    declared, name = setting_of(field), option_of(field)
    heading = (declared.group or "") if group is None else group
    if (flag := declared.flag) is not None:
        value = flag.value
        return option(
            name,
            field.name,
            is_flag=True,
            callback=lambda _context, _option, given: value if given else None,
            help=flag.help,
            group=heading,
        )
    shown = f"{default:g}" if isinstance(default, float) else default
    kind: click.ParamType[Any] = _Ranged(value_type(field), declared)
    if declared.choices:
        kind = Words(declared.choices, declared.others.get("aliases", {}))
    elif "/" in name:
        kind = click.BOOL
    return option(
        name,
        field.name,
        default=None if isinstance(default, Unset) else default,
        type=kind,
        metavar=declared.others.get("metavar"),
        help=declared.help if default is None else f"{declared.help}  [default: {shown}]",
        envvar=f"INVERT_{name.lstrip('-').replace('-', '_').upper()}" if environment else None,
        group=heading,
    )


def _default(kind: type, field: "dataclasses.Field[Any]") -> Any:
    """Return a field's default; where that depends on the preset, or is None, what is taken then."""
    if kind is ProjectConfig and field.name in PRESET_SETTINGS:
        others = {
            name: preset.defaults[field.name] for name, preset in PRESETS.items() if field.name in preset.defaults
        }
        return Unset("; ".join([str(field.default), *(f"{value} with {name}" for name, value in others.items())]))
    text = setting_of(field).others.get("unset")
    return field.default if text is None else Unset(text)


class Words(click.Choice[str]):
    """One of some words, for which others may stand.

    Args:
        words: The words.
        aliases: Words of earlier versions, with those that they stand for.
    """

    def __init__(self, words: Sequence[str], aliases: Mapping[str, str]) -> None:
        super().__init__(words)
        self._aliases = {old: new for old, new in aliases.items() if new in words}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(self._aliases.get(value, value), param, ctx)


class _Ranged(click.ParamType[Any]):
    """The values of a setting that are of its type and in its range."""

    def __init__(self, kind: type, declared: Setting) -> None:
        self._type, self._declared = click.types.convert_type(kind), declared
        self.name = self._type.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self._declared.others.get("words", ()):
            return value
        converted = self._type.convert(value, param, ctx)
        wanted = self._declared.wanted(converted)
        if wanted is not None:
            self.fail(f"{converted} is not {wanted}.", param, ctx)
        return converted


class _Finite(click.ParamType[float]):
    """A number that is neither infinite nor none at all."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(click.FLOAT.convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class_index = settings(ProjectConfig, only=("class_index",), group="")
device = settings(ProjectConfig, only=("device",))
threads = settings(ProjectConfig, only=("threads",))

images_out = option(
    "-o",
    "--out",
    required=True,
    metavar="DIR|FILE.png",
    type=click.Path(path_type=Path),
    help="Folder of the images; or a file, for one image.",
)
psi = option(
    "--psi",
    "--trunc",
    default=1.0,
    show_default=True,
    type=_Finite(),
    metavar="X",
    help="Truncation of all latents towards the mean w: 1 is none, 0 gives the mean.",
)
cutoff = option("--cutoff", type=click.IntRange(min=0), metavar="L", help="Truncate only the L coarsest styles.")
noise_inputs = option(
    "--noise",
    default="kept",
    show_default=True,
    type=Words(("kept", *SYNTHESIS_NOISE), NOISE_ALIASES),
    help="Noise maps: those kept of a projection and for seeds those stored in the network; those stored in the"
    " network; fresh ones for each seed; or zero.",
)
max_pixels = option(
    "--max-pixels", type=click.IntRange(min=1), metavar="N", help="Refuse images with more pixels.", group="Images"
)
follow = option(
    "--follow", is_flag=True, help="Follow symbolic links that lead out of the folders named.", group="Images"
)
as_json = option("--json", "as_json", is_flag=True, help="Write JSON Lines to stdout.", group=OUTPUT)
quiet = option("-q", "--quiet", is_flag=True, help="Show no progress and no notes.", group=OUTPUT)
overwrite = option("--overwrite", is_flag=True, help="Replace the earlier results of this command.", group=OUTPUT)


def workers(default: int | None, *, help: str, group: str = COMPUTATION) -> Callable[[F], F]:
    """Return the --workers option; with None as default a command chooses."""
    return option(
        "--workers",
        default=default,
        show_default=default is not None,
        type=click.IntRange(1, 256),
        metavar="N",
        help=help,
        group=group,
    )


def network(*, required: bool) -> Callable[[F], F]:
    """Return the --network option."""
    return option(
        "--network",
        "network_path",
        metavar="FILE",
        required=required,
        type=NETWORK_FILE,
        help="Network file: safetensors of this project, a StyleGAN or StyleGAN2 pickle, or a rosinality .pt."
        + ("" if required else "  [default: the demonstration network]"),
    )


class _Seeds(click.ParamType[tuple[int, ...]]):
    """Seeds such as `0-15` or `1,5,7-9`: distinct, in the order given."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        seeds: dict[int, None] = {}
        for piece in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", piece, re.ASCII)
            if match is None:
                self.fail(f"{value!r} is not a list like 0-15 or 1,5,7-9", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if not first <= last < 1 << 32:
                self.fail(f"{piece.strip()!r} does not run upwards below 2^32", param, ctx)
            if last - first >= MAX_SEEDS or len(seeds) >= MAX_SEEDS:
                self.fail(f"more than {MAX_SEEDS} seeds", param, ctx)
            seeds.update(dict.fromkeys(range(first, last + 1)))
        return tuple(seeds)


SEEDS = _Seeds()


def load_network(path: Path, output: Output) -> "LoadedNetwork":
    """Load a network file, and say what a user should know about it.

    Raises:
        NetworkError: It is unsafe, unsupported, damaged, or cannot be read.
    """
    from invert.projection import session

    return session.load_network(path, output.warning)


def network_or_default(path: Path | None, output: Output) -> Path:
    """Return the network that was named, or the project's own, which is said.

    Raises:
        UsageError: None was named, and this installation brings none.
    """
    if path is not None:
        return path
    found = default_network()
    if found is None:
        raise UsageError("no network was named, and this version brings none", advice="Give one with --network FILE.")
    output.warning(
        "no --network was named: this is the project's demonstration network, "
        "which synthesises garments of 32 x 32 pixels"
    )
    return found


class _ShardType(click.ParamType[tuple[int, int]]):
    """A share such as 3/8, counted from 1."""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(value), re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MAX_SHARDS:
            self.fail(f"{value!r} is not I/N with I in 1..N and N at most {MAX_SHARDS}", param, ctx)
        return int(match[1]), int(match[2])


SHARD = _ShardType()


def default_network() -> Path | None:
    """Return the project's own demonstration network where it is installed."""
    package = Path(__file__).resolve().parent.parent
    # In the wheel the data lies inside the package, in a checkout beside it.
    candidates = (
        package / "data" / "networks" / "A.safetensors",
        package.parent / "data" / "networks" / "A.safetensors",
    )
    return next((path for path in candidates if path.is_file()), None)
