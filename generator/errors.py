"""Errors that the generator package raises; each message is one line a user can act on."""

__all__ = ["MAX_SHOWN", "ConfigError", "GeneratorError", "NetworkFileError", "escaped"]

MAX_SHOWN = 200
"""How many characters of a text from a file are shown."""


def escaped(text: str) -> str:
    """Return text from a file as printable ASCII of bounded length."""
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
    return "".join(char if " " <= char <= "~" else f"\\u{ord(char):04x}" for char in short)


class GeneratorError(Exception):
    """Base of every error raised on purpose by this package."""


class ConfigError(GeneratorError):
    """A setting is out of range or two settings contradict each other."""


class NetworkFileError(GeneratorError):
    """A network file is unsafe, damaged, unsupported or of the wrong kind.

    Args:
        reason: What is wrong and why, without the file name (the caller knows it).
        offset: Byte position in the file, where one is known.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        self.reason = reason
        self.offset = offset
        super().__init__(reason if offset is None else f"{reason} (at byte {offset})")
