"""Colour: what an image's profile makes of its numbers, brought to sRGB, which is what networks are trained on.

A profile is a program for a colour engine and may come from anybody: its frame is checked before the engine (LittleCMS,
by way of Pillow) sees it, and one that is broken, of another kind than the pixels, or absurdly large is left out.
"""

import functools
import io
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

__all__ = ["MAX_PROFILE", "NO_COLOUR", "Colour", "colour_of_codes", "colour_of_png", "to_srgb"]

MAX_PROFILE = 4 << 20
"""Bytes. Profiles of displays have a few hundred, those of printers up to three million."""

SAME = 2
"""A profile that moves no colour by more levels than this is one of the many that mean sRGB."""

_MOST_TAGS = 100
_SPACES = {b"RGB ": "RGB", b"GRAY": "grey", b"CMYK": "CMYK"}
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES = {
    1: ("sRGB", _SRGB),
    9: ("BT.2020", (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    12: ("Display P3", (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
}
"""Chromaticities x, y of white, red, green and blue, by the codes of ITU-T H.273."""
_STANDARD_TRANSFERS = (1, 2, 6, 13, 14, 15)
_STANDARD_GAMMA = 0.45455
_HDR = {16: "PQ", 18: "HLG"}


class Colour(NamedTuple):
    """What an image file says about its colours.

    Attributes:
        profile: An ICC profile, or nothing.
        name: What to call it; empty takes its own description.
        problem: Why there is none that can be used, in words; empty where nothing is wrong.
    """

    profile: bytes = b""
    name: str = ""
    problem: str = ""


NO_COLOUR = Colour()
"""A file that says nothing: its numbers are taken for sRGB."""


def colour_of_codes(primaries: int, transfer: int) -> Colour:
    """Return the colour of an image that says it by the codes of ITU-T H.273 (PNG's cICP, the nclx of AVIF).

    Args:
        primaries: Code of the primaries; 2 is unspecified.
        transfer: Code of the transfer function; those of BT.709 and its kin are shown as sRGB.
    """
    if transfer in _HDR:
        return Colour(problem=f"its colours are those of HDR ({_HDR[transfer]}), which are not converted")
    if transfer == 8 and primaries in _PRIMARIES:
        name, chromaticities = _PRIMARIES[primaries]
        return Colour(_matrix_profile(chromaticities, (1.0,)), f"linear {name}")
    if primaries in (1, 2) or primaries not in _PRIMARIES or transfer not in _STANDARD_TRANSFERS:
        return NO_COLOUR
    name, chromaticities = _PRIMARIES[primaries]
    return Colour(_matrix_profile(chromaticities, _SRGB_CURVE), name)


def colour_of_png(gamma: float | None, chromaticities: Sequence[float] | None) -> Colour:
    """Return the colour of an image whose file has a gamma or primaries, but no profile.

    Args:
        gamma: Exponent of the samples, 0.45455 for what is like sRGB; None where it is not given.
        chromaticities: x and y of white, red, green and blue; None where they are not given.
    """
    if gamma is not None and not 0.1 <= gamma <= 10:
        return Colour(problem=f"its gamma of {gamma:.4g} makes no sense and is ignored")
    is_usual_gamma = gamma is None or abs(gamma / _STANDARD_GAMMA - 1) < 0.02
    is_srgb = chromaticities is None or np.abs(np.subtract(chromaticities, _SRGB)).max() < 0.002
    if is_usual_gamma and is_srgb:
        return NO_COLOUR
    named = [] if is_usual_gamma or gamma is None else [f"gamma {gamma:.4g}"]
    try:
        curve = _SRGB_CURVE if is_usual_gamma or gamma is None else (1 / gamma,)
        profile = _matrix_profile(_SRGB if chromaticities is None else chromaticities, curve)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, struct.error):
        return Colour(problem="its primaries make no sense and are ignored")
    return Colour(profile, " and ".join([*named, *([] if is_srgb else ["primaries of its own"])]))


def to_srgb(image: Image.Image, colour: Colour) -> tuple[Image.Image, str]:
    """Convert an image to sRGB: relative colorimetric, with black point compensation.

    Args:
        image: 8 bits per channel; transparency is kept.
        colour: What its file says.

    Returns:
        The image and what its owner should know, in words. Where a profile means sRGB, or cannot be used, the image
        has the same numbers as before.
    """
    if not colour.profile:
        return image, colour.problem
    problem = _frame_problem(colour.profile)
    if problem:
        return image, f"its colour profile {problem} and is ignored"
    space = _SPACES[colour.profile[16:20]]
    plain, alpha = _apart(image)
    pixels = {"L": "grey", "CMYK": "CMYK"}.get(plain.mode, "RGB")
    is_grey_of_gamma = pixels == "grey" and bool(colour.name)
    if is_grey_of_gamma:  # what the file says in place of a profile holds for grey as for colours
        plain, pixels = plain.convert("RGB"), "RGB"
    if space != pixels:
        return image, f"its colour profile is for {space} and its pixels are {pixels}: ignored"
    try:
        convert, own_name = _transform(colour.profile, plain.mode)
        if plain.mode != "CMYK" and _moves_nothing(convert, plain.mode):
            return image, ""
        converted = convert(plain).getchannel(1) if is_grey_of_gamma else convert(plain)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image, "its colour profile is damaged and is ignored"
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, f"its colour profile ({colour.name or own_name or 'unnamed'}) is converted to sRGB"


def _apart(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return an image as L, RGB or CMYK, and its transparency."""
    is_grey = image.mode in ("1", "L", "LA")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if is_grey else "RGBA")
        alpha = image.getchannel("A")
    return image.convert("L" if is_grey else "CMYK" if image.mode == "CMYK" else "RGB"), alpha


def _frame_problem(profile: bytes) -> str:
    """Return what is wrong with the frame of a profile, as a part of a sentence; nothing where it is whole."""
    if len(profile) > MAX_PROFILE:
        return f"has more than {MAX_PROFILE >> 20} MiB"
    damaged = "is damaged"
    if len(profile) < 132 or profile[36:40] != b"acsp" or int.from_bytes(profile[:4], "big") > len(profile):
        return damaged
    count = int.from_bytes(profile[128:132], "big")
    if not 0 < count <= _MOST_TAGS or 132 + 12 * count > len(profile):
        return damaged
    for index in range(count):
        _, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if offset < 132 or offset + size > len(profile):
            return damaged
    if profile[12:16] not in _CLASSES or profile[16:20] not in _SPACES or profile[20:24] not in (b"XYZ ", b"Lab "):
        return "is of a kind that is not used for images"
    return ""


_Convert = Callable[[Image.Image], Image.Image]


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> tuple[_Convert, str]:
    """Return what converts images of a mode (L, RGB, CMYK) and the profile's own name."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, mode, "RGB", intent, flags)
    name = " ".join(ImageCms.getProfileDescription(source).split())

    def convert(image: Image.Image) -> Image.Image:
        converted = transform.apply(image)
        # Grey stays grey: the three are the same but for rounding.
        return converted.getchannel(1) if mode == "L" else converted

    return convert, "".join(c if " " <= c <= "~" else "?" for c in name[:40])


def _moves_nothing(convert: _Convert, mode: str) -> bool:
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
    else:
        levels = np.linspace(0, 255, 9).round().astype(np.uint8)
        probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
    moved = np.abs(np.asarray(convert(Image.fromarray(probe))).astype(int) - probe)
    return int(moved.max()) <= SAME


def _matrix_profile(chromaticities: Sequence[float], curve: Sequence[float]) -> bytes:
    """Return an ICC profile of three primaries and a curve.

    Args:
        chromaticities: x and y of white, red, green and blue.
        curve: Exponent, or g, a, b, c, d of a parametric curve of type 3, from numbers to light.

    Reference: ICC.1:2010 (version 4.3), sections 7.2, 10.15 and 10.31.
    """
    xy = np.array(chromaticities, np.float64).reshape(4, 2)
    if not (xy[:, 1] > 0).all():
        raise ValueError("a chromaticity without light")
    xyz = np.column_stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])  # [4, 3], each with Y = 1
    white, primaries = xyz[0], xyz[1:].T
    matrix = primaries * np.linalg.solve(primaries, white)  # columns: what red, green and blue add to white
    cones = _BRADFORD @ np.array(_D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ matrix
    kind = 0 if len(curve) == 1 else 3
    curve_tag = b"para" + struct.pack(">4xHxx", kind) + _fixed(np.array(curve, np.float64))
    tags = [(b"wtpt", _xyz(np.array(_D50)))]
    tags += [(name, _xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True)]
    tags += [(name, curve_tag) for name in (b"rTRC", b"gTRC", b"bTRC")]
    start = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content
    size = start + len(body)
    head = struct.pack(">I4xI", size, 0x04300000) + b"mntrRGB XYZ " + struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    head += b"acsp" + bytes(28) + _fixed(np.array(_D50))
    return head.ljust(128, b"\0") + table + body


def _xyz(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _fixed(values: npt.NDArray[np.float64]) -> bytes:
    """Return numbers as s15Fixed16."""
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))
