"""The document of a benchmark: sections, tables, and figures beside what was aimed at.

A section that is not made anew stays as the file has it, so that one can be made again without the hours of the others.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from invert.attribution.evaluation_rules import Share
from invert.durable import write_atomic
from invert.report.page import Table

__all__ = ["Aim", "Text", "at_least", "at_most", "counted", "write_document"]


@dataclass(frozen=True)
class Aim:
    """What a share is to be.

    Attributes:
        share: The share, in [0, 1].
        is_least: Whether more is better.
    """

    share: float
    is_least: bool

    def __str__(self) -> str:
        return f"{'>=' if self.is_least else '<='} {100 * self.share:g} %"

    def is_met(self, share: Share) -> bool:
        """Tell whether what was seen is as good, whatever its interval."""
        seen = share.count / share.total if share.total else 0.0
        return seen >= self.share if self.is_least else seen <= self.share

    def beside(self, share: Share) -> str:
        """Return the aim, and whether it is met; by how much it is not."""
        if not share.total:
            return f"{self}: not measured"
        if self.is_met(share):
            return f"{self}: met"
        return f"{self}: missed by {100 * abs(self.share - share.count / share.total):.1f}"


def at_least(share: float) -> Aim:
    """Return the aim of a share of that and more."""
    return Aim(share, True)


def at_most(share: float) -> Aim:
    """Return the aim of a share of that and less."""
    return Aim(share, False)


def counted(seen: Iterable[bool]) -> Share:
    """Return the share of what is true."""
    found = list(seen)
    return Share(sum(found), len(found))


@dataclass
class Text:
    """Paragraphs and tables of one section, as Markdown."""

    lines: list[str] = field(default_factory=list)

    def say(self, *lines: str) -> None:
        """Add a paragraph."""
        self.lines += [*lines, ""]

    def table(self, table: Table) -> None:
        """Add a table, below its caption."""
        if table.caption:
            self.say(f"{table.caption}.")
        header = ["| " + " | ".join(table.header) + " |", "|" + "---|" * len(table.header)]
        self.say(*header, *("| " + " | ".join(row) + " |" for row in table.rows))

    def __str__(self) -> str:
        return "\n".join(self.lines).rstrip() + "\n"


_HEADING = re.compile(r"^## (.*)$", re.M)


def read_sections(path: Path) -> dict[str, str]:
    """Return the sections of a document by their headings; none where there is no file."""
    if not path.exists():
        return {}
    _, *pieces = _HEADING.split(path.read_text("utf-8"))
    return {heading: text.strip() + "\n" for heading, text in zip(pieces[::2], pieces[1::2], strict=True)}


def write_document(path: Path, title: str, order: Sequence[str], made: Mapping[str, Text]) -> None:
    """Write a document: what was made now, and what the file has of the rest.

    Args:
        path: The file.
        title: Its first lines.
        order: Headings of all sections; what the file has beside them is dropped.
        made: The sections that were made, by heading.
    """
    texts = {**read_sections(path), **{heading: str(text) for heading, text in made.items()}}
    parts = [f"## {heading}\n\n{texts[heading]}" for heading in order if heading in texts]
    write_atomic(path, "\n".join([title, *parts]).encode())
