"""Labelled tables of images as one image; the images stay as they are to the pixel, enlarged by whole factors.

Import this module where a sheet is laid out: it brings matplotlib, for its font and its colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from invert.errors import UsageError
from invert.images.arrays import Pixels, enlarge, to_rgb
from invert.report.theme import LIGHT

__all__ = ["Grid", "Legend", "check_size", "fitting_scale", "heat", "lay_out_sheet"]

_VISIBLE = 128  # px
_MAX_PIXELS = 100_000_000


def fitting_scale(resolution: int) -> int:
    """Return by which whole factor images of so many pixels are enlarged to be seen well: to 128 px or more."""
    return -(-_VISIBLE // resolution)


def check_size(rows: int, columns: int, resolution: int, scale: int) -> None:
    """Refuse a sheet that is too large for memory and viewers, before anything is synthesised.

    Args:
        rows: Number of rows of images.
        columns: Number of columns of images.
        resolution: Side of an image in pixels.
        scale: How many times the images are enlarged.

    Raises:
        UsageError: Its images have more than 100 million pixels.
    """
    pixels = rows * columns * (resolution * scale) ** 2
    if pixels > _MAX_PIXELS:
        reason = f"a sheet of {rows} x {columns} images of {resolution * scale} px would have {pixels // 10**6} Mpx"
        raise UsageError(f"{reason}, more than {_MAX_PIXELS // 10**6}", advice="Ask for fewer, or a smaller --scale.")


_GROUND = "#ffffff"
_LEAST_WIDTH = 400  # px; room for a title over few images
_LEAST_TEXT = 13  # px
_SECTION = 2  # lines between two tables


@dataclass(frozen=True)
class Legend:
    """What the colours of `heat` mean: a scale in the place of an image.

    Attributes:
        low: Text at its lower end.
        high: Text at its upper end.
        unit: Text at its middle.
    """

    low: str
    high: str
    unit: str


@dataclass(frozen=True, eq=False)
class Grid:
    """A table of images.

    Attributes:
        title: A sentence above it.
        cells: Rows of images `[H, W, 1 | 3 | 4]`, all of one size, with at least one; None leaves a place empty.
        columns: A text above each column; empty for none at all.
        rows: A text beside each row, which may have several lines; empty for none at all.
        has_sources: Set the first row and the first column apart from what was made of them.
    """

    title: str
    cells: Sequence[Sequence[Pixels | Legend | None]]
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    has_sources: bool = False


def heat(values: NDArray[np.floating]) -> Pixels:
    """Return numbers in [0, 1] `[H, W]` as colours `[H, W, 3]`, from black over red to a light yellow."""
    colours = matplotlib.colormaps["magma"](values)[..., :3]
    return np.asarray(np.floor(colours * 255 + 0.5), np.uint8)


def lay_out_sheet(grids: Sequence[Grid], scale: int) -> Pixels:
    """Lay tables out below each other on white.

    Args:
        grids: The tables; their images are all of one size.
        scale: How many times the images are enlarged.

    Returns:
        `[H, W, 3]`.
    """
    side = next(cell.shape[0] for grid in grids for row in grid.cells for cell in row if isinstance(cell, np.ndarray))
    pen = _Pen(side * scale, scale)
    tables = [_Table(grid, pen) for grid in grids]
    width = max(_LEAST_WIDTH, *(table.width for table in tables))
    heights = [table.height(width) for table in tables]
    gaps = pen.line * _SECTION * (len(tables) - 1)
    sheet = Image.new("RGB", (width + 2 * pen.margin, sum(heights) + gaps + 2 * pen.margin), _GROUND)
    y = pen.margin
    for table, height in zip(tables, heights, strict=True):
        table.paint(sheet, y, width)
        y += height + pen.line * _SECTION
    return np.asarray(sheet)


class _Pen:
    """Sizes that go with the side of a cell, and text.

    Args:
        cell: Side of an image on the sheet in pixels.
        scale: How many times it is enlarged.
    """

    def __init__(self, cell: int, scale: int) -> None:
        self.cell, self.scale = cell, scale
        text = max(_LEAST_TEXT, cell // 20)
        self.line = round(text * 1.45)
        self.gap = max(4, cell // 24)
        self.margin = text
        # matplotlib ships this font, and charts have it too; Pillow's own lacks the Greek letters.
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        self._font = ImageFont.truetype(str(path), text, layout_engine=ImageFont.Layout.BASIC)

    def length(self, text: str) -> int:
        """Return the width of one line."""
        return int(np.ceil(self._font.getlength(text)))

    def fit(self, text: str, width: int) -> str:
        """Return one line, its middle left out until it fits."""
        kept = len(text)
        shown = text
        while kept > 1 and self.length(shown) > width:
            kept -= 1
            shown = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        return shown

    def wrap(self, text: str, width: int) -> list[str]:
        """Return lines that fit."""
        lines: list[str] = []
        for word in text.split(" "):
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and self.length(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(self.fit(word, width))
        return lines

    def write(self, sheet: Image.Image, at: tuple[float, float], text: str, colour: str, anchor: str) -> None:
        """Write one line; `anchor` is Pillow's: which point of the text lies at `at`."""
        ImageDraw.Draw(sheet).text(at, text, colour, self._font, anchor)


class _Table:
    """A grid and where its parts lie."""

    def __init__(self, grid: Grid, pen: _Pen) -> None:
        self._grid, self._pen = grid, pen
        # A long name must not push the images off the screen.
        most = max(pen.cell, 10 * pen.line)
        self._rows = [[pen.fit(line, most) for line in label.split("\n")] for label in grid.rows]
        labels = [pen.length(line) for lines in self._rows for line in lines]
        self._left = max(labels) + pen.gap * 2 if labels else 0
        self._x = self._places(max(map(len, grid.cells)))
        self._y = self._places(len(grid.cells))

    def _places(self, count: int) -> list[int]:
        """Return where each row or column of cells begins, and where the last one ends."""
        apart = self._pen.gap * 2 if self._grid.has_sources else 0
        places = [i * (self._pen.cell + self._pen.gap) + (apart if i else 0) for i in range(count)]
        return [*places, places[-1] + self._pen.cell]

    @cached_property
    def width(self) -> int:
        """Width of the table without its title, in pixels."""
        return self._left + self._x[-1]

    def height(self, width: int) -> int:
        """Return the height of the whole, with the title in lines of this width."""
        lines = len(self._pen.wrap(self._grid.title, width)) + bool(self._grid.columns)
        return lines * self._pen.line + self._pen.gap + self._y[-1]

    def paint(self, sheet: Image.Image, top: int, width: int) -> None:
        """Synthesise the table on a sheet, the title's first line at `top`."""
        pen, left = self._pen, self._pen.margin + self._left
        for line in pen.wrap(self._grid.title, width):
            pen.write(sheet, (pen.margin, top), line, LIGHT.ink, "la")
            top += pen.line
        top += pen.gap
        for x, label in zip(self._x, self._grid.columns, strict=False):
            pen.write(sheet, (left + x + pen.cell / 2, top), pen.fit(label, pen.cell), LIGHT.soft, "ma")
        top += pen.line * bool(self._grid.columns)
        for y, lines in zip(self._y, self._rows, strict=False):
            middle = top + y + (pen.cell - pen.line * (len(lines) - 1)) / 2
            for i, line in enumerate(lines):
                pen.write(sheet, (left - 2 * pen.gap, middle + i * pen.line), line, LIGHT.soft, "rm")
        for y, row in zip(self._y, self._grid.cells, strict=False):
            for x, cell in zip(self._x, row, strict=False):
                self._paint_cell(sheet, left + x, top + y, cell)

    def _paint_cell(self, sheet: Image.Image, x: int, y: int, cell: Pixels | Legend | None) -> None:
        if isinstance(cell, Legend):
            self._paint_legend(sheet, x, y, cell)
        elif cell is not None:
            sheet.paste(Image.fromarray(enlarge(to_rgb(cell), self._pen.scale)), (x, y))

    def _paint_legend(self, sheet: Image.Image, x: int, y: int, legend: Legend) -> None:
        pen = self._pen
        x += pen.gap
        bar = pen.cell // 8
        ramp = np.linspace(1, 0, pen.cell)[:, None].repeat(bar, axis=1)
        sheet.paste(Image.fromarray(heat(ramp)), (x, y))
        x += bar + pen.gap
        room = pen.cell - bar - 2 * pen.gap
        pen.write(sheet, (x, y), legend.high, LIGHT.soft, "la")
        pen.write(sheet, (x, y + pen.cell), legend.low, LIGHT.soft, "ls")
        lines = pen.wrap(legend.unit, room)
        for i, line in enumerate(lines):
            middle = y + (pen.cell - pen.line * (len(lines) - 1)) / 2 + i * pen.line
            pen.write(sheet, (x, middle), line, LIGHT.soft, "lm")
