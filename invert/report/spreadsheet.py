"""Lines of CSV that a spreadsheet shows as they are and never computes."""

import csv
import io
from collections.abc import Iterable
from typing import Any

__all__ = ["csv_line"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_line(cells: Iterable[Any]) -> str:
    """Return one line of CSV, with its newline; text that a spreadsheet would take for a formula is marked as text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([_plain(cell) for cell in cells])
    return buffer.getvalue()


def _plain(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
