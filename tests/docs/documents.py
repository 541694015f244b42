"""The project's documents as tests read them: fenced blocks, the commands in them, and what they are to print.

A comment on the line before a block says how it is run:

    <!-- slow -->            with the marker `long` alone
    <!-- hours -->           never; its options are checked like any other's
    <!-- needs PATH -->      where that file exists
    <!-- imports NAME -->    where that Python module is installed
    <!-- any numbers -->     the words of its output are compared, not the numbers
"""

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"```(\w*)")
_MARKS = re.compile(r"<!-- (.+) -->")
_KNOWN_MARKS = re.compile(r"slow|hours|any numbers|(needs|imports) \S+")
_NUMBER = re.compile(r"([^\d+-]*)([+-]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[+-]?\d+)?)(.*)")
_TIMES = {"s", "ms", "min", "minutes", "h", "img/s"}
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Block:
    """A fenced block: where its first line is, its language, its lines, and the marks before it."""

    document: Path
    line: int
    language: str
    lines: tuple[str, ...]
    marks: frozenset[str]

    @property
    def place(self) -> str:
        return f"{os.path.relpath(self.document, ROOT)}:{self.line}"

    @property
    def is_session(self) -> bool:
        """Whether it shows commands and what they print."""
        return self.language in ("", "console") and any(line.startswith("$ ") for line in self.lines)

    @property
    def can_run(self) -> bool:
        """Whether what it needs is here."""
        needed = [mark.removeprefix("needs ") for mark in self.marks if mark.startswith("needs ")]
        imported = [mark.removeprefix("imports ") for mark in self.marks if mark.startswith("imports ")]
        return all(map(os.path.exists, needed)) and all(map(importlib.util.find_spec, imported))


@dataclass(frozen=True)
class Command:
    """A command of a session: where it is, what the shell is given, and what it is to print."""

    place: str
    text: str
    expected: tuple[str, ...]


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document, in their order."""
    found, lines = [], document.read_text("utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            continue
        if start is None:
            start = number
            continue
        language = lines[start].removeprefix("```")
        before = _MARKS.fullmatch(lines[start - 1]) if start else None
        marks = frozenset(before[1].split(", ")) if before else frozenset()
        assert all(map(_KNOWN_MARKS.fullmatch, marks)), f"{document.name}:{start}: {lines[start - 1]}"
        found.append(Block(document, start + 2, language, tuple(lines[start + 1 : number]), marks))
        start = None
    assert start is None, f"{document.name}: the block of line {start} does not end"
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a session; a line that ends with a backslash goes on in the next."""
    found: list[tuple[int, list[str], list[str]]] = []
    goes_on = False
    for number, line in enumerate(block.lines, block.line):
        if goes_on:
            found[-1][1].append(line)
        elif line.startswith("$ "):
            found.append((number, [line.removeprefix("$ ")], []))
        else:
            assert found, f"{block.place}: output before the first command"
            found[-1][2].append(line)
            continue
        goes_on = line.endswith("\\")
    name = block.document.relative_to(ROOT)
    return [Command(f"{name}:{number}", "\n".join(text), tuple(shown)) for number, text, shown in found]


def difference(expected: Sequence[str], printed: str, *, any_numbers: bool = False) -> str | None:
    """Return in a sentence how what was printed differs from what a document shows; None when it does not.

    A line "..." stands for any lines, a word "..." for any words. White space is not compared, nor are numbers of
    time. Decimal numbers may differ by 5 %, or by one in the last digit shown: other processors round differently.
    """
    rows = [line.split() for line in expected]
    found = [line.split() for line in printed.splitlines()]
    while rows and not rows[-1]:
        rows.pop()
    while found and not found[-1]:
        found.pop()
    reached = _match_lines(rows, found, any_numbers)
    if reached is None:
        return None
    row = " ".join(rows[reached[0]]) if reached[0] < len(rows) else "the end"
    line = " ".join(found[reached[1]]) if reached[1] < len(found) else "the end"
    return f"the document shows {row!r}, printed was {line!r}"


def _match_lines(rows: list[list[str]], found: list[list[str]], any_numbers: bool) -> tuple[int, int] | None:
    """Return the furthest place that was reached, or None when all of it fits."""
    furthest, open_ends, seen = (0, 0), [(0, 0)], set()
    while open_ends:
        place = open_ends.pop()
        if place in seen:
            continue
        seen.add(place)
        i, j = place
        if i == len(rows) and j == len(found):
            return None
        furthest = max(furthest, place)
        if i < len(rows) and rows[i] == ["..."]:
            open_ends += [(i, j + 1)] * (j < len(found)) + [(i + 1, j)]
        elif i < len(rows) and j < len(found) and _match_words(rows[i], found[j], any_numbers):
            open_ends.append((i + 1, j + 1))
    return furthest


def _match_words(shown: list[str], found: list[str], any_numbers: bool) -> bool:
    if not shown:
        return not found
    if shown[0] == "...":
        return any(_match_words(shown[1:], found[skipped:], any_numbers) for skipped in range(len(found) + 1))
    if not found:
        return False
    is_time = any_numbers or (len(shown) > 1 and shown[1].rstrip(",.;") in _TIMES)
    return _same_word(shown[0], found[0], is_time) and _match_words(shown[1:], found[1:], any_numbers)


def _same_word(shown: str, found: str, any_number: bool) -> bool:
    if shown == found:
        return True
    one, other = _NUMBER.fullmatch(shown), _NUMBER.fullmatch(found)
    if one is None or other is None or (one[1], one[3]) != (other[1], other[3]):
        return False
    if any_number:
        return True
    if "." not in one[2] or "." not in other[2]:
        return False
    wanted, got = (float(match[2].replace(",", "")) for match in (one, other))
    last_digit = 10.0 ** -len(one[2].partition(".")[2])
    return abs(wanted - got) <= max(_TOLERANCE * abs(wanted), 1.01 * last_digit)


def mentions(document: Path) -> Iterator[tuple[str, str]]:
    """Yield each piece of code of a document, from its blocks and its text, with the place where it is."""
    lines = document.read_text("utf-8").splitlines()
    inside, joined = False, ""
    for number, line in enumerate(lines, 1):
        place = f"{document.relative_to(ROOT)}:{number}"
        if line.startswith("```"):
            inside = not inside
        elif inside:
            joined += line
            if line.endswith("\\"):
                joined = joined[:-1]
                continue
            yield place, joined
            joined = ""
    # A piece of code may begin in one line of the text and end in the next.
    text = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), "\n".join(lines), flags=re.M | re.S)
    for match in re.finditer(r"`([^`]+)`", text):
        number = text.count("\n", 0, match.start()) + 1
        yield f"{document.relative_to(ROOT)}:{number}", " ".join(match[1].split())
