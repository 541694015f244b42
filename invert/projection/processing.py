"""What happened to an image after a network had synthesised it, as a model that can be differentiated.

    processing = parse_processing("crop:0.02+resize:0.75+jpeg:75").model(channels=3, side=64)
    seen = processing.carry(Dual(levels, tangents))     # the levels that are expected in the image
    whitened = processing.whiten(image - seen.value)    # independent numbers of variance 1, if the explanation is true

A step of processing is linear, or works on each number by itself; in between images are rounded and cut off at 0 and
255, as in a file. To add a kind, write its step into `invert.projection.processing_steps` and a row into `KINDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from generator.ops.dual import Dual
from invert.errors import UsageError
from invert.projection.processing_steps import (
    Blur,
    Crop,
    Gain,
    Gamma,
    Jpeg,
    Noise,
    Resize,
    Rotation,
    Shift,
    Step,
    clamp,
)

__all__ = ["KINDS", "ROUNDING", "Kind", "Processing", "parse_processing"]

ROUNDING = 1 / 12
"""Variance of what rounding to whole levels takes away, in squared levels."""

_ARITHMETIC = 0.01  # variance of what other kernels and processors compute otherwise: a tenth of a level
_SEPARATOR = "+"


@dataclass(frozen=True)
class Kind:
    """A kind of processing.

    Attributes:
        help: What it does, and what its value is.
        make: Returns the step of a value.
        low: Smallest value.
        high: Largest value.
    """

    help: str
    make: Callable[[float], Step]
    low: float
    high: float


KINDS = {
    "resize": Kind("scaled by a factor with Lanczos, and back to size or left small", Resize, 0.1, 1),
    "resize-box": Kind("the same with the mean of a box", lambda value: Resize(value, "box"), 0.1, 1),
    "resize-bilinear": Kind("the same with a triangle", lambda value: Resize(value, "bilinear"), 0.1, 1),
    "resize-bicubic": Kind("the same with cubic splines", lambda value: Resize(value, "bicubic"), 0.1, 1),
    "blur": Kind("blurred with a Gaussian; the value is its sigma in pixels", Blur, 0.01, 10),
    "crop": Kind("cut by a share off each side, and scaled back to size with Lanczos", Crop, 0, 0.45),
    "shift": Kind("moved to the right by so many pixels, edges repeated", Shift, -64, 64),
    "rotate": Kind("turned anticlockwise by so many degrees, bilinearly, black outside", Rotation, -15, 15),
    "gamma": Kind("levels in 0..1 raised to a power", Gamma, 0.1, 10),
    "gain": Kind("levels multiplied by a factor", Gain, 0.1, 10),
    "noise": Kind("Gaussian noise added; the value is its deviation in levels of 255", Noise, 0, 255),
    "jpeg": Kind("compressed as JPEG; the value is its quality, 0 for the tables of the file itself", Jpeg, 0, 100),
}
"""All kinds by name, beside "none"."""


@dataclass(frozen=True)
class Processing:
    """What happened to an image, step by step.

    Attributes:
        text: As it is written for `--processing`.
        steps: In the order in which they happened.
    """

    text: str = "none"
    steps: tuple[Step, ...] = ()

    def carry(self, levels: Dual) -> Dual:
        """Return what is expected in the image of levels `[N, C, H, W]`, which a network synthesised."""
        levels = clamp(levels)
        for step in self.steps:
            levels = clamp(step.carry(levels))
        return levels

    def variance(self, channels: int, side: int) -> float:
        """Return the variance of the differences that are expected, in squared levels, on an average of all numbers."""
        return float(_variances(self, channels, side).mean())

    @property
    def jpeg(self) -> Jpeg | None:
        """The compression that came last."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Jpeg) else None

    def whiten(self, residual: Tensor, more: float = 0.0) -> Tensor:
        """Bring differences of images to a variance of one.

        Args:
            residual: `[N, C, H, W]` in levels.
            more: Variance that is added to the model's own, in squared levels.

        Returns:
            `[N, P]`.
        """
        channels, side = residual.shape[1], residual.shape[3]
        scale = (_variances(self, channels, side) + more).rsqrt().to(residual)
        numbers = residual.flatten(1) if self.jpeg is None else self.jpeg.coefficients(residual)
        return numbers * scale

    def log_determinant(self, channels: int, side: int) -> float:
        """Return the logarithm of the determinant of the differences' covariance: what Q lacks to compare models."""
        return float(_variances(self, channels, side).log().sum())


@lru_cache(maxsize=64)
def _variances(processing: Processing, channels: int, side: int) -> Tensor:
    """Return the variance of each whitened number."""
    variance = ROUNDING + _ARITHMETIC
    for step in processing.steps:
        if not isinstance(step, Jpeg):
            variance = step.spread(variance, side) + ROUNDING
    if processing.jpeg is None:
        return torch.full([channels * side * side], variance, dtype=torch.float64)
    return processing.jpeg.variances(channels, side) + variance


def parse_processing(text: str, tables: "tuple[tuple[int, ...], ...] | None" = None) -> Processing:
    """Read what happened to an image, such as "none", "blur:1" or "resize:0.75+jpeg:75".

    Args:
        text: Kinds with their values, in the order in which they happened, with "+" between them.
        tables: Quantisation tables of the image's file, where it is a JPEG. Without any, "jpeg" with no quality stands
            for nothing, and is left out.

    Raises:
        UsageError: A kind is unknown, or a value is not in its range.
    """
    if text == "none":
        return Processing()
    steps = tuple(_parse(piece.strip()) for piece in text.split(_SEPARATOR))
    if any(isinstance(step, Jpeg) for step in steps[:-1]):
        raise UsageError(f"--processing {text}: jpeg comes last", advice="A compression of before is not modelled.")
    if steps and isinstance(steps[-1], Jpeg) and not steps[-1].quality:
        if tables is None:
            text = _SEPARATOR.join(text.split(_SEPARATOR)[:-1]) or "none"
        steps = (*steps[:-1], *([] if tables is None else [Jpeg(0, tables)]))
    return Processing(text, steps)


def _parse(piece: str) -> Step:
    name, _, value = piece.partition(":")
    kind = KINDS.get(name)
    if kind is None or (not value and name != "jpeg"):
        listed = ", ".join(f"{one}:VALUE" for one in KINDS)
        raise UsageError(f"--processing {piece!r} is none of none, {listed}")
    try:
        number = float(value or 0)
    except ValueError:
        number = float("nan")
    if not kind.low <= number <= kind.high:
        raise UsageError(f"--processing {name}:{value} is not in {kind.low:g}..{kind.high:g}")
    return kind.make(number)
