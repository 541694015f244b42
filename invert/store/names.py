"""Names of images: bytes as the file system has them, their order, and how they are shown."""

import hashlib
from collections.abc import Iterable

__all__ = ["MAX_NAME", "check_name", "in_shard", "name_key", "one_line", "printable", "row_order"]

MAX_NAME = 1 << 15
MAX_PRINTABLE = 1024


def check_name(name: bytes) -> bytes:
    """Return the name if an image may have it.

    Raises:
        ValueError: It is empty, has a NUL byte or is longer than any path.
    """
    if not name or b"\0" in name or len(name) > MAX_NAME:
        raise ValueError("this cannot be the name of a file")
    return name


def name_key(name: bytes) -> str:
    """Return what the files of an image in the work folder are called: the sha256 of its name."""
    return hashlib.sha256(name).hexdigest()


def row_order(name: bytes) -> list[bytes]:
    """Return the sort key of the rows: the components of the path, so that a folder's images stay together."""
    return name.split(b"/")


def in_shard(name: bytes, shard: tuple[int, int] | None) -> bool:
    """Tell whether an image belongs to share (I, N), counted from 1; its name alone decides. None has all."""
    if shard is None:
        return True
    index, count = shard
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % count == index - 1


def printable(name: bytes) -> str:
    """Return a name as one line that is safe to show anywhere.

    Backslashes are doubled; bytes that are not UTF-8, control and invisible format characters become backslash
    escapes. Of what is longer than 1024 bytes the middle is left out.
    """
    text = name.decode("utf-8", "surrogateescape")
    return _shortened(["\\\\" if character == "\\" else _escaped(character) for character in text])


def one_line(text: str) -> str:
    """Return a message with escapes for what is not printable, and without its middle if it is long."""
    return _shortened([_escaped(character) for character in text])


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        # It stands for a byte that is not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _shortened(pieces: list[str]) -> str:
    shown = "".join(pieces)
    if len(shown.encode()) <= MAX_PRINTABLE:
        return shown
    head, tail = _fill(pieces, MAX_PRINTABLE // 4), _fill(pieces[::-1], MAX_PRINTABLE // 2)
    return "".join([*head, "...", *tail[::-1]])


def _fill(pieces: Iterable[str], room: int) -> list[str]:
    """Take whole pieces from the front while they fit, so that no escape is cut in half."""
    taken: list[str] = []
    for piece in pieces:
        room -= len(piece.encode())
        if room < 0:
            break
        taken.append(piece)
    return taken
