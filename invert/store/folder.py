"""Keep projections in a folder: one .npz and one .png per image, results.jsonl beside them.

The .npz comes first and the line of the index last, each durable before the next: so a folder can be resumed after any
interruption. An image is known by its file name and its bytes, never by where it lay.
"""

import contextlib
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invert.durable import TEMPORARY_PREFIX, append, ensure_folder, write_atomic
from invert.errors import ImageError, NoInputError, OutputError, UnreadableError, display_path
from invert.images.opening import read_regular
from invert.images.target import pixel_sha256
from invert.locking import exclusive_lock
from invert.projection.records import differing_keys
from invert.store.index import (
    INDEX,
    PASTED,
    SNAPSHOTS,
    FolderEntry,
    FolderError,
    Index,
    Key,
    drop_earlier_index,
    encode_lines,
    read_index,
)
from invert.store.names import one_line, printable
from invert.store.npz import MAX_BYTES, decode_sheet, encode_arrays, encode_images, read_projection
from invert.store.result import Result

if TYPE_CHECKING:  # the store itself works without torch
    from generator.files.state import Provenance
    from invert.projection.projector import Projection

__all__ = ["FolderStore", "known_images", "open_folder"]

_LOCK = ".lock"
_SUFFIXES = (".npz", ".png")
_NETWORK = ".safetensors"

_Record = dict[str, Any]
Beside = Mapping[str, Callable[["Projection"], bytes | None]]
"""What else is written beside a result, by the end of its name; it is no part of the result."""

_NOTHING: Beside = {}


class FolderStore:
    """A folder that this process has to itself, a `invert.store.protocol.ImageStore`; made by `open_folder`.

    Attributes:
        folder: Where it is.
    """

    def __init__(
        self, folder: Path, index: Index, run: _Record, origin: "Provenance | None" = None, beside: Beside = _NOTHING
    ) -> None:
        self.folder, self._origin, self._beside = folder, origin, beside
        self._index, self._run = index, run
        self._taken = {_folded(entry.name) for entry in index.entries.values()}
        self._images = {entry.image for entry in index.entries.values()}
        self._failures: dict[str, _Record] = {}

    def key(self, name: bytes, file_sha256: str) -> Key:
        """Return what an image is known by: two of the same key are one image, which is done once."""
        return _source(name), file_sha256

    def finished(self, name: bytes, file_sha256: str) -> FolderEntry | None:
        """Return the entry of an image that is done, both files in place and intact; None when it is to be done."""
        entry = self._index.entries.get(self.key(name, file_sha256))
        # What is beside the result is no part of it: it is not missed.
        needed = [] if entry is None else [suffix for suffix in entry.digests if suffix not in (SNAPSHOTS, PASTED)]
        if entry is None or not all((self.folder / f"{entry.name}{suffix}").is_file() for suffix in needed):
            return None
        try:
            data = read_regular(self.folder / f"{entry.name}.npz", MAX_BYTES, follow=False)
        except UnreadableError:
            return None
        return entry if hashlib.sha256(data).hexdigest() == entry.npz_sha256 else None

    def has_entry(self, name: bytes) -> bool:
        """Tell whether an image has a result, of whatever content; known by where it lay when it was done."""
        return printable(name) in self._images

    def keep(self, name: bytes, projection: "Projection") -> FolderEntry:
        """Write an image's files and list it in the index.

        Raises:
            OutputError: Something cannot be written.
        """
        result = Result.of(os.path.basename(name), projection)
        key = self.key(name, result.file_sha256)
        network = self._network_bytes(name, projection)
        beside = {suffix: self._beside[suffix](projection) for suffix in self._beside}
        more = {_NETWORK: network, SNAPSHOTS: beside.get(SNAPSHOTS), PASTED: beside.get(PASTED)}
        stem = self._name(key, projection.target.name, (*_SUFFIXES, *(suffix for suffix in more if more[suffix])))
        data = encode_arrays(result, self._index.method, self._run)
        images = encode_images(result, projection.seen)
        write_atomic(self.folder / f"{stem}.npz", data)
        write_atomic(self.folder / f"{stem}.png", images)
        self._begin()
        for suffix, content in more.items():
            if content is not None:
                write_atomic(self.folder / f"{stem}{suffix}", content)
        npz, *others = (
            None if one is None else hashlib.sha256(one).hexdigest() for one in (data, images, *more.values())
        )
        run = len(self._index.runs) - 1
        entry = FolderEntry(stem, printable(name), key[0], str(npz), run, result.facts(), *others)
        self._write(entry.to_line())
        self._taken.add(_folded(stem))
        self._images.add(entry.image)
        return entry

    def _network_bytes(self, name: bytes, projection: "Projection") -> bytes | None:
        """Return the file of the network that was tuned to an image, which says so; None where none was."""
        if projection.tuned is None or self._origin is None:
            return None
        from generator.files.invert_format import network_bytes
        from generator.files.state import Tuned

        tuned = Tuned(self._origin.sha256, printable(os.path.basename(name)), projection.target.pixel_sha256)
        settings = {**self._origin.settings, **tuned.record()}
        return network_bytes(projection.tuned, family=self._origin.family, settings=settings)

    def fail(self, name: bytes, code: str, reason: str) -> None:
        """List an image that could not be used.

        Raises:
            OutputError: It cannot be written.
        """
        image = printable(name)
        failure = {"image": image, "code": one_line(code), "reason": one_line(reason)}
        self._failures[image] = failure
        if self._index.failures.get(image) != failure:
            self._begin()
        # The same failure may be listed already: by an earlier command, or by the line that begins this one.
        if self._index.failures.get(image) != failure:
            self._write({"type": "failure", **failure})

    def finish(self) -> None:
        """List the failures of this command, and those of no earlier one.

        Raises:
            OutputError: It cannot be written.
        """
        if not self._index.size:
            self._write()
        elif self._index.failures != self._failures:
            self._begin(anew=True)

    def _begin(self, anew: bool = False) -> None:
        """Note that this command has begun, where its run record is another than that of the command before."""
        if self._index.size and (anew or self._run != self._index.runs[-1]):
            failures = [{"type": "failure", **failure} for failure in self._failures.values()]
            self._write({"type": "run", "run": self._run}, *failures)

    def _write(self, *lines: _Record) -> None:
        """Add lines to the index, which is made when it is not there."""
        index, path = self._index, self.folder / INDEX
        data = encode_lines(lines)
        if index.size:
            append(path, data, index.size)
        else:
            data = index.to_bytes() + data
            write_atomic(path, data)
        index.size += len(data)
        for line in lines:
            index.hear(line)

    def _name(self, key: Key, stem: str, suffixes: Sequence[str]) -> str:
        """Return the name of an image's files: that of before, or one that is free."""
        known = self._index.entries.get(key)
        if known is not None:
            return known.name
        file_sha256 = key[1]
        # The image's own hash, so that the name says which image it is whatever the order was.
        names = (stem, f"{stem}-{file_sha256[:8]}", f"{stem}-{file_sha256}")
        for name in names:
            if _folded(name) not in self._taken and self._is_free(name, key, suffixes):
                return name
        raise OutputError(
            "is in the way and was not written by this program",
            path=self.folder / f"{names[-1]}.npz",
            advice="Choose another --out.",
        )

    def _is_free(self, name: str, key: Key, suffixes: Sequence[str]) -> bool:
        """Tell whether a name may be written to: nothing there, or what a killed run left of the same image."""
        if not any(os.path.lexists(self.folder / f"{name}{suffix}") for suffix in suffixes):
            return True
        try:
            left = read_projection(self.folder / f"{name}.npz")
        except NoInputError:
            return False
        return self.key(left.name, left.file_sha256) == key


@contextlib.contextmanager
def open_folder(
    folder: Path,
    method: _Record,
    run: _Record,
    *,
    overwrite: bool = False,
    origin: "Provenance | None" = None,
    beside: Beside = _NOTHING,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Iterator[FolderStore]:
    """Take a folder for this process, to put projections of one method into it.

    Args:
        folder: Made when missing.
        method: `invert.projection.records.method_record`.
        run: `invert.projection.projector.run_record`.
        overwrite: Remove what the index lists first, where it is still what this program wrote; nothing else is
            ever removed.
        origin: Where the network came from: networks that were tuned are written with it.
        beside: Each returns an image that goes beside a result, as PNG, under `SNAPSHOTS` or `PASTED`.
        on_warning: Called with a line for each file that the index lists and that is kept, for it is another.

    Raises:
        UsageError: The folder holds projections made with other settings, or an index of something else.
        BusyError: Another process has it.
        OutputError: It cannot be written.
    """
    ensure_folder(folder)
    with exclusive_lock(folder / _LOCK):
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*.tmp"):
            with contextlib.suppress(OSError):
                leftover.unlink()
        store = FolderStore(folder, _index(folder, method, run, overwrite, on_warning), run, origin, beside)
        yield store
        store.finish()


def _index(folder: Path, method: _Record, run: _Record, overwrite: bool, on_warning: Callable[[str], None]) -> Index:
    """Return the index to go on with: that of the folder, converted where it is of an earlier version, or a new one."""
    before = read_index(folder)
    if before is None:
        return Index(method, [run])
    index = before
    if overwrite or not before.entries:
        index = Index(method, [run])
        _remove(folder, before, on_warning)
    else:
        _require_same_settings(folder, before, method, run)
    if index is not before or before.version == 1:
        data = index.to_bytes()
        write_atomic(folder / INDEX, data)
        index.size = len(data)
    drop_earlier_index(folder)
    return index


def _require_same_settings(folder: Path, before: Index, method: _Record, run: _Record) -> None:
    # The seed is a matter of the run record, yet two seeds in one folder are never what was meant.
    changes = differing_keys(before.method, method)
    changes += differing_keys({"seed": before.runs[0].get("seed")}, {"seed": run.get("seed")})
    if changes:
        raise FolderError(
            f"holds projections made with other settings ({'; '.join(changes)})",
            path=folder,
            advice="Use the same settings, another --out, or --overwrite to start afresh.",
            code="settings-differ",
        )


def known_images(folder: Path) -> set[Path]:
    """Return the .png files that this program wrote into a folder, as real paths: they are no input."""
    index = read_index(folder)
    real = Path(os.path.realpath(folder))
    return set() if index is None else {real / f"{entry.name}.png" for entry in index.entries.values()}


def _source(name: bytes) -> str:
    """Return the name of an image's file as text; bytes that are not UTF-8 become escapes."""
    # Surrogates are not everywhere valid JSON. The .npz has the bytes themselves.
    return os.path.basename(name).decode("utf-8", "backslashreplace")


def _folded(name: str) -> str:
    # Names that differ in case or composition alone are one file on some systems.
    return unicodedata.normalize("NFC", name).casefold()


def _remove(folder: Path, index: Index, on_warning: Callable[[str], None]) -> None:
    """Remove what an index lists, each file only where its content is what this program wrote."""
    for entry in index.entries.values():
        for suffix in entry.digests:
            path = folder / f"{entry.name}{suffix}"
            try:
                data = read_regular(path, MAX_BYTES, follow=False)
            except UnreadableError as error:
                if error.fault != "missing":
                    on_warning(f"'{display_path(path)}' is kept: {error.reason}")
                continue
            if _is_of(entry, suffix, data):
                _unlink(path)
            else:
                on_warning(f"'{display_path(path)}' is kept: it is not what this program wrote there")


def _is_of(entry: FolderEntry, suffix: str, data: bytes) -> bool:
    """Tell whether a file is the one that an entry lists."""
    digest = entry.digests[suffix]
    if digest is not None:
        return hashlib.sha256(data).hexdigest() == digest
    # An index of an earlier version has no digest of the .png: its left half is the target, whose pixels have one.
    try:
        target = np.split(decode_sheet(data), 2, axis=1)[0]
    except (ImageError, ValueError):
        return False
    return bool(pixel_sha256(target) == entry.facts["pixel_sha256"])


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError as error:
        raise OutputError("no permission to remove an earlier result", path=path.parent) from error
