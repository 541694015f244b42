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
from invert.attribution.settings import SCORES
from invert.batch.work import Failed, Warnings
from invert.cli import options
from invert.cli.help import OUTPUT
from invert.cli.output import Output
from invert.cli.progress import ProjectionProgress
from invert.cli.repeat import command_again
from invert.durable import check_writable, write_atomic
from invert.errors import ExitCode, UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.projection.config import METHOD_SETTINGS, ProjectConfig
from invert.report.spreadsheet import csv_line

if TYPE_CHECKING:
    from invert.attribution.attributions import Attribution
    from invert.attribution.candidate import LoadedCandidate
    from invert.projection.projector import StepRecord

__all__ = ["attribute"]


@options.command(
    short_help="Say whether a network synthesised images.",
    examples=(
        "invert attribute photo.png --network ffhq.pkl",
        "invert attribute photos/ --network ffhq.pkl --network cats.pkl --report verdicts.html",
    ),
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.option(
    "--network",
    "network_paths",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
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
    report: Path | None,
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
    """
    _check(as_csv, as_json, report, overwrite)
    with Output(as_json=as_json, quiet=quiet or as_csv) as output:
        if max_pixels is not None:
            given["policy"] = ImagePolicy(max_pixels=max_pixels)
        shown = _Shown(output, as_csv, report is not None)
        judged = api.attribute(
            list(paths),
            list(network_paths) or options.network_or_default(None, output),
            calibration=calibration_paths,
            threshold=threshold,
            score=score,
            rate=rate,
            own=own,
            follow=follow,
            on_step=shown.step,
            on_message=output.note,
            on_warning=output.warning,
            on_failure=shown.fail,
            **given,
        )
        shown.begin(judged)
        with contextlib.closing(judged):
            for found in judged:
                shown.show(found)
        if report is not None:
            write_atomic(report, _report(judged.candidates, shown.kept))
        shown.summarise(report)
        return shown.exit_code


class _Shown:
    """What was shown so far.

    Attributes:
        kept: What a report is made from.
    """

    def __init__(self, output: Output, as_csv: bool, with_report: bool) -> None:
        self._output, self._csv, self._with_report = output, as_csv, with_report
        self._candidates: Sequence[LoadedCandidate] = ()
        self._progress: ProjectionProgress | None = None
        self._counts: Counter[str] = Counter()
        self._warnings = Warnings(output.warning)
        self._awaited = 0
        self._has_header = False
        self.kept: list[Attribution] = []

    def begin(self, judged: "api.Attributions") -> None:
        """Start the bar."""
        self._candidates, self._awaited = judged.candidates, judged.count or 0
        first = judged.candidates[0]
        steps = first.config.steps * first.config.restarts * len(judged.candidates)
        self._progress = self._output.progress(self._awaited, first.session.batch, steps)

    def step(self, record: "StepRecord") -> None:
        """Count a step."""
        if self._progress is not None:
            self._progress.step(record.group, record.distances)

    def fail(self, failed: Failed) -> None:
        """Say why an image cannot be used."""
        from invert.attribution.attributions import Attribution

        found = Attribution(Path(failed.path), error=failed.to_error())
        if self._with_report:
            self.kept.append(found)
        self._counts["failed"] += 1
        self._awaited -= 1
        if self._progress is not None:
            self._progress.expect(self._awaited)
        self._output.error(failed.message)
        if self._csv:
            self._row(found)
        else:
            self._output.event({"type": "image", **failed.record()})

    def show(self, found: "Attribution") -> None:
        """Write an image's line, row or record, and count it."""
        from invert.attribution.report import rows

        if self._with_report:
            self.kept.append(found)
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

    def _row(self, found: "Attribution") -> None:
        from invert.attribution.report import rows

        if not self._has_header:
            click.echo(csv_line(rows.csv_header(self._candidates)), nl=False)
        self._has_header = True
        click.echo(csv_line(rows.csv_cells(found, self._candidates)), nl=False)

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
    software = {name: metadata.version(name) for name in ("torch", "numpy", "pillow", "lpips")}
    settled = {name: getattr(first.config, name) for name in ("seed", "batch", "threads", "device")}
    used = [one.calibration_path for one in candidates if one.calibration_path is not None]
    now = datetime.datetime.now(datetime.UTC)
    return attribution_report(
        candidates,
        images,
        command=command_again(
            network_paths=[one.path for one in candidates], calibration_paths=used, overwrite=True, **settled
        ),
        settings={**first.method, **first.session.run},
        software={"invert": __version__, "python": platform.python_version(), **software},
        date=f"{now:%Y-%m-%d %H:%M:%S} UTC in the folder {display_path(Path.cwd())}",
    )


def _check(as_csv: bool, as_json: bool, report: Path | None, overwrite: bool) -> None:
    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be written to stdout")
    if report is not None and report.exists() and not overwrite:
        raise UsageError("exists already", path=report, advice="Add --overwrite, or choose another --report.")
    if report is not None:
        check_writable(report)
