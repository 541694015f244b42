"""Read the latents of a batch back from HDF5, row by row, whoever wrote the file."""

import contextlib
import json
import os
import zlib
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from invert.errors import NoInputError, UnreadableError
from invert.hdf5.inspection import SMALL_CHUNK, StructureError, import_h5py, inspect
from invert.hdf5.schema import FAILURE_TEXTS, FLAT
from invert.images.opening import open_regular
from invert.store.manifest import Manifest
from invert.store.names import printable
from invert.store.result import Entry, Failure

__all__ = ["Latents", "LatentsError", "open_latents"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_BLOCK_BYTES = 32 << 20
_MAX_BLOCK = 256
_DAMAGE = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    zlib.error,
)


class LatentsError(NoInputError):
    """A file holds no latents, or is damaged."""

    code = "latents-damaged"
    what = "latents"


class Latents:
    """The images of an HDF5 file that `invert project` wrote. Use it in a `with`, or close it.

    Its structure is held against the schema at once, its data is read when asked for; `invert.hdf5.verification`
    holds the data against its checksums.

    Attributes:
        path: The file.
        manifest: Settings, network, and what is kept of each image.
        failure_count: How many images have no result.

    Raises:
        LatentsError: It cannot be read, is damaged, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        size = _size(self.path)
        with self._guard():
            h5py = import_h5py()
            self._file = h5py.File(os.fsencode(self.path), "r", locking=False)
            try:
                self.structure = inspect(self._file, size)
            except BaseException:
                self._file.close()
                raise
        self.manifest: Manifest = self.structure.manifest
        self.failure_count = self.structure.failures

    def __len__(self) -> int:
        return self.structure.rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def column(self, path: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Return rows of a column: w, distance, status, noise/<layer> ...; see `invert.hdf5.schema`.

        Raises:
            LatentsError: The file is damaged there. KeyError: It has no such column.
        """
        if path not in self.structure.columns and path not in ("index", "name", "row_sha256"):
            raise KeyError(path)
        return self._read(path, start, len(self) if stop is None else stop)

    @property
    def distances(self) -> NDArray[np.float64]:
        """float64 [N]."""
        return self.column("distance")

    @cached_property
    def names(self) -> list[bytes]:
        """Names of the images, as the file system has them."""
        return self._texts("name_bytes")

    @cached_property
    def warnings(self) -> list[bytes]:
        """What reading each image gave rise to, as a JSON list."""
        return self._texts("warnings")

    @cached_property
    def failures(self) -> list[tuple[int, Failure]]:
        """The images without a result, each with its position among all images."""
        names = self._texts("name_bytes", "failures/")
        index = self._read("failures/index", 0, self.failure_count)
        shown, codes, reasons = (self._read(f"failures/{key}", 0, self.failure_count) for key in FAILURE_TEXTS)
        with self._guard():
            if [text.decode() for text in shown] != [printable(name) for name in names]:
                raise StructureError("a failure is shown under another name")
            return [
                (int(i), Failure(name, code.decode(), reason.decode()))
                for i, name, code, reason in zip(index, names, codes, reasons, strict=True)
            ]

    def row(self, number: int) -> Entry:
        """Return one image with everything that is kept of it.

        Raises:
            LatentsError: The file is damaged there. IndexError: There is no such row.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        return next(self.rows(number, number + 1))

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Return images one after the other, with little of the file in memory at a time.

        Raises:
            LatentsError: The file is damaged there.
        """
        for first, values in self.blocks(start, stop):
            for i in range(len(values["distance"])):
                with self._guard():
                    entry = self._entry(first + i, {path: column[i] for path, column in values.items()})
                yield entry

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Return the columns piece by piece: the number of a piece's first row, and its part of each column.

        Raises:
            LatentsError: The file is damaged there.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        row_bytes = sum(column.row_bytes for column in self.structure.columns.values())
        step = max(1, min(_MAX_BLOCK, _BLOCK_BYTES // row_bytes))
        for first in range(start, stop, step):
            last = min(stop, first + step)
            yield first, {path: self._read(path, first, last) for path in self.structure.columns}

    def _entry(self, number: int, values: dict[str, Any]) -> Entry:
        width, height = values["original_size"].tolist()
        return Entry(
            name=self.names[number],
            distance=float(values["distance"]),
            status=bytes(values["status"]).decode(),
            restart=int(values["restart"]),
            file_sha256=bytes(values["sha256"]).decode(),
            pixel_sha256=bytes(values["pixel_sha256"]).decode(),
            original_size=(width, height),
            warnings=tuple(map(str, json.loads(self.warnings[number]))),
            w=values["w"],
            layer_distances=values["layer_distances"],
            curve=values["curve"],
            noise={path.removeprefix("noise/"): values[path] for path in values if path.startswith("noise/")},
            reconstruction=values.get("reconstruction"),
            target=values.get("target"),
        )

    def _read(self, path: str, start: int, stop: int) -> NDArray[Any]:
        with self._guard():
            dataset = self._file[path]
            _hold_inflated_size(dataset, range(*slice(start, stop).indices(len(dataset))))
            values: NDArray[Any] = dataset[start:stop]
            return values

    def _texts(self, path: str, group: str = "") -> list[bytes]:
        with self._guard():
            offsets = self._file[group + FLAT[path]][:]
            data: bytes = self._file[group + path][:].tobytes()
            if offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
                raise StructureError(f"the pieces of its {path} overlap")
            ends = offsets.tolist()
            return [data[first:last] for first, last in pairwise(ends)]

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except StructureError as error:
            raise LatentsError(f"is damaged or was not written by this program: {error}", path=self.path) from error
        except _DAMAGE as error:
            raise LatentsError("is damaged or was not written by this program", path=self.path) from error


def open_latents(path: str | os.PathLike[str]) -> Latents:
    """Open an HDF5 file that `invert project` wrote.

    Raises:
        LatentsError: It cannot be read, is damaged, or holds something else.
    """
    return Latents(path)


def _hold_inflated_size(dataset: Any, rows: range) -> None:
    """Inflate rows that are a large chunk each with a limit: HDF5 has none, one of 256 MB can become 256 GB there."""
    size = int(np.prod(dataset.chunks or 0, dtype=np.int64)) * dataset.dtype.itemsize
    if size <= SMALL_CHUNK or dataset.compression is None:
        return
    for row in rows:
        skipped, data = dataset.id.read_direct_chunk((row, *(0 for _ in dataset.shape[1:])))
        is_deflated = not skipped & 2  # a bit for each filter: shuffle, deflate
        if is_deflated and len(zlib.decompressobj().decompress(data, size + 1)) != size:
            raise StructureError(f"row {row} does not unpack to its size")


def _size(path: Path) -> int:
    """Return the size of a file that begins as HDF5 does."""
    try:
        with open_regular(path) as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise LatentsError("is no HDF5 file", path=path, code="latents-unrecognised")
            return os.fstat(file.fileno()).st_size
    except UnreadableError as error:
        raise LatentsError(error.reason, path=path, advice=error.advice, code="latents-unreadable") from error
    except OSError as error:
        reason = f"it cannot be read ({error.strerror or error})"
        raise LatentsError(reason, path=path, code="latents-unreadable") from error
