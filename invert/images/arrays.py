"""Arrays, tensors and PIL images, and what of them is an 8-bit image."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from invert.errors import ImageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ImageLike", "Pixels", "contact_sheet", "enlarge", "to_pil", "to_rgb", "to_uint8"]

Pixels = npt.NDArray[np.uint8]
"""An 8-bit image `[H, W, C]`."""

ImageLike: TypeAlias = Union[Image.Image, Pixels, "Tensor"]
"""What `to_pil` takes."""

_LARGEST = 4.0
"""A network's images are about in -1..1 and seldom leave it by much; beyond this the scale is another one."""


def to_uint8(images: "Tensor") -> Pixels:
    """Return 8-bit images, rounded half up; NaN becomes mid-grey.

    Args:
        images: `[N, C, H, W]` in -1..1; what lies outside is clamped.

    Returns:
        `[N, H, W, C]`.
    """
    scaled = (images.nan_to_num() * 127.5 + 128).clamp(0, 255)
    return scaled.byte().permute(0, 2, 3, 1).cpu().numpy()


def to_pil(image: ImageLike) -> Image.Image:
    """Return an image from memory as a PIL image.

    Args:
        image: A PIL image, which is returned as it is; an array uint8 `[H, W]`, or `[H, W, C]` with 1, 3 or 4
            channels; or a tensor `[C, H, W]`, uint8 from 0 to 255 or floating point in -1..1.

    Raises:
        ImageError: It is of another type, shape or range.
    """
    if isinstance(image, Image.Image):
        return image
    array = image if isinstance(image, np.ndarray) else _array_of(image)
    if array.dtype != np.uint8:
        raise _refusal(f"an array of type {array.dtype} is no image", "Give uint8 from 0 to 255.")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))) or 0 in array.shape:
        raise _refusal(f"an array of shape {list(array.shape)} is no image", "Give [H, W] or [H, W, 1 | 3 | 4].")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))


def _array_of(tensor: "Tensor") -> Pixels:
    """Return a tensor [C, H, W] as an array [H, W, C]."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        reason = f"a {type(tensor).__name__} is no image"
        raise _refusal(reason, "Give a PIL image, a uint8 array or a tensor.")
    tensor = tensor.detach()
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise _refusal(f"a tensor of shape {list(tensor.shape)} is no image", "Give [1 | 3 | 4, H, W].")
    if tensor.dtype == torch.uint8:
        levels: Pixels = tensor.permute(1, 2, 0).cpu().numpy()
        return levels
    if not tensor.is_floating_point():
        reason = f"a tensor of type {tensor.dtype} is no image"
        raise _refusal(reason, "Give uint8 from 0 to 255, or floating point in -1..1.")
    if not bool((tensor.abs() <= _LARGEST).all()):  # nor where it is no number
        raise _refusal("the values of the tensor are not in -1..1", "Scale them, or give uint8 from 0 to 255.")
    found: Pixels = to_uint8(tensor[None].float())[0]
    return found


def _refusal(reason: str, advice: str) -> ImageError:
    return ImageError(reason, advice=advice, code="image-format")


def to_rgb(image: Pixels) -> Pixels:
    """Return an image `[H, W, 1 | 3 | 4]` as `[H, W, 3]`: grey repeated, transparency laid on white."""
    if image.shape[2] == 4:
        alpha = image[..., 3:] / 255
        return np.asarray(np.floor(image[..., :3] * alpha + 255 * (1 - alpha) + 0.5), np.uint8)
    return image.repeat(3, axis=2) if image.shape[2] == 1 else image


def enlarge(image: Pixels, scale: int) -> Pixels:
    """Repeat each pixel of an image `[H, W, C]` `scale` times in both directions."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def contact_sheet(images: Sequence[Pixels], columns: int | None = None) -> Pixels:
    """Lay images out row by row; what is left of the last row is black.

    Args:
        images: `[H, W, C]` each, all of one shape.
        columns: How many stand side by side; None: about a square.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    height, width, channels = images[0].shape
    cells = np.zeros([rows * columns, height, width, channels], np.uint8)
    cells[: len(images)] = np.stack(list(images))
    cells = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return cells.reshape(rows * height, columns * width, channels)
