"""Images as they are given in Python: paths, PIL images, arrays, tensors, and iterables of them (a DataLoader)."""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from invert.batch.images import Found, Listed, OnMessage, list_found, list_images
from invert.errors import NoInputError, UsageError

__all__ = ["find_given"]

_AHEAD = 33
"""Where an iterable yields fewer images, their number is known before the first is done."""


def find_given(images: Any, follow: bool, written: frozenset[Path], on_note: OnMessage, on_warning: OnMessage) -> Found:
    """Return the images that a caller named or holds in memory.

    Args:
        images: A path, a folder, a PIL image, an array uint8 `[H, W]`, `[H, W, C]` or `[N, H, W, C]`, a tensor
            `[C, H, W]` or `[N, C, H, W]`; or an iterable of these, whose batches may come with labels.
        follow: Whether links may lead out of folders.
        written: Results of an earlier run as real paths: they are no input.
        on_note: Called with a line on what was decided.
        on_warning: Called with a line for each image that a rule leaves out.

    Raises:
        NoInputError: There are no images.
        UsageError: They are something else.
    """
    paths = _paths(images)
    if paths is not None:
        return list_found(paths, follow, written=written, on_note=on_note, on_warning=on_warning)
    stream = _Numbered(follow).listed(images)
    head = list(itertools.islice(stream, None if _is_in_memory(images) else _AHEAD))
    if not head:
        raise NoInputError("there are no images")
    if len(head) < _AHEAD or _is_in_memory(images):
        return Found([listed.name for listed in head], head, len(head))
    return Found.of_stream(itertools.chain(head, stream))


def _paths(images: Any) -> list[Path] | None:
    """Return what is given as paths alone; None when it is not."""
    if isinstance(images, str | os.PathLike):
        return [Path(images)]
    if isinstance(images, list | tuple) and images and all(isinstance(one, str | os.PathLike) for one in images):
        return [Path(one) for one in images]
    return None


def _is_in_memory(images: Any) -> bool:
    """Tell whether all images are there already, so that listing them costs nothing."""
    return isinstance(images, list | tuple | Image.Image | np.ndarray) or _is_tensor(images)


def _is_tensor(item: Any) -> bool:
    # Without an import: torch takes a second, and whoever has a tensor has it already.
    return any(f"{kind.__module__}.{kind.__qualname__}" == "torch.Tensor" for kind in type(item).__mro__)


class _Numbered:
    """Images from memory are called by their number; what PIL read from a file, by that file."""

    def __init__(self, follow: bool) -> None:
        self._follow = follow
        self._numbers = itertools.count()

    def listed(self, images: Any) -> Iterator[Listed]:
        """Yield the images of whatever was given."""
        if self._is_image(images):
            yield from self._images(images)
            return
        if not isinstance(images, Iterable) or isinstance(images, bytes | dict):
            reason = f"a {type(images).__name__} is neither an image nor a path nor an iterable of them"
            raise UsageError(reason, advice="See the documentation of invert.project.")
        for item in images:
            if self._is_image(item):
                yield from self._images(item)
            elif isinstance(item, list | tuple):
                yield from self._parts(item)
            else:
                reason = f"a {type(item).__name__} is neither an image nor a path"
                raise UsageError(reason, advice="Give paths, PIL images, uint8 arrays or tensors.")

    def _parts(self, parts: Iterable[Any]) -> Iterator[Listed]:
        """Yield the images of one item of a DataLoader: a batch, or images and what is known of them."""
        images = [part for part in parts if self._is_image(part) and not _is_label(part)]
        if not images:
            raise UsageError("an item of the iterable holds no image", advice="Let it yield images, or (images, ...).")
        for image in images:
            yield from self._images(image)

    @staticmethod
    def _is_image(item: Any) -> bool:
        return isinstance(item, str | os.PathLike | Image.Image | np.ndarray) or _is_tensor(item)

    def _images(self, item: Any) -> Iterator[Listed]:
        if isinstance(item, str | os.PathLike):
            for listed in list_images([Path(item)], self._follow):
                # Not below its folder, as there may be several.
                yield Listed(os.fsencode(listed.path), listed.path, listed.error)
            return
        pieces = item if getattr(item, "ndim", 0) == 4 else [item]
        for piece in pieces:
            number = next(self._numbers)
            name = getattr(piece, "filename", "") or f"{number:06d}"
            yield Listed(os.fsencode(name), Path(os.fsdecode(name)), image=piece)


def _is_label(part: Any) -> bool:
    """Tell whether a part of an item is a label: a text, a number, or one number for each image."""
    return isinstance(part, str) or getattr(part, "ndim", 2) < 2
