"""What users name as inputs: images by patterns, by a list on standard input, in zips; networks; and what was meant."""

import glob
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from generator.errors import NetworkFileError
from generator.files.sniff import HEAD, sniff
from invert.errors import NoInputError, UnreadableError, UsageError, display_path
from invert.images.formats import looks_like_image
from invert.images.opening import read_head

__all__ = ["NETWORK_FILE", "expand", "images"]

F = TypeVar("F", bound=Callable[..., Any])

_URL = re.compile(r"(https?|ftp|s3|gs|hf|file):/{1,2}[^/]", re.IGNORECASE)
_MOST_LISTED = 256 << 20  # bytes of a list


def images(name: str, metavar: str) -> Callable[[F], F]:
    """Return the argument that names images: files, folders, zips, patterns, or - for a list on standard input."""

    def callback(_context: click.Context, _argument: click.Parameter, given: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(expand(given))

    kind = click.Path(path_type=Path, allow_dash=True)
    return click.argument(name, metavar=metavar, nargs=-1, required=True, type=kind, callback=callback)


def expand(given: Sequence[Path]) -> Iterator[Path]:
    """Yield the files and folders that a user means.

    Args:
        given: As typed: "-" stands for the paths on standard input, one on each line; a pattern in quotes for the files
            that it fits.

    Raises:
        UsageError: One is a URL, a network, or a pattern that nothing fits.
        NoInputError: Standard input has no path.
    """
    for path in given:
        text = os.fspath(path)
        if text == "-":
            yield from _listed()
        elif _URL.match(text):
            raise UsageError("it is a URL", path=path, advice="Download it first, and name the file.")
        elif os.path.lexists(path):
            _check_no_network(path)
            yield path
        elif set(text) & set("*?["):
            found = sorted(glob.glob(text, recursive=True), key=os.fsencode)
            if not found:
                raise UsageError("no file fits this pattern", path=path, advice="Check the folder and the name.")
            yield from map(Path, found)
        else:
            yield path  # whoever opens it says what is wrong


def _listed() -> Iterator[Path]:
    """Yield the paths on standard input: one on each line, or between NULs as `find -print0` writes them."""
    data = sys.stdin.buffer.read(_MOST_LISTED + 1)
    if len(data) > _MOST_LISTED:
        raise UsageError(f"the list on standard input has more than {_MOST_LISTED >> 20} MiB")
    lines = data.split(b"\0") if b"\0" in data else [line.rstrip(b"\r") for line in data.split(b"\n")]
    found = [Path(os.fsdecode(line)) for line in lines if line]
    if not found:
        raise NoInputError("standard input names no images", advice="Give one path on each line.")
    yield from found


def _check_no_network(path: Path) -> None:
    """Refuse a network among the images; what is no network is judged by whoever reads it.

    Raises:
        UsageError: It is one.
    """
    if looks_like_image(path.name) or path.suffix.lower() in (".zip", ".npz") or not path.is_file():
        return
    try:
        sniff(read_head(path, HEAD), path.stat().st_size)
    except (NetworkFileError, UnreadableError, OSError):
        return
    raise UsageError("it is a network, not an image", path=path, advice=f"Name it with --network {display_path(path)}.")


class _NetworkFile(click.Path):
    """The file of a network, which is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if _URL.match(os.fspath(value)):
            self.fail(
                f"{display_path(value)} is a URL. Download it first, see that the sha256 which 'invert info FILE' shows"
                " is the one that its publisher names, and give the file.",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


NETWORK_FILE = _NetworkFile(exists=True, dir_okay=False, path_type=Path)
"""The type of an option or argument that names a network."""
