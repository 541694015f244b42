"""Read back what a training run wrote: settings, log and images. Nothing of it is trusted, or has to be complete."""

import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.jsontext import JsonError, read_json
from invert.errors import NoInputError, UnreadableError
from invert.images.decoding import ImagePolicy, decode_image
from invert.images.opening import open_regular, read_regular
from invert.runs.folder import MAX_SETTINGS, RUN_FORMAT, RUN_VERSION, SETTINGS
from invert.runs.log import LOG
from invert.runs.snapshots import Snapshot, read_snapshots

__all__ = ["Tick", "TrainingHistory", "has_file", "read_grid", "read_history"]

MAX_LOG = 100_000_000
_MAX_LINE = 1 << 16
MAX_IMAGE = 16 << 20
MAX_TICKS = 20_000
"""Where there are more, every second one of the older is left out, again and again."""

_GROUPS = {
    "losses": ("generator", "discriminator", "r1", "r2", "gradient_penalty", "path_length"),
    "scores": ("real", "fake"),
    "": (
        *("path_length_average", "seconds", "images_per_second", "resolution", "alpha"),
        *("augment_p", "real_sign", "blur_sigma"),
    ),
}
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_MAX_IMAGES = 10**12
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_RESOLUTION = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_PNG_ONLY = ImagePolicy(formats=("PNG",), min_size=1, max_bytes=MAX_IMAGE)


@dataclass(frozen=True)
class Tick:
    """A record of the log.

    Attributes:
        images: Number of images seen.
        measures: Losses (generator, discriminator, r1, r2, gradient_penalty, path_length), scores (real, fake),
            path_length_average, seconds, images_per_second, resolution, alpha, augment_p, real_sign and blur_sigma, as
            far as the record has them; they need not be finite.
        shares: Share of each resolution's tRGB in the output's deviation, coarsest first, with the sum 1; or None.
        fakes: What the log calls the grid of samples, be that a fit name or not; or None.
    """

    images: int
    measures: Mapping[str, float]
    shares: Mapping[int, float] | None
    fakes: str | None


@dataclass(frozen=True)
class TrainingHistory:
    """What a run wrote.

    Attributes:
        settings: Settings of the training, as settings.json has them; values of any JSON type.
        data: What settings.json says of the training images.
        software: Versions that settings.json names.
        ticks: In the order of images, each with more than the one before; at least one.
        snapshots: The ticks that have shares or a grid of samples.
        thinned: Whether ticks were left out because there are so many.
        measured: What was measured of snapshots (`invert train --metrics`), the first one first.
    """

    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    software: Mapping[str, Any]
    ticks: tuple[Tick, ...]
    snapshots: tuple[Tick, ...]
    thinned: bool
    measured: tuple[Snapshot, ...]


def read_history(folder: Path) -> TrainingHistory:
    """Read the settings and the log of a run, be it finished or not.

    Raises:
        NoInputError: They are missing, damaged or not of a training run, or nothing was logged yet.
    """
    record = _read_settings(folder)
    all_ticks, snapshots = _Thinned(), _Thinned()
    for tick in _read_log(folder):
        all_ticks.add(tick)
        # A run that was resumed may have done some of its work twice: the later record counts.
        snapshots.drop_from(tick.images)
        if tick.shares is not None or tick.fakes is not None:
            snapshots.add(tick)
    if not all_ticks.ticks:
        raise _nothing_yet(folder / LOG)
    return TrainingHistory(
        settings=record["settings"],
        data=record["data"],
        software=record["software"],
        ticks=tuple(all_ticks.ticks),
        snapshots=tuple(snapshots.ticks),
        thinned=all_ticks.thinned or snapshots.thinned,
        measured=tuple(read_snapshots(folder)[-MAX_TICKS:]),
    )


def has_file(folder: Path, name: str) -> bool:
    """Tell whether a run has a file of this name: a plain name, and neither a link nor a device."""
    try:
        return _PLAIN_NAME.fullmatch(name) is not None and stat.S_ISREG(os.lstat(folder / name).st_mode)
    except OSError:
        return False


def read_grid(folder: Path, name: str) -> bytes:
    """Return a PNG of a run as it is, after decoding it once to see that it is whole.

    Args:
        folder: The run's folder.
        name: What the log calls it; anything but the plain name of a regular file in the folder is refused.

    Raises:
        NoInputError: It is missing, too large or something else than a file.
        ImageError: It is damaged, or no PNG.
    """
    if _PLAIN_NAME.fullmatch(name) is None:
        raise NoInputError("is not a plain file name", path=name, code="run-name")
    data = read_regular(folder / name, MAX_IMAGE, follow=False)
    decode_image(data, 3, _PNG_ONLY)
    return data


class _Thinned:
    """Ticks in the order of images: the first, the last, and not too many between."""

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.thinned = False

    def drop_from(self, images: int) -> None:
        while self.ticks and self.ticks[-1].images >= images:
            self.ticks.pop()

    def add(self, tick: Tick) -> None:
        self.drop_from(tick.images)
        self.ticks.append(tick)
        if len(self.ticks) > MAX_TICKS:
            del self.ticks[1:-1:2]
            self.thinned = True


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        record = read_json(read_regular(path, MAX_SETTINGS, follow=False), surrogates=True)
    except UnreadableError as error:
        if error.fault == "missing":
            error.advice = "Name the folder of a training run."
        raise
    except JsonError as error:
        raise NoInputError("is damaged", path=path, code="run-settings") from error
    if not isinstance(record, dict) or record.get("format") != RUN_FORMAT:
        raise NoInputError("belongs to no training run", path=path, code="run-settings")
    if record.get("version") != RUN_VERSION:
        reason = f"is in another version of its format than {RUN_VERSION}, which this program reads"
        raise NoInputError(reason, path=path, code="run-version")
    for name in ("settings", "data", "software"):
        if not isinstance(record.setdefault(name, {}), dict):
            raise NoInputError("is damaged", path=path, code="run-settings")
    if "pictures" in record["data"]:  # the key's name in runs of version 0.1
        record["data"].setdefault("images", record["data"].pop("pictures"))
    return record


def _read_log(folder: Path) -> Iterator[Tick]:
    path = folder / LOG
    try:
        file = open_regular(path, MAX_LOG, follow=False)
    except UnreadableError as error:
        raise (_nothing_yet(path) if error.fault == "missing" else error) from error
    with file:
        number = 0
        # Bounded by the size that the file had when it was opened, for a run may go on writing to it.
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (line := file.readline(min(left, _MAX_LINE + 1))):
            left -= len(line)
            number += 1
            try:
                tick = _tick(line)
            except _DAMAGE as error:
                # Only the last line has no end: the run is writing it, or was killed while it did.
                if left == 0 and not line.endswith(b"\n"):
                    return
                advice = "Remove the line to see the rest."
                raise NoInputError(f"line {number} is damaged", path=path, advice=advice, code="run-log") from error
            yield tick


def _tick(line: bytes) -> Tick:
    if len(line) > _MAX_LINE:
        raise ValueError("the line is too long")
    record = read_json(line, _MAX_LINE, surrogates=True, finite=False)
    images, fakes, shares = record["images"], record.get("fakes"), record.get("resolution_shares")
    if type(images) is not int or not 0 <= images <= _MAX_IMAGES:
        raise ValueError("images is not a number of images")
    if not isinstance(fakes, str | None):
        raise TypeError("fakes is not a name")
    measures = {}
    for group, names in _GROUPS.items():
        values = record.get(group) if group else record
        found = {} if values is None else {name: values.get(name) for name in names}
        measures.update({name: _number(value) for name, value in found.items() if value is not None})
    return Tick(images, measures, None if shares is None else _shares(shares), fakes)


def _shares(values: Any) -> Mapping[int, float] | None:
    if not isinstance(values, dict) or len(values) > 16 or not all(map(_RESOLUTION.fullmatch, values)):
        raise ValueError("resolution_shares are not shares by resolution")
    shares = {int(name): _number(value) for name, value in values.items()}
    total = sum(shares.values())
    # A network whose images are flat, or no numbers, has no shares.
    if not (0 < total < math.inf and min(shares.values()) >= 0):
        return None
    return {resolution: shares[resolution] / total for resolution in sorted(shares)}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _nothing_yet(path: Path) -> NoInputError:
    return NoInputError("nothing is logged yet", path=path, advice="Wait for the first tick.", code="run-empty")
