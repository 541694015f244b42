"""What the command line writes: results to stdout, progress and messages to stderr."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import IO, Any, Self

import click

from invert.batch.work import Done, Event, Failed
from invert.cli.progress import (
    Bar,
    BatchProgress,
    ImageProgress,
    MeasureProgress,
    ProjectionProgress,
    StepProgress,
    SweepProgress,
    TrainingProgress,
)
from invert.cli.text import line, message
from invert.report.spreadsheet import csv_line

__all__ = ["BatchFollower", "Output", "guard_streams", "message"]


def guard_streams() -> None:
    """Make both streams safe to write to: closed ones go nowhere, characters they lack are escaped."""
    for name in ("stdout", "stderr"):
        stream: IO[str] | None = getattr(sys, name)
        if stream is None:
            # Otherwise the first file that is opened gets descriptor 1 or 2, and messages land in it.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class Output:
    """Results and messages of one command.

    Args:
        as_json: Write JSON Lines to stdout instead of text for people.
        quiet: Show no progress and no notes; results, warnings and errors stay.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._json = as_json
        self._quiet = quiet
        self._progress: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.close()

    def progress(self, images: int, batch: int, steps: int) -> ProjectionProgress:
        """Start the one bar of a projection, in the place of an earlier one."""
        if self._progress is not None:
            self._progress.close()
        self._progress = progress = ProjectionProgress(images, batch, steps, self._quiet)
        return progress

    def training_progress(self, done: int, total: int) -> TrainingProgress:
        """Start the one bar of a training run."""
        if self._progress is not None:
            self._progress.close()
        self._progress = progress = TrainingProgress(done, total, self._quiet)
        return progress

    def batch_progress(self, images: int) -> BatchProgress:
        """Start the one bar of a batch."""
        self._progress = progress = BatchProgress(images, self._quiet)
        return progress

    def image_progress(self, images: int, *, silence: float | None = 10.0) -> ImageProgress:
        """Start the one bar of single images; see `invert.cli.progress.Bar` for `silence`."""
        self._progress = progress = ImageProgress(images, self._quiet, silence)
        return progress

    def step_progress(self, steps: int) -> StepProgress:
        """Start the one bar of the steps of a training."""
        self._progress = progress = StepProgress(steps, self._quiet)
        return progress

    def sweep_progress(self, total: int) -> SweepProgress:
        """Start the bar of a sweep over seeds, in the place of that of the projections before it."""
        if self._progress is not None:
            self._progress.close()
        self._progress = progress = SweepProgress(total, self._quiet)
        return progress

    def measure_progress(self) -> MeasureProgress:
        """Start the one bar of a measurement."""
        self._progress = progress = MeasureProgress(self._quiet)
        return progress

    def follow_batch(self, images: int) -> "BatchFollower":
        """Return what shows the events of a batch of so many images; its bar starts with the first one."""
        return BatchFollower(self, images)

    def event(self, record: Mapping[str, Any]) -> None:
        """Write a record that only programs want: with --json."""
        if self._json:
            self.result(record)

    def result(self, record: Mapping[str, Any], *lines: str) -> None:
        """Write one result to stdout: the record with --json, the lines for people without."""
        # ASCII only: a surrogate, which stands for a byte that is not UTF-8, survives as an escape.
        texts = [json.dumps(record, allow_nan=False)] if self._json else lines
        with self._aside():
            for text in texts:
                line(text)

    def row(self, cells: Iterable[Any]) -> None:
        """Write one row of CSV to stdout."""
        with self._aside():
            line(csv_line(cells).removesuffix("\n"))

    def note(self, text: str) -> None:
        """Say on stderr what was decided; not with --quiet."""
        if not self._quiet:
            with self._aside():
                message("note", text)

    def warning(self, text: str) -> None:
        """Say on stderr what the user should know."""
        with self._aside():
            message("warning", text)

    def error(self, text: str) -> None:
        """Say on stderr what failed."""
        with self._aside():
            message("error", text)

    def keeps(self, text: str = "What was finished is kept.") -> None:
        """Say what becomes of the work when the user stops it; a command that does not say so promises nothing.

        Args:
            text: A whole sentence, for the line in which the command ends.
        """
        context = click.get_current_context(silent=True)
        if context is not None and isinstance(context.obj, dict):
            context.obj["kept"] = text

    def _aside(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._progress is None else self._progress.hidden()


class BatchFollower:
    """Show the events of a batch: progress, and an error for each image without a result.

    Attributes:
        failed: How many images have none, so far.
    """

    def __init__(self, output: Output, images: int) -> None:
        self._output, self._images = output, images
        self._progress: BatchProgress | None = None
        self.failed = 0

    def expect(self, images: int) -> None:
        """Say how many images there are, before the first event."""
        self._images = images

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._progress is None:
            self._progress = self._output.batch_progress(self._images)
        if isinstance(event, Done):
            self._progress.image(event.distance, is_new=event.is_new)
        elif isinstance(event, Failed):
            self.failed += 1
            self._progress.image(None, is_new=False)
            self._output.error(event.message)
        else:
            self._progress.beat()
