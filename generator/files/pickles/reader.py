"""Interpret a pickle without unpickling it.

The stream is run on a small stack machine that can build numbers, text, bytes, lists, tuples, dictionaries, sets and
the inert records that a `Vocabulary` names. Nothing is imported, looked up, called or compiled on behalf of the file:
a global is a word, and reducing one runs a handler of this package that was chosen by that exact word. What is not
listed is refused, at the byte where it stands.

Imports only the standard library and this package's records, so that it can be used and tested without torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from generator.errors import NetworkFileError
from generator.files.pickles.machine import Budget, Machine, Vocabulary
from generator.files.pickles.opcodes import OPERATIONS, REFUSED, begin

__all__ = ["Budget", "Interpretation", "Vocabulary", "interpret"]

MAX_STACK: Final = 10_000


@dataclass(frozen=True)
class Interpretation:
    """What a pickle holds.

    Attributes:
        value: Its value, of plain types and records.
        end: Where it ended.
        globals_asked: Names of the globals that it asked for, in order.
        has_source: Whether source text came with it, beside that of its records.
    """

    value: Any
    end: int
    globals_asked: tuple[str, ...]
    has_source: bool = False


def interpret(
    data: memoryview,
    vocabulary: Vocabulary,
    *,
    persistent: Callable[[object], object] | None = None,
    budget: Budget | None = None,
    start: int = 0,
    whole: bool = True,
) -> Interpretation:
    """Interpret the pickle at `start` of `data`.

    Args:
        data: The bytes; the result refers to them.
        vocabulary: The globals that are understood.
        persistent: From a persistent id to a value; None: such ids are refused.
        budget: Work that is left, where this pickle is embedded in another; None: that of a new file.
        start: Where the pickle begins.
        whole: Whether bytes after its end are refused.

    Raises:
        NetworkFileError: The pickle is damaged or asks for anything that is not understood.
    """
    machine = Machine(data, vocabulary, persistent, budget or Budget.of_file(len(data)), start)
    _run(machine)
    if whole and machine.position != len(data):
        extra = len(data) - machine.position
        raise NetworkFileError(f"refused: {extra} bytes follow the end of the pickle", machine.position)
    return Interpretation(machine.result, machine.position, tuple(machine.asked))


def _run(machine: Machine) -> None:
    try:
        while not machine.stopped:
            _step(machine)
    except NetworkFileError as error:
        if error.offset is None:
            raise NetworkFileError(error.reason, machine.opcode_at) from None
        raise
    if machine.stack or machine.marks:
        raise NetworkFileError("damaged: the pickle ends with values left over", machine.opcode_at)


def _step(machine: Machine) -> None:
    machine.opcode_at = position = machine.position
    if position >= machine.size:
        raise NetworkFileError("damaged or cut off: the pickle does not end")
    code = machine.data[position]
    machine.position = position + 1
    operation = OPERATIONS.get(code)
    if operation is None:
        name = REFUSED.get(code)
        if name is None:
            raise NetworkFileError(f"damaged: {code:#04x} is not a pickle opcode")
        raise NetworkFileError(f"refused: it uses the pickle opcode {name}, which no network file needs")
    if position == machine.start and operation is not begin:
        raise NetworkFileError("refused: the pickle does not begin with its protocol number")
    machine.budget.spend()
    operation(machine)
    if len(machine.stack) > MAX_STACK or len(machine.marks) > MAX_STACK:
        raise NetworkFileError(f"refused: the pickle stacks more than {MAX_STACK} values")
