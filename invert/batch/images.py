"""Which images are to be done: their names, their shares of several machines, and reading them ahead.

An image is known by its NAME: its path below the folder that was named, as raw bytes. So a folder may be moved between
two runs, and machines may mount it in different places.
"""

import functools
import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from invert.errors import ImageError, NoInputError, UnreadableError
from invert.images.decoding import ImagePolicy
from invert.images.fitting import Size
from invert.images.formats import LISTED
from invert.images.image_zip import ImageZip
from invert.images.opening import open_regular, unreadable
from invert.images.scan import scan
from invert.images.target import ImageLike, Target, read_target, target_of, target_of_bytes
from invert.store.names import in_shard
from invert.store.own_sheets import OwnSheets

__all__ = ["Found", "Listed", "ahead", "file_sha256", "list_found", "list_images", "read_image"]

_T = TypeVar("_T")

OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class Listed:
    """An image that is to be done.

    Attributes:
        name: Its NAME.
        path: Where it lies.
        error: Why it cannot even be opened.
        archive: The zip that it lies in; None for a file of its own.
        member: Its name in that zip.
        image: The image itself, where it came from Python and not from a file.
    """

    name: bytes
    path: Path
    error: ImageError | None = None
    archive: Path | None = None
    member: str = ""
    image: ImageLike | None = field(default=None, repr=False)


def list_images(paths: Sequence[Path], follow: bool = False) -> Iterator[Listed]:
    """List the images that files and folders stand for, in the order of `invert.images.scan.scan`, each name once.

    Sheets that this program made of images are listed with an error, unless they are named by themselves. Of a zip that
    is named, its images are listed, as `invert train` reads it.

    Args:
        paths: Files and folders.
        follow: Whether links may lead out of the folders.
    """
    root = paths[0] if len(paths) == 1 and (paths[0].is_dir() or _is_zip(paths[0])) else None
    seen: set[bytes] = set()
    named_files, sheets = set(paths), OwnSheets()
    for item in scan(paths, follow):
        path = item if isinstance(item, Path) else Path(item.path or "")
        if path in named_files and isinstance(item, Path) and _is_zip(path):
            yield from _members(path, root)
            continue
        named = path.relative_to(root) if root is not None and path.is_relative_to(root) else path
        name = os.fsencode(named.as_posix())
        if name not in seen:
            seen.add(name)
            error = item if isinstance(item, ImageError) else None
            yield Listed(name, path, error or (None if path in named_files else sheets.error(path)))


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

    def share(self, shard: tuple[int, int]) -> "Found":
        """Return the same images, of which only share I of N is this process's."""
        mine = (listed for listed in self.mine if in_shard(listed.name, shard))
        if self.count is None:
            return Found(self.names, mine, None)
        chosen = list(mine)
        return Found(self.names, chosen, len(chosen))

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
        if listed.error is not None and listed.error.code == "image-own-sheet":
            left_out += 1
        elif listed.error is not None and listed.error.by_rule:
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
        on_note(f"{left_out} sheets that invert made of images are left out")
    if not names:
        advice = f"Name image files, or a folder with {LISTED} files."
        raise NoInputError("there are no images", path=paths[0] if len(paths) == 1 else None, advice=advice)
    if len(bad) == len(names):
        # At once, before anything is loaded or written.
        if len(bad) == 1:
            raise bad[0]
        for error in bad:
            on_warning(str(error))
        raise NoInputError(f"none of the {len(bad)} images that were named can be opened")
    return Found(names, mine, len(mine))


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def _members(path: Path, root: Path | None) -> Iterator[Listed]:
    """List the images of a zip."""
    prefix = "" if root == path else f"{path}/"
    try:
        archive = _opened(path)
    except NoInputError as error:
        failed = ImageError(error.reason, path=path, advice=error.advice)
        failed.code = error.code
        yield Listed(os.fsencode(path), path, failed)
        return
    for member in archive.images:
        yield Listed(os.fsencode(prefix + member.name), path / member.name, archive=path, member=member.name)
    for skipped in archive.skipped:
        inside = Path(skipped.path or path)
        yield Listed(os.fsencode(prefix + inside.relative_to(path).as_posix()), inside, skipped)


def _opened(path: Path) -> "_Opened":
    """Return a zip whose directory is read once, unless the file changes."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return _open(path, (status.st_ino, status.st_size, status.st_mtime_ns))


class _Opened(ImageZip):
    """A zip, with its images by their names."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.by_name = {member.name: member for member in self.images}


@functools.lru_cache(maxsize=4)
def _open(path: Path, _stamp: tuple[int, ...]) -> _Opened:
    return _Opened(path)


def _member_bytes(archive: Path, name: str, limit: int) -> bytes:
    """Read an image of a zip.

    Raises:
        ImageError: It is damaged, or too large.
    """
    try:
        opened = _opened(archive)
        member = opened.by_name[name]
        if member.size > limit:
            reason = f"the file has {member.size / 1e6:.4g} MB, over the {limit / 1e6:.4g} MB limit"
            raise ImageError(reason, path=archive / name, code="image-too-large")
        return opened.read(member)
    except (KeyError, NoInputError) as error:
        reason = error.reason if isinstance(error, NoInputError) else "the zip changed while it was read"
        raise ImageError(reason, path=archive / name, code="image-changed") from error


def file_sha256(listed: Listed) -> str | None:
    """Return the sha256 of an image's file; None where it cannot be read."""
    try:
        if listed.archive is not None:
            return hashlib.sha256(_member_bytes(listed.archive, listed.member, ImagePolicy().max_bytes)).hexdigest()
        with open_regular(listed.path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (ImageError, UnreadableError, OSError):
        return None


def read_image(listed: Listed, resolution: Size, channels: int, policy: ImagePolicy) -> Target | ImageError:
    """Read an image; what is wrong with it is returned, not raised.

    Args:
        listed: The image.
        resolution: Side of the network's images in pixels, or height and width.
        channels: The network's channels: 1, 3 or 4.
        policy: What is accepted as an image.
    """
    if listed.error is not None:
        return listed.error
    try:
        if listed.image is not None:
            return target_of(listed.image, resolution, channels, name=os.fspath(listed.path), policy=policy)
        if listed.archive is not None:
            data = _member_bytes(listed.archive, listed.member, policy.max_bytes)
            return target_of_bytes(data, listed.path, resolution, channels, policy)
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
