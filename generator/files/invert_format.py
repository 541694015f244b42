"""This project's own network files: safetensors, with the settings in one metadata entry.

The same networks and settings always give the same bytes. Reading imports no torch.
"""

import errno
import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np

from generator.config import to_dict
from generator.errors import ConfigError, NetworkFileError, escaped
from generator.families import discriminator_from_dict, generator_from_dict
from generator.files.pickles.records import (
    MAX_NAME,
    MAX_SIZE,
    STORAGE_TYPES,
    Array,
    StorageRecord,
    TensorRecord,
    check_shape,
)
from generator.files.state import LoadedNetwork, LoadedState, discriminator_shapes, generator_shapes
from generator.files.weights import Weight, check_shapes, to_float32
from generator.jsontext import JsonError, read_json
from generator.system import sync_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from generator.bases import DiscriminatorBase
    from generator.networks import Generator

__all__ = [
    "FAMILY",
    "METADATA_KEY",
    "network_bytes",
    "other_tensors",
    "read",
    "read_tensors",
    "save_loaded",
    "save_network",
]

_FORMAT: Final = "invert-network"
FAMILY: Final = "invert"
_VERSION: Final = 1
METADATA_KEY: Final = "invert"  # one entry only: the library does not keep the order of several
MAX_HEADER: Final = 1 << 22
# the types of safetensors -> torch's storages
_STORAGES: Final = {
    "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage", "F64": "DoubleStorage",
    "I64": "LongStorage", "I32": "IntStorage", "I16": "ShortStorage", "I8": "CharStorage", "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}  # fmt: skip


def other_tensors(data: memoryview) -> dict[str, TensorRecord] | None:
    """Return the tensors of a safetensors file that somebody else's program wrote; None for one of this project's.

    Raises:
        NetworkFileError: The file is damaged.
    """
    header, begin = _header(data)
    if _own_text(header.pop("__metadata__", None)) is not None:
        return None
    tensors: dict[str, TensorRecord] = {}
    for name, kind, start, end, shape in _places(header, begin, len(data), _STORAGES):
        storage = StorageRecord(_STORAGES[kind], math.prod(shape), data[begin + start : begin + end])
        strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        tensors[name] = TensorRecord(storage, 0, shape, strides)
    return tensors


def _own_text(metadata: object) -> str | None:
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    return text if isinstance(text, str) else None


def read(data: memoryview) -> LoadedState:
    """Turn a file into a network.

    Raises:
        NetworkFileError: The file is damaged, or not one of this project's.
    """
    header, begin = _header(data)
    text = _own_text(header.pop("__metadata__", None))
    if text is None:
        raise NetworkFileError("this is a safetensors file of another program")
    about = _json(text.encode(), 8)
    if about.get("format") == "invert-directions":
        raise NetworkFileError("these are directions to edit along, not a network; name them with --direction")
    if about.get("format") != _FORMAT or about.get("version") != _VERSION:
        raise NetworkFileError(f"unsupported: it is not version {_VERSION} of the format '{_FORMAT}'; update invert")
    weights = _weights(data, header, begin)
    parts = {prefix: _part(weights, prefix) for prefix in ("G.", "D.")}
    if len(parts["G."]) + len(parts["D."]) != len(weights):
        raise NetworkFileError("damaged: it holds tensors that belong to no network")
    try:
        generator = generator_from_dict(about["generator"])
        found = about.get("discriminator")
        discriminator = None if found is None else discriminator_from_dict(found)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise NetworkFileError(f"damaged: its settings are not a network's: {escaped(str(error))}") from None
    check_shapes(parts["G."], generator_shapes(generator), frozenset())
    check_shapes(parts["D."], {} if discriminator is None else discriminator_shapes(discriminator), frozenset())
    source, family, settings = about.get("source_sha256"), about.get("family"), about.get("settings")
    return LoadedState(
        generator_config=generator,
        generator_state=to_float32(parts["G."])[0],
        discriminator_config=discriminator,
        discriminator_state=None if discriminator is None else to_float32(parts["D."])[0],
        family=_family(family),
        settings=settings if isinstance(settings, dict) else {},
        source_sha256=source if isinstance(source, str) else None,
    )


def read_tensors(data: memoryview, kind: str, version: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the description and the tensors, float32, of a file of this project that is no network.

    Args:
        data: The file.
        kind: The name of its format.
        version: The version that is known.

    Raises:
        NetworkFileError: It is damaged, of another format, or of another version.
    """
    header, begin = _header(data)
    text = _own_text(header.pop("__metadata__", None))
    about = {} if text is None else _json(text.encode(), 8)
    if about.get("format") != kind:
        what = "a network" if about.get("format") == _FORMAT else "a safetensors file of something else"
        raise NetworkFileError(f"it is {what}, not of the format '{kind}'")
    if about.get("version") != version:
        raise NetworkFileError(f"unsupported: it is not version {version} of the format '{kind}'; update invert")
    return about, {name: weight.array for name, weight in _weights(data, header, begin).items()}


def _family(name: object) -> str:
    """Return the code that wrote the network first; it goes into every record of a run.

    Raises:
        NetworkFileError: It is not the plain word that each of our readers gives.
    """
    if name is None:
        return FAMILY
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_.-]{1,100}", name):
        raise NetworkFileError("damaged: it does not name the code that wrote it in a plain word")
    return name


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    """Return the JSON header and where the tensors begin."""
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise NetworkFileError(f"this is a safetensors file of another model (a header of {length} bytes)", 0)
    if 8 + length > len(data):
        raise NetworkFileError("damaged or cut off: the safetensors header is not complete", 8)
    return _json(bytes(data[8 : 8 + length]), 8), 8 + length


def _json(text: bytes, offset: int) -> dict[str, Any]:
    try:
        value = read_json(text, MAX_HEADER)
    except JsonError as error:
        reason = f"damaged: the safetensors header is not valid JSON ({escaped(str(error))})"
        raise NetworkFileError(reason, offset) from None
    if not isinstance(value, dict):
        raise NetworkFileError("damaged: the safetensors header is not an object", offset)
    return value


def _weights(data: memoryview, header: dict[str, Any], begin: int) -> dict[str, Weight]:
    """Return the tensors, which must be float32 and fill the file without gap or overlap."""
    weights: dict[str, Weight] = {}
    for name, _, start, end, shape in _places(header, begin, len(data), {"F32": "FloatStorage"}):
        array = np.frombuffer(data[begin + start : begin + end], dtype="<f4") if end > start else np.empty(0, "<f4")
        weights[name] = Weight(array.reshape(shape), name, "float32")
    return weights


def _places(
    header: dict[str, Any], begin: int, size: int, storages: Mapping[str, str]
) -> list[tuple[str, str, int, int, tuple[int, ...]]]:
    """Return name, type, begin, end and shape of every tensor: they fill the file without gap or overlap.

    Args:
        header: The file's header, without what is no tensor.
        begin: Where the tensors begin.
        size: Length of the file.
        storages: The types that they may have.
    """
    places: list[tuple[int, int, str, str, tuple[int, ...]]] = []
    for name, entry in header.items():
        kind = entry.get("dtype") if isinstance(entry, dict) else None
        known = isinstance(kind, str) and kind in storages
        shape = _shape(entry.get("shape")) if known else None
        span = entry.get("data_offsets") if known else None
        if kind is None or shape is None or not _is_span(span) or len(name) > MAX_NAME:
            what = "float32 numbers" if len(storages) == 1 else "numbers of a type that networks have"
            raise NetworkFileError(f"damaged: tensor '{escaped(name)}' is not described as {what}", 8)
        places.append((span[0], span[1], name, kind, shape))
    position = 0
    for start, end, name, kind, shape in sorted(places):
        needed = np.dtype(STORAGE_TYPES[storages[kind]]).itemsize * math.prod(shape)
        if start != position or end - start != needed or begin + end > size:
            raise NetworkFileError(
                f"damaged or cut off: tensor '{escaped(name)}' is not where it should be", begin + start
            )
        position = end
    if begin + position != size:
        raise NetworkFileError("damaged: the tensors do not fill the file", begin + position)
    return [(name, kind, start, end, shape) for start, end, name, kind, shape in sorted(places)]


def _is_span(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) == 2 and all(type(at) is int and 0 <= at < MAX_SIZE for at in value)


def _shape(value: object) -> tuple[int, ...] | None:
    """Return a list of sizes as a shape; None if it is not one."""
    if not isinstance(value, list):
        return None
    try:
        return check_shape(tuple(value))
    except NetworkFileError:
        return None


def _part(weights: dict[str, Weight], prefix: str) -> dict[str, Weight]:
    return {name.removeprefix(prefix): item for name, item in weights.items() if name.startswith(prefix)}


def network_bytes(
    generator: "Generator",
    discriminator: "DiscriminatorBase | None" = None,
    *,
    family: str = FAMILY,
    source_sha256: str | None = None,
    settings: dict[str, Any] | None = None,
) -> bytes:
    """Return the content of a network file.

    Args:
        generator: The generator, whose tensors are written under `G.`.
        discriminator: The discriminator, whose tensors are written under `D.`.
        family: Code that wrote the network first, see `LoadedState.family`.
        source_sha256: Hash of the file that it was converted from.
        settings: What that file said about itself, as JSON types.
    """
    from safetensors.torch import save

    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "generator": to_dict(generator.config),
        "discriminator": None if discriminator is None else to_dict(discriminator.config),
        "family": family,
        "source_sha256": source_sha256,
        "settings": settings or {},
    }
    tensors = _tensors(generator, "G.")
    if discriminator is not None:
        tensors |= _tensors(discriminator, "D.")
    # the library sorts the tensors, but keeps no order among several metadata entries
    return save(tensors, {METADATA_KEY: json.dumps(about, sort_keys=True, separators=(",", ":"))})


def save_network(
    path: str | os.PathLike[str],
    generator: "Generator",
    discriminator: "DiscriminatorBase | None" = None,
    *,
    family: str = FAMILY,
    source_sha256: str | None = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Write a network file, whole or not at all.

    Args:
        path: The file.
        generator: The generator.
        discriminator: The discriminator, if it is to be in the file.
        family: Code that wrote the network first, see `LoadedState.family`.
        source_sha256: Hash of the file that it was converted from.
        settings: What that file said about itself, as JSON types.

    Raises:
        OSError: It cannot be written, or a link is in its place; an older file of that name is untouched.
    """
    content = network_bytes(generator, discriminator, family=family, source_sha256=source_sha256, settings=settings)
    _write_atomically(Path(path), content)


def save_loaded(path: str | os.PathLike[str], network: LoadedNetwork) -> None:
    """Write a network that was loaded from any supported file, with what is known of its origin.

    Raises:
        OSError: It cannot be written, or a link is in its place; an older file of that name is untouched.
    """
    origin = network.provenance
    save_network(
        path,
        network.generator,
        network.discriminator,
        family=origin.family,
        source_sha256=origin.source_sha256,
        settings=origin.settings,
    )


def _tensors(module: "nn.Module", prefix: str) -> "dict[str, Tensor]":
    state = module.state_dict()
    return {f"{prefix}{name}": value.detach().cpu().float().contiguous() for name, value in state.items()}


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, then rename, so that a crash or power cut leaves the old file or the new one."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, which is not followed", os.fspath(path))
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
