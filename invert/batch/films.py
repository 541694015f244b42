"""Optimisations as films and as strips of images: the target, the image so far, and the distance that is left."""

import contextlib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from invert.durable import ensure_folder, write_atomic
from invert.errors import UsageError
from invert.images.arrays import Pixels, enlarge, to_rgb
from invert.images.decoding import to_png_bytes
from invert.images.target import Target
from invert.images.video import VideoWriter, require_av

if TYPE_CHECKING:
    from invert.projection.moments import Moment
    from invert.projection.projector import Projection

__all__ = ["Films"]

_FRAMES = 300
"""Most frames of a film: ten seconds."""

_RATE = 30  # frames per second
_VISIBLE = 128  # px; smaller images are enlarged
_COLUMNS = 12  # images in a row of a strip
_GAP = 4  # px
_INK, _GROUND = "#ffffff", "#000000"


@dataclass
class _Seen:
    """One moment of one image."""

    image: Pixels
    distance: float
    step: str


@dataclass
class _Search:
    """What was seen of one restart.

    Attributes:
        restart: Which one it is.
        distance: The distance so far.
        snapshots: What is for the strip.
        film: The film so far; empty where none is wanted.
        writer: Writes it; closed when it is whole.
    """

    restart: int
    distance: float = math.nan
    snapshots: list[_Seen] = field(default_factory=list)
    film: io.BytesIO = field(default_factory=io.BytesIO)
    writer: VideoWriter | None = None
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class Films:
    """Watches searches, and makes a film and a strip of each image's best one.

    Args:
        video: The film of one image; those of several have the images' names at the end of theirs. None for no films.
        snapshots: Number of images of a strip, the last of which is the result; 0 for no strips.
        several: Whether there are several images.

    Raises:
        UsageError: Films cannot be written here.
    """

    def __init__(self, video: Path | None, snapshots: int, *, several: bool) -> None:
        if video is not None:
            require_av()
        self._video, self._snapshots, self._several = video, snapshots, several
        self._searches: dict[Target, list[_Search]] = {}
        self._made: dict[str, Path] = {}

    def path(self, name: str) -> Path | None:
        """Return the film of an image whose result is called `name`."""
        if self._video is None or not self._several:
            return self._video
        return self._video.with_stem(f"{self._video.stem}-{name}")

    def made(self, name: str) -> Path | None:
        """Return the film that was made of an image now."""
        return self._made.get(name)

    def check(self, names: Iterable[str]) -> None:
        """Check that no film of these images is there already.

        Raises:
            UsageError: There is one.
        """
        for path in map(self.path, names):
            if path is not None and path.exists():
                raise UsageError("exists already", path=path, advice="Add --overwrite, or choose another name.")

    def watch(self, moment: "Moment") -> None:
        """Look at a moment, where it is one that is shown."""
        in_film = self._video is not None and moment.done in _spread(moment.total, _FRAMES)
        in_strip = moment.done < moment.total and moment.done in _spread(moment.total, self._snapshots)
        # The best restart is the one whose distance is the smallest at the end of its search.
        if not in_film and not in_strip and moment.done != moment.searched:
            return
        step = f"step {moment.done} of {moment.total}"
        for target, look in zip(moment.targets, moment.look(), strict=True):
            search = self._search(target, moment.restart, tunes=moment.done > moment.searched)
            search.distance = look.distance
            seen = _Seen(look.image, look.distance, step)
            if in_strip:
                search.snapshots.append(seen)
            if in_film:
                self._add(search, target, seen, unit=moment.unit)

    def strip(self, projection: "Projection") -> bytes | None:
        """Return the images on the way to a projection as one PNG; None where none are wanted."""
        if not self._snapshots:
            return None
        search = self._best(projection)
        seen = [*search.snapshots, _result(projection)]
        return to_png_bytes(_strip(projection.target, seen, _unit(projection)), is_sheet=True)

    def finish(self, projection: "Projection", name: str) -> None:
        """Write the film of an image whose result is called `name`.

        Raises:
            OutputError: It cannot be written.
        """
        search = self._best(projection)
        self.forget(projection)
        path = self.path(name)
        if path is None:
            return
        for _ in range(_RATE):  # one second to look at the result
            self._add(search, projection.target, _result(projection), unit=_unit(projection))
        search.stack.close()
        ensure_folder(path.parent)
        write_atomic(path, search.film.getvalue())
        self._made[name] = path

    def forget(self, projection: "Projection") -> None:
        """Leave out what was seen of an image."""
        self._searches.pop(projection.target, None)

    def _search(self, target: Target, restart: int, *, tunes: bool) -> _Search:
        searches = self._searches.setdefault(target, [])
        if tunes:
            _keep_best(searches)
        elif not searches or searches[-1].restart != restart:
            _keep_best(searches)
            searches.append(_Search(restart))
        return searches[-1]

    def _best(self, projection: "Projection") -> _Search:
        searches = self._searches.setdefault(projection.target, [])
        _keep_best(searches)
        if not searches:
            searches.append(_Search(projection.restart))
        return searches[0]

    def _add(self, search: _Search, target: Target, seen: _Seen, unit: str) -> None:
        frame = _frame(target, seen, unit)
        if search.writer is None:
            height, width, _ = frame.shape
            search.writer = search.stack.enter_context(VideoWriter(search.film, (height, width), _RATE))
        search.writer.write(frame)


def _spread(total: int, count: int) -> set[int]:
    """Return about `count` of the numbers 0 to `total`, both included, at even distances."""
    count = min(count, total + 1)
    return set() if count < 2 else {round(i * total / (count - 1)) for i in range(count)}


def _keep_best(searches: list[_Search]) -> None:
    """Leave only the search that ended nearest; of two that are alike the first, as the projection does."""
    while len(searches) > 1:
        first, second = searches[:2]
        is_better = second.distance < first.distance or not math.isfinite(first.distance)
        searches.pop(0 if is_better else 1).stack.close()


def _unit(projection: "Projection") -> str:
    return "LPIPS" if projection.explanation is None else "rms"


def _result(projection: "Projection") -> _Seen:
    if projection.explanation is None or projection.seen is None:
        return _Seen(projection.image, projection.distance, "result")
    return _Seen(projection.seen, projection.explanation.rms, "result")


def _distance(seen: _Seen, unit: str) -> str:
    return f"{unit} {seen.distance:.{2 if unit == 'rms' else 4}f}"


def _text_size(width: int) -> int:
    return max(11, width // 24)


def _scaled(image: Pixels) -> Pixels:
    """Return an image in colour, large enough to be seen."""
    return enlarge(to_rgb(image), -(-_VISIBLE // min(image.shape[:2])))


def _frame(target: Target, seen: _Seen, unit: str) -> Pixels:
    """Return the target and an image, side by side, with a line of text below."""
    both = np.concatenate([_scaled(target.array), _scaled(seen.image)], axis=1)
    height, width, _ = both.shape
    size = _text_size(width // 2)
    line = 2 * size
    frame = Image.new("RGB", (width, (height + line + 1) // 2 * 2), _GROUND)
    frame.paste(Image.fromarray(both))
    pen, font = ImageDraw.Draw(frame), ImageFont.load_default(size)
    pen.text((_GAP, height + line / 2), seen.step, _INK, font, "lm")
    pen.text((width - _GAP, height + line / 2), _distance(seen, unit), _INK, font, "rm")
    return np.asarray(frame)


def _strip(target: Target, seen: Sequence[_Seen], unit: str) -> Pixels:
    """Return the target and images in rows, each with its step and its distance below."""
    cells = [(target.array, "target", ""), *((one.image, one.step, _distance(one, unit)) for one in seen)]
    height, width, _ = _scaled(target.array).shape
    size = _text_size(width)
    down, across = height + round(3.5 * size) + _GAP, width + _GAP
    columns = min(len(cells), _COLUMNS)
    sheet = Image.new("RGB", (columns * across - _GAP, -(-len(cells) // columns) * down), _GROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for number, (image, *texts) in enumerate(cells):
        x, y = number % columns * across, number // columns * down
        sheet.paste(Image.fromarray(_scaled(image)), (x, y))
        for i, text in enumerate(texts):
            pen.text((x + width / 2, y + height + (1 + 1.5 * i) * size), text, _INK, font, "mm")
    return np.asarray(sheet)
