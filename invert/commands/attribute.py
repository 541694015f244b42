"""`invert attribute`: say of images whether a network made them, and with which error rate."""

import contextlib
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import __version__
from invert.batch.images import Listed, list_images
from invert.cli import options
from invert.cli.help import OUTPUT
from invert.cli.output import Output
from invert.durable import write_atomic
from invert.errors import ExitCode, NoInputError, UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.projection.config import METHOD_SETTINGS, ProjectConfig, method_digest
from invert.report.spreadsheet import csv_line

if TYPE_CHECKING:
    from invert.attribution.attributions import Attribution
    from invert.attribution.candidate import LoadedCandidate

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
    help="Apply the paper's plain rule, LPIPS below D, whose error rate is unknown.",
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
    rate: float | None,
    report: Path | None,
    as_csv: bool,
    seed: int,
    batch: int | None,
    threads: int | None,
    device: str,
    max_pixels: int | None,
    follow: bool,
    as_json: bool,
    quiet: bool,
    overwrite: bool,
    **given: Any,
) -> int:
    """Say of each image whether it is attributed to a network, to none of these, or whether it cannot be told.

    The error rate of a verdict is that of the network's calibration, for images like those it was made with.
    The settings of the method come from there too, and a calibration of another method or network is refused.
    Without a calibration, preset verdict measures distances alone.
    """
    _check(threshold, rate, as_csv, as_json, report, overwrite)
    policy = ImagePolicy() if max_pixels is None else ImagePolicy(max_pixels=max_pixels)
    with Output(as_json=as_json, quiet=quiet or as_csv) as output:
        listed = _list(paths, follow, output)
        from invert.attribution import attributions
        from invert.attribution.candidate import check_calibrations, open_candidates
        from invert.projection.session import prepare_process

        kind = options.device_kind(device)
        prepare_process(kind, threads, output.note)
        networks = []
        for path in list(network_paths) or [options.network_or_default(None, output)]:
            loaded = options.load_network(path, output)
            options.check_class(loaded.generator.config.mapping.c_dim, given.get("class_index"), required=False)
            networks.append((path, loaded))
        given |= {"seed": seed, "threads": threads, "device": kind, "batch": batch}
        candidates = open_candidates(
            networks,
            given,
            calibrations=calibration_paths,
            policy=policy,
            images=len(listed),
            on_message=output.note,
        )
        warning = check_calibrations(candidates, threshold)
        if warning:
            output.warning(warning)
        size = candidates[0].projector.batch
        steps = candidates[0].config.steps * candidates[0].config.restarts * len(candidates)
        progress = output.progress(len(listed), size, steps)
        shown = _Shown(candidates, output, as_csv, report is not None)
        images = attributions.read_targets(candidates, listed, policy)
        judged = attributions.attribute(
            candidates, images, batch=size, threshold=threshold, rate=rate, on_step=progress.step
        )
        with contextlib.closing(judged):  # type: ignore[type-var]
            for found in judged:
                shown.show(found)
        if report is not None:
            write_atomic(report, _report(candidates, shown.kept, rate))
        shown.summarise(rate, report)
        return shown.exit_code


class _Shown:
    """What was shown so far.

    Attributes:
        kept: What a report is made from.
    """

    def __init__(
        self, candidates: "Sequence[LoadedCandidate]", output: Output, as_csv: bool, with_report: bool
    ) -> None:
        self._candidates, self._output, self._csv = candidates, output, as_csv
        self._with_report = with_report
        self._counts: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self.kept: list[Attribution] = []

    def show(self, found: "Attribution") -> None:
        """Write an image's line, row or record, and count it."""
        from invert.attribution.report import rows

        if self._with_report:
            self.kept.append(found)
        if found.error is not None:
            self._counts["failed"] += 1
            self._output.error(str(found.error))
            if not self._csv:
                self._output.event(rows.image_record(found, self._candidates))
            return
        for text in found.warnings:
            if not self._warnings[text]:
                self._output.warning(f"image '{display_path(found.path)}': {text}")
            self._warnings[text] += 1
        is_first = not self._counts["judged"]
        self._counts["judged"] += 1
        self._counts["diverged"] += found.is_diverged
        if found.outcome is not None:
            self._counts[str(found.outcome)] += 1
        if self._csv:
            if is_first:
                click.echo(csv_line(rows.csv_header(self._candidates)), nl=False)
            click.echo(csv_line(rows.csv_cells(found)), nl=False)
        else:
            lines = [rows.header(self._candidates, found.verdict is not None)] if is_first else []
            lines += rows.text_lines(found, self._candidates)
            self._output.result(rows.image_record(found, self._candidates), *lines)

    def summarise(self, rate: float | None, report: Path | None) -> None:
        """Say how many images came out how, and what the error rate holds for."""
        from invert.attribution.verdict import Outcome, rate_sentence

        for text, count in self._warnings.items():
            if count > 1:
                self._output.warning(f"{count - 1} more: {text}")
        counts = {str(outcome): self._counts[str(outcome)] for outcome in Outcome}
        judged, failed = self._counts["judged"], self._counts["failed"]
        lines = [""]
        calibrated = [(c.calibration, c.name) for c in self._candidates if c.calibration is not None]
        if len(calibrated) == len(self._candidates):
            lines += [", ".join(f"{count} {name}" for name, count in counts.items()) + f"; {failed} failed"]
            lines += [
                rate_sentence(calibration, name, rate=rate, share=len(calibrated)) for calibration, name in calibrated
            ]
        else:
            lines += [f"{judged} images measured; {failed} failed"]
        if report is not None:
            lines.append(f"report: {display_path(report)}")
        record = {"type": "summary", "code": "done", "judged": judged, "failed": failed, "verdicts": counts}
        record["report"] = None if report is None else os.fspath(report)
        if not self._csv:
            self._output.result(record, *lines)

    @property
    def exit_code(self) -> int:
        """How the command ends."""
        if not self._counts["judged"]:
            return ExitCode.NUMERIC if self._counts["diverged"] else ExitCode.NO_INPUT
        return ExitCode.PARTIAL if self._counts["failed"] or self._counts["diverged"] else ExitCode.OK


def _report(candidates: "Sequence[LoadedCandidate]", images: "Sequence[Attribution]", rate: float | None) -> bytes:
    from invert.attribution.report.page import attribution_report
    from invert.projection.session import run_record

    first = candidates[0]
    settings = {
        "method digest": method_digest(dict(first.method)),
        **first.method,
        **run_record(first.config),
    }
    software = {name: metadata.version(name) for name in ("torch", "numpy", "pillow", "lpips")}
    return attribution_report(
        candidates,
        images,
        command=shlex.join(["invert", *sys.argv[1:]]),
        settings=settings,
        software={"invert": __version__, "python": platform.python_version(), **software},
        rate=rate,
    )


def _check(
    threshold: float | None, rate: float | None, as_csv: bool, as_json: bool, report: Path | None, overwrite: bool
) -> None:
    if as_csv and as_json:
        raise UsageError("--csv and --json cannot both be written to stdout")
    if threshold is not None and not 0 < threshold < 100:
        raise UsageError(f"--threshold {threshold} is no distance")
    if rate is not None and not 0 < rate < 1:
        raise UsageError(f"--fpr {rate} is not between 0 and 1")
    if report is not None and report.exists() and not overwrite:
        raise UsageError("exists already", path=report, advice="Add --overwrite, or choose another --report.")


def _list(paths: Sequence[Path], follow: bool, output: Output) -> list[Listed]:
    found = []
    for listed in list_images(paths, follow):
        if listed.error is not None and listed.error.by_rule:
            output.warning(str(listed.error))
        else:
            found.append(listed)
    if not found:
        advice = "Name image files, or a folder with PNG, JPEG, WebP or BMP files."
        raise NoInputError("there are no images", path=paths[0] if len(paths) == 1 else None, advice=advice)
    return found
