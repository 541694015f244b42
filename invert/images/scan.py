"""Find the images that files and folders named by a user stand for. Nothing is opened here."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from invert.errors import ImageCode, ImageError
from invert.images.formats import looks_like_image, unread

__all__ = ["scan"]

_IGNORED_FOLDERS = frozenset({"__MACOSX"})

_FOLLOW = "Use --follow to follow links."

_NodeId = tuple[int, int]


def scan(paths: Iterable[str | os.PathLike[str]], follow: bool = False) -> Iterator[Path | ImageError]:
    """Expand files and folders into image files, in a fixed order, one at a time.

    A file named by itself is passed on whatever it is called. A folder is searched to the bottom, its
    entries in the order of the bytes of their names. In a folder:

    - names that start with a dot (so `._x.png` of macOS too), folders called `__MACOSX`, and files whose name is not
      that of an image (so `Thumbs.db` too) are left out without a word;
    - an image in a format that is not read is reported;
    - a link to a file is taken when its target is inside the folder that was named, a link to anything
      outside only with `follow`;
    - a link to a folder is entered only with `follow` and when it leads outside (inside, the folder is
      searched under its own name); no folder is entered twice, so loops end;
    - what looks like an image but cannot be taken (a dangling link, a pipe, a folder without
      permission) is reported.

    Args:
        paths: What the user named; links among these are always followed.
        follow: Whether links found inside folders may lead out of them.

    Yields:
        The path of a file, or an `ImageError` (not raised) for what was skipped.
    """
    for name in paths:
        path = Path(name)
        try:
            # Not path.is_dir(): it is silent about what is missing, and Path("") is the working folder.
            is_folder = stat.S_ISDIR(os.stat(name).st_mode)
        except OSError as error:
            yield _unreadable(path, error)
            continue
        if is_folder:
            yield from _Walk(path, follow).run()
        else:
            yield path


def _unreadable(path: Path, error: OSError) -> ImageError:
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return ImageError("the link leads to nothing", path=path, code="image-link-dangling")
        return ImageError("there is no such file", path=path, advice="Check the name.", code="image-missing")
    if error.errno == errno.ELOOP:
        return ImageError("the link leads to itself", path=path, code="image-link-loop")
    return ImageError(error.strerror or str(error), path=path, code="image-unreadable")


class _Walk:
    """The search of one folder."""

    def __init__(self, root: Path, follow: bool) -> None:
        self.root = root
        self.follow = follow
        self.real_root = os.path.realpath(root)
        self.entered: set[_NodeId] = set()

    def run(self) -> Iterator[Path | ImageError]:
        # A stack of its own: folders may be nested more deeply than Python may recurse.
        stack = [self.entries(self.root)]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, ImageError):
                yield item
            elif item.is_dir():
                path = Path(item.path)
                stack.append(self.entries(path))
            else:
                yield Path(item.path)

    def entries(self, folder: Path) -> Iterator["os.DirEntry[str] | ImageError"]:
        """Yield what is to be taken from one folder: folders to enter, files, and reports."""
        try:
            status = os.stat(folder)
            with os.scandir(folder) as listing:
                found = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            reason = f"the folder cannot be read: {error.strerror or error}"
            yield ImageError(reason, path=folder, code="image-folder-unreadable")
            return
        node = (status.st_dev, status.st_ino)
        if node in self.entered:
            yield ImageError("this folder has been read already", path=folder, code="image-link-loop")
            return
        self.entered.add(node)
        for entry in found:
            if not entry.name.startswith("."):
                yield from self.judge(entry)

    def judge(self, entry: "os.DirEntry[str]") -> Iterator["os.DirEntry[str] | ImageError"]:
        is_image = looks_like_image(entry.name)
        path = Path(entry.path)
        try:
            if entry.is_symlink():
                yield from self.judge_link(entry, is_image)
            elif entry.is_dir():
                if entry.name not in _IGNORED_FOLDERS:
                    yield entry
            elif is_image:
                yield _file(entry)
        except OSError as error:
            if is_image:
                yield _unreadable(path, error)

    def judge_link(self, entry: "os.DirEntry[str]", is_image: bool) -> Iterator["os.DirEntry[str] | ImageError"]:
        path = Path(entry.path)
        os.stat(path)  # is_dir() below keeps silent about a dangling link
        target = os.path.realpath(path)
        if entry.is_dir():
            if _is_inside(os.path.realpath(path.parent), target):
                yield _skipped_link("the link leads to a folder that it is in", path, "image-link-loop", "")
            elif _is_inside(target, self.real_root):
                reason = "the link leads to a folder that is searched under its own name"
                yield _skipped_link(reason, path, "image-link-not-followed", "")
            elif self.follow:
                yield entry
            else:
                yield _skipped_link("a link to a folder is not entered", path, "image-link-not-followed")
        elif is_image:
            if not self.follow and not _is_inside(target, self.real_root):
                yield _skipped_link("the link leads out of the folder", path, "image-link-not-followed")
            else:
                yield _file(entry)


def _file(entry: "os.DirEntry[str]") -> "os.DirEntry[str] | ImageError":
    """Return a file that looks like an image, or why it is none that can be taken."""
    if not entry.is_file():
        reason = "it is a pipe, socket or device, not a file"
        return ImageError(reason, path=Path(entry.path), code="image-not-regular")
    error = unread(entry.name)
    if error is None:
        return entry
    error.path = Path(entry.path)
    return error


def _skipped_link(reason: str, path: Path, code: ImageCode, advice: str = _FOLLOW) -> ImageError:
    return ImageError(reason, path=path, advice=advice, code=code)


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
