"""Text on a terminal, the only way there: lines of results on stdout, messages of one line on stderr, a histogram."""

import contextlib
import math
from collections.abc import Sequence

import click

from invert.errors import visible

__all__ = ["histogram", "line", "message"]


def line(text: str, *, err: bool = False) -> None:
    """Write one line to stdout or stderr: nothing in it can move the cursor, or forge a second line."""
    # Not click's own colour handling: it leaves escape sequences out silently where there is no terminal.
    click.echo(visible(text), err=err, color=True)


def message(kind: str, text: str) -> None:
    """Write one line, `invert: <kind>: <text>`, to stderr."""
    # A closed stderr must not turn a message into a second error.
    with contextlib.suppress(OSError):
        line(f"invert: {kind}: {text.strip()}", err=True)


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
