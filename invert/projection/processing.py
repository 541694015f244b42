"""What happened to an image after a network had synthesised it, as a model that can be differentiated.

model = parse_processing("blur:1").model(channels, size)
seen = model.carry(Dual(levels, tangents))       # the levels that are expected in the image
whitened = model.whiten(image - seen.value)      # independent numbers of variance 1, if the explanation is true
"""

from dataclasses import dataclass

from torch import Tensor

from generator.ops.dual import Dual
from invert.errors import UsageError

__all__ = ["ROUNDING", "Processing", "clamp", "parse_processing"]

ROUNDING = 1 / 12
"""Variance of what rounding to whole levels takes away."""

_ARITHMETIC = 0.01  # variance of what other kernels and processors compute otherwise: a tenth of a level


def clamp(levels: Dual) -> Dual:
    """Bring levels into 0..255; what is cut off has no derivative."""
    value = levels.value.clamp(0, 255)
    return Dual(value, levels.scaled((levels.value == value).to(value.dtype)))


@dataclass(frozen=True)
class Processing:
    """What happened to an image: nothing but rounding."""

    def carry(self, levels: Dual) -> Dual:
        """Return what is expected in the image of levels `[N, C, H, W]`, which a network synthesised."""
        return clamp(levels)

    def whiten(self, residual: Tensor, more: float = 0.0) -> Tensor:
        """Bring differences of images to a variance of one.

        Args:
            residual: `[N, C, H, W]` in levels.
            more: Variance that is added to the model's own, in squared levels.

        Returns:
            `[N, P]`.
        """
        scale: float = (self.variance + more) ** -0.5
        return residual.flatten(1) * scale

    @property
    def variance(self) -> float:
        """Variance of the differences that are expected, in squared levels."""
        return ROUNDING + _ARITHMETIC


def parse_processing(text: str) -> Processing:
    """Read what happened to an image, such as "none".

    Raises:
        UsageError: It is none of the kinds.
    """
    if text != "none":
        raise UsageError(f"--processing {text}: it is not none")
    return Processing()
