"""Lines of CSV that a spreadsheet shows as they are and never computes."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from invert.errors import visible

__all__ = ["csv_line"]

# The wide forms too: a spreadsheet of the far east takes them for the same.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_line(cells: Iterable[Any]) -> str:
    """Return one line of CSV, with its newline.

    In every column, text that a spreadsheet would take for a formula is marked as text, and what cannot be seen is
    written as an escape, so that a row is a line.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([_plain(cell) for cell in cells])
    return buffer.getvalue()


def _plain(cell: Any) -> Any:
    if isinstance(cell, list):
        cell = "; ".join(map(str, cell))
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
