"""`invert project --engine slurm`: the shards of a job as an array of jobs, followed to its end, then packed."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from invert.batch.images import list_found
from invert.batch.job import Job
from invert.batch.outputs import earlier_records, pack_record, pack_told
from invert.cli import options
from invert.cli.output import Output
from invert.commands.array import follow_array
from invert.commands.pack import pack_line
from invert.errors import ExitCode, UsageError, display_path
from invert.projection.config import ProjectConfig, arguments_of
from invert.store.locks import lock_output

__all__ = ["project_slurm"]


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
    config = _settle(job.config, out, network, parameters, output)
    command = _command(images, network, dataclasses.replace(job, config=config))
    follow_array(command, shards, out, parameters, f"{len(names)} images", output)
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
    config: ProjectConfig, out: Path, network: Path, parameters: Mapping[str, str | int], output: Output
) -> ProjectConfig:
    """Settle what is part of the run record here: the machines of a cluster need not be alike, nor like this one."""
    from invert.projection.session import default_batch, settle_as_before

    before = earlier_records(out)
    if before is not None:
        config = settle_as_before(config, before)
    device = "cpu" if config.device == "auto" and "gres" not in parameters else config.device
    device = "cuda" if device == "auto" else device
    resolution = options.load_network(network, output).generator.config.synthesis.img_resolution
    return dataclasses.replace(
        config,
        device=device,
        batch=config.batch or default_batch(resolution, device),
        threads=config.threads or int(parameters.get("cpus_per_task", 1)),
    )


def _command(images: Sequence[Path], network: Path, job: Job) -> list[str]:
    """Return the command of a shard, without its number."""
    command = [sys.executable, "-m", "invert", "project", *map(os.path.abspath, images)]
    command += ["--network", os.path.abspath(network), "--out", os.path.abspath(job.out or "")]
    command += [*arguments_of(job.config), "--save-noise", job.noise, "--max-pixels", str(job.policy.max_pixels)]
    command += ["--fit", job.policy.fit] if job.policy.fit != "auto" else []
    command += ["--align", job.policy.align] if job.policy.align != "none" else []
    return command + ["--save-images"] * job.images + ["--follow"] * job.follow
