"""The folder of a training run: its files, whether a run may be begun or resumed in it, its newest whole state."""

import contextlib
import dataclasses
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import NetworkFileError
from generator.jsontext import JsonError, read_json
from generator.settings import setting_of
from generator.training.config import TrainConfig
from invert.durable import TEMPORARY_PREFIX, ensure_folder, write_atomic
from invert.errors import NetworkError, OutputError, UnreadableError, UsageError, display_path
from invert.images.opening import read_regular
from invert.locking import exclusive_lock
from invert.projection.records import differing_keys
from invert.runs.files import WrittenFiles
from invert.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LOG",
    "NETWORK",
    "REALS",
    "SETTINGS",
    "RunFolder",
    "StateError",
    "lock_run",
    "open_run_folder",
    "record_of",
    "recorded_settings",
]

SETTINGS = "settings.json"
LOG = "log.jsonl"
NETWORK = "network.safetensors"
REALS = "reals.png"
RUN_FORMAT = "invert-training"
RUN_VERSION = 1
MAX_SETTINGS = 1 << 20
_LOCK = ".lock"
MAX_STATE = 64 << 30
_STATES_KEPT = 2
_STATE = re.compile(r"state-[0-9]{12}\.safetensors", re.ASCII)
_EVENTS = "tensorboard/events.out.tfevents*"
_FOREIGN = "run-foreign"

_Record = dict[str, Any]


class StateError(NetworkError):
    """A training state is none of the run in whose folder it lies."""

    code = "state-foreign"
    what = "training state"


def record_of(settings: _Record, data: _Record) -> _Record:
    """Return what settings.json holds.

    Args:
        settings: All settings of the training.
        data: Fingerprint, path and size of the training images.
    """
    import torch

    return {
        "format": RUN_FORMAT,
        "version": RUN_VERSION,
        "settings": settings,
        "data": data,
        "software": {"invert": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


class RunFolder:
    """An open training run.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = WrittenFiles(folder)

    def write(self, name: str, content: bytes) -> None:
        """Write one file of the run, whole or not at all."""
        # Recorded first: a file that is there and not in the record would stay for ever.
        self._files.add(name, content)
        write_atomic(self.folder / name, content)

    def copy(self, name: str, to: str) -> None:
        """Give a network of the run another name too, where that has another content.

        Raises:
            OutputError: It cannot be read or written.
        """
        try:
            content = read_regular(self.folder / name, MAX_STATE, follow=False)
        except UnreadableError as error:
            raise OutputError(error.reason, path=self.folder / name) from error
        with contextlib.suppress(UnreadableError):
            if read_regular(self.folder / to, MAX_STATE, follow=False) == content:
                return
        self.write(to, content)

    def save_state(self, images: int, content: bytes) -> None:
        """Write a training state, and remove those before the last two."""
        self.write(f"state-{images:012d}.safetensors", content)
        for old in self._states()[_STATES_KEPT:]:
            with contextlib.suppress(OSError):
                old.unlink()

    def note_growing(self) -> None:
        """Record how far the files have grown that are only added to: the log and TensorBoard's events."""
        self._files.add_growing([self.folder / LOG, *self.folder.glob(_EVENTS)])

    def newest_state(
        self, limit: int = MAX_STATE, check: "Callable[[dict[str, Tensor]], None]" = lambda _: None
    ) -> tuple["dict[str, Tensor] | None", list[str]]:
        """Return the newest state that is whole, or None, and a line about each one that is not.

        Args:
            limit: The most bytes that a state of this run may have.
            check: Raises NetworkFileError for what is no state of this run.

        Raises:
            StateError: A state is whole, and none of this run: no accident makes such a file.
        """
        from generator.training.state import state_from_bytes

        complaints: list[str] = []
        for path in self._states():
            try:
                state = state_from_bytes(read_regular(path, limit, follow=False))
            except (NetworkFileError, UnreadableError) as error:
                reason = error.reason if isinstance(error, UnreadableError) else error
                complaints.append(f"state '{display_path(path)}': {reason}. What it held is trained again.")
                continue
            try:
                check(state)
            except NetworkFileError as error:
                advice = "Remove it to go on from the state before, or choose another --out."
                raise StateError(error.reason, path=path, advice=advice) from error
            return state, complaints
        return None, complaints

    def last_snapshot(self) -> str:
        """Say where the last network of this run is."""
        path = self.folder / NETWORK
        return f"the last good snapshot is '{display_path(path)}'" if path.is_file() else "there is no snapshot yet"

    def _states(self) -> list[Path]:
        found = self.folder.glob("state-*.safetensors")
        return sorted((path for path in found if _STATE.fullmatch(path.name)), reverse=True)


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and keep every other process out of it.

    Raises:
        BusyError: Another process trains there.
        OutputError: The folder cannot be written.
    """
    ensure_folder(folder)
    with exclusive_lock(folder / _LOCK, folder):
        yield


def open_run_folder(folder: Path, record: _Record, *, overwrite: bool, resume: bool) -> RunFolder:
    """Begin a run, or resume the one that is there.

    Args:
        folder: The run's folder, locked; see `lock_run`.
        record: What `record_of` returned.
        overwrite: Begin again, whatever is there of an earlier run.
        resume: There has to be a run to resume.

    Raises:
        UsageError: The folder holds a run with other settings or data, or something else (with `overwrite` too), or,
            with `resume`, nothing.
    """
    path = folder / SETTINGS
    before = None
    if overwrite and os.path.lexists(path):
        _require_ours(path)
        _clear(folder)
    elif (before := _read(path)) is not None:
        _require_same(before, record, path)
    elif resume and not overwrite:
        raise UsageError("there is no run to resume", path=folder, advice="Leave --resume out.")
    elif any(not name.startswith(".") for name in _listing(folder)):
        raise UsageError("is not empty and not a training run", path=folder, advice="Choose another --out.")
    if before is None:
        write_atomic(path, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    for name in _listing(folder):
        # what a killed process left half written
        if name.startswith(TEMPORARY_PREFIX):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
    return RunFolder(folder)


def recorded_settings(folder: Path) -> _Record | None:
    """Return the settings of the run in a folder; None where there is none, or none that `open_run_folder` takes."""
    try:
        record = _read(folder / SETTINGS)
    except UsageError:
        return None
    settings = None if record is None else record.get("settings")
    return settings if isinstance(settings, dict) else None


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise OutputError(error.strerror or str(error), path=folder) from error


def _read(path: Path) -> _Record | None:
    try:
        record = read_json(read_regular(path, MAX_SETTINGS, follow=False), surrogates=True)
    except (UnreadableError, JsonError) as error:
        if isinstance(error, UnreadableError) and error.fault == "missing":
            return None
        reason = error.reason if isinstance(error, UnreadableError) else f"is damaged ({error})"
        raise UsageError(reason, path=path, advice="Choose another --out.", code=_FOREIGN) from error
    if not isinstance(record, dict) or record.get("format") != RUN_FORMAT:
        raise UsageError("belongs to no training run", path=path, advice="Choose another --out.", code=_FOREIGN)
    if record.get("version") != RUN_VERSION:
        advice = "Choose another --out, or begin again with --overwrite."
        raise UsageError("belongs to a training run of another version", path=path, advice=advice)
    return record


def _require_ours(path: Path) -> None:
    """Refuse to write over somebody else's settings; what cannot be read is not ours either."""
    try:
        _read(path)
    except UsageError as error:
        if error.code == _FOREIGN:
            raise


def _require_same(before: _Record, now: _Record, path: Path) -> None:
    written = {name for record in (before, now) for name in _mapping(record.get("settings"))}
    # A later setting that is left out of a record is not none, but what was done before there was the setting.
    later = [field for field in dataclasses.fields(TrainConfig) if setting_of(field).later]
    defaults = {field.name: field.default for field in later if field.name in written}

    def tied(record: _Record) -> _Record:
        settings, data = defaults | _mapping(record.get("settings")), _mapping(record.get("data"))
        settings["start (sha256 of --from)"] = settings.pop("start", "") or "none"
        return {"settings": settings, "data": data.get("fingerprint"), "--attribute": data.get("attribute")}

    differences = differing_keys(tied(before), tied(now))
    if differences:
        advice = "Use the same settings and data, choose another --out, or begin again with --overwrite."
        reason = f"this run was begun with other settings: {'; '.join(differences)}"
        raise UsageError(reason, path=path.parent, advice=advice)


def _mapping(value: object) -> _Record:
    return dict(value) if isinstance(value, Mapping) else {}


def _clear(folder: Path) -> None:
    """Remove what an earlier run wrote, and nothing else; its settings stay until the new ones replace them."""
    files = WrittenFiles(folder)
    for path in (*files.recorded(), *_states_of_earlier_version(folder, files)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(error.strerror or str(error), path=path) from error
    files.forget()


def _states_of_earlier_version(folder: Path, files: WrittenFiles) -> list[Path]:
    """Return the states of a run that has no record of its files; each has a checksum of its own.

    With one of them left, the new run would go on from it. What else there is, the new run replaces by and by.
    """
    if files.exists():
        return []
    from generator.training.state import state_from_bytes

    found = []
    for path in folder.glob("state-*.safetensors"):
        with contextlib.suppress(NetworkFileError, UnreadableError):
            state_from_bytes(read_regular(path, MAX_STATE, follow=False))
            found.append(path)
    return found
