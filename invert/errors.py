"""Errors that `invert` raises on purpose: one tree, an exit code and a stable code for each.

A message is one line, `<what> '<path>': <why>. <what to do>`, safe to write to a terminal.
"""

import contextlib
import errno
from collections.abc import Iterator
from enum import IntEnum
from os import PathLike, fsdecode
from typing import Any, Literal

from generator.errors import GeneratorError
from generator.opening import Fault

__all__ = [
    "BusyError",
    "ExitCode",
    "FileFault",
    "ImageCode",
    "ImageError",
    "InvertError",
    "NetworkError",
    "NoInputError",
    "NumericError",
    "OutputError",
    "UnreadableError",
    "UsageError",
    "display_path",
    "is_out_of_memory",
    "network_errors",
    "visible",
]

MAX_DISPLAY = 200

ImageCode = Literal[
    "image-missing",
    "image-unreadable",
    "image-not-regular",
    "image-empty",
    "image-format",
    "image-unrecognised",
    "image-truncated",
    "image-damaged",
    "image-bomb",
    "image-too-large",
    "image-too-small",
    "image-memory",
    "image-changed",
    "image-link-dangling",
    "image-link-loop",
    "image-link-not-followed",
    "image-folder-unreadable",
    "image-own-sheet",
    "image-no-face",
]

FileFault = Fault
"""What can be wrong with a file, in one word; see `generator.opening`."""

_IMAGE_CODES: dict[FileFault, ImageCode] = {
    "missing": "image-missing",
    "link-dangling": "image-link-dangling",
    # A loop that a search meets is left out by its rules; here somebody named the file.
    "link-loop": "image-unreadable",
    "link-not-followed": "image-link-not-followed",
    "not-regular": "image-not-regular",
    "too-large": "image-too-large",
    "changed": "image-changed",
    "unreadable": "image-unreadable",
}


_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "start new thread", "cannot allocate memory")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or what led to it, means that memory or address space ran out.

    Python, numpy, torch, the loader of libraries and the starter of threads each have a way of their own to say so.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        # torch is not imported here: its errors are told by their texts.
        text = str(error).lower() if isinstance(error, RuntimeError | ImportError) else ""
        if any(words in text for words in _NO_MEMORY) or "failed to map segment" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


class ExitCode(IntEnum):
    """Exit codes of the process. Codes are only ever added, never renumbered."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    PARTIAL = 3
    NETWORK = 4
    NO_INPUT = 5
    OUTPUT = 6
    BUSY = 7
    NUMERIC = 8
    SIGHUP = 129
    SIGINT = 130
    SIGTERM = 143


class InvertError(Exception):
    """Base of every error raised on purpose by this package.

    Args:
        reason: Why, without the path and without a final period.
        path: The file or folder it is about.
        advice: What to do, a whole sentence.
        code: Stable name of the case, for programs; the class has a general one.
    """

    exit_code: ExitCode = ExitCode.INTERNAL
    code: str = "internal"
    what: str = ""

    def __init__(
        self, reason: str, *, path: str | PathLike[str] | None = None, advice: str = "", code: str | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.advice = advice
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        what = self.what
        if self.path is not None:
            what = f"{what or 'file'} '{display_path(self.path)}'"
        message = f"{what}: {self.reason}" if what else self.reason
        return f"{message}. {self.advice}" if self.advice else message

    def record(self) -> dict[str, Any]:
        """Return the error as plain JSON types; a name that is not UTF-8 keeps its bytes as surrogates."""
        path = None if self.path is None else fsdecode(self.path)
        return {"code": self.code, "path": path, "reason": self.reason, "advice": self.advice, "message": str(self)}


class UsageError(InvertError):
    """A flag or value is wrong, or the output exists with other settings."""

    exit_code = ExitCode.USAGE
    code = "usage"


class NetworkError(InvertError):
    """A network file is unsafe, unsupported, damaged or of the wrong kind."""

    exit_code = ExitCode.NETWORK
    code = "network"
    what = "network"


class NoInputError(InvertError):
    """Nothing in the input can be used."""

    exit_code = ExitCode.NO_INPUT
    code = "no-input"
    what = "input"


class UnreadableError(NoInputError):
    """A file cannot be opened or read, or something else lies in its place.

    Args:
        reason: Why, see `InvertError`.
        path: The file.
        advice: What to do, a whole sentence.
        fault: What is wrong with the file, in one word; the code is `file-<fault>`.
    """

    def __init__(
        self, reason: str, *, path: str | PathLike[str], advice: str = "", fault: FileFault = "unreadable"
    ) -> None:
        super().__init__(reason, path=path, advice=advice, code=f"file-{fault}")
        self.fault: FileFault = fault


class ImageError(InvertError):
    """One image cannot be used: skipped among several (exit 3 at the end), fatal when it is the only one."""

    exit_code = ExitCode.NO_INPUT
    code = "image"
    what = "image"

    def __init__(
        self,
        reason: str,
        *,
        path: str | PathLike[str] | None = None,
        advice: str = "",
        code: ImageCode = "image-damaged",
    ) -> None:
        super().__init__(reason, path=path, advice=advice, code=code)

    @classmethod
    def of_file(cls, error: UnreadableError) -> "ImageError":
        """Return the error of a file that cannot be read as that of an image."""
        return cls(error.reason, path=error.path, advice=error.advice, code=_IMAGE_CODES[error.fault])

    @property
    def by_rule(self) -> bool:
        """Whether a rule left it out (a link not followed, a sheet of this program): nothing failed."""
        return self.code in ("image-link-loop", "image-link-not-followed", "image-own-sheet")


class OutputError(InvertError):
    """The output cannot be written: no space, read-only, no permission, I/O error."""

    exit_code = ExitCode.OUTPUT
    code = "output"
    what = "output"


class BusyError(InvertError):
    """Another process is using this output."""

    exit_code = ExitCode.BUSY
    code = "output-busy"
    what = "output"


class NumericError(InvertError):
    """Numbers are not finite, or every optimisation diverged."""

    exit_code = ExitCode.NUMERIC
    code = "numeric"


def _escaped(text: str) -> Iterator[str]:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", "'": "\\'"}
    for character in text:
        point = ord(character)
        if character in short:
            yield short[character]
        elif 0xDC80 <= point <= 0xDCFF:
            # os.fsdecode stands a byte that is not UTF-8 for this surrogate: show the byte.
            yield f"\\x{point - 0xDC00:02x}"
        elif character.isprintable():
            yield character
        elif point <= 0xFF:
            yield f"\\x{point:02x}"
        else:
            yield f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def display_path(path: str | bytes | PathLike[str]) -> str:
    """Return a path as one line that is safe to show: nothing in it can move the cursor or reorder text.

    Control characters, escape sequences, bidirectional and other invisible format characters,
    bytes that are not UTF-8, quotes and backslashes are written as backslash escapes. At most 200
    characters: the middle is left out, for the file's name stands at the end.
    """
    pieces = list(_escaped(fsdecode(path)))
    if sum(map(len, pieces)) <= MAX_DISPLAY:
        return "".join(pieces)
    head = _fill(pieces, MAX_DISPLAY // 4)
    tail = _fill(pieces[::-1], MAX_DISPLAY - MAX_DISPLAY // 4 - 3)
    return "".join(head) + "..." + "".join(tail[::-1])


def _fill(pieces: list[str], room: int) -> list[str]:
    """Take whole pieces from the front while they fit, so that no escape is cut in half."""
    taken: list[str] = []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        taken.append(piece)
    return taken


def visible(text: str) -> str:
    """Return a text from anywhere as one line on which nothing can act: what cannot be seen is written as an escape.

    Control characters, escape sequences, line feeds, marks that reorder text and bytes that are not UTF-8 become
    backslash escapes. Every sink of text goes through here: the terminal (`invert.cli.text`), CSV
    (`invert.report.spreadsheet`) and HTML (`invert.report.page`), each of which adds what it alone needs; JSON has
    escapes of its own.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ("\\n" if c == "\n" else f"\\u{ord(c):04x}") for c in text)


@contextlib.contextmanager
def network_errors(path: "PathLike[str]") -> Iterator[None]:
    """Name the network file in every error about its content.

    Raises:
        NetworkError: What happened inside was an error of `generator` or of the operating system.
    """
    try:
        yield
    except GeneratorError as error:
        raise NetworkError(str(error).rstrip("."), path=path) from error
    except InvertError:
        raise
    except OSError as error:
        raise NetworkError(f"cannot be read, {error.strerror or error}", path=path) from error
