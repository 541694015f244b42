"""Write the HDF5 file of a journal. Equal journals give equal bytes, whenever and in whatever order they were made."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invert.hdf5.inspection import import_h5py
from invert.hdf5.schema import FLAT, Column, attributes, chunk_rows, columns, content_digest, row_digest, row_values
from invert.images.opening import read_regular
from invert.store.entry import MAX_ENTRY, EntryError, decode, read_failure
from invert.store.locks import WorkFolder
from invert.store.manifest import Manifest
from invert.store.names import name_key, printable, row_order
from invert.store.result import Failure, Result

__all__ = ["REPORT_EVERY", "Contents", "OnProgress", "collect", "read_entry", "write"]

REPORT_EVERY = 256

OnProgress = Callable[[str, int, int], None]
"""Called with "reading", "writing" or "checking", the images done, and all of them."""


@dataclass
class Contents:
    """What goes into the file: rows in their order, as names and warnings, and failures in theirs."""

    manifest: Manifest
    names: list[bytes] = field(default_factory=list)
    warnings: list[bytes] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    failure_indices: list[int] = field(default_factory=list)
    layers: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    diverged: int = 0


def collect(work: WorkFolder, manifest: Manifest, on_progress: OnProgress) -> Contents:
    """Read the whole journal once, to know what is intact and in which order it goes.

    Raises:
        UnreadableError, OutputError: It cannot be read.
    """
    contents = Contents(manifest)
    found: list[tuple[list[bytes], bytes, bytes | Failure]] = []
    keys = sorted(work.keys("entries"))
    for done, key in enumerate(keys):
        if done % REPORT_EVERY == 0:
            on_progress("reading", done, len(keys))
        try:
            result = read_entry(work, key, manifest)
            layers = {layer: values.shape[0] for layer, values in result.noise.items()}
            contents.layers = contents.layers or layers
            if layers != contents.layers:
                raise EntryError("its noise maps are of other layers")
        except EntryError:
            contents.damaged.append(f"{key}.entry")
            continue
        contents.diverged += result.status != "ok"
        found.append((row_order(result.name), result.name, json.dumps(list(result.warnings)).encode()))
    for key in sorted(work.keys("failures") - set(keys)):
        failure = read_failure(work.failure(key))
        if failure is None:
            contents.damaged.append(f"{key}.json")
        else:
            found.append((row_order(failure.name), failure.name, failure))
    for index, (_, name, what) in enumerate(sorted(found, key=lambda item: item[0])):
        if isinstance(what, Failure):
            contents.failures.append(what)
            contents.failure_indices.append(index)
        else:
            contents.names.append(name)
            contents.warnings.append(what)
            contents.indices.append(index)
    return contents


def read_entry(work: WorkFolder, key: str, manifest: Manifest) -> Result:
    """Return one image of a journal.

    Raises:
        EntryError: It is damaged.
        UnreadableError: It cannot be read.
    """
    result = decode(read_regular(work.entry(key), MAX_ENTRY, follow=False), manifest)
    if name_key(result.name) != key:
        raise EntryError("it is under another name")
    return result


_FLAT_CHUNK = 1 << 16


class _ColumnWriter:
    """Write a column row by row, each chunk in one piece: so it is compressed once, and little is in memory."""

    def __init__(self, file: Any, path: str, column: Column, rows: int) -> None:
        self._dataset = _create(
            file, path, (rows, *column.shape), column.dtype, (chunk_rows(column, rows), *column.shape)
        )
        self._buffer = np.zeros((chunk_rows(column, rows), *column.shape), column.dtype)
        self._start = self._filled = 0

    def add(self, value: Any) -> None:
        self._buffer[self._filled] = value
        self._filled += 1
        if self._filled == len(self._buffer):
            self.flush()

    def flush(self) -> None:
        if self._filled:
            self._dataset[self._start : self._start + self._filled] = self._buffer[: self._filled]
        self._start, self._filled = self._start + self._filled, 0


def write(work: WorkFolder, contents: Contents, on_progress: OnProgress) -> None:
    """Write what a journal holds into the work folder's half-written file.

    When this raises, the process must end without another touch of the file: HDF5 crashes on closing it.

    Raises:
        OSError, UnreadableError: The file cannot be written, or an entry not be read any more.
        EntryError: An entry is damaged now.
    """
    h5py = import_h5py()
    manifest, rows = contents.manifest, len(contents.names)
    header = attributes(manifest)
    expected = columns(manifest, contents.layers)
    # Not in a `with`: when a write fails, closing the file crashes the process before it can report.
    file = h5py.File(work.packing, "w", locking=False)
    for key, value in header.items():
        file.attrs.create(key, np.bytes_(value.encode()) if isinstance(value, str) else np.int64(value))
    writers = {path: _ColumnWriter(file, path, column, rows) for path, column in expected.items()}
    digests: list[str] = []
    for number, name in enumerate(contents.names):
        if number % REPORT_EVERY == 0:
            on_progress("writing", number, rows)
        values = row_values(read_entry(work, name_key(name), manifest), expected)
        digests.append(row_digest(name, contents.warnings[number], values, expected))
        for path, writer in writers.items():
            writer.add(values[path])
    for writer in writers.values():
        writer.flush()
    shown = [printable(name) for name in contents.names]
    _write_array(file, "index", np.array(contents.indices, "<i8"))
    _write_texts(file, "name", shown)
    _write_array(file, "row_sha256", np.array([digest.encode() for digest in digests], "S64"))
    _write_flat(file, "name_bytes", contents.names)
    _write_flat(file, "warnings", contents.warnings)
    _write_failures(file.create_group("failures"), contents)
    digest = content_digest(
        header,
        zip(contents.indices, shown, digests, strict=True),
        [
            (index, failure.name, failure.code, failure.reason)
            for index, failure in zip(contents.failure_indices, contents.failures, strict=True)
        ],
    )
    file.attrs.create("content_sha256", np.bytes_(digest.encode()))
    file.close()


def _write_failures(group: Any, contents: Contents) -> None:
    _write_array(group, "index", np.array(contents.failure_indices, "<i8"))
    _write_texts(group, "name", [printable(failure.name) for failure in contents.failures])
    _write_texts(group, "code", [failure.code for failure in contents.failures])
    _write_texts(group, "reason", [failure.reason for failure in contents.failures])
    _write_flat(group, "name_bytes", [failure.name for failure in contents.failures])


def _write_array(group: Any, path: str, values: NDArray[Any]) -> None:
    chunk = chunk_rows(Column(values.dtype), len(values))
    _create(group, path, values.shape, values.dtype, (chunk,))[...] = values


def _write_texts(group: Any, path: str, texts: list[str]) -> None:
    """Write texts with one length, that of the longest: it is what every reader of HDF5 knows."""
    encoded = [text.encode() for text in texts]
    dtype = import_h5py().string_dtype("utf-8", max(map(len, encoded), default=1) or 1)
    writer = _ColumnWriter(group, path, Column(dtype), len(encoded))
    for text in encoded:
        writer.add(text)
    writer.flush()


def _write_flat(group: Any, path: str, texts: list[bytes]) -> None:
    data = np.frombuffer(b"".join(texts), np.uint8)
    _create(group, path, data.shape, data.dtype, (min(_FLAT_CHUNK, max(1, len(data))),))[...] = data
    _write_array(group, FLAT[path], np.cumsum([0, *map(len, texts)], dtype="<i8"))


def _create(group: Any, path: str, shape: Iterable[int], dtype: np.dtype[Any], chunk: tuple[int, ...]) -> Any:
    shape = tuple(shape)
    if 0 in shape:
        return group.create_dataset(path, shape, dtype, track_times=False)
    return group.create_dataset(
        path, shape, dtype, chunks=chunk, compression="gzip", compression_opts=4, shuffle=True, track_times=False
    )
