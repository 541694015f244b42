"""What the command line writes: results to stdout, progress and messages to stderr."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

import click

__all__ = ["Output", "Progress", "guard_streams", "message"]


def _one_line(text: str) -> str:
    """Escape what could move the cursor or forge a second line, whatever a library put into its message."""
    return "".join(c if c.isprintable() else ("\\n" if c == "\n" else f"\\u{ord(c):04x}") for c in text.strip())


def message(kind: str, text: str) -> None:
    """Write one line, `invert: <kind>: <text>`, to stderr."""
    # A closed stderr must not turn a message into a second error.
    with contextlib.suppress(OSError):
        click.echo(f"invert: {kind}: {_one_line(text)}", err=True)


def guard_streams() -> None:
    """Make both streams safe to write to: closed ones go nowhere, characters they lack are escaped."""
    for name in ("stdout", "stderr"):
        stream: IO[str] | None = getattr(sys, name)
        if stream is None:
            # Otherwise the first file that is opened gets descriptor 1 or 2, and messages land in it.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class Progress:
    """One bar on stderr for all pictures; a line now and then where stderr is not a terminal.

    Args:
        pictures: How many pictures there are to project; `expect` corrects it.
        batch: Pictures per group.
        steps: Steps that one group takes, all restarts together.
        quiet: Show nothing.
    """

    def __init__(self, pictures: int, batch: int, steps: int, quiet: bool) -> None:
        self._batch, self._steps = batch, steps
        self._done = 0
        self._lines = not quiet and not sys.stderr.isatty()
        self._bar: Any = None
        if not quiet and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(file=sys.stderr, unit="step", dynamic_ncols=True, leave=False, delay=1e-6)
        self.expect(pictures)

    def expect(self, pictures: int) -> None:
        """Say how many pictures there are to project, now that some turned out bad or finished."""
        self._pictures = pictures
        self._total = max(1, -(-pictures // self._batch)) * self._steps
        if self._bar is not None:
            self._bar.total = self._total

    def step(self, group: int, distances: Sequence[float]) -> None:
        """Count one step of a group of pictures at these distances."""
        self._done += 1
        if self._bar is None and not self._lines:
            return
        first, last = group * self._batch + 1, min((group + 1) * self._batch, self._pictures)
        which = f"picture {first}" if first == last else f"pictures {first}-{last}"
        where = f"{which} of {self._pictures}"
        distance = sum(distances) / max(1, len(distances))
        if self._bar is not None:
            self._bar.set_description_str(where, refresh=False)
            self._bar.set_postfix_str(f"distance {distance:.4f}", refresh=False)
            self._bar.update()
        elif self._done * 10 // self._total != (self._done - 1) * 10 // self._total:
            message("progress", f"{where}, step {self._done} of {self._total}, distance {distance:.4f}")

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the bar off the terminal while something else is written there."""
        if self._bar is not None:
            self._bar.clear()
        yield
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


class Output:
    """Results and messages of one command.

    Args:
        as_json: Write JSON Lines to stdout instead of text for people.
        quiet: No progress and no notes; results, warnings and errors stay.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._json = as_json
        self._quiet = quiet
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.close()

    def progress(self, pictures: int, batch: int, steps: int) -> Progress:
        """Start the one bar of this command."""
        self._progress = Progress(pictures, batch, steps, self._quiet)
        return self._progress

    def result(self, record: Mapping[str, Any], *lines: str) -> None:
        """Write one result to stdout: the record with --json, the lines for people without."""
        # ASCII only: a surrogate, which stands for a byte that is not UTF-8, survives as an escape.
        texts = [json.dumps(record, allow_nan=False)] if self._json else lines
        with self._aside():
            for text in texts:
                click.echo(text)

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

    def _aside(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._progress is None else self._progress.hidden()
