"""Errors that the generator package raises; each message is one line a user can act on."""

__all__ = ["MAX_SHOWN", "ConfigError", "GeneratorError", "NetworkFileError", "escaped", "shown"]

MAX_SHOWN = 200
"""How many characters of a text from a file are shown."""

_MAX_VALUE = 40
_MAX_ITEMS = 16


def escaped(text: str) -> str:
    """Return text from a file as printable ASCII of bounded length."""
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
    return "".join(char if " " <= char <= "~" else f"\\u{ord(char):04x}" for char in short)


def shown(value: object) -> str:
    """Return a file's value as text that is short and safe to show, however large the value is."""
    if isinstance(value, list | tuple | dict | set) and len(value) > _MAX_ITEMS:
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "an integer of more than 64 bits"
    if isinstance(value, str | bytes):
        return repr(escaped(value[:_MAX_VALUE])) if isinstance(value, str) else f"{len(value)} bytes"
    if isinstance(value, list | tuple):
        return escaped("[" + ", ".join(map(shown, value)) + "]")
    return escaped(repr(value)) if value is None or isinstance(value, bool | int | float) else type(value).__name__


class GeneratorError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(GeneratorError):
    """A setting is out of range or two settings contradict each other."""


class NetworkFileError(GeneratorError):
    """A network file is unsafe, damaged, unsupported or of the wrong kind.

    Args:
        reason: What is wrong and why, without the file name (the caller knows it).
        offset: Byte position in the file, where one is known.

    Attributes:
        is_unsupported: Nothing is wrong with the file; what it holds is not understood.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        self.reason = reason
        self.is_unsupported = reason.startswith("unsupported: ")
        self.offset = offset
        super().__init__(reason if offset is None else f"{reason} (at byte {offset})")
