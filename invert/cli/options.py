"""Options that several commands share, and what their values stand for."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from generator.errors import GeneratorError
from invert.cli.output import Output
from invert.errors import InvertError, NetworkError, UsageError, display_path
from invert.store.locks import MAX_SHARDS

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = [
    "SEEDS",
    "SHARD",
    "as_json",
    "check_class",
    "class_index",
    "default_network",
    "device_kind",
    "load_network",
    "network",
    "network_errors",
    "network_or_default",
    "overwrite",
    "quiet",
]

MAX_SEEDS = 1_000_000

F = TypeVar("F", bound=Callable[..., Any])

class_index = click.option(
    "--class", "class_index", metavar="K", type=click.IntRange(min=0), help="Class of a conditional network."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON Lines to stdout.")
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
overwrite = click.option("--overwrite", is_flag=True, help="Start afresh over earlier results of this command.")


def network(*, required: bool) -> Callable[[F], F]:
    """Return the --network option."""
    return click.option(
        "--network",
        "network_path",
        metavar="FILE",
        required=required,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Network file: safetensors of this project, a StyleGAN or StyleGAN2 pickle or a rosinality .pt.",
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


@contextlib.contextmanager
def network_errors(path: Path) -> Iterator[None]:
    """Name the network file in every error about its content."""
    try:
        yield
    except GeneratorError as error:
        raise NetworkError(str(error).rstrip("."), path=path) from error
    except InvertError:
        raise
    except OSError as error:
        raise NetworkError(f"cannot be read, {error.strerror or error}", path=path) from error


def load_network(path: Path, output: Output) -> "LoadedNetwork":
    """Load a network file, and say what a user should know about it.

    Raises:
        NetworkError: It is unsafe, unsupported, damaged, or cannot be read.
    """
    with network_errors(path):
        from generator.files.reading import load

        loaded = load(path)
    for warning in loaded.provenance.warnings:
        output.warning(f"network '{display_path(path)}': {warning}")
    return loaded


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
        "no --network was named: this is the project's demonstration network, which draws garments of 32 x 32 pixels"
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


def device_kind(choice: str) -> str:
    """Return "cpu" or "cuda" for a --device of auto, cpu or cuda.

    Raises:
        UsageError: CUDA was asked for and cannot be used.
    """
    import torch

    if choice == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that PyTorch can use", advice="Use cpu.")
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return choice


def check_class(c_dim: int, index: int | None, *, required: bool) -> None:
    """Hold a --class value against the labels that a network takes.

    Raises:
        UsageError: The network has no such class, has none at all, or needs one.
    """
    if index is not None and c_dim == 0:
        raise UsageError("--class was given, but the network has no classes", advice="Leave --class out.")
    if index is not None and index >= c_dim:
        raise UsageError(f"--class {index} is not one of the network's {c_dim} classes, 0 to {c_dim - 1}")
    if index is None and required and c_dim > 0:
        raise UsageError(f"the network has {c_dim} classes", advice=f"Choose one with --class 0 to {c_dim - 1}.")
