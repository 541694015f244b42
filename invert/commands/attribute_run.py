"""Pictures of `invert attribute` on their way to verdicts: group by group, network by network, line by line."""

import contextlib
import itertools
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from invert import __version__
from invert.batch.pictures import Listed, ahead, read_picture
from invert.config import method_digest
from invert.durable import write_atomic
from invert.errors import ExitCode, ImageError, UsageError, display_path
from invert.images import ImagePolicy, Target
from invert.output import Output

if TYPE_CHECKING:
    from invert.attribution.candidate import Asked, Candidate
    from invert.attribution.report import ReportPicture
    from invert.attribution.verdict import Verdict

__all__ = ["Judge", "plain_verdict"]


class Judge:
    """Pictures on their way to verdicts."""

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
        self._shown: list[ReportPicture] = []
        self._counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._begun = False

    def work(self, listed: Sequence[Listed], report: Path | None) -> int:
        """Judge all pictures and return the exit code."""
        config = self._candidates[0].config
        steps = config.steps * config.restarts * len(self._candidates)
        self._progress = self._output.progress(len(listed), self._batch, steps)
        pictures = ahead(self._read(listed), 2 * self._batch)
        with contextlib.closing(pictures):  # type: ignore[type-var]
            for number in itertools.count():
                group = list(itertools.islice(pictures, self._batch))
                if not group:
                    break
                self._judge(number, group)
        self._finish(report)
        if not self._counts["judged"]:
            return ExitCode.NUMERIC if self._counts["diverged"] else ExitCode.NO_INPUT
        return ExitCode.PARTIAL if self._counts["failed"] or self._counts["diverged"] else ExitCode.OK

    def _read(self, listed: Sequence[Listed]) -> Iterator[tuple[Listed, list[Target] | ImageError]]:
        """Read each picture once for each size and number of channels that a network has."""
        for item in listed:
            targets: dict[tuple[int, int], Target | ImageError] = {}
            for candidate in self._candidates:
                key = (candidate.resolution, candidate.channels)
                if key not in targets:
                    targets[key] = read_picture(item, *key, self._policy)
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
                    advice="Calibrate with more pictures (--candidates says how many), or give a larger --fpr.",
                    code="too-few-negatives",
                ) from error
        self._counts["judged"] += 1
        self._counts["diverged"] += any(answer.projection.status != "ok" for answer in answers)
        if verdict is not None:
            self._counts[str(verdict.outcome)] += 1
        self._show(item, targets, verdict, answers)

    def _show(self, item: Listed, targets: Sequence[Target], verdict: "Verdict | None", answers: "list[Asked]") -> None:
        from invert.attribution.results import csv_row, header, picture_record, text_line

        distances = [answer.projection.distance for answer in answers]
        plain = "" if self._threshold is None else plain_verdict(distances, self._threshold, self._candidates)
        record = picture_record(item.path, targets[0], verdict, self._candidates, distances, plain)
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
            from invert.attribution.report import ReportPicture

            arrays, images = [target.array for target in targets], [answer.projection.image for answer in answers]
            self._shown.append(
                ReportPicture(item.path, targets[0].file_sha256, arrays, verdict, images, distances, plain)
            )

    def _fail(self, item: Listed, error: ImageError) -> None:
        self._counts["failed"] += 1
        self._output.error(str(error))
        if not self._csv:
            self._output.event({"type": "picture", **error.record()})
        if self._with_report:
            from invert.attribution.report import ReportPicture

            self._shown.append(ReportPicture(item.path, "", (), None, (), (), error.reason))

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
            lines += [f"{judged} pictures measured; {failed} failed"]
        if report is not None:
            write_atomic(report, self._report())
            lines.append(f"report: {display_path(report)}")
        record = {"type": "summary", "code": "done", "judged": judged, "failed": failed, "verdicts": counts}
        record["report"] = None if report is None else os.fspath(report)
        if not self._csv:
            self._output.result(record, *lines)

    def _report(self) -> bytes:
        import torch

        from invert.attribution.report import ReportNetwork, attribution_report
        from invert.projection import run_record

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
