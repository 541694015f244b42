"""`invert attribute --engine slurm`: the command that each job runs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invert.commands import array

__all__ = ["shard_command"]


def shard_command(
    *,
    paths: Sequence[Path],
    networks: Sequence[Path],
    calibrations: Sequence[Path],
    judging: dict[str, Any],
    out: Path,
    max_pixels: int | None,
    follow: bool,
    given: dict[str, Any],
) -> list[str]:
    """Return the command that a job of SLURM runs, without the number of its share.

    Args:
        paths: Images, folders and zips.
        networks: The networks' files.
        calibrations: The calibrations that were named.
        judging: What images are judged by, by option; None is the default.
        out: Folder in which the jobs' answers meet.
        max_pixels: Largest image in pixels; None is the default.
        follow: Whether links that lead out of folders are followed.
        given: Fields of `ProjectConfig` that were given.
    """
    command = [sys.executable, "-m", "invert", "attribute", *map(os.path.abspath, paths), "--quiet"]
    for option, files in (("--network", networks), ("--calibration", calibrations)):
        for file in files:
            command += [option, os.path.abspath(file)]
    for option, value in judging.items():
        command += [] if value is None else [option, str(value)]
    command += ["--out", os.path.abspath(out), *array.given_arguments(given)]
    return command + (["--max-pixels", str(max_pixels)] if max_pixels else []) + ["--follow"] * follow
