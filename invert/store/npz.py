"""The two files of one projection: the arrays and records as .npz, the image beside the target as .png."""

import io
import json
import lzma
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from invert.errors import NoInputError
from invert.images.decoding import to_png_bytes
from invert.images.opening import read_regular
from invert.images.target import Target
from invert.projection.config import method_digest

if TYPE_CHECKING:  # works without torch
    from invert.projection.projector import Projection

__all__ = ["StoredProjection", "encode_arrays", "encode_images", "read_projection", "source_name"]

Record = dict[str, Any]

MAX_BYTES = 1 << 30
"""A projection at 4096 px, the largest size there is, has less than a quarter of it, nearly all of it noise maps."""

_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@dataclass(frozen=True)
class StoredProjection:
    """What a .npz holds. `step_loss` is the LPIPS of each step; `distance` that of the result (see `Projection`)."""

    w: npt.NDArray[np.float32]
    noise: dict[str, npt.NDArray[np.float32]]
    distance: float
    layer_distances: npt.NDArray[np.float32]
    step_loss: npt.NDArray[np.float32]
    status: str
    restart: int
    source: str
    file_sha256: str
    pixel_sha256: str
    method: Record
    run: Record


def read_projection(path: Path) -> StoredProjection:
    """Read a .npz that `FolderStore.save` wrote; nothing else in it is ever run, unpacked or waited for.

    Raises:
        NoInputError: The file cannot be read, is damaged or holds something else.
    """
    try:
        with np.load(io.BytesIO(read_regular(path, MAX_BYTES)), allow_pickle=False) as arrays:
            if sum(member.file_size for member in arrays.zip.infolist()) > MAX_BYTES:
                raise ValueError("it unpacks to more than any projection has")
            method, run = json.loads(str(arrays["method"])), json.loads(str(arrays["run"]))
            if not isinstance(method, dict) or not isinstance(run, dict):
                raise ValueError("a record is no object")
            return StoredProjection(
                w=arrays["w"],
                noise={key.removeprefix("noise/"): arrays[key] for key in arrays.files if key.startswith("noise/")},
                distance=float(arrays["distance"]),
                layer_distances=arrays["layer_distances"],
                step_loss=arrays["step_loss"],
                status=str(arrays["status"]),
                restart=int(arrays["restart"]),
                source=arrays["source"].tobytes().decode("utf-8", "backslashreplace"),
                file_sha256=str(arrays["file_sha256"]),
                pixel_sha256=str(arrays["pixel_sha256"]),
                method=method,
                run=run,
            )
    except _DAMAGE as error:
        raise NoInputError("is no projection, or damaged", path=path, code="projection-damaged") from error


def encode_arrays(projection: "Projection", method: Record, run: Record) -> bytes:
    """Return the .npz of a projection; equal projections give equal bytes, for numpy writes no times."""
    target = projection.target
    arrays: dict[str, Any] = {
        "w": projection.w,
        **{f"noise/{layer}": values for layer, values in projection.noise.items()},
        "distance": np.float64(projection.distance),
        "layer_distances": projection.layer_distances,
        "step_loss": projection.curve,
        "status": np.str_(projection.status),
        "restart": np.int64(projection.restart),
        "source": np.frombuffer(os.fsencode(target.path.name), np.uint8),
        "file_sha256": np.str_(target.file_sha256),
        "pixel_sha256": np.str_(target.pixel_sha256),
        "method": np.str_(json.dumps(method, sort_keys=True)),
        "method_digest": np.str_(method_digest(method)),
        "run": np.str_(json.dumps(run, sort_keys=True)),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def encode_images(projection: "Projection") -> bytes:
    """Return the .png: the target, and what the network draws from the optimised w and noise on its right."""
    return to_png_bytes(np.concatenate([projection.target.array, projection.image], axis=1))  # [H, 2 W, C]


def source_name(target: Target) -> str:
    """Return the name of an image's file as text; bytes that are not UTF-8 become escapes."""
    # Surrogates are not everywhere valid JSON. The .npz has the bytes themselves.
    return os.fsencode(target.path.name).decode("utf-8", "backslashreplace")
