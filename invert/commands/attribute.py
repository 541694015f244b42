"""`invert attribute`: say of images whether a network drew them, and with which error rate."""

import contextlib
import dataclasses
import itertools
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import __version__
from invert.batch.images import Listed, ahead, list_images, read_image
from invert.cli import options
from invert.cli.help import OUTPUT
from invert.cli.output import Output
from invert.durable import write_atomic
from invert.errors import ExitCode, ImageError, NoInputError, UsageError, display_path
from invert.images.decoding import ImagePolicy
from invert.images.target import Target
from invert.projection.config import METHOD_SETTINGS, ProjectConfig, arguments_of, method_digest, with_defaults

if TYPE_CHECKING:
    from invert.attribution.candidate import Asked, Candidate
    from invert.attribution.report.summary import ReportImage
    from invert.attribution.verdict import Verdict

__all__ = ["Judge", "attribute", "plain_verdict"]


class Judge:
    """Images on their way to verdicts."""

    def __init__(
        self,
        candidates: "Sequence[Candidate]",
        threshold: float | None,
        rate: float | None,
        batch: int,
        policy: ImagePolicy,
        output: Output,
        as_csv: bool,
        with_report: bool,
    ) -> None:
        self._candidates, self._threshold, self._rate = candidates, threshold, rate
        self._batch, self._policy, self._output = batch, policy, output
        self._csv, self._with_report = as_csv, with_report
        self._shown: list[ReportImage] = []
        self._counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._begun = False

    def work(self, listed: Sequence[Listed], report: Path | None) -> int:
        """Judge all images and return the exit code."""
        config = self._candidates[0].config
        steps = config.steps * config.restarts * len(self._candidates)
        self._progress = self._output.progress(len(listed), self._batch, steps)
        images = ahead(self._read(listed), 2 * self._batch)
        with contextlib.closing(images):  # type: ignore[type-var]
            for number in itertools.count():
                group = list(itertools.islice(images, self._batch))
                if not group:
                    break
                self._judge(number, group)
        self._finish(report)
        if not self._counts["judged"]:
            return ExitCode.NUMERIC if self._counts["diverged"] else ExitCode.NO_INPUT
        return ExitCode.PARTIAL if self._counts["failed"] or self._counts["diverged"] else ExitCode.OK

    def _read(self, listed: Sequence[Listed]) -> Iterator[tuple[Listed, list[Target] | ImageError]]:
        """Read each image once for each size and number of channels that a network has."""
        for item in listed:
            targets: dict[tuple[int, int], Target | ImageError] = {}
            for candidate in self._candidates:
                key = (candidate.resolution, candidate.channels)
                if key not in targets:
                    targets[key] = read_image(item, *key, self._policy)
            bad = next((value for value in targets.values() if isinstance(value, ImageError)), None)
            found = [targets[candidate.resolution, candidate.channels] for candidate in self._candidates]
            yield item, bad if bad is not None else [one for one in found if isinstance(one, Target)]

    def _judge(self, number: int, group: Sequence[tuple[Listed, list[Target] | ImageError]]) -> None:
        good = [(item, targets) for item, targets in group if not isinstance(targets, ImageError)]
        asked: list[list[Asked]] = []
        for index, candidate in enumerate(self._candidates if good else ()):
            targets = [targets[index] for _, targets in good]
            asked.append(candidate.ask(targets, lambda record: self._progress.step(number, record.distances)))
        answers = iter(zip(*asked, strict=True))
        for item, targets_or_error in group:
            if isinstance(targets_or_error, ImageError):
                self._fail(item, targets_or_error)
            else:
                self._tell(item, targets_or_error, list(next(answers)))

    def _tell(self, item: Listed, targets: Sequence[Target], answers: "list[Asked]") -> None:
        from invert.attribution.verdict import decide
        from invert.statistics.thresholds import TooFewNegativesError

        for text in dict.fromkeys(text for target in targets for text in target.warnings):
            if not self._told[text]:
                self._output.warning(f"image '{display_path(item.path)}': {text}")
            self._told[text] += 1
        verdict: Verdict | None = None
        calibrations = [c.calibration for c in self._candidates if c.calibration is not None]
        if len(calibrations) == len(self._candidates):
            measurements = [answer.measurement for answer in answers]
            try:
                verdict = decide(calibrations, measurements, [c.name for c in self._candidates], rate=self._rate)
            except TooFewNegativesError as error:
                raise UsageError(
                    f"the calibration cannot promise this rate to {len(self._candidates)} candidates: {error}",
                    advice="Calibrate with more images (--candidates says how many), or give a larger --fpr.",
                    code="too-few-negatives",
                ) from error
        self._counts["judged"] += 1
        self._counts["diverged"] += any(answer.projection.status != "ok" for answer in answers)
        if verdict is not None:
            self._counts[str(verdict.outcome)] += 1
        self._show(item, targets, verdict, answers)

    def _show(self, item: Listed, targets: Sequence[Target], verdict: "Verdict | None", answers: "list[Asked]") -> None:
        from invert.attribution.report.rows import csv_row, header, image_record, text_line

        distances = [answer.projection.distance for answer in answers]
        plain = "" if self._threshold is None else plain_verdict(distances, self._threshold, self._candidates)
        record = image_record(item.path, targets[0], verdict, self._candidates, distances, plain)
        if self._csv:
            if not self._begun:
                click.echo(csv_row(None, self._candidates), nl=False)
            click.echo(csv_row(record, self._candidates), nl=False)
        else:
            lines = [] if self._begun else [header(self._candidates, verdict is not None)]
            lines += [text_line(item.path, verdict, self._candidates, distances, plain)]
            self._output.result(record, *lines)
        self._begun = True
        if self._with_report:
            from invert.attribution.report.summary import ReportImage

            arrays, images = [target.array for target in targets], [answer.projection.image for answer in answers]
            self._shown.append(
                ReportImage(item.path, targets[0].file_sha256, arrays, verdict, images, distances, plain)
            )

    def _fail(self, item: Listed, error: ImageError) -> None:
        self._counts["failed"] += 1
        self._output.error(str(error))
        if not self._csv:
            self._output.event({"type": "image", **error.record()})
        if self._with_report:
            from invert.attribution.report.summary import ReportImage

            self._shown.append(ReportImage(item.path, "", (), None, (), (), error.reason))

    def _finish(self, report: Path | None) -> None:
        from invert.attribution.verdict import Outcome, rate_sentence

        for text, count in self._told.items():
            if count > 1:
                self._output.warning(f"{count - 1} more: {text}")
        counts = {str(outcome): self._counts[str(outcome)] for outcome in Outcome}
        judged, failed = self._counts["judged"], self._counts["failed"]
        lines = [""]
        if all(candidate.calibration is not None for candidate in self._candidates):
            lines += [", ".join(f"{count} {name}" for name, count in counts.items()) + f"; {failed} failed"]
            lines += [
                rate_sentence(c.calibration, c.name, rate=self._rate, share=len(self._candidates))
                for c in self._candidates
                if c.calibration is not None
            ]
        else:
            lines += [f"{judged} images measured; {failed} failed"]
        if report is not None:
            write_atomic(report, self._report())
            lines.append(f"report: {display_path(report)}")
        record = {"type": "summary", "code": "done", "judged": judged, "failed": failed, "verdicts": counts}
        record["report"] = None if report is None else os.fspath(report)
        if not self._csv:
            self._output.result(record, *lines)

    def _report(self) -> bytes:
        import torch

        from invert.attribution.report.page import attribution_report
        from invert.attribution.report.summary import ReportNetwork
        from invert.projection.projector import run_record

        networks = [
            ReportNetwork(c.name, c.path, c.sha256, c.calibration, c.calibration_path) for c in self._candidates
        ]
        first = self._candidates[0]
        settings = {
            "method digest": method_digest(first.method),
            **first.method,
            **run_record(first.config, self._batch, torch.device(first.config.device)),
        }
        command = shlex.join(["invert", *sys.argv[1:]])
        software = {name: metadata.version(name) for name in ("torch", "numpy", "pillow", "lpips")}
        return attribution_report(
            networks,
            self._shown,
            command=command,
            settings=settings,
            software={"invert": __version__, "python": platform.python_version(), **software},
            rate=self._rate,
        )


def plain_verdict(distances: Sequence[float], threshold: float, candidates: "Sequence[Candidate]") -> str:
    """Say what the paper's rule says: below a threshold that the user chose, error rate unknown."""
    below = [c.name for c, distance in zip(candidates, distances, strict=True) if distance < threshold]
    what = f"below {threshold:g} for {', '.join(below)}" if below else f"not below {threshold:g}"
    return f"{what} (error rate unknown)"


_BATCH = 16


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
        networks = list(network_paths) or [options.network_or_default(None, output)]
        names = _names(networks)
        settings = {"seed": seed, "threads": threads}
        opened = _Opening(policy, given, settings, batch, options.device_kind(device), output)
        candidates = [
            opened.open(name, path, calibration_paths, len(listed)) for name, path in zip(names, networks, strict=True)
        ]
        missing = [candidate for candidate in candidates if candidate.calibration is None]
        if missing and len(candidates) > 1 and threshold is None:
            raise UsageError(
                f"{len(candidates)} networks are compared by their calibrations, and {missing[0].name} has none",
                path=missing[0].path,
                advice=_calibrate_command(missing[0]),
                code="no-calibration",
            )
        if missing and threshold is None:
            output.warning(
                f"there is no calibration of {missing[0].name}: distances only. {_calibrate_command(missing[0])}"
            )
        judge = Judge(candidates, threshold, rate, opened.batch, policy, output, as_csv, report is not None)
        return judge.work(listed, report)


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


def _names(networks: Sequence[Path]) -> list[str]:
    """Return what the networks are called: their files' stems, numbered where they are alike."""
    stems = [path.stem for path in networks]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else f"{stem} ({number})" for number, stem in enumerate(stems, 1)]


def _calibrate_command(candidate: "Candidate") -> str:
    from invert.projection.start import bank_size

    command = ["invert", "calibrate", "--network", os.fspath(candidate.path), "--real", "DIR", "--other", "DIR"]
    config = candidate.config
    usual = ProjectConfig(**with_defaults({"preset": config.preset}))
    usual = dataclasses.replace(config, **{name: getattr(usual, name) for name in METHOD_SETTINGS})
    if config.starts_from_bank:
        usual = dataclasses.replace(usual, bank=bank_size(candidate.resolution))
    command += arguments_of(config, unlike=dataclasses.replace(usual, preset="verdict"))
    return f"Make one with: {display_path(shlex.join(command))}"


class _Opening:
    """Load networks with their calibrations and settings."""

    def __init__(
        self,
        policy: ImagePolicy,
        given: dict[str, Any],
        settings: dict[str, Any],
        batch: int | None,
        device: str,
        output: Output,
    ) -> None:
        self._policy, self._given, self._settings = policy, given, settings
        self._device, self._output = device, output
        self.batch = batch or 0

    def open(self, name: str, path: Path, calibration_paths: Sequence[Path], images: int) -> "Candidate":
        """Return a network that can be asked."""
        from invert.attribution.calibration_file import find_calibration
        from invert.attribution.candidate import Candidate, settings_for
        from invert.projection.projector import default_batch, prepare_process

        prepare_process(self._device, self._settings["threads"], self._output.note)
        loaded = options.load_network(path, self._output)
        found = find_calibration(path, loaded.provenance.sha256, calibration_paths)
        if found is None and calibration_paths:
            reason = f"none of the calibrations given is of the network '{display_path(path)}'"
            raise UsageError(reason, advice="They belong to a network by its sha256.", code="calibration-network")
        calibration_path, calibration = found or (None, None)
        given = {key: value for key, value in self._given.items() if value is not None}
        if calibration is None:
            given = with_defaults({"preset": "verdict", **given})
        elif given.get("preset", calibration.method["preset"]) != calibration.method["preset"]:
            given = with_defaults(given)
        given |= {"device": self._device, **self._settings}
        config, method = settings_for(loaded, self._policy, given, calibration, calibration_path)
        resolution = loaded.generator.config.synthesis.img_resolution
        options.check_class(loaded.generator.config.mapping.c_dim, config.class_index, required=False)
        self.batch = self.batch or min(images, 2 * default_batch(_BATCH, resolution, self._device))
        config = dataclasses.replace(config, batch=self.batch)
        return Candidate(
            name,
            path,
            loaded,
            config,
            method,
            batch=self.batch,
            device=self._device,
            calibration=calibration,
            calibration_path=calibration_path,
            on_message=self._output.note,
        )
