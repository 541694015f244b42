"""What happens to images on their way: compression, scaling, blur, noise, cropping. For testing verdicts.

Applied to pixels, and written as PNG, so that a perturbed image goes the way of any other.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from invert.errors import UsageError

__all__ = ["Perturbation", "apply", "parse_perturbations"]

Array = npt.NDArray[np.uint8]

_RANGES = {
    "jpeg": (1, 100),  # quality
    "resize": (0.05, 1),  # factor, and back
    "blur": (0, 50),  # sigma, px
    "noise": (0, 255),  # sigma, levels
    "crop": (0, 0.45),  # share cut off each side, then back to size
    "shift": (-64, 64),  # px to the right, edges repeated
    "gamma": (0.1, 10),
}


@dataclass(frozen=True)
class Perturbation:
    """One kind with one value, such as jpeg:75; `flip` has none."""

    kind: str
    value: float = 0.0

    @property
    def key(self) -> str:
        """As it is written on the command line."""
        return self.kind if self.kind == "flip" else f"{self.kind}:{self.value:g}"


def parse_perturbations(text: str) -> list[Perturbation]:
    """Read a list such as `jpeg:90,75,50 resize:0.5 blur:1 flip`.

    Raises:
        UsageError: A kind is unknown, or a value is not in its range.
    """
    found = []
    for piece in text.split():
        kind, separator, values = piece.partition(":")
        if kind == "flip" and not separator:
            found.append(Perturbation("flip"))
            continue
        if kind not in _RANGES or not values:
            raise UsageError(f"perturbation {piece!r} is not KIND:VALUE with KIND one of {', '.join(_RANGES)}, or flip")
        low, high = _RANGES[kind]
        for value in values.split(","):
            try:
                number = float(value)
            except ValueError:
                number = float("nan")
            if not low <= number <= high:
                raise UsageError(f"perturbation {kind}:{value} is not in {low}..{high}")
            found.append(Perturbation(kind, number))
    return found


def apply(array: Array, perturbation: Perturbation, key: str = "") -> Array:
    """Return a perturbed image of the same shape.

    Args:
        array: uint8 [H, W, C] with 1, 3 or 4 channels; JPEG, noise and gamma leave opacity as it is.
        key: Of the image; its noise is drawn from it.
    """
    value = perturbation.value
    if array.shape[2] == 4 and perturbation.kind in ("jpeg", "noise", "gamma"):
        return np.concatenate([apply(array[..., :3], perturbation, key), array[..., 3:]], axis=2)
    match perturbation.kind:
        case "jpeg":
            buffer = io.BytesIO()
            _image(array).save(buffer, "JPEG", quality=round(value))
            return _array(Image.open(buffer), array)
        case "resize":
            height, width = array.shape[:2]
            small = (max(1, round(width * value)), max(1, round(height * value)))
            image = _image(array).resize(small, Image.Resampling.LANCZOS)
            return _array(image.resize((width, height), Image.Resampling.LANCZOS), array)
        case "crop":
            height, width = array.shape[:2]
            box = (width * value, height * value, width * (1 - value), height * (1 - value))
            return _array(_image(array).resize((width, height), Image.Resampling.LANCZOS, box=box), array)
        case "blur":
            return _round(ndimage.gaussian_filter(array.astype(np.float64), (value, value, 0), mode="nearest"))
        case "noise":
            seed = int.from_bytes(hashlib.sha256(f"{perturbation.key}/{key}".encode()).digest()[:8], "little")
            drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal(array.shape)
            return _round(array + value * drawn)
        case "shift":
            columns = np.clip(np.arange(array.shape[1]) - round(value), 0, array.shape[1] - 1)
            return np.ascontiguousarray(array[:, columns])
        case "gamma":
            return _round(255 * (array / 255) ** value)
        case _:
            return np.ascontiguousarray(array[:, ::-1])


def _image(array: Array) -> Image.Image:
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def _array(image: Image.Image, like: Array) -> Array:
    return np.asarray(image, np.uint8).reshape(like.shape)


def _round(values: npt.NDArray[np.float64]) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
