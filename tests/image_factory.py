"""Make image files for tests: plain ones, and hostile ones that no encoder writes."""

import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from invert.errors import ImageCode, ImageError
from invert.images.decoding import ImagePolicy
from invert.images.target import Target, read_target

MAGIC = b"\x89PNG\r\n\x1a\n"


def image(height: int = 16, width: int = 16, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Return uint8 noise [H, W, C], or [H, W] for one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(source: NDArray[np.uint8] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    image = source if isinstance(source, Image.Image) else Image.fromarray(source)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, bits: int, colour: int, rows: bytes, *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Assemble a PNG from raw rows (without filter bytes), with chunks before and after the pixels."""
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return MAGIC + header + before + chunk(b"IDAT", zlib.compress(filtered)) + after + chunk(b"IEND")


def png_bomb(side: int) -> bytes:
    """Return a white square of 1 bit per pixel: some kilobytes that unpack to side^2 pixels."""
    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * ((side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return MAGIC + header + chunk(b"IDAT", packed) + chunk(b"IEND")


def zeros_packed(size: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def text_bombs(pixels: NDArray[np.uint8], size: int = 200 << 20) -> dict[str, bytes]:
    """Return PNGs with a text or profile chunk of some 200 kB that unpacks to 200 MB."""
    packed = zeros_packed(size)
    bodies = {
        "zTXt": b"Comment\0\0" + packed,
        "iTXt": b"Comment\0\x01\0\0\0" + packed,
        "iCCP": b"profile\0\0" + packed,
    }
    height, width = pixels.shape[:2]
    return {
        kind: png(width, height, 8, 2, pixels.tobytes(), before=chunk(kind.encode(), body))
        for kind, body in bodies.items()
    }


def exif(orientation: int, order: str = "<") -> bytes:
    """Return a TIFF block that holds nothing but an orientation."""
    mark = {"<": b"II", ">": b"MM"}[order]
    return struct.pack(f"{order}2sHIHHHIHHI", mark, 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """Insert a segment right after the start of a JPEG."""
    return jpeg[:2] + jpeg_segment(marker, body) + jpeg[2:]


def jpeg_of_size(jpeg: bytes, width: int, height: int) -> bytes:
    """Patch the size in the frame header of a baseline JPEG."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def jpeg_of_scans(side: int, count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated: each repeat walks all pixels again."""
    data = encode(Image.new("RGB", (side, side)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def webp_of_canvas(width: int, height: int) -> bytes:
    """Return an extended WebP whose header claims a canvas of this size."""
    body = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    inner = encode(image(), "WEBP")[12:]
    payload = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + body + inner
    return b"RIFF" + struct.pack("<I", len(payload)) + payload


def avif_of_size(width: int, height: int, side: int) -> bytes:
    """Return an AVIF whose boxes say one size and whose pixels, all black and some kilobytes, are side^2."""
    data = bytearray(encode(Image.new("L", (side, side)), "AVIF", speed=10, quality=1))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    return bytes(data)


def hidden_colour() -> NDArray[np.uint8]:
    """Return RGBA [16, 16, 4]: red, opaque on the left; green but fully transparent on the right."""
    array = np.zeros((16, 16, 4), np.uint8)
    array[:, :8] = (255, 0, 0, 255)
    array[:, 8:] = (0, 255, 0, 0)
    return array


def save(folder: Path, data: bytes, name: str = "x.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read_bytes(folder: Path, data: bytes, channels: int = 3, resolution: int = 16, **policy: Any) -> Target:
    return read_target(save(folder, data), resolution, channels, ImagePolicy(**policy))


def refusal(folder: Path, data: bytes, **policy: Any) -> ImageError:
    """Return the error that reading this file ends with, after checking its form."""
    with pytest.raises(ImageError) as caught:
        read_bytes(folder, data, **policy)
    assert caught.value.code in get_args(ImageCode)
    assert str(caught.value).startswith("image '")
    assert "\n" not in str(caught.value)
    return caught.value


def run_unprivileged(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code as a user whom permissions hold back, in the checkout; skip where that cannot be done."""
    command = [sys.executable, "-c", program, *arguments]
    checkout = Path(__file__).parents[1]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("permissions do not hold root back, and there is no setpriv to become somebody else")
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        probe = subprocess.run(
            [*drop, sys.executable, "-c", "import invert.images.target"], cwd=checkout, capture_output=True
        )
        if probe.returncode:
            pytest.skip("the checkout or the Python environment is closed to other users")
        command = drop + command
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=checkout, timeout=240)
