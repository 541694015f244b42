"""Latents as other programs keep them: projectors, encoders and pivotal tuning.

    projected_w.npz   w [1, num_ws, w_dim]                    the projector of stylegan2-ada-pytorch and stylegan3
    latents.pt        [N, num_ws, w_dim]                      e4e, pSp
    NAME/0.pt         [1, num_ws, w_dim]                      PTI
    NAME.pt           {image: {"latent": ..., "noise": [...]}}   rosinality
    NAME.npz          an array for each image

Nothing in them is run: arrays are read as `invert.npy` does, torch's files as records.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from generator.errors import NetworkFileError
from generator.files.pickles import torch_file
from generator.files.pickles.reader import interpret
from generator.files.pickles.records import ArrayRecord, TensorRecord
from generator.files.pickles.vocabularies import NVIDIA
from generator.files.sniff import HEAD, sniff
from invert.errors import NoInputError
from invert.images.opening import read_regular
from invert.npy import ArraysError, read_array, read_arrays

__all__ = ["KEYS", "OtherLatent", "projected_w", "read_other_latents"]

KEYS = ("w", "ws", "w_plus", "latent", "latents", "latent_code", "projected_w", "arr_0")
"""Names that programs give an array of latents, the likeliest first."""

_MAX_BYTES = 1 << 30
_Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class OtherLatent:
    """A latent of another program.

    Attributes:
        w: float32 `[1 or num_ws, w_dim]`, as far as the file is right.
        noise: Noise map `[r, r]` of each layer, the first layer first; empty where the file has none.
        name: What the file calls it, where that has one latent for each of several names.
    """

    w: NDArray[np.float32]
    noise: tuple[_Array, ...] = ()
    name: str = ""


def read_other_latents(path: Path, num_ws: int) -> list[OtherLatent] | None:
    """Read the latents of a file that another program wrote.

    Args:
        path: A .npz, a .npy, or a file of torch.
        num_ws: Number of styles of the network: two axes of that length and w_dim are one latent in W+, and any other
            number stands for as many latents in W.

    Returns:
        The latents in their order, at least one; None for a .npz of something else.

    Raises:
        NoInputError: The file cannot be read, is damaged, or holds something else.
    """
    data = read_regular(path, _MAX_BYTES)
    try:
        if path.suffix.lower() == ".npz":
            found = _of_npz(data, num_ws)
        else:
            found = _of_npy(data, num_ws) if data[:6] == b"\x93NUMPY" else _of_torch(data, num_ws)
    except (ArraysError, NetworkFileError) as error:
        reason = str(error).rstrip(".")
        raise NoInputError(f"holds no latents that can be read: {reason}", path=path, code="latents-other") from error
    if found is not None and not found:
        raise NoInputError("holds no latents", path=path, code="latents-other")
    return found


def projected_w(ws: _Array) -> bytes:
    """Return latents as the projector of stylegan2-ada-pytorch writes them, for its `generate.py --projected-w`.

    Args:
        ws: float32 `[N, num_ws, w_dim]`.
    """
    buffer = io.BytesIO()
    np.savez(buffer, w=np.asarray(ws, np.float32))
    return buffer.getvalue()


def _of_npz(data: bytes, num_ws: int) -> list[OtherLatent] | None:
    try:
        arrays = read_arrays(data)
    except ArraysError:
        return None
    if "method" in arrays or "run" in arrays:  # a projection of this program, which is damaged
        return None
    key = next((key for key in KEYS if key in arrays), None)
    chosen = arrays if key is None else {key: arrays[key]}
    if not chosen or any(array.dtype.kind != "f" for array in chosen.values()):
        return None
    return [one for name, array in chosen.items() for one in _named(name if key is None else "", _split(array, num_ws))]


def _of_npy(data: bytes, num_ws: int) -> list[OtherLatent]:
    if b"'|O'" in data[:256]:
        reason = "it is a pickled object, as HyperStyle writes its dictionaries, and is never unpickled; save the "
        raise ArraysError(f"{reason}arrays in it with numpy.savez")
    return list(_split(read_array(data), num_ws))


def _of_torch(data: bytes, num_ws: int) -> list[OtherLatent]:
    view = memoryview(data)
    kind = sniff(data[:HEAD], len(data))
    if kind == "safetensors":
        raise NetworkFileError("it is a safetensors file, which no program writes latents in")
    if kind == "pickle":
        found = interpret(view, NVIDIA)
    else:
        found = torch_file.read_zip(view) if kind == "torch zip" else torch_file.read_stream(view)
    return list(_records(found.value, num_ws))


def _records(value: object, num_ws: int, depth: int = 0) -> Iterator[OtherLatent]:
    """Yield the latents of what torch saved: a tensor, a list of them, or a dictionary by image or by name."""
    if isinstance(value, TensorRecord | ArrayRecord):
        yield from _split(value.array(), num_ws)
    elif isinstance(value, list | tuple) and depth < 2:
        for item in value:
            yield from _records(item, num_ws, depth + 1)
    elif isinstance(value, Mapping) and depth < 2:
        key = next((key for key in KEYS if key in value), None)
        if key is None:
            for name, item in value.items():
                yield from _named(name if isinstance(name, str) else "", _records(item, num_ws, depth + 1))
            return
        noise = value.get("noise")
        maps = tuple(map(_map, noise)) if isinstance(noise, list | tuple) else ()
        found = list(_records(value[key], num_ws, depth + 1))
        # the maps are those of one image
        yield from (OtherLatent(one.w, maps if len(found) == 1 else ()) for one in found)
    else:
        raise NetworkFileError("it is a torch file of something else; a network is named with --network")


def _named(name: str, latents: Iterable[OtherLatent]) -> list[OtherLatent]:
    """Return latents with a name, where it is that of one alone."""
    found = list(latents)
    return [replace(one, name=name) for one in found] if len(found) == 1 else found


def _map(record: object) -> _Array:
    if not isinstance(record, TensorRecord | ArrayRecord):
        raise NetworkFileError("its noise maps are no tensors")
    array = record.array()
    if array.ndim < 2 or any(size != 1 for size in array.shape[:-2]):
        raise NetworkFileError(f"a noise map has shape {list(array.shape)}")
    return np.asarray(array.reshape(array.shape[-2:]), np.float32)


def _split(array: _Array, num_ws: int) -> Iterator[OtherLatent]:
    """Yield the latents of an array `[w_dim]`, `[num_ws or N, w_dim]` or `[N, num_ws or 1, w_dim]`."""
    if array.dtype.kind != "f" or not 1 <= array.ndim <= 3 or not array.size:
        raise ArraysError(f"an array of {array.dtype.name} {list(array.shape)} is no latent")
    if array.ndim == 1:
        array = array[None, None]
    elif array.ndim == 2:
        array = array[None] if len(array) == num_ws else array[:, None]
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as not finite
        latents = np.array(array, np.float32, order="C")
    yield from map(OtherLatent, latents)
