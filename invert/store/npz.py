"""The two files of one projection: the arrays and records as .npz, the image beside the target as .png."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from generator.jsontext import read_json
from generator.settings import MAX_RESOLUTION
from invert.errors import NoInputError
from invert.images.decoding import ImagePolicy, decode_image, to_png_bytes
from invert.images.opening import read_regular
from invert.npy import read_arrays
from invert.projection.records import method_digest
from invert.store.result import FIELDS, Field, Result

__all__ = ["StoredProjection", "decode_sheet", "encode_arrays", "encode_images", "read_projection"]

_Record = dict[str, Any]

_PNG = ImagePolicy(formats=("PNG",), min_size=1)
_MAX_RECORD = 1 << 20

MAX_BYTES = 1 << 30
"""A projection at 4096 px, the largest size there is, has less than a quarter of it, nearly all of it noise maps."""

_FACTOR = 16
"""On the differences that an image shows."""

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredProjection(Result):
    """What an .npz of a folder holds: a result, without the images, and the records of how it was made.

    Attributes:
        method: `invert.projection.records.method_record`.
        run: `invert.projection.projector.run_record`.
    """

    method: _Record
    run: _Record


def read_projection(path: Path) -> StoredProjection:
    """Read an .npz that `FolderStore.keep` wrote; nothing else in it is ever run, unpacked or waited for.

    Its `name` is the name of the image's file, without the folders.

    Raises:
        NoInputError: The file cannot be read, is damaged or holds something else.
    """
    try:
        arrays = read_arrays(read_regular(path, MAX_BYTES))
        method, run = (read_json(str(arrays[key]), _MAX_RECORD) for key in ("method", "run"))
        if not isinstance(method, dict) or not isinstance(run, dict):
            raise ValueError("a record is no object")
        return StoredProjection(method=method, run=run, **_values(arrays))
    except _DAMAGE as error:
        raise NoInputError("is no projection, or damaged", path=path, code="projection-damaged") from error


def _values(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that an .npz has; later fields than it keep their defaults.

    Raises:
        ValueError, TypeError, KeyError: One is missing, or is none.
    """
    found: dict[str, Any] = {}
    for field in FIELDS:
        if field.npz is None:
            continue
        if field.kind == "maps":
            prefix = f"{field.npz}/"
            found[field.name] = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
        elif field.since == 1 or field.npz in arrays:
            found[field.name] = field.from_array(arrays[field.npz])
        else:
            continue
        problem = field.problem(found[field.name], _sizes_of(field, found[field.name]), "float32")
        if problem:
            raise ValueError(problem)
    return found


def _sizes_of(field: Field, value: Any) -> dict[str, int]:
    """Return what the words of a field's shape stand for, as far as its own value tells: the network is not known."""
    sides = {"side": MAX_RESOLUTION, "rectangle": 1}
    if field.kind != "array" or value.ndim != len(field.shape):
        return sides | {str(word): 1 for word in field.shape}
    return sides | {word: size for word, size in zip(field.shape, value.shape, strict=True) if isinstance(word, str)}


def encode_arrays(result: Result, method: _Record, run: _Record) -> bytes:
    """Return the .npz of a result; equal results give equal bytes, for numpy writes no times."""
    arrays: dict[str, Any] = {}
    for field in FIELDS:
        value = getattr(result, field.name)
        if field.npz is None or (field.is_of_some and value is None):
            continue
        if field.kind == "maps":
            arrays |= {f"{field.npz}/{layer}": values for layer, values in value.items()}
        else:
            arrays[field.npz] = field.to_array(value)
    arrays |= {
        "method": np.str_(json.dumps(method, sort_keys=True)),
        "method_digest": np.str_(method_digest(method)),
        "run": np.str_(json.dumps(run, sort_keys=True)),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def encode_images(result: Result, seen: NDArray[np.uint8] | None = None) -> bytes:
    """Return the .png: the target, and on its right what the network synthesises from w and noise.

    Args:
        result: With both.
        seen: What preset exact expects in the image `[H, W, C]`. It stands in the second place, then the difference
            times 16, with the root of its mean square in levels under it.
    """
    if result.target is None or result.reconstruction is None:
        raise ValueError("a result without images cannot be shown")
    if seen is None:
        return to_png_bytes(
            np.concatenate([result.target, result.reconstruction], axis=1), is_sheet=True
        )  # [H, 2 W, C]
    difference = result.target.astype(np.int16) - seen
    shown = np.clip(128 + _FACTOR * difference, 0, 255).astype(np.uint8)
    if shown.shape[2] == 4:
        shown[..., 3] = 255
    row = np.concatenate([result.target, seen, shown], axis=1)  # [H, 3 W, C]
    rms = float(np.sqrt(np.square(difference, dtype=np.float64).mean()))
    return to_png_bytes(
        np.concatenate([row, _caption(f"x{_FACTOR}  rms {rms:.2f}", row.shape[1], row.shape[2])]), is_sheet=True
    )


def _caption(text: str, width: int, channels: int) -> NDArray[np.uint8]:
    """Return a line of white text on black, `[h, width, channels]`, at the right."""
    font = ImageFont.load_default_imagefont()
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    image = Image.new("L", (width, bottom - top + 4))
    ImageDraw.Draw(image).text((max(0, width - (right - left) - 2), 2), text, fill=255, font=font)
    line = np.asarray(image)[..., None].repeat(channels, axis=2)
    if channels == 4:
        line[..., 3] = 255
    return line


def decode_sheet(png: bytes) -> NDArray[np.uint8]:
    """Return the pixels `[H, 2 W, C]` of a .png that `encode_images` gave.

    Raises:
        ImageError: It is damaged, or another image.
    """
    channels = {0: 1, 2: 3, 6: 4}.get(png[25] if len(png) > 25 else 0, 3)  # by the colour type of its header
    both = np.asarray(decode_image(png, channels, _PNG).image)
    return both if both.ndim == 3 else both[:, :, None]
