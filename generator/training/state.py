"""The full state of a training run as bytes: safetensors, with a checksum of every tensor in the header.

Never pickle: a state may come from another machine.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from generator.errors import NetworkFileError, escaped
from generator.jsontext import read_json

__all__ = ["Layout", "check_state", "state_bytes", "state_from_bytes", "state_limit"]

_FORMAT: Final = "invert-training-state"
_VERSION: Final = 1
_KEY: Final = "invert"
_MAX_HEADER: Final = 1 << 24
_MAX_COUNT: Final = 1 << 40


def state_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a state file; the same tensors always give the same bytes."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = {"format": _FORMAT, "version": _VERSION, "sha256": _digest(plain)}
    return save(plain, {_KEY: json.dumps(about, sort_keys=True)})


def state_from_bytes(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a state file.

    Raises:
        NetworkFileError: It is cut off, damaged, or something else.
    """
    try:
        size = int.from_bytes(content[:8], "little")
        if not 0 < size <= len(content) - 8:
            raise ValueError("its header is cut off")
        header = read_json(content[8 : 8 + size], _MAX_HEADER)
        about: dict[str, Any] = read_json(header["__metadata__"][_KEY], _MAX_HEADER)
        if not isinstance(about, dict):
            raise TypeError("its description is not an object")
        tensors = load(content)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise NetworkFileError(f"damaged: it is not a whole training state ({escaped(str(error))})") from error
    if about.get("format") != _FORMAT or about.get("version") != _VERSION:
        raise NetworkFileError(f"unsupported: it is not version {_VERSION} of the format '{_FORMAT}'; update invert")
    if about.get("sha256") != _digest(tensors):
        raise NetworkFileError("damaged: its checksum does not match")
    return tensors


@dataclass(frozen=True)
class Layout:
    """What a trainer's state consists of.

    Attributes:
        tensors: What every state has: shape and type of each tensor, by name.
        moments: What the optimisers have of parameters that have had a gradient: by the parameter's name.
        counts: Names of tensors whose numbers count something: whole, and not less than 0.
    """

    tensors: Mapping[str, tuple[torch.Size, torch.dtype]]
    moments: Mapping[str, Mapping[str, tuple[torch.Size, torch.dtype]]]
    counts: frozenset[str]


def state_limit(layout: Layout) -> int:
    """Return the most bytes that the file of a state may have."""
    described = [*layout.tensors.values(), *(one for moment in layout.moments.values() for one in moment.values())]
    return _MAX_HEADER + sum(shape.numel() * dtype.itemsize for shape, dtype in described)


def check_state(state: Mapping[str, Tensor], layout: Layout) -> None:
    """Compare a state with what a trainer has, tensor by tensor, before anything takes it over.

    The optimiser's kernel walks over a parameter and its moments side by side, and believes that they are of one size.

    Args:
        state: What `state_from_bytes` returned.
        layout: What the trainer has.

    Raises:
        NetworkFileError: A tensor is missing, unknown, of another shape or type, not finite, or a count that is none.
    """
    expected = dict(layout.tensors)
    for name, moment in layout.moments.items():
        # all of them or none: a parameter that had no gradient yet has none
        if any(key in state for key in moment):
            expected |= moment
        missing = [key for key in moment if key in expected and key not in state]
        if missing:
            raise _misfit(missing[0], f"is missing, and others of '{escaped(name)}' are there")
    for name in sorted(state.keys() | expected.keys()):
        if name not in expected:
            raise _misfit(name, "is unknown")
        if name not in state:
            raise _misfit(name, "is missing")
        shape, dtype = expected[name]
        value = state[name]
        if value.shape != shape or value.dtype != dtype:
            has = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
            raise _misfit(name, f"is {has}, not {str(dtype).removeprefix('torch.')} {list(shape)}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise _misfit(name, "is not finite")
        counted = name in layout.counts
        if counted and not bool(((value >= 0) & (value <= _MAX_COUNT) & (value == value.floor())).all()):
            raise _misfit(name, "is not a count")


def _misfit(name: str, problem: str) -> NetworkFileError:
    return NetworkFileError(f"damaged: it is not a state of this run, '{escaped(name)}' {problem}")


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
