"""`invert project --engine slurm`: the shards of a job as an array of jobs, followed to its end, then packed."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from invert.batch.images import list_found
from invert.batch.job import Job
from invert.batch.outputs import pack_record, pack_told
from invert.batch.slurm import ArrayEvent, run_array
from invert.cli import options
from invert.cli.output import Output
from invert.commands.pack import pack_line
from invert.errors import ExitCode, UsageError, display_path
from invert.projection.config import ProjectConfig, arguments_of
from invert.store.locks import lock_output

__all__ = ["parse_parameters", "project_slurm"]


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


def project_slurm(
    images: Sequence[Path],
    network: Path,
    job: Job,
    shards: int,
    parameters: Mapping[str, str | int],
    output: Output,
) -> int:
    """Project images into one HDF5 file by jobs of SLURM, and return the exit code."""
    if job.overwrite or job.shard is not None or job.workers != 1:
        raise UsageError("--engine slurm does not go with --overwrite, --shard or --workers")
    out = job.out or Path("latents.h5")
    names = list_found(images, job.follow, on_note=output.note, on_warning=output.warning).names
    config = _settle(job.config, network, len(names) // shards + 1, parameters, output)
    command = _command(images, network, dataclasses.replace(job, config=config))
    # Not inside the work folder, which is removed as a whole.
    folder = Path(os.path.abspath(out.with_name(out.name + ".slurm")))
    output.note(f"{len(names)} images in {shards} jobs; their logs are in '{display_path(folder)}'")
    run_array(command, shards, folder, parameters=parameters, on_event=lambda event: _tell(event, output))
    with lock_output(out) as lock:
        if not lock.begun:
            record = {"type": "summary", "code": "finished-before", "out": os.fspath(out)}
            output.result(record, f"{display_path(out)} was done before")
            return ExitCode.OK
        packed = pack_told(lock, output.note)
    code = ExitCode.PARTIAL if packed.failures or packed.diverged else ExitCode.OK
    record = {"type": "summary", "code": "done" if code == ExitCode.OK else "some-failed", **pack_record(packed)}
    output.result(record, f"{packed.rows} images done; {packed.failures} failed", pack_line(packed))
    return code


def _settle(
    config: ProjectConfig, network: Path, images: int, parameters: Mapping[str, str | int], output: Output
) -> ProjectConfig:
    """Settle what is part of the run record here: the machines of a cluster need not be alike, nor like this one."""
    from invert.projection.session import default_batch

    device = "cpu" if config.device == "auto" and "gres" not in parameters else config.device
    device = "cuda" if device == "auto" else device
    resolution = options.load_network(network, output).generator.config.synthesis.img_resolution
    return dataclasses.replace(
        config,
        device=device,
        batch=config.batch or default_batch(resolution, device, images),
        threads=config.threads or int(parameters.get("cpus_per_task", 1)),
    )


def _command(images: Sequence[Path], network: Path, job: Job) -> list[str]:
    """Return the command of a shard, without its number."""
    command = [sys.executable, "-m", "invert", "project", *map(os.path.abspath, images)]
    command += ["--network", os.path.abspath(network), "--out", os.path.abspath(job.out or "")]
    command += [*arguments_of(job.config), "--save-noise", job.noise, "--max-pixels", str(job.policy.max_pixels)]
    return command + ["--save-images"] * job.images + ["--follow"] * job.follow


def _tell(event: ArrayEvent, output: Output) -> None:
    ended = "" if event.exit_code is None else f", exit code {event.exit_code}"
    again = f", attempt {event.attempt}" if event.attempt > 1 else ""
    output.note(f"shard {event.shard}: {event.state.lower()}{ended}{again}")
    record = {"type": "shard", "shard": event.shard, "state": event.state, "attempt": event.attempt}
    output.event({**record, "exit_code": event.exit_code, "log": os.fspath(event.log)})
