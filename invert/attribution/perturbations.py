"""What happens to images on their way: compression, scaling, blur, noise, cropping. To calibrate and test verdicts.

A perturbation works on pixels, and its result is written as PNG, so that a perturbed image goes the way of any other.
"""

import hashlib
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy import ndimage

from invert.errors import UsageError

__all__ = ["KINDS", "Kind", "Perturbation", "Step", "apply", "parse_perturbations"]

_Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """A kind of perturbation.

    Args:
        help: What it does, and what its value is.
        function: Maps an image, the value and a seed to a perturbed image.
        low: Smallest value; None where the kind takes no value.
        high: Largest value, likewise.
        colour_only: Leave opacity, the fourth channel, as it is.
        leaves_small: Whether the perturbed image is smaller than the image.
    """

    help: str
    function: Callable[[_Array, float, int], _Array]
    low: float | None = None
    high: float | None = None
    colour_only: bool = False
    leaves_small: bool = False


@dataclass(frozen=True)
class Step:
    """One kind with one value, such as jpeg:75.

    Args:
        kind: A name in `KINDS`.
        value: In the kind's range; 0 where it takes none.
    """

    kind: str
    value: float = 0.0

    @property
    def key(self) -> str:
        """The text that stands for it on the command line."""
        return self.kind if KINDS[self.kind].low is None else f"{self.kind}:{self.value:g}"


@dataclass(frozen=True)
class Perturbation:
    """What happens to an image step by step, such as resize:0.75+jpeg:75.

    Args:
        steps: In the order in which they happen; none leaves the image as it is.
    """

    steps: tuple[Step, ...] = ()

    @property
    def key(self) -> str:
        """The text that stands for it on the command line."""
        return _CHAIN.join(step.key for step in self.steps) or _NOTHING

    @property
    def help(self) -> str:
        """What it does, in words."""
        return ", then ".join(KINDS[step.kind].help for step in self.steps) or "nothing"

    @property
    def leaves_small(self) -> bool:
        """Whether the perturbed image is smaller than the image."""
        return any(KINDS[step.kind].leaves_small for step in self.steps)


_CHAIN = "+"
_NOTHING = "none"


def parse_perturbations(text: str) -> list[Perturbation]:
    """Read a list such as `none jpeg:90,75,50 blur:1 flip crop:0.02+jpeg:75`.

    Raises:
        UsageError: A kind is unknown, or a value is not in its range.
    """
    return [perturbation for piece in text.split() for perturbation in _parse_chain(piece)]


def _parse_chain(piece: str) -> list[Perturbation]:
    """Read what happens one after the other; a list of values stands for as many perturbations."""
    if piece == _NOTHING:
        return [Perturbation()]
    return [Perturbation(steps) for steps in itertools.product(*map(_parse, piece.split(_CHAIN)))]


def _parse(piece: str) -> list[Step]:
    name, separator, values = piece.partition(":")
    kind = KINDS.get(name)
    if kind is not None and kind.low is None and not separator:
        return [Step(name)]
    if kind is None or kind.low is None or kind.high is None or not values:
        listed = ", ".join(one if row.low is None else f"{one}:VALUE" for one, row in KINDS.items())
        raise UsageError(f"perturbation {piece!r} is none of {_NOTHING}, {listed}")
    found = []
    for value in values.split(","):
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not kind.low <= number <= kind.high:
            raise UsageError(f"perturbation {name}:{value} is not in {kind.low:g}..{kind.high:g}")
        found.append(Step(name, number))
    return found


def apply(array: _Array, perturbation: Perturbation, key: str = "") -> _Array:
    """Return a perturbed image.

    Args:
        array: uint8 `[H, W, C]` with 1, 3 or 4 channels.
        perturbation: What is done to it.
        key: Name of the image, from which random numbers are drawn.

    Returns:
        uint8 `[h, w, C]`, the same image every time.

    Raises:
        KeyError: There is no such kind.
    """
    for number, step in enumerate(perturbation.steps, 1):
        kind, until = KINDS[step.kind], Perturbation(perturbation.steps[:number])
        seed = int.from_bytes(hashlib.sha256(f"{until.key}/{key}".encode()).digest()[:8], "little")
        if kind.colour_only and array.shape[2] == 4:
            colour = kind.function(array[..., :3], step.value, seed)
            array = np.concatenate([colour, array[..., 3:]], axis=2)
        else:
            array = kind.function(array, step.value, seed)
    return array


def _jpeg(array: _Array, quality: float, _: int) -> _Array:
    buffer = io.BytesIO()
    _image(array).save(buffer, "JPEG", quality=round(quality))
    return _array(Image.open(buffer))


def _webp(array: _Array, quality: float, _: int) -> _Array:
    buffer = io.BytesIO()
    _image(array).save(buffer, "WEBP", quality=round(quality))
    found = Image.open(buffer)
    return _array(found.convert("L") if array.shape[2] == 1 else found.convert("RGB"))


def _scaled(array: _Array, factor: float, kernel: Image.Resampling) -> Image.Image:
    height, width = array.shape[:2]
    return _image(array).resize((max(1, round(width * factor)), max(1, round(height * factor))), kernel)


def _resize(array: _Array, factor: float, _: int) -> _Array:
    small = _scaled(array, factor, Image.Resampling.LANCZOS)
    return _array(small.resize(array.shape[1::-1], Image.Resampling.LANCZOS))


def _reduce(array: _Array, factor: float, _: int) -> _Array:
    return _array(_scaled(array, factor, Image.Resampling.LANCZOS))


def _enlarge(array: _Array, factor: float, _: int) -> _Array:
    return _array(_scaled(array, factor, Image.Resampling.BICUBIC))


def _blur(array: _Array, sigma: float, _: int) -> _Array:
    return _round(ndimage.gaussian_filter(array.astype(np.float64), (sigma, sigma, 0), mode="nearest"))


def _noise(array: _Array, sigma: float, seed: int) -> _Array:
    return _round(array + sigma * np.random.Generator(np.random.PCG64(seed)).standard_normal(array.shape))


def _crop(array: _Array, share: float, _: int) -> _Array:
    height, width = array.shape[:2]
    box = (width * share, height * share, width * (1 - share), height * (1 - share))
    return _array(_image(array).resize((width, height), Image.Resampling.LANCZOS, box=box))


def _rotate(array: _Array, degrees: float, _: int) -> _Array:
    return _array(_image(array).rotate(degrees, Image.Resampling.BILINEAR))


def _sharpen(array: _Array, percent: float, _: int) -> _Array:
    return _array(_image(array).filter(ImageFilter.UnsharpMask(radius=1, percent=round(percent), threshold=0)))


def _shift(array: _Array, right: float, _: int) -> _Array:
    columns = np.clip(np.arange(array.shape[1]) - round(right), 0, array.shape[1] - 1)
    return np.ascontiguousarray(array[:, columns])


def _gamma(array: _Array, exponent: float, _: int) -> _Array:
    return _round(255 * (array / 255) ** exponent)


def _flip(array: _Array, _: float, __: int) -> _Array:
    return np.ascontiguousarray(array[:, ::-1])


KINDS = {
    "jpeg": Kind("compress as JPEG; the value is its quality", _jpeg, 1, 100, colour_only=True),
    "resize": Kind("scale by a factor, and back to size", _resize, 0.05, 1),
    "blur": Kind("blur with a Gaussian; the value is its sigma in pixels", _blur, 0, 50),
    "noise": Kind("add Gaussian noise; the value is its sigma in levels of 255", _noise, 0, 255, colour_only=True),
    "crop": Kind("cut a share off each side, and scale back to size", _crop, 0, 0.45),
    "shift": Kind("move to the right by so many pixels, edges repeated", _shift, -64, 64),
    "gamma": Kind("raise levels in [0, 1] to a power", _gamma, 0.1, 10, colour_only=True),
    "flip": Kind("mirror left and right", _flip),
    "reduce": Kind("scale by a factor, and leave small", _reduce, 0.05, 1, leaves_small=True),
    "enlarge": Kind("scale by a factor, bicubically, and leave large", _enlarge, 1, 8),
    "rotate": Kind("turn anticlockwise by so many degrees, bilinearly, black outside", _rotate, -180, 180),
    "sharpen": Kind("sharpen by an unsharp mask of 1 px; the value is its strength in percent", _sharpen, 0, 500),
    "webp": Kind("compress as WebP; the value is its quality", _webp, 0, 100, colour_only=True),
}
"""All kinds by name; a new kind is a function and one row here."""


def _image(array: _Array) -> Image.Image:
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def _array(image: Image.Image) -> _Array:
    found = np.asarray(image, np.uint8)
    return found[:, :, None] if found.ndim == 2 else found


def _round(values: npt.NDArray[np.float64]) -> _Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
