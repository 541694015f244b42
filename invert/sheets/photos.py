"""The photo that a face was cut out of, with what a network synthesises in the place of the face."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from invert.errors import ImageError, NoInputError, UnreadableError, UsageError, display_path
from invert.images.alignment import Square, paste_square, square_of
from invert.images.arrays import ImageLike, Pixels, to_pil, to_rgb
from invert.images.decoding import Decoded, ImagePolicy, decode_image, in_channels
from invert.images.opening import read_regular
from invert.store.result import Result

__all__ = ["Cut", "Photo", "cut_of", "open_photo", "read_photo"]

_POLICY = ImagePolicy(max_pixels=1 << 28, min_size=1)
_CELL = 512  # px; a sheet shows photos reduced to it


@dataclass(frozen=True)
class Cut:
    """Which part of which photo a projection is of.

    Attributes:
        quad: Corners of the square, see `invert.images.alignment`.
        file_sha256: Digest of the photo's file.
        size: Width and height of the photo; 0 where they are not known.
    """

    quad: tuple[float, ...]
    file_sha256: str
    size: tuple[int, int]


def cut_of(result: Result) -> Cut | None:
    """Return what part of a photo a result is of; None where it is of a whole image."""
    return None if result.quad is None else Cut(result.quad, result.file_sha256, result.original_size)


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, and the square in it.

    Attributes:
        pixels: uint8 `[H, W, C]`, with the network's channels.
        square: Corners `[4, 2]`.
    """

    pixels: Pixels
    square: Square

    def around(self, image: Pixels) -> Pixels:
        """Return the photo `[H, W, C]` with an image `[S, S, C]` in its square."""
        return paste_square(self.pixels, self.square, image)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def cell(self) -> int:
        """Side of the square white ground on which a sheet shows the photo."""
        return min(max(self.size), _CELL)

    def on_ground(self, photo: Pixels) -> Pixels:
        """Return a photo of this size as a sheet shows it, `[cell, cell, 3]`."""
        opened = Image.fromarray(to_rgb(photo))
        height, width = (max(1, round(length * self.cell / max(self.size))) for length in self.size)
        ground = Image.new("RGB", (self.cell, self.cell), "#ffffff")
        place = ((self.cell - width) // 2, (self.cell - height) // 2)
        ground.paste(opened.resize((width, height), Image.Resampling.LANCZOS), place)
        return np.asarray(ground)


def open_photo(
    given: str | os.PathLike[str] | ImageLike,
    label: str,
    cut: Cut | None,
    channels: int,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Photo:
    """Return the photo that a latent was aligned in.

    Args:
        given: Its file, or the image itself.
        label: What the latent is called.
        cut: What part of it the latent is of.
        channels: The network's channels: 1, 3 or 4.
        on_warning: Called with a line where it is another file than the one that was projected.

    Raises:
        UsageError: The latent is of no photo that was aligned, or of one of another size.
        NoInputError: The latent's square is damaged.
        ImageError: The photo cannot be used.
    """
    if cut is None:
        reason = f"{label} is of no photo that was aligned: there is no square to paste into"
        raise UsageError(reason, advice="Project the photo with --align face.", code="not-aligned")
    try:
        square = square_of(cut.quad)
    except ValueError as error:
        raise NoInputError(f"{label} is damaged: {error}", code="latents-damaged") from error
    pixels, digest = read_photo(given, channels)
    path = Path(given) if isinstance(given, str | os.PathLike) else None
    if cut.size != (0, 0) and cut.size != pixels.shape[1::-1]:
        (width, height), (before, high) = pixels.shape[1::-1], cut.size
        reason = f"has {width} x {height} px, and the photo that was aligned {before} x {high}"
        raise UsageError(reason, path=path, advice="Name the photo that was projected.", code="not-aligned")
    if path is not None and digest != cut.file_sha256:
        on_warning(f"'{display_path(path)}' is another file than the photo that {label} was found in")
    return Photo(pixels, square)


def read_photo(given: str | os.PathLike[str] | ImageLike, channels: int) -> tuple[Pixels, str]:
    """Read a photo, whole and upright.

    Args:
        given: Its file, or the image itself.
        channels: 1, 3 or 4.

    Returns:
        uint8 `[H, W, C]`, and the digest of the file; empty for an image from memory.

    Raises:
        ImageError: It cannot be used.
    """
    if not isinstance(given, str | os.PathLike):
        return _pixels(in_channels(to_pil(given), channels, _POLICY)), ""
    try:
        data = read_regular(given, _POLICY.max_bytes)
    except UnreadableError as error:
        raise ImageError.of_file(error) from error
    try:
        decoded = decode_image(data, channels, _POLICY)
    except ImageError as error:
        error.path = Path(given)
        raise
    return _pixels(decoded), hashlib.sha256(data).hexdigest()


def _pixels(decoded: Decoded) -> Pixels:
    return np.asarray(decoded.image).reshape(*decoded.size[::-1], -1)
