"""Keep projections in a folder: one .npz and one .png per image, results.json beside them.

The .npz comes first and the index last, each written whole or not at all, so that a folder can be
taken up again after any interruption. An image is known by its file name and its bytes, never by where it lay.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.durable import TEMPORARY_PREFIX, ensure_folder, exclusive_lock, write_atomic
from invert.errors import NoInputError, OutputError, UnreadableError, UsageError
from invert.images.opening import read_regular
from invert.images.target import Target
from invert.projection.config import differing_keys, method_digest
from invert.store.npz import MAX_BYTES, encode_arrays, encode_images, read_projection, source_name

if TYPE_CHECKING:  # the store itself works without torch
    from invert.projection.projector import Projection

__all__ = ["INDEX", "Entry", "FolderStore", "known_images", "open_folder"]

INDEX = "results.json"
FORMAT = "invert projections"
VERSION = 1

_LOCK = ".lock"
_MAX_INDEX = 1 << 30
_SUFFIXES = (".npz", ".png")

Record = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """A finished image as results.json lists it.

    Attributes:
        name: Of its two files, without suffix. source: Name of the image's file.
        file_sha256: Of the image's file. pixel_sha256: Of its shape and pixels after the image policy.
        npz_sha256: Of the .npz, to notice damage. run: Position of its run record in the index.
        distance, status, restart: As in `invert.projection.projector.Projection`.
        warnings: What reading the image gave rise to.
    """

    name: str
    source: str
    file_sha256: str
    pixel_sha256: str
    npz_sha256: str
    run: int
    distance: float
    status: str
    restart: int
    warnings: tuple[str, ...]


@dataclass
class _Index:
    method: Record
    runs: list[Record]
    entries: dict[Key, Entry]


class FolderStore:
    """A folder that this process has to itself; made by `open_folder`."""

    def __init__(self, folder: Path, index: _Index, run: Record) -> None:
        self.folder = folder
        self._index = index
        self._run = run
        self._failures: list[Record] = []

    def finished(self, target: Target) -> Entry | None:
        """Return the entry of an image that is done, both files in place and intact."""
        entry = self._index.entries.get(_key(target))
        if entry is None or not (self.folder / f"{entry.name}.png").is_file():
            return None
        try:
            data = read_regular(self.folder / f"{entry.name}.npz", MAX_BYTES)
        except UnreadableError:
            return None
        return entry if hashlib.sha256(data).hexdigest() == entry.npz_sha256 else None

    def save(self, projection: "Projection") -> Entry:
        """Write one image's two files and list it in results.json.

        Raises:
            OutputError: Something cannot be written.
        """
        target = projection.target
        name = self._name(target)
        data = encode_arrays(projection, self._index.method, self._run)
        write_atomic(self.folder / f"{name}.npz", data)
        write_atomic(self.folder / f"{name}.png", encode_images(projection))
        if self._run not in self._index.runs:
            self._index.runs.append(self._run)
        entry = Entry(
            name=name,
            source=source_name(target),
            file_sha256=target.file_sha256,
            pixel_sha256=target.pixel_sha256,
            npz_sha256=hashlib.sha256(data).hexdigest(),
            run=self._index.runs.index(self._run),
            distance=projection.distance,
            status=projection.status,
            restart=projection.restart,
            warnings=tuple(target.warnings),
        )
        self._index.entries[_key(target)] = entry
        self.write_index()
        return entry

    def fail(self, record: Mapping[str, Any]) -> None:
        """List an image that could not be used; of the last command only, written with the next index."""
        self._failures.append(dict(record))

    def write_index(self) -> None:
        """Write results.json.

        Raises:
            OutputError: It cannot be written.
        """
        values = {
            "format": FORMAT,
            "version": VERSION,
            "method_digest": method_digest(self._index.method),
            "method": self._index.method,
            "runs": self._index.runs,
            "images": [dataclasses.asdict(entry) for entry in self._index.entries.values()],
            "failures": self._failures,
        }
        write_atomic(self.folder / INDEX, json.dumps(values, indent=1, allow_nan=False).encode() + b"\n")

    def _name(self, target: Target) -> str:
        key = _key(target)
        known = self._index.entries.get(key)
        if known is not None:
            return known.name
        stem = target.name
        # The image's own hash, so that the name says which image it is whatever the order was.
        names = (stem, f"{stem}-{target.file_sha256[:8]}", f"{stem}-{target.file_sha256}")
        taken = {_folded(entry.name) for entry in self._index.entries.values()}
        for name in names:
            if _folded(name) not in taken and self._is_free(name, key):
                return name
        raise OutputError(
            "is in the way and was not written by this program",
            path=self.folder / f"{names[-1]}.npz",
            advice="Choose another --out.",
        )

    def _is_free(self, name: str, key: Key) -> bool:
        """Tell whether a name may be written to: nothing there, or what a killed run left of the same image."""
        if not any(os.path.lexists(self.folder / f"{name}{suffix}") for suffix in _SUFFIXES):
            return True
        try:
            left = read_projection(self.folder / f"{name}.npz")
        except NoInputError:
            return False
        return (left.source, left.file_sha256) == key


class _FolderError(UsageError):
    """What the output folder holds does not go with the command."""

    what = "output"


@contextlib.contextmanager
def open_folder(folder: Path, method: Record, run: Record, *, overwrite: bool = False) -> Iterator[FolderStore]:
    """Take a folder for this process, to put projections of one method into it.

    Args:
        folder: Made when missing.
        method: `invert.projection.config.method_record`. run: `invert.projection.projector.run_record`.
        overwrite: Remove what results.json lists first; nothing else is ever removed.

    Raises:
        UsageError: The folder holds projections made with other settings, or a results.json of something else.
        BusyError: Another process has it.
        OutputError: It cannot be written.
    """
    ensure_folder(folder)
    with exclusive_lock(folder / _LOCK):
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*.tmp"):
            with contextlib.suppress(OSError):
                leftover.unlink()
        index = _read_index(folder)
        if overwrite or index is None or not index.entries:
            fresh = FolderStore(folder, _Index(method, [], {}), run)
            if index is not None:
                _remove(folder, index)
                fresh.write_index()
            yield fresh
            return
        # The seed is a matter of the run record, yet two seeds in one folder are never what was meant.
        changes = differing_keys(index.method, method)
        changes += differing_keys({"seed": index.runs[0].get("seed")}, {"seed": run.get("seed")})
        if changes:
            raise _FolderError(
                f"holds projections made with other settings ({'; '.join(changes)})",
                path=folder,
                advice="Use the same settings, another --out, or --overwrite to start afresh.",
                code="settings-differ",
            )
        yield FolderStore(folder, index, run)


def known_images(folder: Path) -> set[Path]:
    """Return the .png files that this program wrote into a folder, as real paths: they are no input."""
    index = _read_index(folder)
    real = Path(os.path.realpath(folder))
    return set() if index is None else {real / f"{entry.name}.png" for entry in index.entries.values()}


def _key(target: Target) -> Key:
    return source_name(target), target.file_sha256


def _folded(name: str) -> str:
    # Names that differ in case or composition alone are one file on some systems.
    return unicodedata.normalize("NFC", name).casefold()


def _read_index(folder: Path) -> _Index | None:
    path = folder / INDEX
    try:
        values = json.loads(read_regular(path, _MAX_INDEX))
    except UnreadableError as error:
        if error.fault == "missing":
            return None
        raise OutputError(error.reason, path=path, advice=error.advice) from error
    except ValueError as error:
        raise _not_ours(path) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _not_ours(path)
    if values.get("version") != VERSION:
        reason = f"is in version {values.get('version')} of its format, this program writes {VERSION}"
        raise _FolderError(reason, path=path, advice="Choose another --out.", code="results-version")
    try:
        listed = values["images" if "images" in values else "pictures"]
        entries = [Entry(**{**image, "warnings": tuple(image["warnings"])}) for image in listed]
        index = _Index(dict(values["method"]), list(values["runs"]), {(e.source, e.file_sha256): e for e in entries})
    except (TypeError, KeyError, ValueError) as error:
        raise _not_ours(path) from error
    # Names lead to files that are removed and replaced: nothing but plain names in this folder.
    runs_fit = all(isinstance(run, dict) for run in index.runs) and (index.runs or not entries)
    if not runs_fit or not _are_plain([entry.name for entry in entries]):
        raise _not_ours(path)
    return index


def _are_plain(names: Sequence[Any]) -> bool:
    return all(isinstance(name, str) and name and not set(name) & {"/", "\\", "\0"} for name in names)


def _not_ours(path: Path) -> UsageError:
    return _FolderError(
        "is damaged or was not written by this program",
        path=path,
        advice="Move it away, or choose another --out.",
        code="results-damaged",
    )


def _remove(folder: Path, index: _Index) -> None:
    for entry in index.entries.values():
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                try:
                    (folder / f"{entry.name}{suffix}").unlink()
                except PermissionError as error:
                    raise OutputError("no permission to remove an earlier result", path=folder) from error
