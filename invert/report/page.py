"""One self-contained HTML page: text, tables and images, and nothing that runs or asks the network for anything.

Everything that goes in is escaped, so that it may come from anywhere. The page allows itself its own style sheet, by
hash, and images as data: URIs; scripts and requests are ruled out by its Content-Security-Policy.
"""

import base64
import hashlib
import html
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from invert.errors import visible
from invert.report.style import STYLE

__all__ = ["Block", "Figure", "Gallery", "Paragraph", "Section", "Table", "is_page", "render_page"]

_MAX_TEXT = 2000
"""Characters of one text; what is longer loses its end, and says so."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TILE = 512  # CSS pixels that a small image is enlarged to
_NUMBERS = frozenset("0123456789+-.,%e ")
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; img-src data:; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
_GENERATOR = '<meta name="generator" content="invert">'
_HEAD = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{_GENERATOR}
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
"""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph.

    Attributes:
        text: The text.
        notice: The reader should not miss it.
        main: It is what the section comes to.
        code: It is for a shell.
    """

    text: str
    notice: bool = False
    main: bool = False
    code: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of which names its row; `header` names the columns.

    With `sections`, the first cell of each row leads to the section of that number, counted from 1; 0 leads nowhere.
    """

    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()
    caption: str = ""
    sections: Sequence[int] = ()


@dataclass(frozen=True)
class Figure:
    """An image.

    Attributes:
        data: A PNG or SVG file.
        alt: What it shows, for those who do not see it.
        caption: Under it.
        dark: The same plotted for a dark page, where there is such a figure.
        pixels: Its pixels matter: shown at its own size where there is room, or enlarged by a whole factor, unblurred.
    """

    data: bytes
    alt: str
    caption: str = ""
    dark: bytes | None = None
    pixels: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures side by side as far as there is room: wide ones in twos, `small` ones in threes."""

    figures: Sequence[Figure]
    small: bool = False


Block = Paragraph | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own; the list of links names it if `listed`."""

    heading: str
    blocks: Sequence[Block]
    listed: bool = True


def render_page(title: str, sections: Sequence[Section], *, lead: str = "") -> bytes:
    """Return a whole page; the same arguments give the same bytes.

    Args:
        title: Heading and title of the page.
        sections: Its parts. With three or more that are listed, links to these come first.
        lead: A line under the title.

    Raises:
        ValueError: A figure is neither PNG nor SVG.
    """
    pieces = [_HEAD, f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"]
    pieces.append(f"<header>\n<h1>{_text(title)}</h1>\n")
    if lead:
        pieces.append(f'<p class="lead">{_text(lead)}</p>\n')
    listed = [(number, section) for number, section in enumerate(sections, 1) if section.listed]
    if len(listed) > 2:
        links = "".join(f"<li>{_link(number, _text(section.heading))}</li>" for number, section in listed)
        pieces.append(f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n')
    pieces.append("</header>\n<main>\n")
    for number, section in enumerate(sections, 1):
        pieces.append(f'<section id="s{number}">\n<h2>{_text(section.heading)}</h2>\n')
        for block in section.blocks:
            pieces.extend(_block(block))
        pieces.append("</section>\n")
    pieces.append("</main>\n</body>\n</html>\n")
    return "".join(pieces).encode()


def is_page(head: bytes) -> bool:
    """Tell from the first bytes of a file (1024 are enough) whether `render_page` made it."""
    return _GENERATOR.encode() in head[:1024] and head.startswith(_HEAD[:15].encode())


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            kind = "notice" if block.notice else "main" if block.main else "code" if block.code else ""
            yield f'<p class="{kind}">{_text(block.text)}</p>\n' if kind else f"<p>{_text(block.text)}</p>\n"
        case Table():
            yield from _table(block)
        case Figure():
            yield from _figure(block)
        case Gallery():
            yield f'<div class="{"gallery small" if block.small else "gallery"}">\n'
            for figure in block.figures:
                yield from _figure(figure)
            yield "</div>\n"


def _table(table: Table) -> Iterator[str]:
    # Can be scrolled by itself, and reached with the keyboard for that, so that the page never is too wide.
    label = _text(table.caption or " ".join(table.header) or "Table")
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n<table>\n'
    if table.caption:
        yield f"<caption>{_text(table.caption)}</caption>\n"
    width = max((len(row) for row in (table.header, *table.rows)), default=0)
    numeric = [bool(table.header) and _is_numeric(table, column) for column in range(width)]
    if table.header:
        cells = (_cell("th", cell, n, ' scope="col"') for cell, n in zip(table.header, numeric, strict=False))
        yield f"<thead><tr>{''.join(cells)}</tr></thead>\n"
    yield "<tbody>\n"
    for row, section in zip(table.rows, chain(table.sections, repeat(0)), strict=False):
        cells = (
            _cell("td", cell, numeric[column]) if column else _cell("th", cell, False, ' scope="row"', section)
            for column, cell in enumerate(row)
        )
        yield f"<tr>{''.join(cells)}</tr>\n"
    yield "</tbody>\n</table>\n</div>\n"


def _is_numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows if column < len(row) and row[column]]
    return column > 0 and bool(cells) and all(set(cell) <= _NUMBERS for cell in cells)


def _cell(tag: str, text: str, numeric: bool, attributes: str = "", section: int = 0) -> str:
    kind = ' class="n"' if numeric else ""
    inside = _link(section, _text(text)) if section else _text(text)
    return f"<{tag}{attributes}{kind}>{inside}</{tag}>"


def _link(section: int, escaped: str) -> str:
    return f'<a href="#s{section}">{escaped}</a>'


def _figure(figure: Figure) -> Iterator[str]:
    kind, attributes = _size(figure)
    yield f'<figure class="{kind}">\n'
    versions = [("", figure.data)] if figure.dark is None else [("for-light", figure.data), ("for-dark", figure.dark)]
    for version, data in versions:
        # Not <image>: what it chose for a dark screen, browsers print too.
        which = f' class="{version}"' if version else ""
        yield f'<img{which} src="{_data_uri(data)}" alt="{_text(figure.alt)}"{attributes}>\n'
    if figure.caption:
        yield f"<figcaption>{_text(figure.caption)}</figcaption>\n"
    yield "</figure>\n"


def _size(figure: Figure) -> tuple[str, str]:
    """Return a figure's class and the attributes that give its place on the page before it is decoded."""
    if not figure.data.startswith(_PNG):
        return "chart", ""
    if len(figure.data) < 24:
        raise ValueError("a PNG figure is cut off")
    width, height = struct.unpack(">II", figure.data[16:24])
    if not figure.pixels:
        return "chart", f' width="{width}" height="{height}"'
    factor = max(1, _TILE // max(1, width))
    # What may be shown smaller than it is must not be unblurred there: whole rows would be missing.
    kind = "pixels" if width <= _TILE // 2 else "grid" if width <= 2 * _TILE else "large"
    return f"image {kind}", f' width="{width * factor}" height="{height * factor}"'


def _data_uri(data: bytes) -> str:
    if data.startswith(_PNG):
        kind = "image/png"
    elif data.lstrip().startswith((b"<svg", b"<?xml")):
        kind = "image/svg+xml"  # as an image: browsers run nothing in it and load nothing for it
    else:
        raise ValueError("a figure is neither PNG nor SVG")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _text(text: str) -> str:
    """Escape a text for the inside of an element or a quoted attribute.

    What cannot be seen (control characters, lone surrogates, marks that reorder text) is written as a backslash escape.
    """
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]} ... ({len(text) - _MAX_TEXT} more characters)"
    return html.escape(visible(text.replace("\n", " ")), quote=True)
