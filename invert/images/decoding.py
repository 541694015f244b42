"""Image bytes -> uint8 array: all policy on formats, size, depth, transparency, colour and orientation."""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invert.errors import ImageError
from invert.images.containers import SHEET_MARK, Container, orientation
from invert.images.faces import LANDMARKS
from invert.images.fitting import FITS
from invert.images.formats import FORMATS, ImageFormat, parse
from invert.images.profiles import Colour, colour_of_png, to_srgb

__all__ = [
    "ALIGNMENTS",
    "CHANNELS",
    "Decoded",
    "ImagePolicy",
    "decode_image",
    "in_channels",
    "to_png_bytes",
]

ALIGNMENTS = ("none", "face")
"""What is done with a photo before anything else: nothing, or the square around a face is cut out."""

CHANNELS = (1, 3, 4)
POLICY_VERSION = 2
"""Version 1 left colour profiles aside; see `invert.projection.records.method_digest`."""

_HEADER_END = 33
"""Where the header of a PNG ends, signature included."""

_BACKGROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255)}

# What `in_channels` takes; Pillow makes no other modes of the files that are read.
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16"})

# What undoes each EXIF orientation (TIFF 6.0, tag 274).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImagePolicy:
    """The images that are accepted, and how they become pixels.

    Args:
        alpha: What transparent pixels are laid on, "black" or "white"; a network of four channels keeps them.
        max_pixels: Largest width times height that is decoded.
        max_bytes: Largest file that is read.
        min_size: Smallest side in pixels.
        formats: Which of `FORMATS` are read; a file's content decides what it is, not its name.
        fit: What is done with images of other proportions than the network's, one of `FITS`; or "auto": "pad" for
            networks whose own images have black bars, which `invert.project` finds out, and "crop" for all others.
        align: "face" cuts the square around the largest face out, as `invert.images.alignment` says; "none" does not.
    """

    alpha: str = "black"
    max_pixels: int = 64_000_000
    max_bytes: int = 256 << 20
    min_size: int = 8
    formats: tuple[str, ...] = FORMATS
    fit: str = "crop"
    align: str = "none"

    def __post_init__(self) -> None:
        if self.alpha not in _BACKGROUNDS:
            raise ValueError(f"alpha is {self.alpha!r}, not one of {', '.join(_BACKGROUNDS)}")
        if min(self.max_pixels, self.max_bytes, self.min_size) < 1:
            raise ValueError("max_pixels, max_bytes and min_size must be at least 1")
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ValueError(f"formats is {self.formats!r}, not among {', '.join(FORMATS)}")
        if self.fit not in ("auto", *FITS):
            raise ValueError(f"fit is {self.fit!r}, not one of auto, {', '.join(FITS)}")
        if self.align not in ALIGNMENTS:
            raise ValueError(f"align is {self.align!r}, not one of {', '.join(ALIGNMENTS)}")

    def record(self) -> dict[str, Any]:
        """Return what decides the pixels, as plain JSON types, for the method digest.

        The limits are not in it: they decide whether an image is read, never what is read.
        """
        return {
            "version": POLICY_VERSION,
            "alpha": self.alpha,
            "orientation": "exif",
            "profile": "srgb",
            "crop": "centre" if self.fit in ("auto", "crop") and self.align == "none" else "none",
            "resample": "lanczos",
            **({} if self.fit in ("auto", "crop") else {"fit": self.fit}),
            **({"bars": "left out"} if self.fit == "pad" else {}),
            **({} if self.align == "none" else {"align": self.align, "landmarks": LANDMARKS}),
        }


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image in the channels asked for, upright, at its own size.

    Attributes:
        image: Mode L, RGB or RGBA.
        format: Name of the file's format, see `invert.images.formats`; empty for an image from memory.
        warnings: What changes the image in a way its owner may not expect.
        notes: What is only worth a record.
        tables: Quantisation tables of a JPEG file, 64 steps each, row by row; None of other files.
    """

    image: Image.Image
    format: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    tables: tuple[tuple[int, ...], ...] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.size


@dataclass
class _Remarks:
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def decode_image(data: bytes, channels: int, policy: ImagePolicy | None = None) -> Decoded:
    """Decode an image file.

    Args:
        data: The whole file.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        policy: What is accepted and how it is converted.

    Raises:
        ImageError: It is refused, cut off or damaged. Nothing else comes out, whatever the bytes.

    A PNG is checked by its checksums. The other formats have none: damage in the middle of one may come out as wrong
    pixels.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels is {channels!r}, not one of {CHANNELS}")
    policy = policy or ImagePolicy()
    remarks = _Remarks()
    try:
        kind, container = parse(data, policy.formats)
        opened = _load(kind, container, policy)
        tables = _tables(opened)
        frames = max(container.frames, getattr(opened, "n_frames", 1))
        exif = container.exif or opened.info.get("exif") or b""
        image = _upright(_eight_bits(opened, container.bits, remarks), exif, remarks)
        image = _to_channels(_in_srgb(image, container.colour, remarks), channels, policy, remarks)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("there is not enough memory to decode it", code="image-memory") from error
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error and more, and
        # promises no list; whatever it is, this image cannot be read and the others can.
        raise _damaged(error) from error
    if frames > 1:
        what = "it has several pages" if kind.name == "TIFF" else "it is an animation"
        remarks.warnings.append(f"{what}: the first of its {frames} images is used")
    if container.is_sheet:
        remarks.warnings.append("it is a sheet of several images that this program made")
    return Decoded(image, kind.name, tuple(remarks.warnings), tuple(remarks.notes), tables)


def in_channels(image: Image.Image, channels: int, policy: ImagePolicy | None = None) -> Decoded:
    """Bring an image that is in memory to the channels asked for, as `decode_image` does with an image file.

    Args:
        image: Any mode that Pillow reads from an image file. An EXIF orientation that it still carries is applied.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        policy: What is accepted and how it is converted.

    Raises:
        ImageError: It is too large or too small, damaged, or of a mode that is no image of 8 or 16 bits.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels is {channels!r}, not one of {CHANNELS}")
    policy = policy or ImagePolicy()
    if image.mode not in _MODES:
        reason = f"an image of mode {image.mode} is not of 8 or 16 bits"
        raise ImageError(reason, advice="Convert it to RGB.", code="image-format")
    remarks = _Remarks()
    _check_size(image.size, policy)
    try:
        image.load()
    except Exception as error:
        # Pillow has opened its file and not read it yet; what that raises it promises no list of.
        raise _damaged(error) from error
    exif, colour = image.info.get("exif", b""), _own_colour(image)
    image = _upright(_eight_bits(image, 16 if image.mode == "I;16" else 8, remarks), exif, remarks)
    image = _to_channels(_in_srgb(image, colour, remarks), channels, policy, remarks)
    return Decoded(image, "", tuple(remarks.warnings), tuple(remarks.notes))


def _damaged(error: Exception) -> ImageError:
    text = " ".join(str(error).split())[:100] or type(error).__name__
    if "truncated" in text.lower():
        return ImageError("the file is cut off", advice="Copy or download it again.", code="image-truncated")
    advice = "Copy or download it again."
    return ImageError(f"the file is damaged ({text})", advice=advice, code="image-damaged")


def _load(kind: ImageFormat, container: Container, policy: ImagePolicy) -> Image.Image:
    if container.size is not None:
        _check_size(container.size, policy)
    image = kind.decoder(io.BytesIO(container.data))
    # Only the header has been read so far.
    _check_size(image.size, policy)
    image.load()
    if image.mode == "I;16B":
        image = Image.fromarray(np.asarray(image).astype(np.uint16))
    if image.mode not in _MODES:
        reason = f"an image of mode {image.mode} is not of 8 or 16 bits"
        raise ImageError(reason, advice="Convert it to PNG.", code="image-format")
    return image


def _tables(image: Image.Image) -> tuple[tuple[int, ...], ...] | None:
    """Return the quantisation tables of a JPEG that has just been decoded."""
    tables = getattr(image, "quantization", None) or {}
    found = tuple(tuple(int(step) for step in tables[number]) for number in sorted(tables))
    return found if found and all(len(table) == 64 and min(table) > 0 for table in found) else None


def _check_size(size: tuple[int, int], policy: ImagePolicy) -> None:
    width, height = size
    if width * height > policy.max_pixels:
        raise ImageError(
            f"{width} x {height} is {width * height / 1e6:.4g} Mpx, over the {policy.max_pixels / 1e6:.4g} Mpx limit",
            advice="Use --max-pixels to raise it.",
            code="image-too-large",
        )
    if min(width, height) < policy.min_size:
        reason = f"{width} x {height} pixels, and each side must have at least {policy.min_size}"
        raise ImageError(reason, code="image-too-small")


def _eight_bits(image: Image.Image, bits: int, remarks: _Remarks) -> Image.Image:
    """Bring samples to 8 bits, and a transparent colour, which PNG gives in the original depth, along."""
    transparent = image.info.get("transparency")
    if bits == 16:
        remarks.notes.append("its 16 bits per channel are reduced to 8")
    if image.mode == "I;16":
        # Pillow's own conversion clips at 255. 65535 = 255 * 257, so this keeps order, black and white.
        wide = np.asarray(image)
        narrow = np.empty(wide.shape, np.uint8)
        for row, values in enumerate(wide):  # row by row: nothing wider than the file's own samples is kept
            narrow[row] = (values.astype(np.uint32) + 128) // 257
        image = Image.fromarray(narrow)
        if transparent is not None:
            opaque = (wide != transparent).view(np.uint8) * np.uint8(255)
            image = Image.merge("LA", (image, Image.fromarray(opaque)))
    elif image.mode == "RGB" and bits == 16 and transparent is not None:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    elif image.mode == "L" and bits < 8 and transparent is not None:
        image.info["transparency"] = transparent * 255 // ((1 << bits) - 1)
    return image


def _upright(image: Image.Image, exif: bytes, remarks: _Remarks) -> Image.Image:
    value = orientation(exif)
    if value == 1:
        return image
    remarks.warnings.append(f"EXIF orientation {value} applied before cropping")
    return image.transpose(_UPRIGHT[value])


def _own_colour(image: Image.Image) -> Colour:
    """Return what a file said of its colours, as Pillow keeps it with the image that it read."""
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return Colour(profile)
    return Colour() if "srgb" in image.info else colour_of_png(image.info.get("gamma"), image.info.get("chromaticity"))


def _in_srgb(image: Image.Image, colour: Colour, remarks: _Remarks) -> Image.Image:
    image, remark = to_srgb(image, colour)
    if remark:
        remarks.warnings.append(remark)
    return image


def _to_channels(image: Image.Image, channels: int, policy: ImagePolicy, remarks: _Remarks) -> Image.Image:
    is_grey = image.mode in ("1", "L", "LA")
    if image.mode == "CMYK":
        remarks.warnings.append("its CMYK colours are converted to RGB without a colour profile")
        image = image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
    if is_grey and channels > 1:
        remarks.warnings.append("it is grey: repeated into three channels")
    if channels == 4:
        return image.convert("RGBA")
    if image.mode == "RGBA":
        image = _lay_on_background(image, policy, remarks)
    if channels == 3:
        return image.convert("RGB")
    if not is_grey and _has_colour(image.convert("RGB")):
        remarks.warnings.append("its colours are converted to grey")
    return image.convert("L")


def _lay_on_background(image: Image.Image, policy: ImagePolicy, remarks: _Remarks) -> Image.Image:
    # Dropping alpha instead would bring out whatever colour lies hidden under transparent pixels.
    alpha = image.getchannel("A")
    if alpha.getextrema() != (255, 255):
        remarks.warnings.append(f"its transparent parts are laid on {policy.alpha}")
    background = Image.new("RGB", image.size, _BACKGROUNDS[policy.alpha])
    background.paste(image, mask=alpha)
    return background


def _has_colour(image: Image.Image) -> bool:
    red, green, blue = (band.tobytes() for band in image.split())
    return not red == green == blue


def to_png_bytes(array: NDArray[np.uint8], *, is_sheet: bool = False) -> bytes:
    """Encode an image as PNG without any metadata: the same array gives the same bytes.

    Args:
        array: uint8 [H, W], or [H, W, C] with 1, 3 or 4 channels.
        is_sheet: Whether it is made of several images. It is marked then, so that it is never taken for an input.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        raise ValueError(f"expected uint8 [H, W] or [H, W, 1 | 3 | 4], not {array.dtype} {list(array.shape)}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    data = stream.getvalue()
    return data[:_HEADER_END] + SHEET_MARK + data[_HEADER_END:] if is_sheet else data
