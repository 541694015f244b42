"""The log of a training run: one JSON record per tick, and TensorBoard events where that extra is installed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator.jsontext import finite_number, read_json, whole_number
from invert.durable import append, ensure_folder, write_atomic
from invert.errors import OutputError, UnreadableError
from invert.images.opening import read_regular
from invert.runs.folder import LOG

__all__ = ["LOG", "TickLog"]

EVENTS = "tensorboard"
_MAX_LOG = 100_000_000
_MAX_LINE = 1 << 16
_MAX_IMAGES = 1 << 40


class TickLog:
    """The log of one run, resumed where its state was saved.

    Args:
        folder: The run's folder.
        images: How many images the state has seen. Later records are dropped, for that work is done again.

    Attributes:
        last: The last record that was kept; empty at the beginning of a run.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self._path = folder / LOG
        kept = [record for record in _read(self._path) if record["images"] <= images and not record.get("partial")]
        text = "".join(_line(record) for record in kept)
        write_atomic(self._path, text.encode())
        self._size = len(text)
        self.last: Mapping[str, Any] = kept[-1] if kept else {}
        self._events = _event_writer(folder / EVENTS, int(self.last.get("images", 0)))

    def add(self, record: Mapping[str, Any]) -> None:
        """Append the record of a tick.

        Raises:
            OutputError: It cannot be written.
        """
        line = _line(record).encode()
        append(self._path, line, self._size)
        self._size += len(line)
        if self._events is not None:
            for name, value in _scalars(record):
                self._events.add_scalar(name, value, record["images"])
            self._events.flush()

    def plot(self, values: Mapping[str, float | None], images: int) -> None:
        """Add values to the events alone, which are no part of the log."""
        if self._events is not None:
            for name, value in values.items():
                if value is not None:
                    self._events.add_scalar(name, value, images)
            self._events.flush()

    def close(self) -> None:
        """Finish the events."""
        if self._events is not None:
            self._events.close()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    """Read the records of an earlier process, up to a line that it did not finish."""
    records: list[dict[str, Any]] = []
    try:
        lines = read_regular(path, _MAX_LOG, follow=False).splitlines()
    except UnreadableError as error:
        if error.fault == "missing":
            return records
        raise OutputError(error.reason, path=path) from error
    for line in lines:
        try:
            record = read_json(line, _MAX_LINE)
            whole_number(record["images"], "images", 0, _MAX_IMAGES)
            finite_number(record.get("seconds", 0.0), "seconds", 0.0)
            whole_number(record.get("tick", 0), "tick", 0, _MAX_IMAGES)
        except (ValueError, KeyError, TypeError, AttributeError):
            break
        records.append(record)
    return records


def _event_writer(folder: Path, images: int) -> Any:
    """Return TensorBoard's writer, or None without it: the log says the same.

    What earlier processes wrote after this number of images is not shown any more.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    ensure_folder(folder, within=folder.parent)
    return SummaryWriter(str(folder), purge_step=images + 1)


def _scalars(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name not in ("tick", "images", "partial"):
            found.append((f"{prefix}{name}", float(value)))
    return found
