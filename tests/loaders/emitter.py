"""Write pickles opcode by opcode, of objects that need not exist."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(eq=False)
class Global:
    """A global, by name."""

    module: str
    name: str


@dataclass(eq=False)
class Call:
    """A call of a global (REDUCE), and the state it is then given (BUILD)."""

    function: Any
    arguments: Any = ()
    state: Any = None


@dataclass(eq=False)
class New:
    """An object of a class (NEWOBJ), then its items (SETITEMS) and its state (BUILD)."""

    function: Any
    items: dict[Any, Any] | None = None
    state: Any = None
    arguments: Any = ()


@dataclass(eq=False)
class Persistent:
    """A persistent id."""

    key: Any


@dataclass(eq=False)
class Raw:
    """Opcodes as they are."""

    code: bytes


ORDERED = Global("collections", "OrderedDict")


def dumps(value: Any, protocol: int = 2) -> bytes:
    """Return a whole pickle. Protocol 2 spells globals and bytes the old way."""
    return bytes([0x80, protocol]) + opcodes(value, protocol) + b"."


def opcodes(value: Any, protocol: int = 2) -> bytes:
    """Return the opcodes that push one value."""
    if isinstance(value, Raw):
        return value.code
    if isinstance(value, Global):
        return named(value.module, value.name, protocol)
    if isinstance(value, Call):
        made = opcodes(value.function, protocol) + opcodes(value.arguments, protocol) + b"R"
        return made if value.state is None else made + opcodes(value.state, protocol) + b"b"
    if isinstance(value, New):
        made = opcodes(value.function, protocol) + opcodes(value.arguments, protocol) + b"\x81"
        if value.items:
            made += b"(" + pairs(value.items, protocol) + b"u"
        return made if value.state is None else made + opcodes(value.state, protocol) + b"b"
    if isinstance(value, Persistent):
        return opcodes(value.key, protocol) + b"Q"
    if isinstance(value, np.ndarray):
        return opcodes(array(value), protocol)
    if isinstance(value, np.float32):
        return opcodes(scalar(value), protocol)
    return plain(value, protocol)


def named(module: str, name: str, protocol: int) -> bytes:
    if protocol < 4:
        return b"c" + module.encode() + b"\n" + name.encode() + b"\n"
    return text(module) + text(name) + b"\x93"


def text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def pairs(values: dict[Any, Any], protocol: int) -> bytes:
    return b"".join(opcodes(key, protocol) + opcodes(item, protocol) for key, item in values.items())


def plain(value: Any, protocol: int) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            return b"J" + struct.pack("<i", value)
        encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(encoded)]) + encoded
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        if protocol < 3:
            return opcodes(Call(Global("_codecs", "encode"), (value.decode("latin-1"), "latin1")), protocol)
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(opcodes(item, protocol) for item in value) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(opcodes(item, protocol) for item in value) + b"e"
    if isinstance(value, dict):
        return b"}(" + pairs(value, protocol) + b"u"
    raise TypeError(type(value))


def dtype(code: str, order: str = "<") -> Call:
    """A numpy dtype as pickled."""
    return Call(Global("numpy", "dtype"), (code, 0, 1), (3, order, None, None, None, -1, -1, 0))


def array(value: np.ndarray) -> Call:
    """A numpy array as pickled by protocols before 5."""
    code = dtype(value.dtype.str[1:], value.dtype.str[0])
    start = Call(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b"))
    return Call(start.function, start.arguments, (1, value.shape, code, False, value.tobytes()))


def scalar(value: float | np.float32) -> Call:
    """A numpy scalar as pickled: float32 if it is one, else float64."""
    item = np.asarray(value)
    return Call(Global("numpy.core.multiarray", "scalar"), (dtype(item.dtype.str[1:]), item.tobytes()))


KINDS = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}


def storage(value: np.ndarray, kind: str | None = None) -> Call:
    """A torch storage that is a file of its own inside the pickle."""
    kind = kind or KINDS[value.dtype.str]
    return Call(Global("torch.storage", "_load_from_bytes"), (stream(persistent_id(kind, "0", value.size), [value]),))


def persistent_id(kind: str, key: str, numel: int) -> Persistent:
    return Persistent(("storage", Global("torch", kind), key, "cpu", numel, None))


def stream(content: Any, storages: list[np.ndarray]) -> bytes:
    """A file in torch's older format, its storages numbered "0", "1", ..."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    keys = [str(i) for i in range(len(storages))]
    head = [dumps(part) for part in (0x1950A86A20F9469CFC6C, 1001, system, content, keys)]
    return b"".join(head) + b"".join(struct.pack("<q", part.size) + part.tobytes() for part in storages)


def tensor(value: np.ndarray, kind: str | None = None, **changes: Any) -> Call:
    """A torch tensor as pickled outside torch.save."""
    value = np.array(value, order="C")
    fields = {"offset": 0, "shape": value.shape, "stride": tuple(s // value.itemsize for s in value.strides)} | changes
    arguments = (storage(value, kind), fields["offset"], fields["shape"], fields["stride"], False, Call(ORDERED))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def parameter(value: Any) -> Call:
    return Call(Global("torch._utils", "_rebuild_parameter"), (value, True, Call(ORDERED)))
