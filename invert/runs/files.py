"""The record of the files that a training run wrote, .files.json: what --overwrite may remove, and nothing else.

A file is ours where its content is what was recorded: all of it, or, of files that are only added to, its beginning.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from generator.jsontext import JsonError, read_json
from invert.durable import write_atomic
from invert.errors import UnreadableError
from invert.images.opening import open_regular, read_regular

__all__ = ["WrittenFiles"]

NAME = ".files.json"
_FORMAT = "invert-training-files"
_VERSION = 1
_MAX_BYTES = 64 << 20
_MAX_FILE = 64 << 30
_NAMES = re.compile(
    r"state-[0-9]{12}\.safetensors|network(-[0-9]{9,15}|-best)?\.safetensors|metrics\.jsonl|fakes-[0-9]{9,15}\.png|reals\.png|log\.jsonl"
    r"|tensorboard/events\.out\.tfevents\.[\w.-]{1,200}",
    re.ASCII,
)
"""What a run writes. A record that somebody else made leads to no other file."""

_GROWING = re.compile(r"log\.jsonl|tensorboard/.*")
_PIECE = 1 << 20

_Contents = dict[str, list[tuple[int, str]]]


class WrittenFiles:
    """The files that a run wrote.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._contents: _Contents = self._read()

    def exists(self) -> bool:
        """Tell whether there is a record: runs of earlier versions have none."""
        return bool(self._contents)

    def add(self, name: str, content: bytes) -> None:
        """Record that a file is going to have this content.

        Raises:
            OutputError: The record cannot be written.
        """
        # That of before counts too: this process may be killed before the file is replaced.
        known = self._contents.get(name, [])[-1:]
        self._contents[name] = [*known, (len(content), hashlib.sha256(content).hexdigest())]
        self._write()

    def add_growing(self, paths: Iterable[Path]) -> None:
        """Record what files have now that are only added to.

        Raises:
            OutputError: The record cannot be written.
        """
        for path in paths:
            with contextlib.suppress(UnreadableError, OSError), open_regular(path, follow=False) as file:
                digest = hashlib.sha256()
                while piece := file.read(_PIECE):
                    digest.update(piece)
                name = path.relative_to(self._folder).as_posix()
                self._contents[name] = [(file.tell(), digest.hexdigest())]
        self._write()

    def recorded(self) -> list[Path]:
        """Return the files that are there and are what the run wrote."""
        return [self._folder / name for name in sorted(self._contents) if self._is_ours(name)]

    def forget(self) -> None:
        """Begin anew."""
        self._contents = {}
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _is_ours(self, name: str) -> bool:
        if not _NAMES.fullmatch(name) or (self._folder / name).parent.is_symlink():
            return False
        growing = _GROWING.fullmatch(name) is not None
        try:
            with open_regular(self._folder / name, _MAX_FILE, follow=False) as file:
                for size, sha256 in self._contents[name]:
                    file.seek(0)
                    digest, left = hashlib.sha256(), size
                    while left and (piece := file.read(min(left, _PIECE))):
                        digest.update(piece)
                        left -= len(piece)
                    if digest.hexdigest() == sha256 and not left and (growing or not file.read(1)):
                        return True
        except (UnreadableError, OSError):
            pass
        return False

    def _read(self) -> _Contents:
        try:
            record = read_json(read_regular(self._path, _MAX_BYTES, follow=False))
            if (record["format"], record["version"]) != (_FORMAT, _VERSION):
                return {}
            return {
                name: [(int(size), str(sha256)) for size, sha256 in found] for name, found in record["files"].items()
            }
        except (UnreadableError, JsonError, KeyError, TypeError, ValueError, AttributeError):
            return {}  # nothing is ours then

    def _write(self) -> None:
        record: dict[str, Any] = {"format": _FORMAT, "version": _VERSION, "files": self._contents}
        write_atomic(self._path, json.dumps(record, sort_keys=True).encode() + b"\n")
