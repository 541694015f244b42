"""Bring an image, from a file or from memory, to the network's size and channels: a `Target`.

Nothing here imports torch until a target's `pixels` are asked for.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invert.errors import ImageError, UnreadableError
from invert.images.alignment import cut_square, share_beyond, side_of
from invert.images.arrays import ImageLike, Pixels, to_pil
from invert.images.bars import Bars, bars_of
from invert.images.decoding import Decoded, ImagePolicy, decode_image, in_channels
from invert.images.faces import find_square
from invert.images.fitting import Size, centre_of, fit, fit_whole, height_and_width, inside_of, stretch
from invert.images.formats import format_named
from invert.images.jpeg_traces import jpeg_quality
from invert.images.opening import read_regular

if TYPE_CHECKING:
    import torch

__all__ = ["ImageLike", "Target", "pixel_sha256", "read_target", "safe_name", "target_of", "target_of_bytes"]

MAX_NAME_BYTES = 160

_BEYOND = 0.05
"""Share of a square that is made up and not said."""


@dataclass(frozen=True, eq=False)
class Target:
    """An image as the network sees it: upright, square, of its size and channels.

    Attributes:
        array: uint8 [H, W, C], read-only.
        name: The image's name, fit for a file name and a terminal.
        path: The file, exactly; for an image from memory its name.
        file_sha256: sha256 of the bytes that were decoded; for an image from memory `pixel_sha256` of it as it was.
        pixel_sha256: See `pixel_sha256`; of `array`.
        original_size: (width, height) in pixels, upright.
        upsampled: Whether the image is smaller than the network; no verdict can be given of such an image.
        warnings: What changed the image in a way its owner may not expect.
        notes: What is only worth a record.
        format: Name of the file's format, see `invert.images.formats`; empty for an image from memory.
        jpeg_quality: Quality of an earlier JPEG compression, see `invert.images.jpeg_traces`; None without traces.
        tables: Quantisation tables of a JPEG file whose pixels these are, neither scaled nor cropped; else None.
        mask: Where the image is, bool [H, W], if it was put on black or has black bars of its own; None where it is
            everywhere.
        quad: The square that was cut out of a photo: x and y of its corners in the photo's pixels, see
            `invert.images.alignment`; None where the photo was not aligned.
        photo: Decodes that photo again, uint8 [H, W, C]; None likewise.
    """

    array: NDArray[np.uint8]
    name: str
    path: Path
    file_sha256: str
    pixel_sha256: str
    original_size: tuple[int, int]
    upsampled: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    format: str = ""
    jpeg_quality: int | None = None
    tables: tuple[tuple[int, ...], ...] | None = None
    mask: NDArray[np.bool_] | None = None
    quad: tuple[float, ...] | None = None
    photo: Callable[[], Pixels] | None = field(default=None, repr=False)

    @property
    def remarks(self) -> tuple[str, ...]:
        """All that reading it gave rise to: what its owner may not expect, and what is only worth a record."""
        return (*self.warnings, *self.notes)

    @property
    def pixels(self) -> "torch.Tensor":
        """float32 [1, C, H, W] in [-1, 1], a new tensor each time."""
        import torch

        scaled = self.array.astype(np.float32) / np.float32(127.5) - np.float32(1)
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]))  # [1, C, H, W]


def read_target(
    path: str | os.PathLike[str], resolution: Size, channels: int, policy: ImagePolicy | None = None
) -> Target:
    """Read an image file for a network.

    Args:
        path: A regular file; what it is called does not matter.
        resolution: Side of the network's images in pixels, or height and width.
        channels: The network's channels: 1, 3 or 4.
        policy: What is accepted and how it becomes pixels.

    Raises:
        ImageError: The image cannot be used; nothing else is raised, whatever the file.
    """
    path = Path(path)
    policy = policy or ImagePolicy()
    try:
        data = read_regular(path, policy.max_bytes)
    except UnreadableError as error:
        raise ImageError.of_file(error) from error
    return target_of_bytes(data, path, resolution, channels, policy)


def target_of_bytes(
    data: bytes, path: Path, resolution: Size, channels: int, policy: ImagePolicy | None = None
) -> Target:
    """Bring an image file that has been read to a network's size and channels; see `read_target`.

    Args:
        data: The whole file.
        path: What to call it.
        resolution: Side of the network's images in pixels, or height and width.
        channels: The network's channels: 1, 3 or 4.
        policy: What is accepted and how it becomes pixels.

    Raises:
        ImageError: The image cannot be used.
    """
    policy = policy or ImagePolicy()
    try:
        decoded = decode_image(data, channels, policy)
        shaped = _shaped(decoded, resolution, policy)
    except ImageError as error:
        error.path = path
        raise
    suffix = path.suffix.lower()
    is_misnamed = format_named(suffix) not in (None, decoded.format)
    note = f"it is called {suffix} but is {decoded.format}" if is_misnamed else ""

    def photo() -> Pixels:
        return _pixels(decode_image(data, channels, policy))

    return _target(decoded, shaped, path, hashlib.sha256(data).hexdigest(), photo, note)


def target_of(
    image: ImageLike, resolution: Size, channels: int, *, name: str = "image", policy: ImagePolicy | None = None
) -> Target:
    """Bring an image from memory to a network's size and channels, by the same rules as an image file.

    Args:
        image: A PIL image; an array uint8 [H, W], or [H, W, C] with 1, 3 or 4 channels; or a tensor [C, H, W], uint8
            from 0 to 255 or floating point in -1..1 (what a network synthesises a little outside is clamped).
        resolution: Side of the network's images in pixels, or height and width.
        channels: The network's channels: 1, 3 or 4.
        name: What to call it, in messages and as a file name.
        policy: What is accepted and how it becomes pixels.

    Raises:
        ImageError: It is of another type, shape or range, or the policy refuses it.
    """
    policy = policy or ImagePolicy()
    path = Path(name)
    try:
        opened = to_pil(image)
        decoded = in_channels(opened, channels, policy)
        shaped = _shaped(decoded, resolution, policy)
    except ImageError as error:
        error.path = path
        raise

    def photo() -> Pixels:
        return _pixels(in_channels(opened, channels, policy))

    return _target(decoded, shaped, path, pixel_sha256(np.asarray(opened)), photo)


@dataclass(frozen=True, eq=False)
class _Shaped:
    """An image at the network's size, and what that took; see `Target`."""

    array: NDArray[np.uint8]
    upsampled: bool
    warnings: tuple[str, ...]
    is_whole: bool = False  # neither scaled nor cropped
    mask: NDArray[np.bool_] | None = None
    quad: tuple[float, ...] | None = None


def _target(
    decoded: Decoded, shaped: _Shaped, path: Path, file_sha256: str, photo: Callable[[], Pixels], note: str = ""
) -> Target:
    return Target(
        array=shaped.array,
        name=safe_name(path),
        path=path,
        file_sha256=file_sha256,
        pixel_sha256=pixel_sha256(shaped.array),
        original_size=decoded.size,
        upsampled=shaped.upsampled,
        warnings=(*decoded.warnings, *shaped.warnings),
        notes=(*decoded.notes, note) if note else decoded.notes,
        format=decoded.format,
        jpeg_quality=jpeg_quality(_luma(decoded)),
        tables=decoded.tables if shaped.is_whole else None,
        mask=shaped.mask,
        quad=shaped.quad,
        photo=None if shaped.quad is None else photo,
    )


def _pixels(decoded: Decoded) -> Pixels:
    return np.asarray(decoded.image).reshape(*decoded.size[::-1], -1)


def _shaped(decoded: Decoded, resolution: Size, policy: ImagePolicy) -> _Shaped:
    """Bring an image to the network's size as the policy says.

    Raises:
        ImageError: The image is to be aligned, and there is no face in it.
    """
    if policy.align == "none":
        return _fitted(decoded, resolution, policy.fit)
    side, side_across = height_and_width(resolution)
    if side != side_across:
        raise ValueError("what is cut around a face is square")
    square, faces = find_square(decoded.image)
    warnings = []
    if len(faces) > 1:
        left, top, width, height = faces[0].box
        warnings.append(
            f"{len(faces)} faces were found: the largest is taken, {width} x {height} px at {left}, {top}; crop the "
            "photo for another one"
        )
    beyond = share_beyond(square, decoded.size)
    if beyond >= _BEYOND:
        warnings.append(f"{beyond:.0%} of the square around its face are beyond the photo, and mirrored")
    length = side_of(square)
    if length < side:
        warnings.append(
            f"the {length:.0f} x {length:.0f} around its face are enlarged to the network's {side} x {side}"
        )
    quad = tuple(float(number) for number in square.ravel())
    return _Shaped(cut_square(decoded.image, square, side), length < side, tuple(warnings), quad=quad)


def _fitted(decoded: Decoded, resolution: Size, how: str) -> _Shaped:
    warnings = []
    (width, height), rectangle = decoded.size, height_and_width(resolution)
    inner, mask = centre_of(decoded.size, resolution), None
    is_other = inner != decoded.size
    what = "square" if rectangle[0] == rectangle[1] else f"of the network's {rectangle[1]} : {rectangle[0]}"
    became = rectangle[::-1]
    if is_other and how == "pad":
        inner, became = decoded.size, inside_of(decoded.size, resolution)
        array, mask = fit_whole(decoded.image, resolution)
        kept = f"it is put on black, as {became[0]} x {became[1]}"
    elif is_other and how == "stretch":
        inner, array = decoded.size, stretch(decoded.image, resolution)
        kept = "it is distorted"
    else:
        array = fit(decoded.image, resolution)
        kept = f"the {inner[0]} x {inner[1]} in the centre are kept"
    bars = None
    if how == "pad":
        mask, bars = _without_bars(array, mask)
    if is_other:
        warnings.append(f"{width} x {height} is not {what}: {kept}")
    if bars is not None:
        warnings.append(f"its black bars {bars.words} do not count")
    is_smaller = inner[0] < became[0] or (how == "stretch" and inner[1] < became[1])
    if is_smaller:
        warnings.append(f"{inner[0]} x {inner[1]} is enlarged to the network's {rectangle[1]} x {rectangle[0]}")
    return _Shaped(array, is_smaller, tuple(warnings), decoded.size == rectangle[::-1], mask)


def _without_bars(
    array: NDArray[np.uint8], mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_] | None, Bars | None]:
    """Return where an image is that may have black bars of its own, and the bars; the mask as it is without any."""
    inside = np.ones(array.shape[:2], bool) if mask is None else mask
    place = np.ix_(inside.any(axis=1), inside.any(axis=0))
    bars = bars_of(array[place])
    if bars is None:
        return mask, None
    found = inside.copy()
    found[place] = bars.inside(found[place].shape)
    found.flags.writeable = False
    return found, bars


def _luma(decoded: Decoded) -> NDArray[np.uint8]:
    """Return the luminance of an image as a JPEG has it: under the pixels that are transparent, too."""
    image = decoded.image if decoded.image.mode == "L" else decoded.image.convert("RGB").convert("L")
    return np.asarray(image)


def pixel_sha256(array: NDArray[np.uint8]) -> str:
    """Return the sha256 of an image's pixels: the text "uint8 HxWxC" and a line feed, then its bytes.

    Args:
        array: uint8 [H, W, C].
    """
    digest = hashlib.sha256(f"uint8 {'x'.join(map(str, array.shape))}\n".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def safe_name(path: str | os.PathLike[str]) -> str:
    """Return a file's stem made fit to name an output: printable, portable, not hidden, at most 160 bytes.

    Different files may get the same name; it is the caller's to tell them apart.
    """
    stem = "".join("_" if not c.isprintable() or c in '\\/:*?"<>|' else c for c in Path(path).stem)
    stem = stem.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(" .")
    return "_" + stem[1:] if stem.startswith(("-", ".", " ")) else stem or "_"
