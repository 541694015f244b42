"""What training images are read from, whatever it is."""

from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

from invert.datasets.dataset_json import Labels
from invert.errors import ImageError
from invert.images.containers import Appearance
from invert.images.decoding import ImagePolicy, decode
from invert.images.formats import appearance

__all__ = ["POLICY", "Loaded", "Source", "load_bytes"]

POLICY = ImagePolicy(min_size=1)
"""Everything that can be brought to size is taken; padding is for images below the usual least size."""


class Loaded(NamedTuple):
    """An image in memory: mode L or RGB; channels it had by itself; what was done to it that is worth a word."""

    image: Image.Image
    own_channels: int
    warnings: tuple[str, ...]


class Source(Protocol):
    """Images by index.

    Attributes:
        path: What the user named.
        names: Of the images, relative to the root, in a fixed order.
        skipped: What looked like an image and cannot be taken.
        labels: What dataset.json or a file of labels says; None without labels.
    """

    path: Path
    names: list[str]
    skipped: list[ImageError]
    labels: Labels | None

    def where(self, index: int) -> Path:
        """Return what messages call an image."""
        ...

    def look(self, index: int) -> Appearance | None:
        """Return how an image looks by its header, cheaply; None where that does not tell.

        Raises:
            ImageError: It cannot be read.
        """
        ...

    def load(self, index: int, channels: int | None) -> Loaded:
        """Decode an image.

        Args:
            index: Which.
            channels: 1 or 3, or None for its own number.

        Raises:
            ImageError: It cannot be used.
            NoInputError: The whole source cannot.
        """
        ...

    def identity(self, index: int) -> bytes:
        """Return what changes when an image does, without reading it."""
        ...

    def close(self) -> None: ...


def load_bytes(data: bytes, channels: int | None) -> Loaded:
    """Decode an image file.

    Args:
        data: The whole file.
        channels: 1 or 3, or None for its own number.

    Raises:
        ImageError: It cannot be used.
    """
    look = appearance(data)
    own = 3 if look is None else look.channels
    try:
        decoded = decode(data, channels or own, POLICY)
    except ImageError as error:
        if error.code == "image-too-large":
            # What it advises is an option of another command.
            error.advice = "Reduce it first."
        raise
    return Loaded(decoded.image, own, decoded.warnings)
