"""Which pixels of an image count: a mask for all images of a run, from an image file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invert.errors import ImageError, UnreadableError, UsageError
from invert.images.decoding import ImagePolicy, decode_image
from invert.images.opening import read_regular

__all__ = ["Mask", "read_mask"]

_COUNTS = 128  # the level from which on a pixel counts


@dataclass(frozen=True, eq=False)
class Mask:
    """The pixels that count.

    Attributes:
        pixels: bool `[H, W]`.
    """

    pixels: NDArray[np.bool_]

    @property
    def digest(self) -> str:
        """The sha256 of the pixels."""
        text = f"mask {'x'.join(map(str, self.pixels.shape))}\n"
        return hashlib.sha256(text.encode() + np.packbits(self.pixels).tobytes()).hexdigest()


def read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """Read a mask: white pixels count, black and transparent ones do not.

    Args:
        path: An image file.
        shape: Height and width of the network's images, which it has to have.

    Raises:
        UsageError: It cannot be read, has another size, or no pixel counts.
    """
    policy = ImagePolicy(min_size=1)
    try:
        image = decode_image(read_regular(path, policy.max_bytes), 1, policy).image
    except (ImageError, UnreadableError) as error:
        raise UsageError(f"--mask cannot be read: {error.reason}", path=path, advice=error.advice) from error
    levels = np.asarray(image)
    if levels.shape != shape:
        sizes = f"{levels.shape[1]} x {levels.shape[0]} px, the network's images {shape[1]} x {shape[0]}"
        raise UsageError(f"--mask is of {sizes}", path=path, advice="Make it of an image of the network's size.")
    pixels = levels >= _COUNTS
    if not pixels.any():
        raise UsageError("--mask has no white pixel: nothing would count", path=path, advice="White is what counts.")
    return Mask(pixels)
