"""Which images are to be done: their names, their shares of several machines, and reading them ahead.

An image is known by its NAME: its path below the folder that was named, as raw bytes. So a folder may be moved between
two runs, and machines may mount it in different places.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from invert.errors import ImageError, NoInputError
from invert.images.decoding import ImagePolicy
from invert.images.scan import scan
from invert.images.target import ImageLike, Target, read_target, target_of
from invert.store.names import in_shard

__all__ = ["Found", "Listed", "ahead", "list_found", "list_images", "read_image"]

_T = TypeVar("_T")

OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class Listed:
    """An image that is to be done.

    Attributes:
        name: Its NAME.
        path: Where it lies.
        error: Why it cannot even be opened.
        image: The image itself, where it came from Python and not from a file.
    """

    name: bytes
    path: Path
    error: ImageError | None = None
    image: ImageLike | None = field(default=None, repr=False)


def list_images(paths: Sequence[Path], follow: bool = False) -> Iterator[Listed]:
    """List the images that files and folders stand for, in the order of `invert.images.scan.scan`, each name once.

    Args:
        paths: Files and folders.
        follow: Whether links may lead out of the folders.
    """
    root = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    seen: set[bytes] = set()
    for item in scan(paths, follow):
        path = item if isinstance(item, Path) else Path(item.path or "")
        named = path.relative_to(root) if root is not None and path.is_relative_to(root) else path
        name = os.fsencode(named.as_posix())
        if name not in seen:
            seen.add(name)
            yield Listed(name, path, item if isinstance(item, ImageError) else None)


@dataclass
class Found:
    """The images of a run, and those of them that are this process's share.

    Attributes:
        names: The names of all images; where they come one by one, of all so far.
        mine: The images of this share.
        count: How many these are; None where nobody knows yet.
    """

    names: list[bytes]
    mine: Iterable[Listed]
    count: int | None

    @classmethod
    def of_stream(cls, images: Iterable[Listed], count: int | None = None) -> "Found":
        """Return images that come one by one, whose names are only known when they have come."""
        names: list[bytes] = []

        def noted() -> Iterator[Listed]:
            for listed in images:
                names.append(listed.name)
                yield listed

        return cls(names, noted(), count)


def list_found(
    paths: Sequence[Path],
    follow: bool = False,
    shard: tuple[int, int] | None = None,
    *,
    written: frozenset[Path] = frozenset(),
    on_note: OnMessage,
    on_warning: OnMessage,
) -> Found:
    """List the images of a run; images that a rule leaves out are said, not counted.

    Args:
        paths: Files and folders that the user named.
        follow: Whether links may lead out of the folders.
        shard: Share I of N of the images, (I, N); None is all of them.
        written: Results of an earlier run as real paths: they are no input.
        on_note: Called with a line on what was decided.
        on_warning: Called with a line for each image that a rule leaves out.

    Raises:
        NoInputError: There are none.
        ImageError: There is one, which cannot even be opened.
    """
    names: list[bytes] = []
    mine: list[Listed] = []
    bad: list[ImageError] = []
    left_out = 0
    for listed in list_images(paths, follow):
        if listed.error is not None and listed.error.by_rule:
            on_warning(str(listed.error))
        elif written and listed.error is None and Path(os.path.realpath(listed.path)) in written:
            left_out += 1
        else:
            names.append(listed.name)
            if listed.error is not None:
                bad.append(listed.error)
            if in_shard(listed.name, shard):
                mine.append(listed)
    if left_out:
        on_note(f"{left_out} images that invert wrote to the output folder are left out")
    if not names:
        advice = "Name image files, or a folder with PNG, JPEG, WebP or BMP files."
        raise NoInputError("there are no images", path=paths[0] if len(paths) == 1 else None, advice=advice)
    if len(bad) == len(names):
        # At once, before anything is loaded or written.
        if len(bad) == 1:
            raise bad[0]
        for error in bad:
            on_warning(str(error))
        raise NoInputError(f"none of the {len(bad)} images that were named can be opened")
    return Found(names, mine, len(mine))


def read_image(listed: Listed, resolution: int, channels: int, policy: ImagePolicy) -> Target | ImageError:
    """Read an image; what is wrong with it is returned, not raised.

    Args:
        listed: The image.
        resolution: Side of the network's images in pixels.
        channels: The network's channels: 1, 3 or 4.
        policy: What is accepted as an image.
    """
    if listed.error is not None:
        return listed.error
    try:
        if listed.image is not None:
            return target_of(listed.image, resolution, channels, name=os.fspath(listed.path), policy=policy)
        return read_target(listed.path, resolution, channels, policy)
    except ImageError as error:
        return error


class _End:
    """Marks the end of the items; carries what ended them early."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[_T], depth: int) -> Iterator[_T]:
    """Yield the items, up to `depth` of them made ahead of time by a thread of their own."""
    box: queue.Queue[_T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: _T | _End) -> bool:
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
