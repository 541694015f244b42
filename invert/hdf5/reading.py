"""Read the latents of a batch back from HDF5, row by row, whoever wrote the file."""

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from generator.jsontext import read_json
from invert.errors import NoInputError, UnreadableError, UsageError
from invert.hdf5.inspection import SMALL_CHUNK, StructureError, import_h5py, inspect_structure
from invert.hdf5.schema import FAILURE_TEXTS, FLAT
from invert.images.opening import open_regular
from invert.store.manifest import Manifest
from invert.store.names import printable
from invert.store.result import FIELDS, Failure, Result

if TYPE_CHECKING:
    import pandas

__all__ = ["Latents", "LatentsError", "Rows", "open_latents"]

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


class Rows(Sequence[Result]):
    """Some rows of a file of latents, read when they are asked for: `latents[3:7]`.

    An index gives a `Result`, a slice other rows. Iterating goes through the file with little of it in memory at once.

    Args:
        latents: The file, which must stay open.
        numbers: Which of its rows they are.
    """

    def __init__(self, latents: "Latents", numbers: range) -> None:
        self._latents, self._numbers = latents, numbers

    def _all(self) -> "Latents":
        return self._latents

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> "Rows": ...

    def __getitem__(self, index: int | slice) -> "Result | Rows":
        """Return a row, or rows.

        Raises:
            LatentsError: The file is damaged there.
            IndexError: There is no such row.
        """
        if isinstance(index, slice):
            return Rows(self._all(), self._numbers[index])
        number = self._numbers[index]
        return next(self._all().results(number, number + 1))

    def __iter__(self) -> Iterator[Result]:
        if self._numbers.step == 1:
            yield from self._all().results(self._numbers.start, self._numbers.stop)
        else:
            for number in self._numbers:
                yield from self._all().results(number, number + 1)

    @property
    def names(self) -> list[bytes]:
        """Names of the images, as the file system has them."""
        return [self._all().all_names[number] for number in self._numbers]

    def column(self, path: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Return rows of a column, `[N, ...]`.

        Args:
            path: w, distance, layer_distances, curve, status, restart, sha256, pixel_sha256, original_size,
                noise/<layer>, reconstruction, target; or index, name, row_sha256. See `invert.hdf5.schema`.
            start: The first of these rows.
            stop: The row after the last one; None for all.

        Raises:
            LatentsError: The file is damaged there.
            KeyError: It has no such column.
        """
        numbers = self._numbers[start:stop]
        if numbers.step == 1 or not numbers:
            return self._all().read(path, numbers.start, max(numbers.start, numbers.stop))
        first, last = min(numbers), max(numbers)
        return self._all().read(path, first, last + 1)[[number - first for number in numbers]]

    @property
    def distances(self) -> NDArray[np.float64]:
        """float64 `[N]`."""
        return self.column("distance")

    def to_numpy(self, columns: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return columns as arrays `[N, ...]`; texts are arrays of str, and `name` is the name as it may be shown.

        Args:
            columns: See `column`; by default name and all that the file keeps of each image, noise maps and images too.

        Raises:
            LatentsError: The file is damaged.
            KeyError: It has no such column.
        """
        names = ["name", *self._all().structure.columns] if columns is None else columns
        found = {path: self.column(path) for path in names}
        return {
            path: np.char.decode(values.astype(bytes), "utf-8", "replace") if values.dtype.kind in "SO" else values
            for path, values in found.items()
        }

    def table(self) -> dict[str, list[Any]]:
        """Return the numbers and texts of each image: a list for each name, as `invert show --csv` has them.

        Raises:
            LatentsError: The file is damaged.
        """
        found: dict[str, list[Any]] = {
            "row": list(self._numbers),
            "index": self.column("index").tolist(),
            "name": [printable(name) for name in self.names],
        }
        # Those with one number for each image come first, as a reader expects.
        for field in sorted(FIELDS, key=lambda field: bool(field.shape)):
            if field.column is not None and field.column in self._all().structure.columns:
                found |= field.cells(self.column(field.column))
        found["warnings"] = [self._all().warning_texts(number) for number in self._numbers]
        return found

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the numbers and texts of each image as a table; w, curves and images are in `to_numpy`.

        Raises:
            LatentsError: The file is damaged.
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            advice = "Install it with: pip install 'invert[pandas]'."
            raise UsageError("pandas is not installed", advice=advice, code="no-pandas") from error
        return pandas.DataFrame(self.table()).set_index("row")


class Latents(Rows):
    """The images of an HDF5 file that `invert project` wrote. Use it in a `with`, or close it, or leave it to its end.

    Its structure is compared with the schema at once, its data is read when asked for; `invert.hdf5.verification`
    compares the data with its checksums.

    Attributes:
        path: The file.
        manifest: Settings, network, and what is kept of each image.
        structure: What the file says of itself.
        failure_count: How many images have no result.

    Args:
        path: The file.

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
                self.structure = inspect_structure(self._file, size)
            except BaseException:
                self._file.close()
                raise
        self.manifest: Manifest = self.structure.manifest
        self.failure_count = self.structure.failures
        # Files of earlier versions have arrays of another shape: they are read in that of today.
        sizes = self.manifest.sizes
        self._shapes: dict[str | None, tuple[int, ...]] = {
            field.column: field.shape_of(sizes) for field in FIELDS if field.kind == "array"
        }
        # Not `super().__init__(self, ...)`: a cycle would keep the file open until the garbage is collected.
        self._numbers = range(self.structure.rows)

    def _all(self) -> "Latents":
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def names(self) -> list[bytes]:
        """Names of the images, as the file system has them."""
        return self.all_names

    @cached_property
    def all_names(self) -> list[bytes]:
        """The same, read once."""
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

    def read(self, path: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows of a column; see `column`."""
        if path not in self.structure.columns and path not in ("index", "name", "row_sha256"):
            raise KeyError(path)
        values = self._read(path, start, stop)
        return values.reshape(len(values), *self._shapes[path]) if path in self._shapes else values

    def results(self, start: int, stop: int) -> Iterator[Result]:
        """Return images one after the other, with little of the file in memory at a time.

        Raises:
            LatentsError: The file is damaged there.
        """
        for first, values in self.blocks(start, stop):
            for i in range(len(values["distance"])):
                with self._guard():
                    result = self._result(first + i, {path: column[i] for path, column in values.items()})
                yield result

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
            yield first, {path: self.read(path, first, last) for path in self.structure.columns}

    def _result(self, number: int, values: Mapping[str, Any]) -> Result:
        texts = {"name_bytes": self.all_names, "warnings": self.warnings}
        found: dict[str, Any] = {}
        for field in FIELDS:
            column = field.column or ""
            if column in texts:
                found[field.name] = field.from_array(texts[column][number])
            elif field.kind == "maps":
                maps = [path for path in values if path.startswith(f"{column}/")]
                found[field.name] = {path.removeprefix(f"{column}/"): values[path] for path in maps}
            elif column in values:
                found[field.name] = field.from_array(values[column])
            elif field.kept == "always":
                found[field.name] = field.missing(self.manifest.sizes)
        return Result(**found)

    def _read(self, path: str, start: int, stop: int) -> NDArray[Any]:
        with self._guard():
            dataset = self._file[path]
            _check_inflated_size(dataset, range(*slice(start, stop).indices(len(dataset))))
            values: NDArray[Any] = dataset[start:stop]
            return values

    def warning_texts(self, number: int) -> list[str]:
        """Return what reading the image of a row gave rise to.

        Raises:
            LatentsError: The file is damaged.
        """
        with self._guard():
            found = read_json(self.warnings[number], surrogates=True)
            if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
                raise StructureError(f"the warnings of row {number} are no texts")
            return found

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
    """Open an HDF5 file that `invert project` wrote, of this version or an earlier one.

    Args:
        path: The file.

    Returns:
        Its images: `len(latents)`, `latents[3]`, `latents[3:7]`, `latents.column("w")`, `latents.names`,
        `latents.to_numpy()`, `latents.to_pandas()`; a context manager.

    Raises:
        LatentsError: It cannot be read, is damaged, or holds something else.
    """
    return Latents(path)


def _check_inflated_size(dataset: Any, rows: range) -> None:
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
