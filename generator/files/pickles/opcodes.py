"""Pickle opcodes: what network files use, as operations of the stack machine, and what is refused."""

import struct
from collections.abc import Callable
from typing import Any, Final

from generator.errors import NetworkFileError
from generator.files.pickles.machine import Machine, checked_key
from generator.files.pickles.records import Name, ObjectRecord, kind_of

__all__ = ["OPERATIONS", "REFUSED", "begin"]

CALL_COST: Final = 3  # a call takes about as long as so many more plain operations
MAX_INTEGER_BYTES: Final = 255


def begin(machine: Machine) -> None:
    """Read the protocol number, with which a pickle begins."""
    version = machine.number(1)
    if machine.opcode_at != machine.start:
        raise NetworkFileError("refused: a second protocol number inside the pickle")
    if not 2 <= version <= 5:
        raise NetworkFileError(f"refused: pickle protocol {version} is not one of 2 to 5")


def _frame(machine: Machine) -> None:
    length = machine.number(8)
    if length > machine.size - machine.position:
        missing = length - (machine.size - machine.position)
        raise NetworkFileError(f"damaged or cut off: {missing} bytes are missing at the end")


def _stop(machine: Machine) -> None:
    machine.result = machine.pop()
    machine.stopped = True


def _mark(machine: Machine) -> None:
    machine.floor = len(machine.stack)
    machine.marks.append(machine.floor)


def _global(machine: Machine) -> None:
    module = machine.line()
    machine.name(module, machine.line())


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise NetworkFileError("refused: a global is named by something that is not text")
    machine.name(module, name)


def _arguments(machine: Machine) -> tuple[tuple[str, str], tuple[Any, ...]]:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, Name):
        raise NetworkFileError(f"refused: it calls a {kind_of(function)}")
    if not isinstance(arguments, tuple):
        raise NetworkFileError(f"refused: it calls '{function}' without a tuple of arguments")
    return (function.module, function.name), arguments


def _reduce(machine: Machine) -> None:
    key, arguments = _arguments(machine)
    handler = machine.vocabulary.calls.get(key)
    if handler is None and machine.vocabulary.is_foreign(key):
        why = "to be called, which is not part of a supported network file; nothing was run"
        raise NetworkFileError(f"refused: it asks for '{'.'.join(key)}' {why}")
    if handler is None:
        raise NetworkFileError(f"refused: it calls '{'.'.join(key)}', which is only a name in network files")
    machine.budget.spend(CALL_COST)
    machine.push(handler(arguments, machine.budget))


def _newobj(machine: Machine) -> None:
    key, arguments = _arguments(machine)
    factory = machine.vocabulary.classes.get(key)
    if factory is None and machine.vocabulary.is_foreign(key):
        machine.push(ObjectRecord(Name(*key)))
        return
    if factory is None or arguments:
        raise NetworkFileError(f"refused: it makes an object of '{'.'.join(key)}' in a way no network file does")
    machine.push(factory())


def _build(machine: Machine) -> None:
    state = machine.pop()
    if machine.vocabulary.build is None:
        raise NetworkFileError("refused: it sets the state of an object where there are none")
    machine.vocabulary.build(machine.top(), state, machine.budget)


def _persistent(machine: Machine) -> None:
    if machine.persistent is None:
        raise NetworkFileError("refused: it uses a persistent id outside a torch file")
    machine.push(machine.persistent(machine.pop()))


def _set_items(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if isinstance(target, ObjectRecord):
        target = target.items
    if not isinstance(target, dict):
        raise NetworkFileError(f"refused: it sets items of a {kind_of(target)}")
    if len(items) % 2:
        raise NetworkFileError("damaged: a dictionary has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[checked_key(key)] = value


def _append_items(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if isinstance(target, ObjectRecord):
        return  # a list of somebody's class, of which no network has need
    if not isinstance(target, list):
        raise NetworkFileError(f"refused: it appends to a {kind_of(target)}")
    target.extend(items)


def _setitem(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _add_items(machine: Machine) -> None:
    items = machine.pop_mark()
    target = machine.top()
    if not isinstance(target, set):
        raise NetworkFileError(f"refused: it adds to a {kind_of(target)}")
    target.update(map(checked_key, items))


def _integer(machine: Machine, length: int) -> None:
    if length > MAX_INTEGER_BYTES:
        raise NetworkFileError(f"refused: an integer of {length} bytes")
    machine.push(int.from_bytes(machine.take(length), "little", signed=True))


def _short_tuple(machine: Machine, count: int) -> None:
    items = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(items)))


OPERATIONS: Final[dict[int, Callable[[Machine], None]]] = {
    0x80: begin,
    0x95: _frame,
    ord("."): _stop,
    ord("("): _mark,
    # plain values
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: lambda m: _integer(m, m.number(1)),
    0x8B: lambda m: _integer(m, m.number(4)),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # text and bytes; Python 2's byte strings are read as latin-1 text
    0x8C: lambda m: m.push(m.text(m.number(1), "utf-8")),
    ord("X"): lambda m: m.push(m.text(m.number(4), "utf-8")),
    0x8D: lambda m: m.push(m.text(m.number(8), "utf-8")),
    ord("U"): lambda m: m.push(m.text(m.number(1), "latin-1")),
    ord("T"): lambda m: m.push(m.text(m.number(4), "latin-1")),
    ord("C"): lambda m: m.push(m.take(m.number(1))),
    ord("B"): lambda m: m.push(m.take(m.number(4))),
    0x8E: lambda m: m.push(m.take(m.number(8))),
    0x96: lambda m: m.push(m.take(m.number(8))),
    # containers
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord(")"): lambda m: m.push(()),
    0x8F: lambda m: m.push(set()),
    0x85: lambda m: _short_tuple(m, 1),
    0x86: lambda m: _short_tuple(m, 2),
    0x87: lambda m: _short_tuple(m, 3),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    ord("a"): lambda m: _append_items(m, [m.pop()]),
    ord("e"): lambda m: _append_items(m, m.pop_mark()),
    ord("s"): _setitem,
    ord("u"): lambda m: _set_items(m, m.pop_mark()),
    0x90: _add_items,
    # memo
    ord("q"): lambda m: m.remember(m.number(1)),
    ord("r"): lambda m: m.remember(m.number(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.number(1)),
    ord("j"): lambda m: m.recall(m.number(4)),
    # objects
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _newobj,
    ord("b"): _build,
    ord("Q"): _persistent,
}

# Known, and used by no writer of network files.
REFUSED: Final = {
    ord("0"): "POP",
    ord("1"): "POP_MARK",
    ord("2"): "DUP",
    ord("F"): "FLOAT",
    ord("I"): "INT",
    ord("L"): "LONG",
    ord("S"): "STRING",
    ord("V"): "UNICODE",
    ord("d"): "DICT",
    ord("g"): "GET",
    ord("i"): "INST",
    ord("l"): "LIST",
    ord("o"): "OBJ",
    ord("p"): "PUT",
    ord("P"): "PERSID",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x91: "FROZENSET",
    0x92: "NEWOBJ_EX",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
