"""The table of verdicts: each population after each processing, by today's method and the exact one, and the aims."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.attribution.document import Aim, Text, at_least, at_most, counted
from bench.attribution.laboratory import Laboratory, Method
from bench.attribution.sealed import FOREIGN, OTHERS, RANDOM, SEALED, TRUNCATED
from invert.attribution.evaluation_rules import Share
from invert.attribution.settings import OWN, UNPROCESSED
from invert.attribution.verdict import Finding, Outcome
from invert.report.page import Table

__all__ = ["HELD_OUT", "ROWS", "Counts", "Row", "add_held_out", "add_verdicts"]

EXACT = "exact"

MISTAKES = at_most(0.01)
"""Images of others that are attributed, after whatever."""


@dataclass(frozen=True)
class Row:
    """A row of the table, and what was aimed at.

    Attributes:
        processings: What the images went through, each by itself.
        own: Own images with stored noise maps that are attributed.
        random: The same with random ones.
        untold: Images of others of which nothing is told; None where there is no aim.
    """

    processings: tuple[str, ...]
    own: Aim
    random: Aim
    untold: Aim | None


ROWS = (
    Row((UNPROCESSED,), at_least(0.99), at_least(0.97), at_most(0.1)),
    Row(("jpeg:75",), at_least(0.95), at_least(0.85), at_most(0.2)),
    Row(("resize:0.5", "reduce:0.5", "blur:1"), at_least(0.9), at_least(0.75), at_most(0.2)),
    Row(("crop:0.05",), at_least(0.95), at_least(0.85), at_most(0.2)),
    Row(("noise:5",), at_least(0.9), at_least(0.85), at_most(0.2)),
    Row(("crop:0.02+resize:0.75+jpeg:75",), at_least(0.7), at_least(0.5), None),
)
"""The table of the exact verdict's issue."""

HELD_OUT = (
    "webp:80",
    "sharpen:100",
    "jpeg:85+shift:3+jpeg:75",
    "enlarge:2",
    "rotate:1",
    "enlarge:1.5+sharpen:50+gamma:0.95+jpeg:85",
)
"""What no calibration has seen; the last one is what a screenshot of an enlarged image goes through."""

_OVER = at_most(0.05)  # share of cells of held-out processings with more mistakes than promised
_REASONS = 3  # that are listed of a cell


@dataclass(frozen=True)
class Counts:
    """How many images a cell has of each population.

    Attributes:
        clean: As they are.
        processed: After each processing.
        extra: After each processing, of the populations that are not in `OTHERS`; 0 leaves them out.
    """

    clean: int
    processed: int
    extra: int

    def of(self, population: str, processing: str) -> int:
        """Return the number of a cell."""
        if processing == UNPROCESSED:
            return self.clean
        return self.processed if population in (OWN, RANDOM, *OTHERS) else self.extra

    def foreign(self, processing: str) -> tuple[str, ...]:
        """Return the populations of others that are measured after a processing."""
        return tuple(name for name in FOREIGN if self.of(name, processing))


Cell = dict[str, list[Finding]]
"""What is said of the images of each population."""


def _cell(laboratory: Laboratory, method: str, processing: str, counts: Counts) -> Cell:
    names = (OWN, RANDOM, *counts.foreign(processing))
    return {name: laboratory.findings(method, name, counts.of(name, processing), processing) for name in names}


def share_of(outcome: Outcome, *findings: Sequence[Finding]) -> Share:
    """Return how many images have an outcome."""
    return counted(one.outcome is outcome for part in findings for one in part)


def _foreign(cell: Cell) -> list[Sequence[Finding]]:
    return [found for name, found in cell.items() if name not in (OWN, RANDOM)]


def add_verdicts(text: Text, laboratory: Laboratory, counts: Counts) -> None:
    """Add the table of verdicts with its aims, and what is behind it."""
    text.say(
        f"Sealed images: {counts.clean} of each population as they are, {counts.processed} of own ones, real ones, B",
        f"and C after each processing, and {counts.extra} of {', '.join(FOREIGN[len(OTHERS) :])}. What happened to the",
        "images is told to no method. Intervals are of 95 % (Clopper and Pearson); an aim is met where the figure is,",
        'whatever its interval. "cannot tell" counts all images of others, mistakes those that are attributed to A.',
        *(_described(name, one) for name, one in laboratory.methods.items()),
    )
    cells = {
        (processing, method): _cell(laboratory, method, processing, counts)
        for row in ROWS
        for processing in row.processings
        for method in laboratory.methods
    }
    rows = [line for row in ROWS for processing in row.processings for line in _lines(row, processing, cells)]
    header = ("processing", "method", "own, stored noise", "own, random noise", "mistakes: real", "mistakes: B and C")
    text.table(Table(rows, (*header, '"cannot tell" among others'), "Attributed, mistakes, and what is not told"))
    _add_populations(text, laboratory, counts)
    _add_outcomes(text, {key[0]: cell for key, cell in cells.items() if key[1] == EXACT})


def _described(name: str, method: Method) -> str:
    fewer = "" if method.most is None else f"; at most {method.most} images of a cell"
    return f"Preset {name}: calibration {method.calibration.digest[:16]}{fewer}."


def _lines(row: Row, processing: str, cells: dict[tuple[str, str], Cell]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each method, and one for the aims."""
    for (after, method), cell in cells.items():
        if after != processing:
            continue
        attributed = {name: share_of(Outcome.ATTRIBUTED, found) for name, found in cell.items()}
        siblings = share_of(Outcome.ATTRIBUTED, cell["B"], cell["C"])
        untold = share_of(Outcome.CANNOT_TELL, *_foreign(cell))
        seen = attributed[OWN], attributed[RANDOM], attributed["real"], siblings, untold
        yield (processing, method, *map(str, seen))
        if method == EXACT:
            aims = row.own, row.random, MISTAKES, MISTAKES, row.untold
            its = ["-" if aim is None else aim.beside(share) for aim, share in zip(aims, seen, strict=True)]
            yield ("", "aim", *its)


def _add_populations(text: Text, laboratory: Laboratory, counts: Counts) -> None:
    rows = []
    for method in laboratory.methods:
        for name in SEALED:
            count = counts.clean if name not in TRUNCATED else max(1, counts.clean // 3)
            found = laboratory.findings(method, name, count)
            rows.append((name, method, str(len(found)), *(str(share_of(outcome, found)) for outcome in Outcome)))
    rows.sort(key=lambda one: list(SEALED).index(one[0]))
    text.table(Table(rows, ("images of", "method", "n", *map(str, Outcome)), "All populations as they are"))


def _add_outcomes(text: Text, cells: dict[str, Cell]) -> None:
    """Add what the exact verdict says of each cell, and why nothing is told where that is so."""
    rows = []
    for processing, cell in cells.items():
        for name, found in cell.items():
            outcomes = [str(sum(one.outcome is outcome for one in found)) for outcome in Outcome]
            reasons = Counter(one.reason for one in found if one.outcome is Outcome.CANNOT_TELL)
            why = "; ".join(f"{number}: {reason}" for reason, number in reasons.most_common(_REASONS))
            rows.append((processing, name, *outcomes, why))
    header = ("processing", "images of", *map(str, Outcome), 'why "cannot tell"')
    text.table(Table(rows, header, "Preset exact: how many images of each cell"))


def add_held_out(text: Text, laboratory: Laboratory, counts: Counts) -> None:
    """Add what comes of processings that no calibration has seen."""
    text.say(
        f"{counts.processed} sealed images of each population, after what no calibration has seen:",
        f"{', '.join(HELD_OUT)}.",
        '"cannot tell" is an honest answer there. A cell is one population of others after one processing; it is over',
        "the promise where more of its images are attributed to A than that, and surely so where the interval says it.",
    )
    rows, over = [], []
    for processing in HELD_OUT:
        for method in laboratory.methods:
            names = (OWN, RANDOM, *OTHERS)
            cell = {n: laboratory.findings(method, n, counts.of(n, processing), processing) for n in names}
            shares = {name: share_of(Outcome.ATTRIBUTED, found) for name, found in cell.items()}
            untold = share_of(Outcome.CANNOT_TELL, *_foreign(cell))
            denied = share_of(Outcome.NONE, cell[OWN]), share_of(Outcome.NONE, cell[RANDOM])
            rows.append((processing, method, *(str(shares[name]) for name in names), str(untold), *map(str, denied)))
            rate = laboratory.methods[method].calibration.settings.rate
            over += [(method, rate, shares[name]) for name in OTHERS]
    header = ("processing", "method", "own, stored noise", "own, random noise", *(f"mistakes: {n}" for n in OTHERS))
    denials = ('own, stored noise: "none of these"', 'own, random noise: "none of these"')
    text.table(Table(rows, (*header, '"cannot tell" among others', *denials)))
    summary = []
    for method in laboratory.methods:
        its = [(rate, share) for name, rate, share in over if name == method]
        more = counted(not at_most(rate).is_met(share) for rate, share in its)
        surely = counted(share.interval[0] > rate for rate, share in its)
        summary.append((method, str(len(its)), str(more), _OVER.beside(more), str(surely)))
    text.table(Table(summary, ("method", "cells", "over the promise", "aim", "surely over"), "Cells over the promise"))
