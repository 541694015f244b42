"""The full state of a training run as bytes: safetensors, with a checksum of every tensor in the header.

Never pickle: a state may come from another machine.
"""

import hashlib
import json
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from generator.errors import NetworkFileError

__all__ = ["state_bytes", "state_from_bytes"]

_FORMAT: Final = "invert-training-state"
_VERSION: Final = 1
_KEY: Final = "invert"


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
        about: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
        if not isinstance(about, dict):
            raise TypeError("its description is not an object")
        tensors = load(content)
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise NetworkFileError(f"damaged: it is not a whole training state ({error})") from error
    if about.get("format") != _FORMAT or about.get("version") != _VERSION:
        raise NetworkFileError(f"unsupported: it is not version {_VERSION} of the format '{_FORMAT}'; update invert")
    if about.get("sha256") != _digest(tensors):
        raise NetworkFileError("damaged: its checksum does not match")
    return tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()
