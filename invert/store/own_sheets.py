"""Which images in a folder this program made of others: sheets, and images beside their reconstructions.

They are no input: what is asked of a folder after a projection into it is asked of the images, not of these.
"""

import os
from pathlib import Path

from invert.errors import ImageError, InvertError
from invert.images.containers import SHEET_MARK, is_sheet
from invert.images.opening import read_head
from invert.store.folder import known_images

__all__ = ["OwnSheets"]

_HEAD = 64 + len(SHEET_MARK)


class OwnSheets:
    """Knows the sheets of this program by a mark in the PNG; those from before there was one, by the folder's index."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str]] = {}

    def error(self, path: Path) -> ImageError | None:
        """Return the error by which a file is left out; None for every other file, also one that cannot be read."""
        if path.suffix.lower() != ".png" or not (path.name in self._listed(path) or self._is_marked(path)):
            return None
        return ImageError("it is a sheet that this program made of images", path=path, code="image-own-sheet")

    def _listed(self, path: Path) -> frozenset[str]:
        folder = os.path.dirname(path)
        if folder not in self._known:
            try:
                self._known[folder] = frozenset(image.name for image in known_images(Path(folder)))
            except InvertError:  # an index of something else
                self._known[folder] = frozenset()
        return self._known[folder]

    @staticmethod
    def _is_marked(path: Path) -> bool:
        try:
            return is_sheet(read_head(path, _HEAD))
        except InvertError:
            return False  # whoever reads it says why it cannot be read
