"""One finished image, or one failure, as a file of the journal.

The first line of an entry is `invert-entry <version> <sha256 of the rest>`, the rest an .npz with an array for each
field of the result: an entry that was cut off or changed is noticed and redone.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from generator.jsontext import read_json
from invert.errors import UnreadableError
from invert.images.opening import read_regular
from invert.npy import read_arrays
from invert.store.manifest import Manifest
from invert.store.names import check_name, name_key, one_line, printable
from invert.store.result import FIELDS, VERSION, Failure, Result

__all__ = ["MAX_ENTRY", "EntryError", "decode", "encode", "encode_failure", "read_failure"]

_HEADER = re.compile(rb"invert-entry ([1-9][0-9]{0,3}) ([0-9a-f]{64})\n")
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)
_MAX_FAILURE = 1 << 16


MAX_ENTRY = 1 << 30
"""A result at 4096 px, the largest size there is, has less than half of it, nearly all of it noise maps and images."""


class EntryError(ValueError):
    """A file is no entry, is damaged, or does not go with the manifest."""


def encode(result: Result, manifest: Manifest) -> bytes:
    """Return an entry's file; equal results give equal bytes.

    Args:
        result: With all that could be kept; what the manifest does not keep is left out.
        manifest: What all images of the output have in common.

    Raises:
        EntryError: It does not go with the manifest.
    """
    arrays: dict[str, Any] = {}
    for field in FIELDS:
        value = getattr(result, field.name)
        if field.kind != "maps":
            if manifest.keeps(field):
                arrays[field.name] = field.to_array(value)
        elif manifest.keeps(field):
            # Sorted, so that the order in which a network has its layers leaves no trace.
            maps = {layer: np.asarray(values, manifest.noise) for layer, values in sorted(value.items())}
            arrays |= {f"{field.name}/{layer}": values for layer, values in maps.items()}
    _check(_result(arrays, manifest, VERSION), manifest)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    body = buffer.getvalue()
    return f"invert-entry {VERSION} {hashlib.sha256(body).hexdigest()}\n".encode() + body


def decode(data: bytes, manifest: Manifest) -> Result:
    """Read an entry's file, of this version or an earlier one.

    Raises:
        EntryError: It is none, is damaged, or does not go with the manifest.
    """
    try:
        version, arrays = _open(data)
        result = _result(arrays, manifest, version)
    except EntryError:
        raise
    except _DAMAGE as error:
        raise EntryError("is damaged") from error
    _check(result, manifest)
    return result


def _open(data: bytes) -> tuple[int, Mapping[str, Any]]:
    """Return the version of an entry and its arrays, after a look at the checksum."""
    header = _HEADER.match(data)
    body = memoryview(data)[header.end() if header else 0 :]
    if header is None or hashlib.sha256(body).hexdigest().encode() != header[2]:
        raise EntryError("is damaged")
    if int(header[1]) > VERSION:
        raise EntryError(f"is in version {int(header[1])} of its format, this program reads up to {VERSION}")
    arrays = read_arrays(body)
    return int(header[1]), arrays


def _result(arrays: Mapping[str, Any], manifest: Manifest, version: int) -> Result:
    values: dict[str, Any] = {}
    for field in FIELDS:
        if field.since > version:
            values[field.name] = field.missing(manifest.sizes)
        elif field.kind == "maps":
            prefix = f"{field.name}/"
            values[field.name] = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
        elif field.kept == "always" or field.name in arrays:
            values[field.name] = field.from_array(arrays[field.name], manifest.sizes)
    return Result(**values)


def _check(result: Result, manifest: Manifest) -> None:
    """Compare a result with the manifest."""
    for field in FIELDS:
        value = getattr(result, field.name)
        if field.kind != "maps" and not manifest.keeps(field):
            if value is not None:
                raise EntryError(f"it has {field.kept}")
            continue
        problem = field.problem(value, manifest.sizes, manifest.noise)
        if problem:
            raise EntryError(problem)


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
        values: dict[str, Any] = read_json(read_regular(path, _MAX_FAILURE, follow=False))
        name = check_name(base64.b64decode(values["name_b64"], validate=True))
        if name_key(name) == path.stem:
            return Failure(name, one_line(str(values["code"])), one_line(str(values["reason"])))
    except (UnreadableError, ValueError, TypeError, KeyError):
        pass
    return None
