"""Shards of a command as jobs of SLURM: the options that ask for them, and following them to their end."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from invert.batch.slurm import ArrayEvent, run_array
from invert.cli import options
from invert.cli.output import Output
from invert.errors import UsageError, display_path
from invert.projection.config import ProjectConfig, option_of

__all__ = ["engine", "follow_array", "given_arguments", "parse_parameters", "shard"]

F = TypeVar("F", bound=Callable[..., Any])


def shard(group: str, help: str = "Do share I of N of the images.") -> Callable[[F], F]:
    """Return the --shard option."""
    return options.option("--shard", type=options.SHARD, metavar="I/N", help=help, group=group)


def engine(group: str, end: str) -> Callable[[F], F]:
    """Return a decorator that adds --engine, --shards and --slurm.

    Args:
        group: Their heading in `--help`.
        end: What is done when all jobs have ended, as the end of a sentence.
    """
    decorators = [
        options.option(
            "--engine",
            default="local",
            show_default=True,
            type=click.Choice(["local", "slurm"]),
            help=f"Where shards run: here, or as jobs of SLURM, which are followed to their end {end}.",
            group=group,
        ),
        options.option(
            "--shards",
            default=8,
            show_default=True,
            type=click.IntRange(1, 10_000),
            metavar="N",
            help="Number of jobs of --engine slurm.",
            group=group,
        ),
        options.option(
            "--slurm",
            multiple=True,
            metavar="KEY=VALUE",
            help="Option of sbatch, such as partition=gpu or time=60; may be given several times.",
            group=group,
        ),
    ]

    def decorate(function: F) -> F:
        for add in reversed(decorators):
            function = add(function)
        return function

    return decorate


def parse_parameters(pairs: Sequence[str]) -> dict[str, str | int]:
    """Return the options of sbatch that `--slurm KEY=VALUE` names.

    Raises:
        UsageError: One is no such pair.
    """
    found: dict[str, str | int] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"--slurm {pair!r} is not KEY=VALUE, such as partition=gpu or time=60")
        found[key.replace("-", "_")] = int(value) if value.isdecimal() else value
    return found


def given_arguments(given: Mapping[str, Any]) -> list[str]:
    """Return the command-line arguments of those settings of a projection that were given; None is left out."""
    arguments = []
    for field in dataclasses.fields(ProjectConfig):
        if given.get(field.name) is not None:
            arguments += [option_of(field), str(given[field.name])]
    return arguments


def follow_array(
    command: Sequence[str], shards: int, out: Path, parameters: Mapping[str, str | int], images: str, output: Output
) -> None:
    """Run the shards of a command as an array of jobs, and wait until each has ended well.

    Args:
        command: Program and arguments of a shard, without `--shard I/N`.
        shards: Number of jobs.
        out: The output, beside which the logs go.
        parameters: Options of sbatch.
        images: What they do, such as "20 images".
        output: Where it is told.

    Raises:
        InvertError: See `invert.batch.slurm.run_array`.
    """
    # Not inside the work folder, which is removed as a whole.
    folder = Path(os.path.abspath(out.with_name(out.name + ".slurm")))
    output.note(f"{images} in {shards} jobs; their logs are in '{display_path(folder)}'")
    run_array(command, shards, folder, parameters=parameters, on_event=lambda event: _tell(event, output))


def _tell(event: ArrayEvent, output: Output) -> None:
    ended = "" if event.exit_code is None else f", exit code {event.exit_code}"
    again = f", attempt {event.attempt}" if event.attempt > 1 else ""
    output.note(f"shard {event.shard}: {event.state.lower()}{ended}{again}")
    record = {"type": "shard", "shard": event.shard, "state": event.state, "attempt": event.attempt}
    output.event({**record, "exit_code": event.exit_code, "log": os.fspath(event.log)})
