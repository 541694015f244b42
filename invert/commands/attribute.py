"""`invert attribute`: say of images whether a network made them, and with which error rate."""

import contextlib
import datetime
import os
import platform
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import __version__, api
from invert.attribution.settings import MISS_RATE, SCORES
from invert.batch.job import is_file
from invert.batch.work import Failed, Warnings
from invert.cli import inputs, options
from invert.cli.help import OUTPUT
from invert.cli.output import Output
from invert.cli.progress import BatchProgress, ProjectionProgress
from invert.cli.repeat import command_again
from invert.commands import array
from invert.commands.attribute_slurm import shard_command
from invert.commands.seed import search_attributions, seed_search
from invert.durable import check_writable, write_atomic
from invert.errors import ExitCode, UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.projection.config import METHOD_SETTINGS, ProjectConfig

if TYPE_CHECKING:
    from invert.attribution.attributions import Attribution
    from invert.attribution.candidate import LoadedCandidate
    from invert.projection.projector import StepRecord

__all__ = ["attribute"]

_SHARED = "Shared work"


@options.command(
    short_help="Say whether a network synthesised images.",
    examples=(
        "invert attribute photo.png --network ffhq.pkl",
        "invert attribute photos/ --network ffhq.pkl --network cats.pkl --report verdicts.html",
    ),
)
@inputs.images("paths", "PATH...")
@options.option(
    "--network",
    "network_paths",
    multiple=True,
    metavar="FILE",
    type=inputs.NETWORK_FILE,
    help="Network that may have synthesised the images; may be given several times.",
)
@options.option(
    "--calibration",
    "calibration_paths",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Calibration of a network, made by 'invert calibrate'; may be given several times."
    "  [default: the one beside the network, in the cache or in data/]",
)
@options.option(
    "--fpr",
    "rate",
    type=float,
    metavar="P",
    help="Rate of false attributions to keep.  [default: the calibration's]",
)
@options.option(
    "--miss-rate",
    type=float,
    default=MISS_RATE,
    metavar="P",
    help="Share of a network's own images, found alike and measuring as high, up to which an image is 'none of these';"
    " a smaller one leaves more images 'cannot tell'.",
)
@options.option(
    "--threshold",
    type=float,
    metavar="D",
    help="Judge by the paper's plain rule, LPIPS below D, whose error rate is unknown; needs no calibration.",
)
@options.option(
    "--score",
    type=click.Choice(SCORES),
    help="Score that decides.  [default: the calibration's]",
)
@options.option(
    "--own",
    default=0,
    metavar="N",
    type=click.IntRange(0, 1_000_000),
    help="Compare with N fresh samples of a network that has no calibration: what is unlike them is not its own.",
)
@seed_search
@options.option(
    "--report",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report of all verdicts as one HTML page.",
)
@options.settings(
    ProjectConfig,
    defaults=dict.fromkeys(METHOD_SETTINGS, options.Unset("the calibration's")),
)
@options.max_pixels
@options.follow
@options.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder in which what the networks say of each image is kept: stopped, the same command resumes; one image"
    " more costs one image.  [default: none; with --report FILE.html.work, until the report is written]",
    group=OUTPUT,
)
@options.workers(1, help="Processes that share the images.", group=_SHARED)
@array.shard(_SHARED, "Judge share I of N of the images, and keep what is found in --out.")
@array.engine(_SHARED, "before everything is judged")
@options.option("--csv", "as_csv", is_flag=True, help="Write CSV to stdout.", group=OUTPUT)
@options.as_json
@options.quiet
@options.overwrite
def attribute(
    paths: Sequence[Path],
    network_paths: Sequence[Path],
    calibration_paths: Sequence[Path],
    threshold: float | None,
    score: str | None,
    own: int,
    rate: float | None,
    miss_rate: float,
    seed_search: int | None,
    report: Path | None,
    out: Path | None,
    workers: int,
    shard: tuple[int, int] | None,
    engine: str,
    shards: int,
    slurm: tuple[str, ...],
    as_csv: bool,
    max_pixels: int | None,
    follow: bool,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **given: Any,
) -> int:
    """Say of each image whether it is attributed to a network, to none of these, or whether it cannot be told.

    The error rate of a verdict is that of the network's calibration, for images like those it was made with.
    The settings of the method come from there too. With other settings, or without a calibration, there are
    distances; --threshold gives a verdict by them alone, and --own says of what is not the network's own.

    PATH is an image, a folder or a zip of images, or - for a list of these on standard input; or an HDF5 file of
    'invert project --save-images' with the same settings, whose projections are judged without projecting again.
    """
    _check(as_csv, as_json, report, overwrite)
    # Finished projections are judged at once: nothing is kept for the report.
    place = _place(out, None if any(map(is_file, paths)) else report, shard, engine, workers)
    with Output(as_json=as_json, quiet=quiet or as_csv) as output:
        if place is None:
            output.keeps("Nothing is kept; with --out DIR the same command would resume.")
        else:
            output.keeps("What was finished is kept: the same command resumes.")
        if engine == "slurm" and place is not None:
            given_images = {"paths": paths, "networks": network_paths, "calibrations": calibration_paths}
            judging = {"--threshold": threshold, "--score": score, "--fpr": rate, "--own": own or None}
            judging["--miss-rate"] = miss_rate
            command = shard_command(
                **given_images, judging=judging, out=place, max_pixels=max_pixels, follow=follow, given=given
            )
            array.follow_array(command, shards, place, array.parse_parameters(slurm), "the images", output)
        if max_pixels is not None:
            given["policy"] = ImagePolicy(max_pixels=max_pixels)
        shown = _Shown(output, as_csv, report is not None, seed_search)
        judged = api.attribute(
            list(paths),
            list(network_paths) or options.network_or_default(None, output),
            calibration=calibration_paths,
            threshold=threshold,
            score=score,
            rate=rate,
            out=place,
            workers=workers,
            shard=shard,
            own=own,
            miss_rate=miss_rate,
            follow=follow,
            on_step=shown.step,
            on_message=output.note,
            on_warning=output.warning,
            on_failure=shown.fail,
            **given,
        )
        shown.begin(judged, workers)
        with contextlib.closing(judged):
            for found in judged:
                shown.show(found)
        shown.search_seeds()
        if report is not None:
            from invert.attribution.measurements import clear_measurements

            write_atomic(report, _report(judged.candidates, shown.kept))
            if place is not None and place != out:
                clear_measurements(place)
        shown.summarise(report)
        return shown.exit_code


def _place(
    out: Path | None, report: Path | None, shard: tuple[int, int] | None, engine: str, workers: int
) -> Path | None:
    """Return the folder in which answers are kept.

    Raises:
        UsageError: There is none for what is asked, or what is asked does not go together.
    """
    if (shard is not None or engine != "local") and out is None:
        raise UsageError("shards meet in one folder", advice="Add --out DIR.")
    if shard is not None and report is not None:
        raise UsageError("--report is of all images, --shard of some", advice="Leave --report to the last command.")
    if engine != "local" and (shard is not None or workers > 1):
        raise UsageError(f"--engine {engine} does not go with --shard or --workers")
    # As 'invert calibrate' does it: beside the result, until that is written.
    return Path(f"{report}.work") if out is None and report is not None else out


class _Shown:
    """What was shown so far.

    Attributes:
        kept: What a report is made from.
    """

    def __init__(self, output: Output, as_csv: bool, with_report: bool, seeds: int | None) -> None:
        self._output, self._csv, self._keeps, self._seeds = output, as_csv, with_report or seeds is not None, seeds
        self._candidates: Sequence[LoadedCandidate] = ()
        self._progress: ProjectionProgress | BatchProgress | None = None
        self._counts: Counter[str] = Counter()
        self._warnings = Warnings(output.warning)
        self._awaited = 0
        self._has_header = False
        self.kept: list[Attribution] = []

    def begin(self, judged: "api.Attributions", workers: int) -> None:
        """Start the bar."""
        self._candidates, self._awaited = judged.candidates, judged.count or 0
        first = judged.candidates[0]
        if workers > 1 or len({one.session.batch for one in judged.candidates}) > 1:
            # Groups are no measure of the whole where several processes or sizes have their own.
            self._progress = self._output.batch_progress(self._awaited)
            return
        steps = first.config.steps * first.config.restarts * len(judged.candidates)
        self._progress = self._output.progress(self._awaited, first.session.batch, steps)

    def step(self, record: "StepRecord") -> None:
        """Count a step."""
        if isinstance(self._progress, BatchProgress):
            self._progress.beat()
        elif self._progress is not None:
            self._progress.step(record.group, record.distances)

    def fail(self, failed: Failed) -> None:
        """Say why an image cannot be used."""
        from invert.attribution.attributions import Attribution

        found = Attribution(Path(failed.path), error=failed.to_error())
        if self._keeps:
            self.kept.append(found)
        self._counts["failed"] += 1
        self._awaited -= 1
        if isinstance(self._progress, BatchProgress):
            self._progress.image(None, is_new=True)
        elif self._progress is not None:
            self._progress.expect(self._awaited)
        self._output.error(failed.message)
        if self._csv:
            self._row(found)
        else:
            self._output.event({"type": "image", **failed.record()})

    def show(self, found: "Attribution") -> None:
        """Write an image's line, row or record, and count it."""
        from invert.attribution.report import rows

        if self._keeps:
            self.kept.append(found)
        if isinstance(self._progress, BatchProgress):
            self._progress.image(found.answers[0].distance, is_new=True)
        self._warnings.of(found.path, found.warnings)
        is_first = not self._counts["judged"]
        self._counts["judged"] += 1
        self._counts["diverged"] += found.is_diverged
        if found.outcome is not None:
            self._counts[str(found.outcome)] += 1
        if self._csv:
            self._row(found)
        else:
            lines = [rows.header(self._candidates, found.verdict is not None)] if is_first else []
            lines += rows.text_lines(found, self._candidates)
            self._output.result(rows.image_record(found, self._candidates), *lines)

    def search_seeds(self) -> None:
        """Search for the seeds of all images, where that was asked for; rows of CSV were waiting for them."""
        maximum, self._seeds = self._seeds, None
        if maximum is not None:
            self.kept = search_attributions(self.kept, self._candidates, maximum, self._output, silent=self._csv)
            for found in self.kept if self._csv else ():
                self._row(found)

    def _row(self, found: "Attribution") -> None:
        from invert.attribution.report import rows, seeds

        if self._seeds is not None:
            return
        searched = self._candidates if any(one.seeds for one in self.kept) else ()
        if not self._has_header:
            self._output.row([*rows.csv_header(self._candidates), *seeds.seed_header(searched)])
        self._has_header = True
        self._output.row([*rows.csv_cells(found, self._candidates), *seeds.seed_cells(found, searched)])

    def summarise(self, report: Path | None) -> None:
        """Say how many images came out how, what the error rate holds for, and which calibrations say so."""
        from invert.attribution.promise import calibration_line, promise_of
        from invert.attribution.report.rows import network_record
        from invert.attribution.ruling import sharing
        from invert.attribution.verdict import Outcome

        self._warnings.sum_up()
        counts = {str(outcome): self._counts[str(outcome)] for outcome in Outcome}
        judged, failed = self._counts["judged"], self._counts["failed"]
        lines = [""]
        share = sharing(self._candidates)
        if any(counts.values()):
            lines += [", ".join(f"{count} {name}" for name, count in counts.items()) + f"; {failed} failed"]
            lines += [promise_of(one, share).sentence for one in self._candidates]
        else:
            lines += [f"{judged} images measured; {failed} failed"]
        lines += filter(None, map(calibration_line, self._candidates))
        if report is not None:
            lines.append(f"report: {display_path(report)}")
        record = {"type": "summary", "code": "done", "judged": judged, "failed": failed, "verdicts": counts}
        record["networks"] = [network_record(one, share) for one in self._candidates]
        record["report"] = None if report is None else os.fspath(report)
        if not self._csv:
            self._output.result(record, *lines)

    @property
    def exit_code(self) -> int:
        """How the command ends."""
        if not self._counts["judged"]:
            return ExitCode.NUMERIC if self._counts["diverged"] else ExitCode.NO_INPUT
        return ExitCode.PARTIAL if self._counts["failed"] or self._counts["diverged"] else ExitCode.OK


def _report(candidates: "Sequence[LoadedCandidate]", images: "Sequence[Attribution]") -> bytes:
    from invert.attribution.report.page import attribution_report

    first = candidates[0]
    software = {name: metadata.version(name) for name in ("torch", "numpy", "pillow")}
    settled = {name: getattr(first.config, name) for name in ("seed", "batch", "threads", "device")}
    used = [one.calibration_path for one in candidates if one.calibration_path is not None]
    return attribution_report(
        candidates,
        images,
        command=command_again(
            network_paths=[one.path for one in candidates], calibration_paths=used, overwrite=True, **settled
        ),
        settings={**first.method, **first.session.run},
        software={"invert": __version__, "python": platform.python_version(), **software},
        date=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC in the folder {display_path(Path.cwd())}",
    )


def _check(as_csv: bool, as_json: bool, report: Path | None, overwrite: bool) -> None:
    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be written to stdout")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        advice = "Name a .html file; a browser prints it as PDF."
        raise UsageError("a report is written as one HTML page", path=report, advice=advice)
    if report is not None and report.exists() and not overwrite:
        raise UsageError("exists already", path=report, advice="Add --overwrite, or choose another --report.")
    if report is not None:
        check_writable(report)
