"""The stack machine that a pickle is run on: values, marks and memo, each operation checked.

It knows no objects. What a pickle may ask for beyond plain values is a `Vocabulary`, in words.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from generator.errors import NetworkFileError, escaped
from generator.files.pickles.records import Name, kind_of

__all__ = ["Budget", "Machine", "Vocabulary", "checked_key"]

MAX_OPCODES: Final = 500_000  # a 1024 px network with its discriminator takes about 60 000
MAX_LONG_TEXT: Final = 1 << 26
MAX_WIDE_TEXT: Final = 1 << 20  # longer text is array data spelt as text, one character a byte
_MAX_LINE: Final = 256
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE: Final = re.compile(rf"{_IDENTIFIER.pattern}(?:\.{_IDENTIFIER.pattern})*")
_OWNED: Final = sys.stdlib_module_names | {
    *("__main__", "torch", "numpy", "dnnlib", "torch_utils"),
    # of Python 2
    *("__builtin__", "commands", "copy_reg", "cpickle", "popen2", "urllib2"),
}
MAX_KEY: Final = 1000  # longer names would be copied for every tensor below them
MAX_INTEGER_KEY: Final = 1 << 32  # larger ones could be chosen to collide in a hash table


@dataclass(slots=True)
class Budget:
    """Work left for one file, shared with the pickles embedded in it.

    Attributes:
        copied: Bytes that may still be copied out of the file, as texts or array data.
        opcodes: Pickle operations that may still run.
    """

    copied: int
    opcodes: int = MAX_OPCODES

    @classmethod
    def of_file(cls, size: int) -> "Budget":
        """Return what a file of so many bytes may take.

        Each byte may be read as text, and once more as the array data that Python 2 spelt as text. What a pickle reads
        again, such as a storage that it embeds once and unpacks often, is charged each time.
        """
        return cls(2 * size)

    def spend(self, count: int = 1) -> None:
        """Take `count` opcodes off.

        Raises:
            NetworkFileError: None are left.
        """
        self.opcodes -= count
        if self.opcodes < 0:
            raise NetworkFileError(f"refused: the file takes more than {MAX_OPCODES} pickle operations")

    def copy(self, count: int) -> None:
        """Take `count` copied bytes off.

        Raises:
            NetworkFileError: The file asks for more bytes than it has.
        """
        self.copied -= count
        if self.copied < 0:
            raise NetworkFileError("refused: the file unpacks to more bytes than it has")


@dataclass(frozen=True)
class Vocabulary:
    """What a kind of pickle may ask for.

    Attributes:
        words: Globals that may be named, but neither called nor filled.
        calls: Globals that may be called (REDUCE): handlers from arguments to a value.
        classes: Globals that may be made empty (NEWOBJ): factories of records.
        build: Fill a record with its state (BUILD); raises NetworkFileError for what has none.
        foreign: Whether classes of packages that are no part of Python, torch or numpy may be named, of which an
            inert record is made (NEWOBJ); they are never called.
    """

    words: frozenset[tuple[str, str]] = frozenset()
    calls: Mapping[tuple[str, str], Callable[[tuple[Any, ...], Budget], object]] = field(default_factory=dict)
    classes: Mapping[tuple[str, str], Callable[[], object]] = field(default_factory=dict)
    build: Callable[[object, object, Budget], None] | None = None
    foreign: bool = False

    def allows(self, key: tuple[str, str]) -> bool:
        """Say whether a global may be named at all."""
        return key in self.calls or key in self.classes or key in self.words or self.is_foreign(key)

    def is_foreign(self, key: tuple[str, str]) -> bool:
        """Say whether a global may be a class of somebody's package, of which no more than a record is made.

        What Python itself, torch and numpy hold is known by name, or refused: nothing there that a network needs is
        missing from our lists, and all that an attack has use for is there.
        """
        module, name = key
        if not self.foreign or len(module) > _MAX_LINE or len(name) > _MAX_LINE:
            return False
        if not _MODULE.fullmatch(module) or not _IDENTIFIER.fullmatch(name):
            return False
        root = module.split(".", 1)[0]
        return module.startswith("torch.nn.") or (root.lower() not in _OWNED and root not in _OWNED)


def checked_key(key: Any) -> Any:
    """Let only keys through whose hash cannot be made costly, and names that are no longer than names are.

    Raises:
        NetworkFileError: It is another one.
    """
    if key is None or (isinstance(key, int) and abs(key) < MAX_INTEGER_KEY):
        return key
    if isinstance(key, str):
        if len(key) > MAX_KEY:
            raise NetworkFileError(f"refused: a name of {len(key)} characters")
        return key
    raise NetworkFileError(f"refused: a {kind_of(key)} is used as a key")


class Machine:
    """The stack machine.

    Args:
        data: The file's bytes.
        vocabulary: What the pickle may ask for.
        persistent: From persistent ids to values; None: the pickle may have none.
        budget: Work that is left for the file.
        start: Where the pickle begins.

    Attributes:
        position: The next byte to read.
        opcode_at: Where the current opcode lies.
        floor: Height of the stack at the last mark; what is below is out of reach.
        marks: Height of the stack at every mark that is open.
        asked: Names of the globals that the pickle has asked for.
        stopped: Whether the pickle has ended.
        result: What it holds, when it has.
    """

    def __init__(
        self,
        data: memoryview,
        vocabulary: Vocabulary,
        persistent: Callable[[object], object] | None,
        budget: Budget,
        start: int,
    ) -> None:
        self.data = data
        self.size = len(data)
        self.vocabulary = vocabulary
        self.persistent = persistent
        self.budget = budget
        self.start = self.position = self.opcode_at = start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.floor = 0  # items below the last mark are out of reach
        self.memo: dict[int, Any] = {}
        self.asked: dict[str, None] = {}
        self.stopped = False
        self.result: Any = None

    def take(self, count: int) -> memoryview:
        """Read `count` bytes."""
        end = self.position + count
        if end > self.size:
            raise NetworkFileError(f"damaged or cut off: {end - self.size} bytes are missing at the end")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def number(self, count: int) -> int:
        """Read an unsigned little-endian integer of `count` bytes."""
        return int.from_bytes(self.take(count), "little")

    def line(self) -> str:
        """Read ASCII up to a newline."""
        head = bytes(self.data[self.position : self.position + _MAX_LINE])
        length = head.find(b"\n")
        if length < 0:
            raise NetworkFileError("damaged or cut off: a name does not end")
        self.position += length + 1
        return head[:length].decode("latin-1")

    def text(self, count: int, encoding: str) -> str:
        """Read a text of `count` bytes, in "utf-8" or "latin-1"."""
        if count > MAX_LONG_TEXT:
            raise NetworkFileError(f"refused: a text of {count} bytes is too long")
        content = self.take(count)
        self.budget.copy(count)
        try:
            text = str(content, encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            raise NetworkFileError("damaged: a text is not valid UTF-8") from None
        if count > MAX_WIDE_TEXT:
            try:
                text.encode("latin-1")
            except UnicodeEncodeError:
                raise NetworkFileError(
                    f"refused: a text of {count} bytes is neither a setting nor array data"
                ) from None
        return text

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the topmost value above the last mark."""
        if len(self.stack) <= self.floor:
            raise NetworkFileError("damaged: the pickle takes a value that is not there")
        return self.stack.pop()

    def top(self) -> Any:
        """Return the topmost value above the last mark, and leave it there."""
        if len(self.stack) <= self.floor:
            raise NetworkFileError("damaged: the pickle uses a value that is not there")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        if not self.marks:
            raise NetworkFileError("damaged: the pickle ends a group that it did not begin")
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        self.floor = self.marks[-1] if self.marks else 0
        return items

    def remember(self, index: int) -> None:
        """Note the topmost value as a memo entry."""
        # Writers number memo entries 0, 1, 2 ...; Python 2's C writer starts at 1.
        if index > len(self.memo) + 1:
            raise NetworkFileError(f"refused: memo entry {index} while only {len(self.memo)} exist")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Put the value of a memo entry on the stack."""
        if index not in self.memo:
            raise NetworkFileError(f"damaged: memo entry {index} is used before it is made")
        self.stack.append(self.memo[index])

    def name(self, module: str, name: str) -> None:
        """Push a global as a word, if the vocabulary has exactly this pair."""
        shown = f"'{escaped(module)}.{escaped(name)}'"
        if not self.vocabulary.allows((module, name)):
            why = "which is not part of a supported network file; nothing was run"
            raise NetworkFileError(f"refused: it asks for {shown}, {why}")
        self.asked[f"{module}.{name}"] = None
        self.stack.append(Name(module, name))
