"""The image formats that are read, one row each: names, how a file is recognised and taken apart, the decoder.

To add a format, add a row to `_TABLE`; its three functions go into `invert.images.containers`, or a module of their own
where they are many. Formats that are only known by name, to be told of, are in `_UNREAD`.
"""

import contextlib
import importlib.util
import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from invert.errors import ImageError
from invert.images import containers, gif, heif, pnm, tiff
from invert.images.containers import Appearance, Container

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "HEAD_BYTES",
    "LISTED",
    "ImageFormat",
    "appearance",
    "format_named",
    "looks_like_image",
    "parse",
    "unread",
]

HEAD_BYTES = 1 << 16
"""Enough of a file for `appearance`, unless a JPEG has a large block of metadata before its frame."""


@dataclass(frozen=True)
class ImageFormat:
    """A format that is read.

    Attributes:
        name: Its name in `ImagePolicy.formats` and in notes.
        title: Its name in sentences.
        suffixes: What its files are called, in lower case; content decides all the same.
        recognise: Whether a file that begins with these bytes is of this format.
        take_apart: Checks a whole file and leaves its metadata out; may raise struct.error or IndexError for one that
            is cut off.
        look: Size and colour by the head of a file; likewise, or None where it does not tell.
        decoder: Pillow's decoder by itself. `Image.open` would warn, through state shared by all threads, before our
            own limit is asked, and could hand a file to another decoder than the one that its content calls for.
        missing: Why this installation cannot read it; empty where it can.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    recognise: Callable[[bytes], bool]
    take_apart: Callable[[bytes], Container]
    look: Callable[[bytes], Appearance | None]
    decoder: Callable[[io.BytesIO], Image.Image]
    missing: str = ""


def _avif(stream: io.BytesIO) -> Image.Image:
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile(stream)


def _heic(stream: io.BytesIO) -> Image.Image:
    from pillow_heif import HeifImageFile

    image: Image.Image = HeifImageFile(stream)
    return image


_ALL = (
    ImageFormat(
        name="PNG",
        title="PNG",
        suffixes=(".png",),
        recognise=containers.is_png,
        take_apart=containers.take_png_apart,
        look=containers.look_at_png,
        decoder=PngImageFile,
    ),
    ImageFormat(
        name="JPEG",
        title="JPEG",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        recognise=containers.is_jpeg,
        take_apart=containers.take_jpeg_apart,
        look=containers.look_at_jpeg,
        decoder=JpegImageFile,
    ),
    ImageFormat(
        name="WEBP",
        title="WebP",
        suffixes=(".webp",),
        recognise=containers.is_webp,
        take_apart=containers.take_webp_apart,
        look=containers.look_at_webp,
        decoder=WebPImageFile,
    ),
    ImageFormat(
        name="BMP",
        title="BMP",
        suffixes=(".bmp",),
        recognise=containers.is_bmp,
        take_apart=containers.take_bmp_apart,
        look=containers.look_at_bmp,
        decoder=BmpImageFile,
    ),
    ImageFormat(
        name="TIFF",
        title="TIFF",
        suffixes=(".tif", ".tiff"),
        recognise=tiff.is_tiff,
        take_apart=tiff.take_tiff_apart,
        look=tiff.look_at_tiff,
        decoder=TiffImageFile,
    ),
    ImageFormat(
        name="GIF",
        title="GIF",
        suffixes=(".gif",),
        recognise=gif.is_gif,
        take_apart=gif.take_gif_apart,
        look=gif.look_at_gif,
        decoder=GifImageFile,
    ),
    ImageFormat(
        name="PNM",
        title="PPM",
        suffixes=(".ppm", ".pgm", ".pbm", ".pnm"),
        recognise=pnm.is_pnm,
        take_apart=pnm.take_pnm_apart,
        look=pnm.look_at_pnm,
        decoder=PpmImageFile,
    ),
    ImageFormat(
        name="AVIF",
        title="AVIF",
        suffixes=(".avif",),
        recognise=heif.is_avif,
        take_apart=heif.take_avif_apart,
        look=heif.look_at_heif,
        decoder=_avif,
        missing="" if features.check("avif") else "this version of Pillow cannot read it; a newer one can",
    ),
    ImageFormat(
        name="HEIC",
        title="HEIC",
        suffixes=(".heic", ".heif", ".hif"),
        recognise=heif.is_heic,
        take_apart=heif.take_heic_apart,
        look=heif.look_at_heif,
        decoder=_heic,
        missing=""
        if importlib.util.find_spec("pillow_heif")
        else "it needs the package pillow-heif (pip install 'invert[heif]')",
    ),
)

_TABLE = tuple(kind for kind in _ALL if not kind.missing)

FORMATS = tuple(kind.name for kind in _TABLE)
"""Names of the formats."""

EXTENSIONS = frozenset(suffix for kind in _TABLE for suffix in kind.suffixes)
"""What counts as an image inside a folder, in any case of letters. A file named by itself is judged by content."""

LISTED = f"{', '.join(kind.title for kind in _TABLE[:-1])} or {_TABLE[-1].title}"
"""The formats in a sentence."""

# What images are called that are not read: counted and told of in a folder, never passed over in silence. Figures
# without pixels (SVG, PDF) are not among them.
_UNREAD = {
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpf", ".jpx"), "JPEG 2000"),
    ".jxl": "JPEG XL",
    **dict.fromkeys((".ico", ".cur"), "an icon"),
    ".icns": "an icon",
    ".tga": "Targa",
    ".psd": "Photoshop",
    ".xcf": "GIMP",
    ".pcx": "PCX",
    ".dds": "DDS",
    ".sgi": "SGI",
    **dict.fromkeys((".exr", ".hdr", ".pfm"), "an image of high dynamic range"),
    **dict.fromkeys((".fits", ".fit"), "FITS"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf", ".pef"), "a camera's raw file"),
    **dict.fromkeys((".apng", ".mng"), "an animation"),
}

# Recognised only to be refused by name.
_OTHERS = (
    (b"8BPS", "a Photoshop file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF", "a PDF file"),
    (b"\0\0\0\x0cjP", "a JPEG 2000 file"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (b"\0\0\x01\0", "an icon"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, the image itself was not downloaded"),
)


def parse(data: bytes, formats: tuple[str, ...] = FORMATS) -> tuple[ImageFormat, Container]:
    """Recognise an image by its content and take it apart.

    Args:
        data: The whole file.
        formats: Names of the formats that are enabled.

    Raises:
        ImageError: It is not an image in an enabled format, or it is cut off or damaged.
    """
    kind = _format_of(data)
    if kind is None:
        missing = next((one for one in _ALL if one.missing and one.recognise(data)), None)
        raise _not_an_image(data) if missing is None else _missing(missing)
    if kind.name not in formats:
        raise ImageError(f"{kind.name} images are not enabled", advice="Convert it to PNG.", code="image-format")
    try:
        return kind, kind.take_apart(data)
    except (struct.error, IndexError) as error:
        raise containers.cut_off(len(data)) from error


def looks_like_image(name: str) -> bool:
    """Return whether a file in a folder counts as an image by its name: it is read, or told of as `unread` says."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in EXTENSIONS or suffix in _UNREAD or any(suffix in kind.suffixes for kind in _ALL)


def unread(name: str) -> ImageError | None:
    """Return why a file that looks like an image by its name is not read; None where it is."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in EXTENSIONS:
        return None
    missing = next((kind for kind in _ALL if suffix in kind.suffixes), None)
    return _missing(missing) if missing is not None else _other(_UNREAD[suffix])


def _missing(kind: ImageFormat) -> ImageError:
    advice = "Install that, or convert it to PNG."
    return ImageError(f"it is {kind.title}: {kind.missing}", advice=advice, code="image-format")


def _other(looks: str) -> ImageError:
    reason = f"it is {looks}, and that format is not enabled"
    return ImageError(reason, advice="Convert it to PNG.", code="image-format")


def format_named(suffix: str) -> str | None:
    """Return the name of the format whose files are called so, such as "PNG" for ".png"; None for any other suffix."""
    return next((kind.name for kind in _TABLE if suffix.lower() in kind.suffixes), None)


def appearance(head: bytes) -> Appearance | None:
    """Return how an image looks by its header, without decoding anything.

    Args:
        head: The file, or its first `HEAD_BYTES`.

    Returns:
        None where the header does not tell: `invert.images.decoding.decode_image` then says why the file is no image.
    """
    kind = _format_of(head)
    with contextlib.suppress(struct.error, IndexError):
        return None if kind is None else kind.look(head)
    return None


def _format_of(head: bytes) -> ImageFormat | None:
    return next((kind for kind in _TABLE if kind.recognise(head)), None)


def _not_an_image(data: bytes) -> ImageError:
    """Return the error that says what a file is that is none of the formats."""
    if not data:
        return ImageError("the file is empty", code="image-empty")
    looks = next((name for magic, name in _OTHERS if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        looks = "a HEIF or video file"
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        looks = "a web page"
    elif text.startswith((b"<svg", b"<?xml")):
        looks = "an SVG or XML file"
    if looks is None:
        return ImageError(f"it is not a {LISTED} image", code="image-unrecognised")
    return _other(looks)
