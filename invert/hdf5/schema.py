"""Version 1 of the HDF5 file, in one place: what is in it, of which type and shape, and what its checksums cover.

Attributes of the root, all of fixed length: schema, schema_version, method_digest, method, run, network_sha256,
network_family, network, noise ("none", "float32", "float16") and content_sha256; method, run and network are JSON.

A dataset per column, row n of each belonging to one image (`columns`); rows are in the order of the components
of the images' names. Two texts of any length, name_bytes and warnings (a JSON list), are kept end to end: those
of row n are the bytes offsets[n] to offsets[n + 1]. The group "failures" has the images without a result.
All numbers are little-endian. Nothing has a variable length, and nothing says when or where it was written.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invert.store.manifest import Manifest
from invert.store.result import DISTANCE_LAYERS, Entry

__all__ = [
    "ATTRIBUTES",
    "FAILURE_TEXTS",
    "FLAT",
    "SCHEMA",
    "VERSION",
    "Column",
    "attributes",
    "chunk_rows",
    "columns",
    "content_digest",
    "row_digest",
    "row_values",
]

SCHEMA = "invert latents"
VERSION = 1

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

FLAT = {"name_bytes": "name_offsets", "warnings": "warnings_offsets"}
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


def columns(manifest: Manifest, layers: Mapping[str, int]) -> dict[str, Column]:
    """Return the columns that a row's checksum covers, in its order.

    Besides these a file has name (fixed-length UTF-8, to be shown), index (int64, the position among all images
    with the failures) and row_sha256.

    Args:
        manifest: What all images have in common.
        layers: Side of the noise map of each layer.
    """
    image = (manifest.side, manifest.side, manifest.channels)
    found = {
        "w": Column(np.dtype("<f4"), (manifest.w_dim,)),
        "distance": Column(np.dtype("<f8")),
        "layer_distances": Column(np.dtype("<f4"), (DISTANCE_LAYERS,)),
        "curve": Column(np.dtype("<f4"), (manifest.steps,)),
        "status": Column(np.dtype("S8")),
        "restart": Column(np.dtype("<i8")),
        "sha256": Column(np.dtype("S64")),
        "pixel_sha256": Column(np.dtype("S64")),
        "original_size": Column(np.dtype("<i8"), (2,)),
    }
    if manifest.noise != "none":
        kind = np.dtype("<f4" if manifest.noise == "float32" else "<f2")
        found |= {f"noise/{layer}": Column(kind, (layers[layer], layers[layer])) for layer in sorted(layers)}
    if manifest.images:
        found |= {key: Column(np.dtype("u1"), image) for key in ("reconstruction", "target")}
    return found


def chunk_rows(column: Column, rows: int) -> int:
    """Return how many rows one chunk of a column has: about 256 kB, one row at least, all of them at most."""
    return max(1, min(_CHUNK_BYTES // max(1, column.row_bytes), _MAX_CHUNK_ROWS, rows))


def attributes(manifest: Manifest) -> dict[str, str | int]:
    """Return the root's attributes but content_sha256, in their order."""
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


def row_values(entry: Entry, expected: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """Return what each column has of an image.

    Raises:
        ValueError: Its noise maps are not those of the columns.
    """
    facts: dict[str, Any] = {
        "w": entry.w,
        "distance": entry.distance,
        "layer_distances": entry.layer_distances,
        "curve": entry.curve,
        "status": entry.status.encode(),
        "restart": entry.restart,
        "sha256": entry.file_sha256.encode(),
        "pixel_sha256": entry.pixel_sha256.encode(),
        "original_size": entry.original_size,
        **{f"noise/{layer}": values for layer, values in entry.noise.items()},
        "reconstruction": entry.reconstruction,
        "target": entry.target,
    }
    noise = {key for key in expected if key.startswith("noise/")}
    if noise != {key for key in facts if key.startswith("noise/")}:
        raise ValueError("its noise maps are of other layers")
    values = {key: np.asarray(facts[key], column.dtype) for key, column in expected.items()}
    for key, column in expected.items():
        if values[key].shape != column.shape:
            raise ValueError(f"its {key} is {list(values[key].shape)}")
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
    """Return the checksum of the whole: sha256 of a JSON line for the attributes, each row and each failure.

    Args:
        header: The attributes but content_sha256.
        rows: index, name and row_sha256 of each. failures: index, name_bytes, code and reason of each.
    """
    digest = hashlib.sha256(_json(dict(header)).encode() + b"\n")
    for row in rows:
        digest.update(_json(["row", *row]).encode() + b"\n")
    for index, name, code, reason in failures:
        digest.update(_json(["failure", index, name.hex(), code, reason]).encode() + b"\n")
    return digest.hexdigest()


def _json(values: Any) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
