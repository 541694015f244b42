"""One finished image as a file of the journal: a checksum, then its arrays as .npz.

The first line is `invert-entry 1 <sha256 of the rest>`: an entry that was cut off or changed is noticed and redone.
"""

import base64
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invert.store.manifest import Manifest
from invert.store.names import check_name, name_key, one_line, printable

if TYPE_CHECKING:
    from invert.projection.projector import Projection

__all__ = [
    "DISTANCE_LAYERS",
    "LAYER_NAME",
    "STATUSES",
    "Entry",
    "EntryError",
    "Failure",
    "Summary",
    "decode",
    "encode",
    "encode_failure",
    "entry_of",
    "read_failure",
    "summary",
]

DISTANCE_LAYERS = 5
"""Both backbones of LPIPS compare at five depths."""

STATUSES = ("ok", "diverged")
LAYER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,63}", re.ASCII)

_MAGIC = b"invert-entry 1 "
_HEADER = len(_MAGIC) + 64 + 1
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, RuntimeError, OverflowError, MemoryError)


class EntryError(ValueError):
    """A file is no entry, is damaged, or does not go with the manifest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """A finished image without its arrays.

    Attributes:
        name: Bytes, with "/" between the components; see `Journal`.
        distance, status, restart: As in `invert.projection.projector.Projection`; the distance is finite.
        file_sha256, pixel_sha256, original_size, warnings: As in `invert.images.target.Target`.
    """

    name: bytes
    distance: float
    status: str
    restart: int
    file_sha256: str
    pixel_sha256: str
    original_size: tuple[int, int]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry(Summary):
    """A finished image.

    Attributes:
        w: float32 [w_dim]. layer_distances: float32 [5]. curve: float32 [steps].
        noise: Map [r, r] of each layer, float32, or float16 where the manifest says so.
        reconstruction: g(w, noise) and target: the image, both uint8 [H, W, C].
    """

    w: NDArray[np.float32]
    layer_distances: NDArray[np.float32]
    curve: NDArray[np.float32]
    noise: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    reconstruction: NDArray[np.uint8] | None = None
    target: NDArray[np.uint8] | None = None


def entry_of(name: bytes, projection: "Projection") -> Entry:
    """Return the entry of a projection, with all that can be kept."""
    target = projection.target
    return Entry(
        name=name,
        distance=projection.distance,
        status=projection.status,
        restart=projection.restart,
        file_sha256=target.file_sha256,
        pixel_sha256=target.pixel_sha256,
        original_size=target.original_size,
        warnings=tuple(target.warnings),
        w=projection.w[0],
        layer_distances=projection.layer_distances,
        curve=projection.curve,
        noise=projection.noise,
        reconstruction=projection.image,
        target=target.array,
    )


def encode(entry: Entry, manifest: Manifest) -> bytes:
    """Return an entry's file; equal entries give equal bytes.

    Args:
        entry: With all that could be kept; what the manifest does not keep is left out.

    Raises:
        EntryError: It does not go with the manifest.
    """
    noise: dict[str, NDArray[Any]] = {}
    if manifest.noise != "none":
        noise = {layer: np.asarray(values, manifest.noise) for layer, values in sorted(entry.noise.items())}
    images = {"reconstruction": entry.reconstruction, "target": entry.target} if manifest.images else {}
    arrays: dict[str, Any] = {
        "name": np.frombuffer(entry.name, np.uint8),
        "w": entry.w,
        "distance": np.float64(entry.distance),
        "layer_distances": entry.layer_distances,
        "curve": entry.curve,
        "status": np.str_(entry.status),
        "restart": np.int64(entry.restart),
        "file_sha256": np.str_(entry.file_sha256),
        "pixel_sha256": np.str_(entry.pixel_sha256),
        "original_size": np.array(entry.original_size, np.int64),
        "warnings": np.str_(json.dumps(list(entry.warnings))),
        **{f"noise/{layer}": values for layer, values in noise.items()},
        **{key: np.asarray(values) for key, values in images.items()},
    }
    _check(_entry(arrays), manifest)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    body = buffer.getvalue()
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(data: bytes, manifest: Manifest) -> Entry:
    """Read an entry's file.

    Raises:
        EntryError: It is none, is damaged, or does not go with the manifest.
    """
    try:
        with _open(data) as arrays:
            entry = _entry({key: arrays[key] for key in arrays.files})
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise EntryError("is damaged") from error
    _check(entry, manifest)
    return entry


def summary(data: bytes, manifest: Manifest) -> Summary:
    """As `decode`, without the arrays: they are held against the manifest, but not kept in memory.

    Raises:
        EntryError: It is none, is damaged, or does not go with the manifest.
    """
    entry = decode(data, manifest)
    return Summary(**{part.name: getattr(entry, part.name) for part in fields(Summary)})


def _open(data: bytes) -> Any:
    digest = data[len(_MAGIC) : _HEADER].rstrip(b"\n").decode("ascii", "replace")
    body = memoryview(data)[_HEADER:]
    if not data.startswith(_MAGIC) or hashlib.sha256(body).hexdigest() != digest:
        raise EntryError("is damaged")
    arrays = np.load(io.BytesIO(body), allow_pickle=False)
    if not isinstance(arrays, np.lib.npyio.NpzFile) or arrays.zip is None:
        raise EntryError("is one array")
    # What is stored as it is cannot unpack to more than there is.
    if any(member.compress_type != zipfile.ZIP_STORED for member in arrays.zip.infolist()):
        raise EntryError("is compressed")
    return arrays


def _facts(arrays: Mapping[str, Any]) -> dict[str, Any]:
    width, height = arrays["original_size"].tolist()
    warnings = json.loads(str(arrays["warnings"]))
    if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
        raise EntryError("its warnings are no texts")
    return {
        "name": check_name(arrays["name"].tobytes()),
        "distance": float(arrays["distance"]),
        "status": str(arrays["status"]),
        "restart": int(arrays["restart"]),
        "file_sha256": str(arrays["file_sha256"]),
        "pixel_sha256": str(arrays["pixel_sha256"]),
        "original_size": (width, height),
        "warnings": tuple(warnings),
    }


def _entry(arrays: Mapping[str, Any]) -> Entry:
    return Entry(
        **_facts(arrays),
        w=arrays["w"],
        layer_distances=arrays["layer_distances"],
        curve=arrays["curve"],
        noise={key.removeprefix("noise/"): arrays[key] for key in arrays if key.startswith("noise/")},
        reconstruction=arrays.get("reconstruction"),
        target=arrays.get("target"),
    )


def _check(entry: Entry, manifest: Manifest) -> None:
    """Hold an entry's arrays against the manifest."""
    if entry.status not in STATUSES or not np.isfinite(entry.distance):
        raise EntryError(f"its status is {entry.status!r}, its distance {entry.distance}")
    if not (_SHA256.fullmatch(entry.file_sha256) and _SHA256.fullmatch(entry.pixel_sha256)):
        raise EntryError("its hashes are no sha256")
    if min(entry.original_size) < 1 or entry.restart < 0:
        raise EntryError(f"its image has {entry.original_size} pixels, its restart is {entry.restart}")
    image = (manifest.side, manifest.side, manifest.channels)
    expected: dict[str, tuple[Any, type[np.generic], tuple[int, ...]]] = {
        "w": (entry.w, np.float32, (manifest.w_dim,)),
        "layer_distances": (entry.layer_distances, np.float32, (DISTANCE_LAYERS,)),
        "curve": (entry.curve, np.float32, (manifest.steps,)),
    }
    if manifest.images:
        expected["reconstruction"] = (entry.reconstruction, np.uint8, image)
        expected["target"] = (entry.target, np.uint8, image)
    elif entry.reconstruction is not None or entry.target is not None:
        raise EntryError("it has images")
    for key, (values, kind, shape) in expected.items():
        if getattr(values, "dtype", None) != kind or values.shape != shape:
            raise EntryError(f"its {key} is not {np.dtype(kind).name} {list(shape)}")
    if not np.isfinite(entry.w).all():
        raise EntryError("its w is not finite")
    for layer, values in entry.noise.items():
        square = values.ndim == 2 and 1 <= values.shape[0] == values.shape[1] <= manifest.side
        if not LAYER_NAME.fullmatch(layer) or not square or values.dtype.name != manifest.noise:
            raise EntryError(f"its noise {layer!r} is not {manifest.noise} [r, r]")


@dataclass(frozen=True)
class Failure:
    """An image without a result: its name, a stable code and the reason in words."""

    name: bytes
    code: str
    reason: str


def encode_failure(failure: Failure) -> bytes:
    """Return a failure's file."""
    values = {
        "name_b64": base64.b64encode(failure.name).decode(),
        "name": printable(failure.name),
        "code": one_line(failure.code),
        "reason": one_line(failure.reason),
    }
    return json.dumps(values, indent=1).encode() + b"\n"


def read_failure(path: Path) -> Failure | None:
    """Return a failure of the journal; None when it is damaged."""
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        name = check_name(base64.b64decode(values["name_b64"], validate=True))
        if name_key(name) == path.stem:
            return Failure(name, one_line(str(values["code"])), one_line(str(values["reason"])))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    return None
