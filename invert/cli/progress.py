"""Progress on stderr: one bar per command, or a line now and then where stderr is not a terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from invert.cli.text import message

__all__ = ["Bar", "BatchProgress", "DrawingProgress", "Progress", "TrainingProgress"]


class Bar:
    """What every progress has in common: one bar of tqdm, or none."""

    _bar: Any = None

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


class Progress(Bar):
    """One bar on stderr for all images; a line now and then where stderr is not a terminal.

    Args:
        images: How many images there are to project; `expect` corrects it.
        batch: Images per group.
        steps: Steps that one group takes, all restarts together.
        quiet: Show nothing.
    """

    def __init__(self, images: int, batch: int, steps: int, quiet: bool) -> None:
        self._batch, self._steps = batch, steps
        self._done = 0
        self._lines = not quiet and not sys.stderr.isatty()
        if not quiet and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(file=sys.stderr, unit="step", dynamic_ncols=True, leave=False, delay=1e-6)
        self.expect(images)

    def expect(self, images: int) -> None:
        """Say how many images there are to project, now that some turned out bad or finished."""
        self._images = images
        self._total = max(1, -(-images // self._batch)) * self._steps
        if self._bar is not None:
            self._bar.total = self._total

    def step(self, group: int, distances: Sequence[float]) -> None:
        """Count one step of a group of images at these distances."""
        self._done += 1
        if self._bar is None and not self._lines:
            return
        first, last = group * self._batch + 1, min((group + 1) * self._batch, self._images)
        which = f"image {first}" if first == last else f"images {first}-{last}"
        where = f"{which} of {self._images}"
        distance = sum(distances) / max(1, len(distances))
        if self._bar is not None:
            self._bar.set_description_str(where, refresh=False)
            self._bar.set_postfix_str(f"distance {distance:.4f}", refresh=False)
            self._bar.update()
        elif self._done * 10 // self._total != (self._done - 1) * 10 // self._total:
            message("progress", f"{where}, step {self._done} of {self._total}, distance {distance:.4f}")


class TrainingProgress(Bar):
    """One bar on stderr for a training run; a line per tick where stderr is not a terminal.

    Args:
        done: Images seen before. total: Images to see.
        quiet: Show nothing.
    """

    _REFRESH = 0.5  # seconds; reading the losses waits for the device

    def __init__(self, done: int, total: int, quiet: bool) -> None:
        self._total = total
        self._lines = not quiet and not sys.stderr.isatty()
        self._read = 0.0
        if not quiet and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(
                file=sys.stderr, unit="img", initial=done, total=total, dynamic_ncols=True, leave=False, smoothing=0.05
            )

    def step(self, images: int, losses: Callable[[], Mapping[str, float | None]]) -> None:
        """Say how many images were seen; `losses` is asked now and then."""
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._read > self._REFRESH:
            self._read = now
            text = _losses(losses())
            if text:  # a tick has just begun new means
                self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(images - self._bar.n)

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


class BatchProgress(Bar):
    """One bar on stderr for a batch: images done, speed, mean distance, failures, time left.

    Args:
        images: How many there are. quiet: Show nothing.
    """

    _SILENCE = 10.0  # seconds between two lines where there is no terminal

    def __init__(self, images: int, quiet: bool) -> None:
        self._total = images
        self._lines = not quiet and not sys.stderr.isatty()
        self._done = self._new = self._failed = 0
        self._sum = 0.0
        self._started = self._told = time.monotonic()
        if not quiet and not self._lines:
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"
            self._bar = tqdm(file=sys.stderr, total=images, dynamic_ncols=True, leave=False, bar_format=layout)
            self._show()

    def image(self, distance: float | None, *, is_new: bool) -> None:
        """Count an image that is done, or with None one that failed; `is_new` if this run did the work."""
        self._done += 1
        self._new += is_new
        if distance is None:
            self._failed += 1
        else:
            self._sum += distance
        self._show()

    @property
    def mean_distance(self) -> float | None:
        """Mean over the images that have one; None without any."""
        succeeded = self._done - self._failed
        return self._sum / succeeded if succeeded else None

    def beat(self) -> None:
        """Keep the clock going between two images."""
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(self._parts(now)), refresh=False)
            self._bar.update(self._done - self._bar.n)
        elif self._lines and (now - self._told > self._SILENCE):
            self._told = now
            message("progress", ", ".join([f"{self._done} of {self._total} images", *self._parts(now)]))

    def _parts(self, now: float) -> list[str]:
        speed = self._new / max(now - self._started, 1e-9)
        parts = []
        if self._new:
            parts += [f"{speed * 3600:.0f} images/h", f"{(self._total - self._done) / speed / 60:.0f} min left"]
        if self.mean_distance is not None:
            parts.append(f"mean distance {self.mean_distance:.4f}")
        if self._failed:
            parts.append(f"{self._failed} failed")
        return parts


class DrawingProgress(Bar):
    """One bar on stderr for images that are drawn; a line now and then where stderr is not a terminal.

    Args:
        images: How many there are. quiet: Show nothing.
    """

    _SILENCE = 10.0  # seconds between two lines where there is no terminal

    def __init__(self, images: int, quiet: bool) -> None:
        self._total, self._done = images, 0
        self._told = time.monotonic()
        self._lines = not quiet and not sys.stderr.isatty()
        if not quiet and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(file=sys.stderr, unit="image", total=images, dynamic_ncols=True, leave=False)

    def step(self) -> None:
        """Count an image."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif self._lines and time.monotonic() - self._told > self._SILENCE:
            self._told = time.monotonic()
            message("progress", f"{self._done} of {self._total} images")
