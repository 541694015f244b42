"""The schema of the HDF5 file, in one place: what is in it, of which type and shape, and what its checksums cover.

Attributes of the root, all of fixed length: schema, schema_version, method_digest, method, run, network_sha256,
network_family, network, noise ("none", "float32", "float16") and content_sha256; method, run and network are JSON.

A dataset per column, row n of each belonging to one image (`columns`); the columns are those of
`invert.store.result.FIELDS`, in their order, which have `column=`. Rows are in the order of the components of the
images' names. Two texts of any length, name_bytes and warnings (a JSON list), are kept end to end: those of row n are
the bytes offsets[n] to offsets[n + 1]. The group "failures" has the images without a result.
All numbers are little-endian. Nothing has a variable length, and nothing says when or where it was written.

Version 4 is written, all before it are read. In version 1 a row of the column w is `[w_dim]`, since then it is
`[styles or 1, w_dim]`; readers give it today's shape. Version 3 has the columns of preset exact, in its files alone,
version 4 psnr and ssim.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invert.store.manifest import Manifest
from invert.store.result import FIELDS, VERSION, Field, Result

__all__ = [
    "ATTRIBUTES",
    "FAILURE_TEXTS",
    "FLAT",
    "SCHEMA",
    "Column",
    "attributes",
    "chunk_rows",
    "columns",
    "content_digest",
    "row_digest",
    "row_values",
]

SCHEMA = "invert latents"

ATTRIBUTES = (
    "schema",
    "schema_version",
    "method_digest",
    "method",
    "run",
    "network_sha256",
    "network_family",
    "network",
    "noise",
    "content_sha256",
)

FLAT = {
    field.column: f"{field.column.removesuffix('_bytes')}_offsets"
    for field in FIELDS
    if field.column is not None and field.kind in ("bytes", "texts")
}
"""Texts kept end to end, and where they begin: uint8 [total] and int64 [N + 1]."""

FAILURE_TEXTS = ("name", "code", "reason")
"""Fixed-length texts of the group "failures", beside index, name_bytes and name_offsets."""

_CHUNK_BYTES = 1 << 18
_MAX_CHUNK_ROWS = 1 << 14


@dataclass(frozen=True)
class Column:
    """A dataset with one row per image: its type, little-endian, and the shape of a row."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def columns(manifest: Manifest, layers: Mapping[str, int], version: int = VERSION) -> dict[str, Column]:
    """Return the columns that a row's checksum covers, in its order.

    Besides these a file has the texts of `FLAT`, name (fixed-length UTF-8, to be shown), index (int64, the position
    among all images with the failures) and row_sha256.

    Args:
        manifest: What all images have in common.
        layers: Side of the noise map of each layer, in pixels.
        version: Version of the schema.
    """
    found: dict[str, Column] = {}
    for field in FIELDS:
        if field.column is None or field.column in FLAT or field.since > version or not manifest.keeps(field):
            continue
        if field.kind == "maps":
            kind = np.dtype(manifest.noise).newbyteorder("<")
            found |= {_of_layer(field, layer): Column(kind, (layers[layer],) * 2) for layer in sorted(layers)}
        else:
            found[field.column] = Column(field.numpy_type, field.shape_of(manifest.sizes, version))
    return found


def _of_layer(field: Field, layer: str) -> str:
    return f"{field.column}/{layer}"


def chunk_rows(column: Column, rows: int) -> int:
    """Return how many rows one chunk of a column has: about 256 kB, one row at least, all of them at most."""
    return max(1, min(_CHUNK_BYTES // max(1, column.row_bytes), _MAX_CHUNK_ROWS, rows))


def attributes(manifest: Manifest) -> dict[str, str | int]:
    """Return the root's attributes in their order, without content_sha256."""
    return {
        "schema": SCHEMA,
        "schema_version": VERSION,
        "method_digest": manifest.digest,
        "method": _json(manifest.method),
        "run": _json(manifest.run),
        "network_sha256": manifest.network["sha256"],
        "network_family": manifest.network["family"],
        "network": _json(manifest.network),
        "noise": manifest.noise,
    }


def row_values(result: Result, expected: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """Return what each column has of an image.

    Raises:
        ValueError: Its noise maps are not those of the columns, or a value has another shape.
    """
    facts: dict[str, Any] = {}
    for field in FIELDS:
        value = getattr(result, field.name)
        if field.kind == "maps":
            facts |= {_of_layer(field, layer): values for layer, values in value.items()}
        elif field.column is not None and value is not None:
            facts[field.column] = value.encode() if field.kind == "text" else value
    maps = [{path for path in paths if "/" in path} for paths in (expected, facts)]
    if maps[0] != maps[1]:
        raise ValueError("its noise maps are of other layers")
    values = {path: np.asarray(facts[path], column.dtype) for path, column in expected.items()}
    for path, column in expected.items():
        if values[path].shape != column.shape:
            raise ValueError(f"its {path} is {list(values[path].shape)}")
    return values


def row_digest(name: bytes, warnings: bytes, values: Mapping[str, NDArray[Any]], expected: Mapping[str, Column]) -> str:
    """Return a row's checksum.

    It is the sha256 of, for name_bytes, warnings and the columns in the order of `columns`: the line
    "<column> <type as numpy writes it> <shape, joined by x>" with a line feed, then the bytes.
    """
    digest = hashlib.sha256()
    for key, text in (("name_bytes", name), ("warnings", warnings)):
        digest.update(f"{key} |u1 {len(text)}\n".encode() + text)
    for key, column in expected.items():
        digest.update(f"{key} {column.dtype.str} {'x'.join(map(str, column.shape))}\n".encode())
        digest.update(np.asarray(values[key], column.dtype).tobytes())
    return digest.hexdigest()


def content_digest(
    header: Mapping[str, str | int],
    rows: Iterable[tuple[int, str, str]],
    failures: Iterable[tuple[int, bytes, str, str]],
) -> str:
    """Return the checksum of the whole: the sha256 of a JSON line for the attributes, each row and each failure.

    Args:
        header: The attributes without content_sha256.
        rows: index, name and row_sha256 of each row.
        failures: index, name_bytes, code and reason of each failure.
    """
    digest = hashlib.sha256(_json(dict(header)).encode() + b"\n")
    for row in rows:
        digest.update(_json(["row", *row]).encode() + b"\n")
    for index, name, code, reason in failures:
        digest.update(_json(["failure", index, name.hex(), code, reason]).encode() + b"\n")
    return digest.hexdigest()


def _json(values: Any) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
