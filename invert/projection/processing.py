"""What happened to an image after a network had synthesised it, as a model that can be differentiated.

    processing = parse_processing("crop:0.02+resize:0.75+jpeg:75")
    seen = processing.carry(Dual(levels, tangents))     # the levels that are expected in the image
    numbers = processing.numbers(image - seen.value)    # independent, of variance 1 once multiplied by `scale`

A step of processing is linear, or works on each number by itself; in between images are rounded and cut off at 0 and
255, as in a file. To add a kind, write its step into `invert.projection.processing_steps` and a row into `KINDS`.
"""

from collections.abc import Callable, Sequence
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

__all__ = ["KINDS", "ROUNDING", "Estimated", "Kind", "Processing", "parse_processing"]

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
        deviation: By how much the value is expected to differ from where a search for it begins; 0 where it is not
            searched, but taken as it is.
        is_rare: Whether it is so rare that it is reported only where it explains an image: of images of another origin
            it would be a chance find, in a group that few calibrations know.
    """

    help: str
    make: Callable[[float], Step]
    low: float
    high: float
    deviation: float = 0.0
    is_rare: bool = False


KINDS = {
    "resize": Kind("scaled by a factor with Lanczos, and back to size or left small", Resize, 0.1, 1),
    "resize-box": Kind("the same with the mean of a box", lambda value: Resize(value, "box"), 0.1, 1),
    "resize-bilinear": Kind("the same with a triangle", lambda value: Resize(value, "bilinear"), 0.1, 1),
    "resize-bicubic": Kind("the same with cubic splines", lambda value: Resize(value, "bicubic"), 0.1, 1),
    "blur": Kind("blurred with a Gaussian; the value is its sigma in pixels", Blur, 0.01, 10, 0.2),
    "crop": Kind("cut by a share off each side, and scaled back to size with Lanczos", Crop, 0, 0.45, 0.02),
    "shift": Kind("moved to the right by so many pixels, edges repeated", Shift, -64, 64),
    "rotate": Kind(
        "turned anticlockwise by so many degrees, bilinearly, black outside", Rotation, -15, 15, 1, is_rare=True
    ),
    "gamma": Kind("levels in 0..1 raised to a power", Gamma, 0.1, 10, 0.15),
    "gain": Kind("levels multiplied by a factor", Gain, 0.1, 10, 0.1, is_rare=True),
    "noise": Kind("Gaussian noise added; the value is its deviation in levels of 255", Noise, 0, 255),
    "jpeg": Kind("compressed as JPEG; the value is its quality, 0 for the tables of the file itself", Jpeg, 0, 100),
}
"""All kinds by name, beside "none"."""

_MOVING = ("crop", "shift")  # kinds that move an image
_UNSEEN = ("jpeg", "noise")  # kinds that leave an image looking like itself


@dataclass(frozen=True)
class Estimated:
    """A value of a step that is searched together with the latents.

    Attributes:
        step: Which step it is of.
        kind: Name of the step's kind.
        value: Where the search begins.
    """

    step: int
    kind: str
    value: float

    def at(self, deviations: float) -> float:
        """Return the value that lies so many deviations from where the search begins, within what the kind allows."""
        kind = KINDS[self.kind]
        return min(max(self.value + kind.deviation * deviations, kind.low), kind.high)


@dataclass(frozen=True)
class Processing:
    """What happened to an image, step by step.

    Attributes:
        text: As it is written for `--processing`.
        steps: In the order in which they happened.
        estimated: The values that are searched; before it each is normal, about where the search begins.
    """

    text: str = "none"
    steps: tuple[Step, ...] = ()
    estimated: tuple[Estimated, ...] = ()

    def at(self, deviations: Sequence[float]) -> "Processing":
        """Return the processing with values that lie so many deviations from where their search begins, `[T]`."""
        steps, pieces = list(self.steps), self.text.split(_SEPARATOR)
        for one, deviation in zip(self.estimated, deviations, strict=True):
            value = one.at(deviation)
            steps[one.step] = KINDS[one.kind].make(value)
            pieces[one.step] = f"{one.kind}:{value:.4g}"
        return Processing(_SEPARATOR.join(pieces), tuple(steps))

    def motion(self) -> str:
        """Return what moved the image, as it is written; "none" where nothing did."""
        pieces = [piece for piece in self.text.split(_SEPARATOR) if piece.partition(":")[0] in _MOVING]
        return _SEPARATOR.join(pieces) or "none"

    def coarse(self) -> "Processing":
        """Return what of it one sees at a glance: without noise and compression, and values rounded."""
        pieces = []
        for piece in self.text.split(_SEPARATOR):
            name, _, text = piece.partition(":")
            if name in KINDS and name not in _UNSEEN:
                kind, value = KINDS[name], float(text)
                if step := kind.deviation / 2:
                    value = min(max(round(round(value / step) * step, 6), kind.low), kind.high)
                pieces.append(f"{name}:{value:g}")
        return parse_processing(_SEPARATOR.join(pieces) or "none")

    def compression(self) -> "Processing":
        """Return the compression that came last, alone; nothing where none did."""
        return Processing() if self.jpeg is None else Processing(self.text.split(_SEPARATOR)[-1], (self.jpeg,))

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
    def is_noisy(self) -> bool:
        """Whether noise was added."""
        return any(isinstance(step, Noise) for step in self.steps)

    @property
    def is_rare(self) -> bool:
        """Whether one of its kinds is rare."""
        return any(
            KINDS[piece.partition(":")[0].strip()].is_rare for piece in self.text.split(_SEPARATOR) if self.steps
        )

    @property
    def jpeg(self) -> Jpeg | None:
        """The compression that came last."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Jpeg) else None

    def numbers(self, residual: Tensor) -> Tensor:
        """Return the numbers `[N, P]` of differences `[N, C, H, W]`, in levels, whose errors are independent."""
        return residual.flatten(1) if self.jpeg is None else self.jpeg.coefficients(residual)

    def scale(self, channels: int, side: int, *, more: float = 0.0) -> Tensor:
        """Return what brings each of the numbers `[P]` to a variance of one.

        Args:
            channels: Channels of the image.
            side: Side of the image in pixels.
            more: Variance that is added to the model's own, in squared levels.
        """
        return (_variances(self, channels, side) + more).rsqrt()

    def log_determinant(self, channels: int, side: int, *, more: float = 0.0) -> float:
        """Return the logarithm of the determinant of the differences' covariance: what Q lacks to compare models."""
        return float((_variances(self, channels, side) + more).log().sum())


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


def parse_processing(
    text: str, tables: "tuple[tuple[int, ...], ...] | None" = None, *, estimated: bool = False
) -> Processing:
    """Read what happened to an image, such as "none", "blur:1" or "resize:0.75+jpeg:75".

    Args:
        text: Kinds with their values, in the order in which they happened, with "+" between them.
        tables: Quantisation tables of the image's file, where it is a JPEG. Without any, "jpeg" with no quality stands
            for nothing, and is left out.
        estimated: Whether values are where a search begins, for the kinds whose values can be searched.

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
    kinds = [piece.partition(":")[0].strip() for piece in text.split(_SEPARATOR)]
    searched = tuple(
        Estimated(number, kind, float(piece.partition(":")[2]))
        for number, (kind, piece) in enumerate(zip(kinds, text.split(_SEPARATOR), strict=True))
        if estimated and kind in KINDS and KINDS[kind].deviation
    )
    return Processing(text, steps, searched)


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
