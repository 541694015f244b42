"""Text on a terminal: messages of one line on stderr, and a histogram."""

import contextlib
import math
from collections.abc import Sequence

import click

__all__ = ["histogram", "message"]


def _one_line(text: str) -> str:
    """Escape what could move the cursor or forge a second line, whatever a library put into its message."""
    return "".join(c if c.isprintable() else ("\\n" if c == "\n" else f"\\u{ord(c):04x}") for c in text.strip())


def message(kind: str, text: str) -> None:
    """Write one line, `invert: <kind>: <text>`, to stderr."""
    # A closed stderr must not turn a message into a second error.
    with contextlib.suppress(OSError):
        click.echo(f"invert: {kind}: {_one_line(text)}", err=True)


def histogram(values: Sequence[float], bins: int = 12, width: int = 50) -> list[str]:
    """Return a histogram of positive numbers as lines, its bins of equal width in the logarithm.

    Args:
        values: Finite numbers, at least one.
        bins: How many lines the histogram has.
        width: Characters of the longest bar.

    Returns:
        A line for each bin: where it begins, its bar and how many values it has.
    """
    floor = min((value for value in values if value > 0), default=1.0)
    logs = [math.log(max(value, floor)) for value in values]
    low, high = min(logs), max(logs)
    step = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in logs:
        counts[min(bins - 1, int((value - low) / step))] += 1
    most = max(counts)
    return [
        f"{math.exp(low + i * step):9.4f}  {'#' * math.ceil(width * count / most):<{width}}  {count}".rstrip()
        for i, count in enumerate(counts)
    ]
