"""Compare the structure of an HDF5 file with the schema before any of its data is read.

HDF5 can lead a reader to other files, make it allocate anything, and run plugins. Here a file has the objects of the
schema and nothing else: hard links, plain numbers and texts of a fixed length, stored in this file, in chunks that
are there, that lie within the file and cannot unpack to more than their compressed size allows.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from generator.jsontext import read_json
from invert.hdf5.schema import ATTRIBUTES, FAILURE_TEXTS, FLAT, SCHEMA, Column, columns
from invert.store.manifest import Manifest
from invert.store.result import LAYER_NAME, VERSION

__all__ = ["SMALL_CHUNK", "Structure", "StructureError", "import_h5py", "inspect_structure"]

MAX_ROWS = 10**7
_MAX_LAYERS = 64
_MAX_TEXT = 1 << 14
MAX_FLAT = 1 << 28
MAX_WHOLE = 1 << 30
MAX_GROWTH, SMALL_WHOLE = 32, 64 << 20
"""Columns that are read in one piece may have so many times the file's size together, or 64 MiB."""

MAX_CHUNK = 1 << 28
SMALL_CHUNK = 1 << 18
"""Chunks up to this many bytes hold several rows; a larger one holds one row, whole."""

_MAX_RATIO = 1100  # deflate makes of one byte 1032 at most
_MAX_ATTRIBUTE = 1 << 16


class StructureError(ValueError):
    """The file is not of the schema."""


@dataclass(frozen=True)
class Structure:
    """What an HDF5 file says of itself.

    Attributes:
        manifest: What all images have in common.
        header: The attributes without content_sha256.
        content_sha256: Checksum of the whole.
        rows: How many images have a result.
        failures: How many have none.
        columns: As they are in the file, in its version; see `invert.hdf5.schema.columns`.
    """

    manifest: Manifest
    header: Mapping[str, str | int]
    content_sha256: str
    rows: int
    failures: int
    columns: Mapping[str, Column]


def import_h5py() -> Any:
    """Import h5py so that it loads no plugins: a file could ask for one."""
    os.environ.pop("HDF5_PLUGIN_PATH", None)
    import h5py

    while h5py.h5pl.size():
        h5py.h5pl.remove(0)
    return h5py


def inspect_structure(file: Any, size: int) -> Structure:
    """Return what a file says of itself, after comparing all of its structure with the schema of its version.

    Args:
        file: An open `h5py.File`.
        size: Size of the file in bytes.

    Raises:
        StructureError: It is none of this program's files. Whatever else h5py raises means that it is damaged.
    """
    inspection = _Inspection(file, size)
    header = inspection.attributes()
    content_sha256 = str(header.pop("content_sha256"))
    children = inspection.children(file)
    layers = inspection.layers(file["noise"]) if "noise" in children else {}
    manifest = Manifest(
        _json(header["method"]),
        _json(header["run"]),
        _json(header["network"]),
        str(header["noise"]),
        "reconstruction" in children,
    )
    if layers and manifest.noise == "none":
        raise StructureError("it has noise maps that it does not speak of")
    if header["method_digest"] != manifest.digest or header["network_sha256"] != manifest.network["sha256"]:
        raise StructureError("its records contradict each other")
    expected = columns(manifest, layers, int(header["schema_version"]))
    rows = inspection.length(file, "index", MAX_ROWS)
    failures = inspection.length(inspection.group(file, "failures"), "index", MAX_ROWS)
    inspection.rows(expected, rows, children)
    inspection.failures(file["failures"], failures)
    return Structure(manifest, header, content_sha256, rows, failures, expected)


class _Inspection:
    def __init__(self, file: Any, size: int) -> None:
        self._h5py = import_h5py()
        self._file, self._size = file, size
        self._stored = self._whole = 0

    def attributes(self) -> dict[str, str | int]:
        h5a, h5t = self._h5py.h5a, self._h5py.h5t
        root = self._file.id
        if h5a.get_num_attrs(root) != len(ATTRIBUTES) or not h5a.exists(root, b"schema"):
            raise StructureError("it has other attributes")
        found: dict[str, str | int] = {}
        for name in ATTRIBUTES:
            attribute = h5a.open(root, name.encode())
            kind = attribute.get_type()
            is_number = name == "schema_version"
            wanted = h5t.INTEGER if is_number else h5t.STRING
            if kind.get_class() != wanted or attribute.shape != () or attribute.get_storage_size() > _MAX_ATTRIBUTE:
                raise StructureError(f"its attribute {name} is of another type")
            if not is_number and kind.is_variable_str():
                raise StructureError(f"its attribute {name} has a variable length")
            value = self._file.attrs[name]
            found[name] = int(value) if is_number else bytes(value).decode("ascii")
        if found["schema"] != SCHEMA:
            raise StructureError("it is of another schema")
        if found["schema_version"] not in range(1, VERSION + 1):
            version = found["schema_version"]
            raise StructureError(f"it is of version {version} of the schema, this program reads up to {VERSION}")
        return found

    def children(self, group: Any) -> set[str]:
        """Return what is in a group, all of it by hard links."""
        if len(group) > 2 * _MAX_LAYERS:
            raise StructureError("it holds other things")
        for name in group:
            if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
                raise StructureError("it leads to other files or objects by links")
        return set(group)

    def group(self, parent: Any, name: str) -> Any:
        if parent.get(name, getclass=True) is not self._h5py.Group:
            raise StructureError(f"it has no group {name}")
        return parent[name]

    def length(self, group: Any, name: str, limit: int) -> int:
        """Return the length of a column that is not looked into yet."""
        if name not in group or group.get(name, getclass=True) is not self._h5py.Dataset:
            raise StructureError(f"it has no column {name}")
        shape = self._h5py.h5d.open(group.id, name.encode()).shape
        if shape is None or len(shape) != 1 or shape[0] > limit:
            raise StructureError(f"its column {name} is of shape {shape}")
        return int(shape[0])

    def layers(self, group: Any) -> dict[str, int]:
        """Return the side of each layer's noise map."""
        if not isinstance(group, self._h5py.Group):
            raise StructureError("its noise is no group")
        found = {}
        for name in self.children(group):
            shape = self._h5py.h5d.open(group.id, name.encode()).shape
            if not LAYER_NAME.fullmatch(name) or shape is None or len(shape) != 3:
                raise StructureError("its noise maps are of another shape")
            found[name] = int(shape[2])
        if not found or len(found) > _MAX_LAYERS:
            raise StructureError(f"it has noise maps of {len(found)} layers")
        return found

    def rows(self, expected: Mapping[str, Column], rows: int, children: set[str]) -> None:
        plain = {key for key in expected if "/" not in key}
        wanted = plain | {"index", "name", "row_sha256", "failures", *FLAT, *FLAT.values()}
        if children - {"noise"} != wanted:
            raise StructureError("it lacks columns, or has others")
        for path, column in expected.items():
            self.column(self._file, path, column.dtype, (rows, *column.shape), limit=None)
        self.column(self._file, "index", np.dtype("<i8"), (rows,))
        self.column(self._file, "row_sha256", np.dtype("S64"), (rows,))
        self.column(self._file, "name", None, (rows,))
        for path in FLAT:
            self.flat(self._file, path, rows)

    def failures(self, group: Any, rows: int) -> None:
        if self.children(group) != {"index", "name_bytes", FLAT["name_bytes"], *FAILURE_TEXTS}:
            raise StructureError("its failures lack columns, or have others")
        self.column(group, "index", np.dtype("<i8"), (rows,))
        for path in FAILURE_TEXTS:
            self.column(group, path, None, (rows,))
        self.flat(group, "name_bytes", rows)

    def flat(self, group: Any, path: str, rows: int) -> None:
        self.column(group, path, np.dtype("u1"), (self.length(group, path, MAX_FLAT),))
        self.column(group, FLAT[path], np.dtype("<i8"), (rows + 1,))

    def column(
        self,
        parent: Any,
        path: str,
        dtype: np.dtype[Any] | None,
        shape: tuple[int, ...],
        limit: int | None = MAX_WHOLE,
    ) -> None:
        """Compare one dataset with its type and shape.

        Args:
            parent: The group that it is in.
            path: Its name there.
            dtype: Its type; None stands for a text of fixed length in UTF-8.
            shape: Its shape.
            limit: How many bytes it may have, where it is read in one piece.
        """
        h5py = self._h5py
        if parent.get(path, getclass=True) is not h5py.Dataset:
            raise StructureError(f"its column {path} is none")
        dataset = h5py.h5d.open(parent.id, path.encode())
        kind = dataset.get_type()
        if dtype is None:
            is_text = kind.get_class() == h5py.h5t.STRING and not kind.is_variable_str()
            fits = is_text and kind.get_size() <= _MAX_TEXT and kind.get_cset() == h5py.h5t.CSET_UTF8
        else:
            fits = kind.equal(h5py.h5t.py_create(dtype, logical=True))
        if not fits or dataset.shape != shape:
            raise StructureError(f"its column {path} is of another type or shape")
        total = int(np.prod(shape, dtype=object)) * kind.get_size()
        if limit is not None:
            # What is read in one piece counts together, against the file: names and hashes are the least of a row.
            self._whole += total
            if total > limit or self._whole > max(MAX_GROWTH * self._size, SMALL_WHOLE):
                raise StructureError(f"its column {path} is too large")
        self._storage(dataset, path, kind.get_size(), total)

    def _storage(self, dataset: Any, path: str, item: int, total: int) -> None:
        h5py = self._h5py
        plan = dataset.get_create_plist()
        layout = plan.get_layout()
        if plan.get_external_count() or layout == h5py.h5d.VIRTUAL:
            raise StructureError(f"its column {path} lies in other files")
        filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
        # Each deflate filter multiplies what a byte can unpack to by 1032: one is enough.
        if filters not in ([], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]):
            raise StructureError(f"its column {path} needs filters that are not read here")
        if layout == h5py.h5d.CHUNKED:
            self._chunks(dataset, path, item, plan.get_chunk())
        elif total != dataset.get_storage_size() or total > self._size:
            raise StructureError(f"its column {path} is not whole")

    def _chunks(self, dataset: Any, path: str, item: int, chunk: tuple[int, ...]) -> None:
        """Compare the chunks of a dataset with the file: all there, each with bytes of its own, as many as can be."""
        size = int(np.prod(chunk, dtype=object)) * item
        wanted = int(np.prod([-(-a // b) for a, b in zip(dataset.shape, chunk, strict=True)], dtype=object))
        is_row = chunk == (1, *dataset.shape[1:])
        if size > (MAX_CHUNK if is_row else SMALL_CHUNK) or wanted * 2 > self._size:
            raise StructureError(f"its column {path} is in chunks too large or too many")
        seen = set()

        def look(info: Any) -> None:
            self._stored += info.size
            fits = size - _MAX_RATIO <= info.size * _MAX_RATIO and info.size <= size + size // 100 + 64
            if not fits or info.byte_offset + info.size > self._size or self._stored > self._size:
                raise StructureError(f"its column {path} is not whole")
            seen.add(info.chunk_offset)

        if wanted:
            dataset.chunk_iter(look)
        if len(seen) != wanted:
            raise StructureError(f"its column {path} is not whole")


def _json(text: str | int) -> dict[str, Any]:
    values = read_json(str(text), _MAX_ATTRIBUTE)
    if not isinstance(values, dict):
        raise StructureError("its records are no objects")
    return values
