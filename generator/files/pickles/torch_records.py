"""What a pickle may ask of torch: tensors over storages, as records.

The real `_load_from_bytes` unpickles without any restriction and the real `_rebuild_tensor_v2` grows a storage to fit
what is asked; neither is ever called.
"""

import math
from typing import Any, Final

from generator.errors import NetworkFileError
from generator.files.pickles.machine import Budget, Vocabulary
from generator.files.pickles.reader import Interpretation, interpret
from generator.files.pickles.records import STORAGE_TYPES, Name, StorageRecord, TensorRecord, check_shape

__all__ = ["CALLS", "WORDS", "StorageTable", "read_storages", "skip_header"]

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001
_ITEM_SIZES: Final = {kind: int(code[2]) for kind, code in STORAGE_TYPES.items()}
DTYPES: Final = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
STORAGES_ONLY: Final = Vocabulary(words=frozenset(("torch", kind) for kind in STORAGE_TYPES))


class StorageTable:
    """Turn persistent ids into storages, one for each key.

    Args:
        length: Items of the id: 5 in a zip file, 6 in the older stream (the last one for views of storages).
        classes: Whether ids may stand for classes of modules too, with their source text, as in the older stream.

    Attributes:
        storages: The storages by key.
        has_source: Whether there was source text; it is not looked at.
    """

    def __init__(self, length: int, *, classes: bool = False) -> None:
        self.length = length
        self.classes = classes
        self.storages: dict[str, StorageRecord] = {}
        self.has_source = False

    def __call__(self, persistent_id: object) -> StorageRecord | Name:
        """Return the storage that an id names, whose data comes later, or the name of a class.

        Raises:
            NetworkFileError: The id is not a plain storage.
        """
        if self.classes and isinstance(persistent_id, tuple) and persistent_id[:1] == ("module",):
            if len(persistent_id) != 4 or not isinstance(persistent_id[1], Name):
                raise NetworkFileError("refused: a persistent id that is not the class of a module")
            self.has_source |= isinstance(persistent_id[3], str)
            return persistent_id[1]
        if not isinstance(persistent_id, tuple) or len(persistent_id) != self.length or persistent_id[0] != "storage":
            raise NetworkFileError("refused: a persistent id that is not a torch storage")
        kind, key, location, numel = persistent_id[1:5]
        if not isinstance(kind, Name) or kind.module != "torch" or kind.name not in STORAGE_TYPES:
            raise NetworkFileError("refused: a storage of a type that networks do not have")
        if not isinstance(key, str) or not isinstance(location, str) or type(numel) is not int or numel < 0:
            raise NetworkFileError("refused: a storage whose key, place or size is not plain")
        if self.length == 6 and persistent_id[5] is not None:
            raise NetworkFileError("refused: a storage that is a view of another")
        storage = self.storages.setdefault(key, StorageRecord(kind.name, numel))
        if (storage.kind, storage.numel) != (kind.name, numel):
            raise NetworkFileError("refused: one storage is described in two ways")
        return storage

    def fill(self, key: str, data: memoryview) -> None:
        """Give a storage its bytes.

        Raises:
            NetworkFileError: Their number is not what was announced.
        """
        storage = self.storages[key]
        needed = storage.numel * _ITEM_SIZES[storage.kind]
        if len(data) != needed:
            raise NetworkFileError(f"damaged: a storage of {needed} bytes comes with {len(data)}")
        storage.data = data


def skip_header(data: memoryview, budget: Budget) -> int:
    """Check the three pickles before the object in torch's older stream; return where it starts.

    Raises:
        NetworkFileError: They are not torch's, or the writer was a big-endian machine.
    """
    magic = interpret(data, Vocabulary(), budget=budget, whole=False)
    if type(magic.value) is not int or magic.value != MAGIC:
        raise NetworkFileError("refused: the embedded bytes are not a torch storage", 0)
    protocol = interpret(data, Vocabulary(), budget=budget, start=magic.end, whole=False)
    if type(protocol.value) is not int or protocol.value != PROTOCOL:
        raise NetworkFileError("refused: an unknown version of torch's older file format", magic.end)
    system = interpret(data, Vocabulary(), budget=budget, start=protocol.end, whole=False)
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise NetworkFileError("refused: the file was not written by a little-endian machine", protocol.end)
    return system.end


def read_storages(data: memoryview, start: int, table: StorageTable, budget: Budget) -> None:
    """Read what follows the object in torch's older stream: the list of keys, then each storage's bytes.

    Args:
        data: The file's bytes.
        start: Where the list begins.
        table: The storages that the object names; they are filled.
        budget: Work that is left for the file.

    Raises:
        NetworkFileError: Keys or sizes do not agree with the object, or bytes are missing or left over.
    """
    keys: Interpretation = interpret(data, Vocabulary(), budget=budget, start=start, whole=False)
    listed = keys.value if isinstance(keys.value, list) else []
    good = len(listed) == len(table.storages) and all(isinstance(key, str) for key in listed)
    if not good or set(listed) != set(table.storages):
        raise NetworkFileError("damaged: the list of storages does not match the object", start)
    position = keys.end
    for key in listed:
        storage = table.storages[key]
        end = position + 8 + storage.numel * _ITEM_SIZES[storage.kind]
        if end > len(data):
            raise NetworkFileError(f"damaged or cut off: {end - len(data)} bytes are missing at the end", position)
        if int.from_bytes(data[position : position + 8], "little") != storage.numel:
            raise NetworkFileError("damaged: a storage's size does not match the object", position)
        table.fill(key, data[position + 8 : end])
        position = end
    if position != len(data):
        raise NetworkFileError(f"refused: {len(data) - position} bytes follow the last storage", position)


def _load_from_bytes(arguments: tuple[Any, ...], budget: Budget) -> StorageRecord:
    """Read a storage that was saved as a file of its own inside the pickle."""
    if len(arguments) != 1 or not isinstance(arguments[0], memoryview):
        raise NetworkFileError("refused: an embedded storage that is not bytes")
    data = arguments[0]
    table = StorageTable(length=6)
    try:
        start = skip_header(data, budget)
        saved = interpret(data, STORAGES_ONLY, persistent=table, budget=budget, start=start, whole=False)
        if not isinstance(saved.value, StorageRecord) or len(table.storages) != 1:
            raise NetworkFileError("refused: the embedded bytes are not one torch storage", start)
        read_storages(data, saved.end, table, budget)
    except NetworkFileError as error:
        place = "" if error.offset is None else f" at its byte {error.offset}"
        raise NetworkFileError(f"in an embedded storage{place}: {error.reason}") from None
    return saved.value


def _rebuild_tensor(arguments: tuple[Any, ...], budget: Budget) -> TensorRecord:
    if len(arguments) not in (6, 7) or not isinstance(arguments[0], StorageRecord):
        raise NetworkFileError("refused: a tensor that does not begin with its storage")
    storage, offset, shape, strides = arguments[:4]
    if type(offset) is not int or offset < 0:
        raise NetworkFileError("refused: a tensor's offset is not a size")
    shape, strides = check_shape(shape), check_shape(strides)
    if len(shape) != len(strides):
        raise NetworkFileError("refused: a tensor has more sizes than strides, or fewer")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    numel = math.prod(shape)
    if numel and (numel > storage.numel or last >= storage.numel):
        raise NetworkFileError(f"refused: a tensor of shape {shape} reaches outside its {storage.numel} elements")
    return TensorRecord(storage, offset, shape, strides)


def _rebuild_parameter(arguments: tuple[Any, ...], budget: Budget) -> TensorRecord:
    if len(arguments) != 3 or not isinstance(arguments[0], TensorRecord):
        raise NetworkFileError("refused: a parameter that is not a tensor")
    return arguments[0]


def _size(arguments: tuple[Any, ...], budget: Budget) -> tuple[int, ...]:
    return check_shape(arguments[0] if len(arguments) == 1 else None)


def _device(arguments: tuple[Any, ...], budget: Budget) -> str:
    if not arguments or len(arguments) > 2 or not isinstance(arguments[0], str):
        raise NetworkFileError("refused: a torch device that is not a name")
    return arguments[0]


WORDS: Final = STORAGES_ONLY.words | {("torch", dtype) for dtype in DTYPES}
CALLS: Final = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _load_from_bytes,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
}
