"""How far a latent is moved: amounts as a user writes them, and those of films. Nothing here imports torch."""

import math
import re

from invert.errors import visible

__all__ = ["amounts_in", "sweep", "there_and_back"]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})", re.ASCII)
_ONE = re.compile(_NUMBER, re.ASCII)
_LARGEST = 1e6
_MOST = 10_000


def amounts_in(text: str) -> tuple[list[float], bool]:
    """Read amounts: a range such as `-3..3`, or numbers such as `2` or `-1,0,2.5`.

    Returns:
        The numbers, two of a range; and whether they are a range.

    Raises:
        ValueError: It is neither, or a number is out of range.
    """
    if match := _RANGE.fullmatch(text.strip()):
        numbers, is_range = [float(match[1]), float(match[2])], True
    else:
        pieces = [piece.strip() for piece in text.split(",")]
        if not all(map(_ONE.fullmatch, pieces)) or len(pieces) > _MOST:
            raise ValueError(
                f"{visible(text[:100])!r} is no amount like 2, no list like -1,0,2.5 and no range like -3..3"
            )
        numbers, is_range = list(map(float, pieces)), False
    if max(map(abs, numbers)) > _LARGEST:
        raise ValueError(f"an amount is larger than {_LARGEST:g}")
    return numbers, is_range


def sweep(first: float, last: float, steps: int) -> list[float]:
    """Return amounts evenly from the first to the last; one that is as good as zero is zero."""
    return [_clean(first + (last - first) * step / (steps - 1), first, last) for step in range(steps)]


def there_and_back(first: float, last: float, steps: int) -> list[float]:
    """Return amounts from the first to the last and back, small steps at both ends, so that a film of them can loop."""
    shares = [(1 - math.cos(2 * math.pi * step / steps)) / 2 for step in range(steps)]
    return [_clean(first + (last - first) * share, first, last) for share in shares]


def _clean(amount: float, first: float, last: float) -> float:
    return 0.0 if abs(amount) < 1e-9 * max(abs(first), abs(last)) else amount
