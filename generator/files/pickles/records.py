"""Inert records: all that a network file can make this package build.

A record holds plain data and has no behaviour of the object that the file describes.
Byte strings are `memoryview`s of the file itself, so that reading copies no weights.
"""

import math
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.errors import MAX_SHOWN, NetworkFileError, escaped

__all__ = [
    "Array",
    "ArrayRecord",
    "DtypeRecord",
    "ModuleRecord",
    "Name",
    "NamespaceRecord",
    "NetworkRecord",
    "ObjectRecord",
    "OrderedRecord",
    "StorageRecord",
    "TensorRecord",
    "check_shape",
    "kind_of",
    "plain",
]

Array = npt.NDArray[Any]

MAX_DIMENSIONS = 8
MAX_SIZE = 1 << 40
MAX_NAME = 256  # of a tensor, with those of all modules that it lies in
_NO_BYTES = memoryview(b"")


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A global that the file asks for. It is only ever a word, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class OrderedRecord(dict[Any, Any]):
    """A `collections.OrderedDict`: a dictionary that may be given PyTorch's `_metadata`, which is dropped."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class NamespaceRecord:
    """An `argparse.Namespace` or `types.SimpleNamespace`: the command line of a training run."""

    values: dict[Any, Any] | None = None


@dataclass(slots=True, eq=False)
class NetworkRecord:
    """A `dnnlib.tflib.network.Network` of the TensorFlow code."""

    state: dict[Any, Any] | None = None


@dataclass(slots=True, eq=False)
class ModuleRecord:
    """A module of the PyTorch code: its class name and attributes; its source text is only counted."""

    class_name: str
    state: dict[Any, Any]
    source_length: int


@dataclass(slots=True, eq=False)
class ObjectRecord:
    """An object of a class that is none of ours: its state and its items, if it is a dictionary. It is never made.

    A module that was saved whole is one; so are harmless things beside a network, such as a date.
    """

    name: Name
    state: Any = None
    is_filled: bool = False
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class DtypeRecord:
    """A numpy dtype, by a code out of our own table."""

    code: str
    order: str = ""

    def numpy(self) -> np.dtype[Any]:
        """Return the dtype, little-endian unless the file said otherwise."""
        return np.dtype((self.order or "<") + self.code)


@dataclass(slots=True, eq=False)
class ArrayRecord:
    """A numpy array; `dtype` is None until the file has filled it."""

    dtype: DtypeRecord | None = None
    shape: tuple[int, ...] = (0,)
    fortran: bool = False
    data: memoryview = _NO_BYTES

    @property
    def kind(self) -> str:
        """Element type as a word."""
        return "nothing" if self.dtype is None else self.dtype.numpy().name

    @property
    def nbytes(self) -> int:
        """Bytes of the file that it takes."""
        return len(self.data)

    def array(self) -> Array:
        """Return a read-only view of the file's bytes."""
        if self.dtype is None:
            raise NetworkFileError("damaged: an array was announced and never filled")
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype.numpy())
        flat = np.frombuffer(self.data, dtype=self.dtype.numpy())
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


@dataclass(slots=True, eq=False)
class StorageRecord:
    """The memory behind tensors: `numel` elements of a type named as torch names it."""

    kind: str
    numel: int
    data: memoryview | None = None


# torch storage class -> numpy type; bfloat16 has none and is widened by hand.
STORAGE_TYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


@dataclass(slots=True, eq=False)
class TensorRecord:
    """A strided view of a storage, checked to lie inside it."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def kind(self) -> str:
        """Element type as a word: float32, float16, bfloat16, ..."""
        if self.storage.kind == "BFloat16Storage":
            return "bfloat16"
        return np.dtype(STORAGE_TYPES[self.storage.kind]).name

    @property
    def nbytes(self) -> int:
        """Bytes of the file that it takes."""
        return math.prod(self.shape) * np.dtype(STORAGE_TYPES[self.storage.kind]).itemsize

    def array(self) -> Array:
        """Return a view of the file's bytes (bfloat16: a float32 copy)."""
        data = self.storage.data
        if data is None:
            raise NetworkFileError("damaged: a tensor's storage is not in the file")
        dtype = np.dtype(STORAGE_TYPES[self.storage.kind])
        size = dtype.itemsize
        strides = tuple(stride * size for stride in self.strides)
        if 0 in self.shape:
            view: Array = np.empty(self.shape, dtype)
        else:
            # numpy checks the bounds once more here.
            view = np.ndarray(self.shape, dtype, buffer=data, offset=self.offset * size, strides=strides)
        if self.storage.kind == "BFloat16Storage":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view


def check_shape(shape: object) -> tuple[int, ...]:
    """Return `shape` if it is a tuple of at most 8 sizes that numpy can take.

    Raises:
        NetworkFileError: It is not.
    """
    good = isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and all(type(size) is int for size in shape)
    if not good or any(not 0 <= size < MAX_SIZE for size in shape):  # type: ignore[attr-defined]
        raise NetworkFileError("refused: a tensor's shape is not a tuple of at most 8 sizes")
    # a size of 0 makes the tensor empty, yet numpy multiplies the others
    if math.prod(max(size, 1) for size in shape) > MAX_SIZE:  # type: ignore[attr-defined]
        raise NetworkFileError("refused: a tensor's shape has more elements than any network has")
    return shape  # type: ignore[return-value]


_KINDS: dict[type, str] = {
    memoryview: "byte string",
    Name: "name",
    OrderedRecord: "dict",
    NamespaceRecord: "command line",
    NetworkRecord: "TensorFlow network",
    ModuleRecord: "module",
    DtypeRecord: "numpy type",
    ArrayRecord: "numpy array",
    StorageRecord: "storage",
    TensorRecord: "tensor",
}


def kind_of(value: object) -> str:
    """Say in a word what a record stands for: no class of this program is meant by it."""
    if isinstance(value, ObjectRecord):
        return f"'{escaped(str(value.name))}'"
    return _KINDS.get(type(value), type(value).__name__)


def plain(value: object, depth: int = 6, budget: list[int] | None = None) -> Any:
    """Turn settings from a file into JSON types; what is deep, large or not plain becomes a word.

    Args:
        value: Any record.
        depth: Nesting that is kept; bounds the recursion.
        budget: How many values may still be kept, shared by one whole conversion.
    """
    budget = [2000] if budget is None else budget
    budget[0] -= 1
    if budget[0] < 0:
        return "..."
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else "a large integer"
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, str):
        return value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "..."
    if isinstance(value, NamespaceRecord):
        value = value.values or {}
    if isinstance(value, dict | list | tuple | set) and depth == 0:
        return "..."
    if isinstance(value, dict):
        pairs = islice(value.items(), max(budget[0], 0))
        return {str(plain(key)): plain(item, depth - 1, budget) for key, item in pairs}
    if isinstance(value, set):
        return sorted(str(plain(item)) for item in islice(value, max(budget[0], 0)))
    if isinstance(value, list | tuple):
        return [plain(item, depth - 1, budget) for item in islice(value, max(budget[0], 0))]
    return f"<{kind_of(value)}>"
