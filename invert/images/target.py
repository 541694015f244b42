"""Any image file -> `Target`: upright, square, at the network's size and channels.

Nothing here imports torch until a target's `pixels` are asked for.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invert.errors import ImageError, UnreadableError
from invert.images.decoding import Decoded, ImagePolicy, decode, fit, to_png_bytes
from invert.images.opening import read_regular
from invert.images.scan import scan

if TYPE_CHECKING:
    import torch

__all__ = ["ImagePolicy", "Target", "decode", "pixel_sha256", "read", "safe_name", "scan", "to_png_bytes"]

MAX_NAME_BYTES = 160

_SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
}


@dataclass(frozen=True, eq=False)
class Target:
    """An image as the network sees it.

    `array` is uint8 [H, W, C], read-only. `name` is fit for a file name and a terminal; `path` is exact.
    `file_sha256` is of the bytes that were decoded, `pixel_sha256` of `array` (see `pixel_sha256`).
    `original_size` is (width, height), upright. `upsampled` marks an image smaller than the network, of
    which no verdict can be given. `warnings` are for the user, `notes` for the record.
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

    @property
    def pixels(self) -> "torch.Tensor":
        """float32 [1, C, H, W] in [-1, 1], a new tensor each time."""
        import torch

        scaled = self.array.astype(np.float32) / np.float32(127.5) - np.float32(1)
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]))  # [1, C, H, W]


def read(path: str | os.PathLike[str], resolution: int, channels: int, policy: ImagePolicy | None = None) -> Target:
    """Read an image file for a network.

    Args:
        path: A regular file; what it is called does not matter.
        resolution: Side of the network's images in pixels.
        channels: The network's channels: 1, 3 or 4.
        policy: What is accepted and how it becomes pixels.

    Raises:
        ImageError: The image cannot be used; nothing else is raised, whatever the file.
    """
    path = Path(path)
    policy = policy or ImagePolicy()
    try:
        data = read_regular(path, policy.max_bytes)
        decoded = decode(data, channels, policy)
    except UnreadableError as error:
        raise ImageError.of_file(error) from error
    except ImageError as error:
        error.path = path
        raise
    array = fit(decoded.image, resolution)
    warnings, notes = _remarks(decoded, path, resolution)
    return Target(
        array=array,
        name=safe_name(path),
        path=path,
        file_sha256=hashlib.sha256(data).hexdigest(),
        pixel_sha256=pixel_sha256(array),
        original_size=decoded.size,
        upsampled=min(decoded.size) < resolution,
        warnings=warnings,
        notes=notes,
    )


def _remarks(decoded: Decoded, path: Path, resolution: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    warnings, notes = list(decoded.warnings), list(decoded.notes)
    width, height = decoded.size
    side = min(width, height)
    if width != height:
        warnings.append(f"{width} x {height} is not square: the {side} x {side} in the centre are kept")
    if side < resolution:
        warnings.append(f"{side} x {side} is enlarged to the network's {resolution} x {resolution}")
    suffix = path.suffix.lower()
    named = next((kind for kind, suffixes in _SUFFIXES.items() if suffix in suffixes), None)
    if named not in (None, decoded.format):
        notes.append(f"it is called {suffix} but is {decoded.format}")
    return tuple(warnings), tuple(notes)


def pixel_sha256(array: NDArray[np.uint8]) -> str:
    """Return the sha256 of an image's pixels: of the text "uint8 HxWxC" and a line feed, then its bytes.

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
