"""Which images a batch is made of: their names, their shares of several machines, and reading them ahead.

An image is known by its NAME: its path below the folder that was named, as raw bytes. So a folder may be moved between
two runs, and machines may mount it in different places.
"""

import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from invert.errors import ImageError
from invert.images.decoding import ImagePolicy
from invert.images.scan import scan
from invert.images.target import Target, read

__all__ = ["Listed", "ahead", "list_images", "read_image"]

T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """An image of the batch: its NAME, and where it lies; `error` where it cannot even be opened."""

    name: bytes
    path: Path
    error: ImageError | None = None


def list_images(paths: Sequence[Path], follow: bool = False) -> Iterator[Listed]:
    """List the images that files and folders stand for, in the order of `invert.images.scan.scan`, each name once."""
    root = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    seen: set[bytes] = set()
    for item in scan(paths, follow):
        path = item if isinstance(item, Path) else Path(item.path or "")
        named = path.relative_to(root) if root is not None and path.is_relative_to(root) else path
        name = os.fsencode(named)
        if name not in seen:
            seen.add(name)
            yield Listed(name, path, item if isinstance(item, ImageError) else None)


def read_image(listed: Listed, resolution: int, channels: int, policy: ImagePolicy) -> Target | ImageError:
    """Read an image; what is wrong with it is returned, not raised."""
    if listed.error is not None:
        return listed.error
    try:
        return read(listed.path, resolution, channels, policy)
    except ImageError as error:
        return error


class _End:
    """Marks the end of the items; carries what ended them early."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield the items, up to `depth` of them made ahead of time by a thread of their own."""
    box: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | _End) -> bool:
        while not stopped.is_set():
            try:
                box.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:  # handed on to the reader, whatever it is
            put(_End(error))

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            item = box.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()
