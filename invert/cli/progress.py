"""Progress on stderr with the time left: one bar per command, or a line now and then where stderr is no terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from invert.cli.text import message

__all__ = [
    "Bar",
    "BatchProgress",
    "ImageProgress",
    "MeasureProgress",
    "ProjectionProgress",
    "StepProgress",
    "SweepProgress",
    "TrainingProgress",
]


class Bar:
    """The one bar of a command; the kinds of progress differ by their unit and by what they show beside it.

    Args:
        unit: What is counted.
        total: How many there are.
        quiet: Show nothing.
        done: How many were done before this command.
        silence: Seconds between two lines where there is no terminal; with None there is one for every tenth.
        layout: The bar's layout, as tqdm takes it; tqdm's own when None.
    """

    def __init__(
        self,
        unit: str,
        total: int,
        *,
        quiet: bool,
        done: int = 0,
        silence: float | None = None,
        layout: str | None = None,
    ) -> None:
        self._total, self._done, self._silence = total, done, silence
        self._started = self._told = time.monotonic()
        self._lines = not quiet and not sys.stderr.isatty()
        self._bar: Any = None
        if not quiet and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(
                file=sys.stderr,
                unit=unit,
                initial=done,
                total=total,
                dynamic_ncols=True,
                leave=False,
                smoothing=0.05,
                delay=1e-6,
                bar_format=layout,
            )

    def move(self, done: int, *, line: str, title: str = "", beside: str = "") -> None:
        """Say how many are done.

        Args:
            done: How many, with all that were done before.
            line: What is said of it where there is no terminal.
            title: What stands before the bar.
            beside: What stands behind the bar.
        """
        before, self._done = self._done, done
        if self._bar is not None:
            if title:
                self._bar.set_description_str(title, refresh=False)
            if beside:
                self._bar.set_postfix_str(beside, refresh=False)
            self._bar.update(done - self._bar.n)
        elif self._lines and self._is_due(before):
            self._told = time.monotonic()
            message("progress", line)

    def time_left(self, done: int, worked: int) -> str:
        """Return the time left, or nothing where it is not known.

        Args:
            done: How many are done.
            worked: How many of them took this command its time.
        """
        if not worked or done >= self._total:
            return ""
        seconds = (time.monotonic() - self._started) / worked * (self._total - done)
        return f"{seconds / 60:.0f} min left"

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

    def _correct(self, total: int) -> None:
        self._total = total
        if self._bar is not None:
            self._bar.total = total

    def _is_due(self, before: int) -> bool:
        if self._silence is not None:
            return time.monotonic() - self._told > self._silence
        return self._total > 0 and self._done * 10 // self._total != before * 10 // self._total


class ProjectionProgress(Bar):
    """Progress of a projection, counted in steps of groups of images.

    Args:
        images: How many images there are to project; `expect` corrects it.
        batch: Images in a group.
        steps: Steps that one group takes, all restarts together.
        quiet: Show nothing.
    """

    def __init__(self, images: int, batch: int, steps: int, quiet: bool) -> None:
        super().__init__("step", 0, quiet=quiet)
        self._batch, self._steps = batch, steps
        self.expect(images)

    def expect(self, images: int) -> None:
        """Say how many images there are to project, now that some turned out bad or finished."""
        self._images = images
        self._correct(max(1, -(-images // self._batch)) * self._steps)

    def step(self, group: int, distances: Sequence[float]) -> None:
        """Count one step of a group of images at these distances."""
        first, last = group * self._batch + 1, min((group + 1) * self._batch, self._images)
        which = f"image {first}" if first == last else f"images {first}-{last}"
        # A search that tries several explanations takes more steps than one.
        done, title = min(self._done + 1, self._total), f"{which} of {self._images}"
        beside = f"distance {sum(distances) / max(1, len(distances)):.4f}"
        line = [f"{title}, step {done} of {self._total}", beside, self.time_left(done, done)]
        self.move(done, title=title, beside=beside, line=", ".join(filter(None, line)))


class StepProgress(Bar):
    """Progress of the steps of a training.

    Args:
        steps: How many there are.
        quiet: Show nothing.
    """

    def __init__(self, steps: int, quiet: bool) -> None:
        super().__init__("step", steps, quiet=quiet)
        self._first: int | None = None

    def step(self, number: int, beside: str) -> None:
        """Say that a step was made, counted from 1, and what is to be shown of it."""
        if self._first is None:
            self._first = number - 1  # those before were made by an earlier command
        line = [f"step {number} of {self._total}", beside, self.time_left(number, number - self._first)]
        self.move(number, beside=beside, line=", ".join(filter(None, line)))


class ImageProgress(Bar):
    """Progress of single images, which are made or read one after the other.

    Args:
        images: How many there are; `expect` corrects it.
        quiet: Show nothing.
        silence: See `Bar`.
    """

    def __init__(self, images: int, quiet: bool, silence: float | None) -> None:
        super().__init__("image", images, quiet=quiet, silence=silence)

    def expect(self, images: int) -> None:
        """Say how many images there are."""
        self._correct(images)

    def step(self) -> None:
        """Count an image."""
        done = self._done + 1
        self.move(done, line=", ".join(filter(None, [f"image {done} of {self._total}", self.time_left(done, done)])))


class BatchProgress(Bar):
    """Progress of a batch: images done, speed, time left, mean distance, failures.

    Args:
        images: How many there are.
        quiet: Show nothing.
    """

    def __init__(self, images: int, quiet: bool) -> None:
        layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"
        super().__init__("image", images, quiet=quiet, silence=10.0, layout=layout)
        self._new = self._failed = 0
        self._sum = 0.0

    def image(self, distance: float | None, *, is_new: bool) -> None:
        """Count an image that is done, or with None one that failed; `is_new` if this run did the work."""
        self._new += is_new
        if distance is None:
            self._failed += 1
        else:
            self._sum += distance
        self._show(self._done + 1)

    @property
    def mean_distance(self) -> float | None:
        """Mean over the images that have one; None without any."""
        succeeded = self._done - self._failed
        return self._sum / succeeded if succeeded else None

    def beat(self) -> None:
        """Keep the clock going between two images."""
        self._show(self._done)

    def _show(self, done: int) -> None:
        self._done = done
        beside = ", ".join(self._parts())
        self.move(done, beside=beside, line=", ".join(filter(None, [f"{done} of {self._total} images", beside])))

    def _parts(self) -> Iterator[str]:
        if self._new:
            yield f"{self._new / max(time.monotonic() - self._started, 1e-9) * 3600:.0f} images/h"
            yield self.time_left(self._done, self._new) or "0 min left"
        if self.mean_distance is not None:
            yield f"mean distance {self.mean_distance:.4f}"
        if self._failed:
            yield f"{self._failed} failed"


class SweepProgress(Bar):
    """Progress of a sweep over seeds.

    Args:
        total: How many there are, all classes together.
        quiet: Show nothing.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        super().__init__("seed", total, quiet=quiet)

    def step(self, seeds: int) -> None:
        """Count seeds."""
        done = self._done + seeds
        left = self.time_left(done, done)
        self.move(done, title="seeds", line=", ".join(filter(None, [f"{done} of {self._total} seeds", left])))


class MeasureProgress(Bar):
    """Progress of a measurement, whose parts are counted one after the other.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, quiet: bool) -> None:
        super().__init__("", 0, quiet=quiet, silence=10.0)
        self._what = ""

    def step(self, what: str, done: int, total: int) -> None:
        """Say how much of a part is done."""
        if what != self._what:
            self._what, self._began = what, done
            self._started, self._done = time.monotonic(), done
            if self._bar is not None:
                self._bar.reset(total)
        self._correct(total)
        left = self.time_left(done, done - self._began)
        self.move(done, title=what, line=", ".join(filter(None, [f"{what}, {done} of {total}", left])))


class TrainingProgress(Bar):
    """Progress of a training run; where stderr is no terminal, a line for every tick.

    Args:
        done: Images seen before.
        total: Images to see.
        quiet: Show nothing.
    """

    _REFRESH = 0.5  # seconds; reading the losses waits for the device

    def __init__(self, done: int, total: int, quiet: bool) -> None:
        super().__init__("img", total, quiet=quiet, done=done)
        self._read = 0.0

    def step(self, images: int, losses: Callable[[], Mapping[str, float | None]]) -> None:
        """Say how many images were seen; `losses` is asked now and then."""
        if self._bar is None:
            return
        now, text = time.monotonic(), ""
        if now - self._read > self._REFRESH:
            self._read = now
            text = _losses(losses())  # nothing where a tick has just begun new means
        self.move(images, line="", beside=text)

    def tick(self, record: Mapping[str, Any]) -> None:
        """Say what a tick found."""
        if not self._lines:
            return
        speed = record["images_per_second"]
        left = max(0, self._total - record["images"]) / max(speed, 1e-9)
        where = f"{record['images']} of {self._total} images, {speed:.1f} img/s, {left / 60:.0f} min left"
        if "resolution" in record:  # of networks that grow
            where += f", {record['resolution']} px, alpha {record['alpha']:.2f}"
        message("progress", f"{where}, {_losses(record['losses'])}")


def _losses(losses: Mapping[str, float | None]) -> str:
    short = {"generator": "G", "discriminator": "D", "r1": "R1", "gradient_penalty": "GP", "path_length": "path"}
    shown = [f"{label} {losses[name]:.3f}" for name, label in short.items() if losses.get(name) is not None]
    return " ".join(shown)
