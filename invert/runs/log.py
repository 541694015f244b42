"""The log of a training run: one JSON record per tick, and TensorBoard events where that extra is installed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invert.durable import write_atomic
from invert.errors import OutputError, UnreadableError
from invert.images.opening import open_regular

__all__ = ["LOG", "TickLog"]

LOG = "log.jsonl"
EVENTS = "tensorboard"


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
        self.last: Mapping[str, Any] = kept[-1] if kept else {}
        self._events = _event_writer(folder / EVENTS, int(self.last.get("images", 0)))

    def add(self, record: Mapping[str, Any]) -> None:
        """Append the record of a tick.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            with open(self._path, "a", encoding="ascii") as file:
                file.write(_line(record))
        except OSError as error:
            raise OutputError(error.strerror or str(error), path=self._path) from error
        if self._events is not None:
            for name, value in _scalars(record):
                self._events.add_scalar(name, value, record["images"])
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
        with open_regular(path) as file:
            lines = file.read().splitlines()
    except UnreadableError as error:
        if error.fault == "missing":
            return records
        raise OutputError(error.reason, path=path) from error
    except OSError as error:
        raise OutputError(error.strerror or str(error), path=path) from error
    for line in lines:
        try:
            record = json.loads(line)
            if not isinstance(record["images"], int):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
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
    return SummaryWriter(str(folder), purge_step=images + 1)


def _scalars(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name not in ("tick", "images", "partial"):
            found.append((f"{prefix}{name}", float(value)))
    return found
