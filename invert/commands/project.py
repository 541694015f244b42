"""`invert project`: find the latent code and noise that make a network generate given images again."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from invert.batch.images import Found, list_found
from invert.batch.job import MAX_SNAPSHOTS, Job, is_file
from invert.batch.outputs import RunOutput
from invert.batch.run import Run, open_run
from invert.batch.work import Done, Event, Failed, Stepped
from invert.cli import inputs, options
from invert.cli.output import Output
from invert.cli.progress import BatchProgress, ProjectionProgress
from invert.commands import array
from invert.commands.pack import pack_line
from invert.commands.project_slurm import project_slurm
from invert.errors import UsageError, display_path
from invert.images.decoding import ALIGNMENTS, ImagePolicy
from invert.images.fitting import FITS
from invert.projection.config import ProjectConfig, with_defaults
from invert.store.manifest import NOISE_TYPES

__all__ = ["project"]

_FOLDER = "Output into a folder"
_HDF5 = "HDF5 output (--out FILE.h5)"


@options.command(
    short_help="Find the latent and the noise maps of images.",
    examples=(
        "invert project photo.png --network ffhq.pkl",
        "invert project photos/ --network ffhq.pkl --out photos.h5 --workers 4",
    ),
)
@inputs.images("images", "IMAGE...")
@options.network(required=False)
@options.option(
    "--out",
    default=Path("projections"),
    show_default=True,
    metavar="DIR|FILE.h5",
    type=options.Folder(or_file=True),
    help="Folder of the results, or one HDF5 file for all of them.",
)
@options.settings(ProjectConfig)
@options.option(
    "--fit",
    default="auto",
    show_default=True,
    type=click.Choice(("auto", *FITS)),
    help="Images of other proportions: the centre is cut out, or they are put whole on black, which does not count, "
    "nor do black bars that images have, or distorted. auto pads for networks whose own images have bars, else crops.",
    group="Images",
)
@options.option(
    "--align",
    default="none",
    show_default=True,
    type=click.Choice(ALIGNMENTS),
    help="face: find the largest face of a photo, and project the square around it, turned and cut as the images of "
    "FFHQ are. Needs pip install 'invert[align]'.",
    group="Images",
)
@options.max_pixels
@options.follow
@options.option(
    "--video",
    metavar="FILE.mp4",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Film of the optimisation: target, image so far and distance. Of several images each has a film, whose name "
    "ends in the image's. Needs pip install 'invert[video]'.",
    group=_FOLDER,
)
@options.option(
    "--snapshots",
    default=0,
    type=click.IntRange(0, MAX_SNAPSHOTS),
    metavar="N",
    help="Keep N images on the way to each result, from the start on, as NAME-steps.png.",
    group=_FOLDER,
)
@options.option(
    "--paste",
    is_flag=True,
    help="With --align: put each reconstruction back into its photo, as NAME-pasted.png.",
    group=_FOLDER,
)
@options.workers(1, help="Processes that share the images.", group=_HDF5)
@array.shard(_HDF5)
@array.engine(_HDF5, "and packed")
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
    fit: str,
    align: str,
    max_pixels: int | None,
    follow: bool,
    video: Path | None,
    snapshots: int,
    paste: bool,
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

    IMAGE is an image, a folder or a zip of images, or - for a list of these on standard input. For each image,
    NAME.npz (w, noise maps, distance) and NAME.png (the image beside its reconstruction) are written to the output
    folder, with results.jsonl as the index.
    The same command again skips what is finished.

    With --out FILE.h5 all results go into one HDF5 file, by way of FILE.h5.work beside it, where each finished
    image is safe at once: if the command is killed at any moment, the same command resumes it.
    """
    policy = ImagePolicy(fit=fit, align=align)
    policy = policy if max_pixels is None else dataclasses.replace(policy, max_pixels=max_pixels)
    config = ProjectConfig(**with_defaults(settings))
    given: dict[str, Any] = {"noise": save_noise, "images": save_images, "workers": workers, "shard": shard}
    if not is_file(out):
        _refuse_options_of_a_file(given, engine)
    with Output(as_json=as_json, quiet=quiet) as output:
        output.keeps()
        network = options.network_or_default(network_path, output)
        given |= {"video": video, "snapshots": snapshots, "paste": paste}
        job = Job(network, config, policy, out, overwrite=overwrite, follow=follow, **given)
        if engine == "slurm":
            return project_slurm(images, network, job, shards, array.parse_parameters(slurm), output)
        return _project(images, job, output)


def _refuse_options_of_a_file(given: dict[str, Any], engine: str) -> None:
    if engine != "local":
        raise UsageError(f"--engine {engine} goes with one HDF5 file for all images", advice="Add --out FILE.h5.")
    usual = {field.name: field.default for field in dataclasses.fields(Job)}
    for name, value in given.items():
        if value != usual[name]:
            name = {"noise": "save-noise", "images": "save-images"}.get(name, name)
            raise UsageError(f"--{name} goes with one HDF5 file for all images", advice="Add --out FILE.h5.")


def _project(images: Sequence[Path], job: Job, output: Output) -> int:
    """Run the job here, and return the exit code."""

    def find(results: RunOutput) -> Found:
        told = {"on_note": output.note, "on_warning": output.warning}
        return list_found(images, job.follow, job.shard, written=results.written, **told)

    with open_run(job, find, on_note=output.note, on_warning=output.warning) as run:
        shown = _Shown(run, job, output)
        try:
            # The iterator is closed at once: its processes and its reading thread end before anything is said.
            with contextlib.closing(run.events()) as events:  # type: ignore[type-var]
                for event in events:
                    shown.hear(event)
        except KeyboardInterrupt:
            # The last line is the summary also when the user stops it; what is finished is on disk already.
            run.finish(complete=False)
            shown.end("interrupted")
            output.note("the same command again does the rest")
            raise
        run.finish()
        shown.end()
        return run.exit_code()


class _Shown:
    """What the user hears of a run."""

    def __init__(self, run: Run, job: Job, output: Output) -> None:
        self._run, self._job, self._output = run, job, output
        self._has_files = job.out is not None and not is_file(job.out)
        self._awaited = run.images
        self._bar: ProjectionProgress | BatchProgress
        if self._has_files:
            config = run.session.config
            batch = run.session.batch
            steps = config.steps * config.restarts + config.tune * min(batch, max(1, self._awaited))
            self._bar = output.progress(self._awaited, batch, steps)
        else:
            self._bar = output.batch_progress(self._awaited)

    def hear(self, event: Event) -> None:
        """Show what happened."""
        self._move(event)
        if isinstance(event, Done):
            self._tell(event)
        elif isinstance(event, Failed):
            self._output.error(event.message)
            self._output.event({"type": "image", **event.record()})
        elif not isinstance(event, Stepped):
            record = {"type": "image", "code": "duplicate", "path": event.path}
            self._output.result(record, f"{display_path(event.path)}: same name and content as another, done once")

    def _move(self, event: Event) -> None:
        if isinstance(self._bar, BatchProgress):
            if isinstance(event, Stepped):
                self._bar.beat()
            else:
                distance = event.distance if isinstance(event, Done) else None
                self._bar.image(distance, is_new=isinstance(event, Done) and event.is_new)
        elif isinstance(event, Stepped):
            self._bar.step(event.record.group, event.record.distances)
        elif not (isinstance(event, Done) and event.is_new):
            self._awaited -= 1
            self._bar.expect(self._awaited)

    def _tell(self, event: Done) -> None:
        record = {
            "type": "image",
            "code": "projected" if event.is_new else "finished-before",
            "path": event.path,
            "distance": event.distance,
            "status": event.status,
            **self._run.output.facts(event),
            "warnings": list(event.warnings),
        }
        if not self._has_files:
            # There may be a million of them.
            self._output.event(record)
            return
        missing = " and not filmed" if self._run.output.films is not None else ""
        missing += " and not pasted" if self._job.paste and "pasted" not in record else ""
        before = "" if event.is_new else f" (finished before{missing})"
        shown = ("png", "snapshots", "film", "pasted")
        files = ", ".join(display_path(record[name]) for name in shown if name in record)
        line = f"{event.distance:.4f}  {display_path(event.path)} -> {files}{before}"
        self._output.result(record, line)

    def end(self, code: str | None = None) -> None:
        """Show the summary."""
        record = self._run.summary(code)
        out = display_path(self._job.out or "")
        if record["code"] == "finished-before":
            line = f"{record['reused']} of {record['images']} images were done before: {out}"
            self._output.result({"type": "summary", **record}, line)
            return
        done, packed = self._run.results, self._run.output.packed
        before, failed = record["reused"], record["failed"]
        lines = [f"{done} of {record['images']} images done, {before} of them before; {failed} failed"]
        if record["distance"] is not None:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in record["distance"].items())
            lines.append(f"distance: {shown}")
        if packed is not None:
            lines.append(pack_line(packed))
        elif self._job.shard is not None and code != "interrupted":
            lines.append(f"when all shards are done: invert pack {out}")
        if self._has_files:
            lines.append(f"results: {display_path(record['results'])}")
        self._output.result({"type": "summary", **record}, *lines)
