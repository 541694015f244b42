"""`invert project`: find the latent code and noise that make a network draw given images again."""

import dataclasses
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert.cli import options
from invert.cli.output import Output
from invert.commands.project_batch import BatchOptions, is_batch, project_batch
from invert.commands.project_slurm import parse_parameters, project_slurm
from invert.errors import ExitCode, ImageError, NoInputError, UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.images.scan import scan
from invert.images.target import read
from invert.projection.config import ProjectConfig, method_record, with_defaults
from invert.store.folder import INDEX, Entry, FolderStore, known_images, open_folder
from invert.store.manifest import NOISE_TYPES

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.images.target import Target
    from invert.projection.projector import Projection, Projector

__all__ = ["project"]

_HDF5 = "HDF5 output (--out FILE.h5)"


@options.command(
    short_help="Find the latent and the noise maps of images.",
    examples=(
        "invert project photo.png --network ffhq.pkl",
        "invert project photos/ --network ffhq.pkl --out photos.h5 --workers 4",
    ),
)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.network(required=False)
@options.option(
    "--out",
    default=Path("projections"),
    show_default=True,
    metavar="DIR|FILE.h5",
    type=click.Path(path_type=Path),
    help="Folder of the results, or one HDF5 file for all of them.",
)
@options.settings(ProjectConfig)
@options.max_pixels
@options.follow
@options.workers(1, help="Processes that share the images.", group=_HDF5)
@options.option("--shard", type=options.SHARD, metavar="I/N", help="Do share I of N of the images.", group=_HDF5)
@options.option(
    "--engine",
    default="local",
    show_default=True,
    type=click.Choice(["local", "slurm"]),
    help="Where shards run: here, or as jobs of SLURM, which are followed to their end and packed.",
    group=_HDF5,
)
@options.option(
    "--shards",
    default=8,
    show_default=True,
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Number of jobs of --engine slurm.",
    group=_HDF5,
)
@options.option(
    "--slurm",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of sbatch, such as partition=gpu or time=60; may be given several times.",
    group=_HDF5,
)
@options.option(
    "--save-noise",
    default="none",
    show_default=True,
    type=click.Choice(NOISE_TYPES),
    help="Number format in which the noise maps are kept.",
    group=_HDF5,
)
@options.option("--save-images", is_flag=True, help="Keep targets and reconstructions.", group=_HDF5)
@options.as_json
@options.quiet
@options.overwrite
def project(
    images: Sequence[Path],
    network_path: Path | None,
    out: Path,
    max_pixels: int | None,
    follow: bool,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    workers: int,
    shard: tuple[int, int] | None,
    engine: str,
    shards: int,
    slurm: tuple[str, ...],
    save_noise: str,
    save_images: bool,
    **settings: Any,
) -> int:
    """Find, for each image, the w and the noise maps from which the network synthesises it.

    IMAGE is an image or a folder of images. For each one, NAME.npz (w, noise maps, distance) and NAME.png
    (the image beside its reconstruction) are written to the output folder, with results.json as the index.
    The same command again skips what is finished.

    With --out FILE.h5 all results go into one HDF5 file, by way of FILE.h5.work beside it, where each finished
    image is safe at once: if the command is killed at any moment, the same command resumes it.
    """
    config = ProjectConfig(**with_defaults(settings))
    policy = ImagePolicy() if max_pixels is None else ImagePolicy(max_pixels=max_pixels)
    batch_options = BatchOptions(workers, shard, save_noise, save_images, overwrite)
    if not is_batch(out):
        _refuse_batch_options(batch_options, engine)
    with Output(as_json=as_json, quiet=quiet) as output:
        if is_batch(out):
            network_path = options.network_or_default(network_path, output)
            if engine == "slurm":
                parameters = parse_parameters(slurm)
                return project_slurm(
                    images,
                    network_path,
                    out,
                    config,
                    policy,
                    batch_options,
                    shards,
                    parameters,
                    output,
                    follow=follow,
                )
            return project_batch(images, network_path, out, config, policy, batch_options, output, follow=follow)
        found = _find(images, out, follow, output)
        loaded = options.load_network(options.network_or_default(network_path, output), output)
        from invert.projection.session import settle_bank

        config = settle_bank(config, loaded.generator.config.synthesis.img_resolution)
        projector, run = _prepare(loaded, config, sum(isinstance(item, Path) for item in found), output)
        method = method_record(config, loaded.provenance.sha256, policy.record())
        with open_folder(out, method, run, overwrite=overwrite) as store:
            return _Run(found, policy, projector, store, output).work()


def _refuse_batch_options(given: BatchOptions, engine: str) -> None:
    if engine != "local":
        raise UsageError(f"--engine {engine} goes with one HDF5 file for all images", advice="Add --out FILE.h5.")
    usual = BatchOptions(overwrite=given.overwrite)
    for field in dataclasses.fields(given):
        if getattr(given, field.name) != getattr(usual, field.name):
            name = {"noise": "save-noise", "images": "save-images"}.get(field.name, field.name)
            raise UsageError(f"--{name} goes with one HDF5 file for all images", advice="Add --out FILE.h5.")


def _find(images: Sequence[Path], out: Path, follow: bool, output: Output) -> list[Path | ImageError]:
    """List the images, without those that an earlier run wrote to the output folder."""
    found = list(scan(images, follow))
    written = known_images(out)
    if written:
        kept = [item for item in found if isinstance(item, ImageError) or Path(os.path.realpath(item)) not in written]
        if len(kept) < len(found):
            output.note(f"{len(found) - len(kept)} images that invert wrote to '{display_path(out)}' are left out")
        found = kept
    if not found:
        advice = "Name image files, or a folder with PNG, JPEG, WebP or BMP files."
        raise NoInputError("there are no images", path=images[0] if len(images) == 1 else None, advice=advice)
    return found


def _prepare(
    loaded: "LoadedNetwork", config: ProjectConfig, images: int, output: Output
) -> tuple["Projector", dict[str, Any]]:
    """Build the projector, and the run record of the arithmetic that it will use."""
    import torch

    from invert.projection.projector import default_batch, prepare_process, run_record
    from invert.projection.session import build_projector

    kind = options.device_kind(config.device)
    device = torch.device(kind)
    prepare_process(kind, config.threads, output.note)
    resolution = loaded.generator.config.synthesis.img_resolution
    batch = config.batch or default_batch(images, resolution, device.type)
    projector = build_projector(loaded, config, batch=batch, device=kind, on_message=output.note)
    return projector, run_record(config, batch, device)


class _Run:
    """The images of one command on their way through the projector into the store."""

    def __init__(
        self,
        found: Sequence[Path | ImageError],
        policy: ImagePolicy,
        projector: "Projector",
        store: FolderStore,
        output: Output,
    ) -> None:
        self._found, self._policy = found, policy
        self._projector, self._store, self._output = projector, store, output
        self._distances: list[float] = []
        self._projected = self._reused = self._failed = self._diverged = 0
        self._told: Counter[str] = Counter()
        # Images that still may have to be projected; the bar counts them.
        self._awaited = sum(isinstance(item, Path) for item in found)
        config = projector.config
        self._progress = output.progress(self._awaited, projector.batch, config.steps * config.restarts)

    def work(self) -> int:
        """Project everything, and return the exit code."""
        from invert.projection.projector import StepRecord

        try:
            for event in self._projector.run(self._targets()):
                if isinstance(event, StepRecord):
                    self._progress.step(event.group, event.distances)
                else:
                    self._keep(event)
        except KeyboardInterrupt:
            # The last line is the summary also when the user stops it; what is finished is on disk already.
            self._finish("interrupted")
            self._output.note("the same command again does the rest")
            raise
        self._finish("some-failed" if self._failed or self._diverged else "done")
        if self._diverged and self._diverged == self._projected + self._reused:
            return ExitCode.NUMERIC
        if not self._projected + self._reused:
            return ExitCode.NO_INPUT
        return ExitCode.PARTIAL if self._failed or self._diverged else ExitCode.OK

    def _targets(self) -> Iterator["Target"]:
        """Read the images one by one; report and leave out those that are bad, finished or there twice."""
        synthesis = self._projector.generator.config.synthesis
        seen: set[tuple[str, str]] = set()
        for item in self._found:
            if isinstance(item, ImageError):
                self._refuse(item)
                continue
            try:
                target = read(item, synthesis.img_resolution, synthesis.img_channels, self._policy)
            except ImageError as error:
                self._await_one_less()
                self._refuse(error)
                continue
            entry = self._store.finished(target)
            key = (target.path.name, target.file_sha256)
            if entry is None and key not in seen:
                seen.add(key)
                self._warn(target)
                yield target
                continue
            self._await_one_less()
            self._reused += 1
            if entry is not None:
                self._tell(entry, target, "finished-before")
            else:
                record = {"type": "image", "code": "duplicate", "path": str(target.path)}
                self._output.result(record, f"{display_path(target.path)}: same name and content as another, done once")

    def _keep(self, projection: "Projection") -> None:
        target = projection.target
        self._projected += 1
        if projection.status != "ok":
            self._output.warning(f"image '{display_path(target.path)}': a step was not finite, its best state is kept")
        if not math.isfinite(projection.distance):
            # Not even the start could be drawn: there is no result to write.
            reason = "the network draws nothing finite"
            record = {"code": "diverged", "path": str(target.path), "reason": reason}
            self._store.fail(record)
            self._output.result({"type": "image", **record}, f"{display_path(target.path)}: {reason}")
            self._diverged += 1
            return
        self._tell(self._store.save(projection), target, "projected")

    def _tell(self, entry: Entry, target: "Target", code: str) -> None:
        self._distances.append(entry.distance)
        self._diverged += entry.status != "ok"
        png = self._store.folder / f"{entry.name}.png"
        record = {
            "type": "image",
            "code": code,
            "path": str(target.path),
            "distance": entry.distance,
            "status": entry.status,
            "restart": entry.restart,
            "npz": str(png.with_name(f"{entry.name}.npz")),
            "png": str(png),
            "file_sha256": entry.file_sha256,
            "pixel_sha256": entry.pixel_sha256,
            "warnings": list(entry.warnings),
        }
        before = " (finished before)" if code == "finished-before" else ""
        self._output.result(record, f"{entry.distance:.4f}  {display_path(target.path)} -> {display_path(png)}{before}")

    def _refuse(self, error: ImageError) -> None:
        if error.by_rule:
            self._output.warning(str(error))
            return
        self._failed += 1
        self._store.fail(error.record())
        self._output.error(str(error))
        self._output.result({"type": "image", **error.record()})

    def _warn(self, target: "Target") -> None:
        # A folder of images of one kind gives one warning a hundred times: the first by name, the rest as a number.
        for text in target.warnings:
            if not self._told[text]:
                self._output.warning(f"image '{display_path(target.path)}': {text}")
            self._told[text] += 1

    def _await_one_less(self) -> None:
        self._awaited -= 1
        self._progress.expect(self._awaited)

    def _finish(self, code: str) -> None:
        self._store.write_index()
        for text, count in self._told.items():
            if count > 1:
                self._output.warning(f"{count - 1} more: {text}")
        images = sum(isinstance(item, Path) or not item.by_rule for item in self._found)
        done = self._projected + self._reused
        spread = None
        lines = [f"{done} of {images} images done, {self._reused} of them before; {self._failed} failed"]
        if self._distances:
            median, low, high = statistics.median(self._distances), min(self._distances), max(self._distances)
            spread = {"median": median, "smallest": low, "largest": high}
            lines.append(f"distance: median {median:.4f}, smallest {low:.4f}, largest {high:.4f}")
        index = self._store.folder / INDEX
        record = {
            "type": "summary",
            "code": code,
            "images": images,
            "projected": self._projected,
            "reused": self._reused,
            "failed": self._failed,
            "diverged": self._diverged,
            "distance": spread,
            "results": str(index),
        }
        self._output.result(record, *lines, f"results: {display_path(index)}")
