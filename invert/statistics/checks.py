"""What every statistic asks of its scores: numbers, finite, and enough of them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FloatArray", "check_share", "finite", "sample"]

FloatArray = NDArray[np.float64]


def finite(values: ArrayLike, what: str = "scores") -> FloatArray:
    """Return scores as float64, of the shape they come in.

    Raises:
        ValueError: One of them is infinite or not a number, which would silently count as far or near.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: {np.count_nonzero(~np.isfinite(array))} of {array.size} are not finite")
    return array


def sample(values: ArrayLike, what: str, least: int = 1) -> FloatArray:
    """Return the scores `[n]` of a calibration set.

    Raises:
        ValueError: They are not finite, not one-dimensional, or fewer than `least`.
    """
    array = finite(values, what)
    if array.ndim != 1:
        raise ValueError(f"{what}: expected one dimension, got {array.ndim}")
    if len(array) < least:
        raise ValueError(f"{what}: at least {least} needed, there are {len(array)}")
    return array


def check_share(name: str, value: float) -> None:
    """Refuse a rate or confidence that is not strictly between 0 and 1.

    Raises:
        ValueError: It is not.
    """
    if not 0 < value < 1:
        raise ValueError(f"{name}: {value} is not between 0 and 1")
