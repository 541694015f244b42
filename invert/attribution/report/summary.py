"""The summary of the report of `invert attribute`: its table of all images, and the names of their sections."""

from collections import Counter
from collections.abc import Sequence

from invert.attribution.attributions import Answer, Attribution
from invert.attribution.candidate import Candidate
from invert.attribution.report.rows import lpips_rule, reading_texts
from invert.attribution.score import SCORE_NAMES
from invert.attribution.verdict import Outcome
from invert.errors import display_path
from invert.report.page import Table

__all__ = [
    "MAX_IMAGES",
    "heading",
    "lead",
    "summary_table",
]

MAX_IMAGES = 200
"""Images with a section of their own; all are in the table."""

_COLUMNS = ("image", "verdict", "network", "distance", "LPIPS rule", "score", "threshold", "p0", "p1", "ratio")


def heading(number: int, image: Attribution) -> str:
    """Return the heading of an image's section, counted from 0."""
    return f"{number + 1}. {display_path(image.path)}"


def lead(images: Sequence[Attribution]) -> str:
    """Say how many images came out how."""
    counts = Counter(map(_outcome, images))
    order = [*map(str, Outcome), "no verdict", "not read"]
    listed = ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome])
    return f"{len(images)} image{'s'[: len(images) != 1]}: {listed}"


def _outcome(image: Attribution) -> str:
    if image.error is not None:
        return "not read"
    return "no verdict" if image.verdict is None else str(image.verdict.outcome)


def summary_table(networks: Sequence[Candidate], images: Sequence[Attribution], first: int) -> Table:
    """Return the table of all images, a row for each network.

    Args:
        networks: The networks, in the order asked.
        images: What is said about each image.
        first: Number of the first image's section.
    """
    rows: list[tuple[str, ...]] = []
    leads_to: list[int] = []
    for number, image in enumerate(images):
        cells = _cells(image)
        rows += [(heading(number, image), _verdict(image), *row) for row in cells]
        leads_to += [first + number if number < MAX_IMAGES else 0] * len(cells)
    kept = [column for column in range(len(_COLUMNS)) if column not in _left_out(networks)]
    return Table(
        [[row[column] for column in kept] for row in rows],
        [_COLUMNS[column] for column in kept],
        _caption(networks),
        leads_to,
    )


def _left_out(networks: Sequence[Candidate]) -> set[int]:
    """Return the columns that would say nothing: one network's name, and the distance as the score that decides."""
    by_evidence = any(n.deciding != "lpips" for n in networks)
    needless = {"network": len(networks) == 1, "score": not by_evidence}
    return {_COLUMNS.index(name) for name, is_needless in needless.items() if is_needless}


def _verdict(image: Attribution) -> str:
    verdict = image.verdict
    return verdict.text if verdict is not None and image.outcome is Outcome.ATTRIBUTED else _outcome(image)


def _caption(networks: Sequence[Candidate]) -> str:
    decide = [SCORE_NAMES[n.deciding] for n in networks if n.calibration is not None or n.threshold is not None]
    distance = "Distance: LPIPS between image and reconstruction."
    scores = " and ".join(dict.fromkeys(decide))
    return f"{distance} Threshold, p0, p1 and likelihood ratio: of the {scores}." if decide else distance


def _cells(image: Attribution) -> list[tuple[str, ...]]:
    """Return an image's rows from the network's name on."""
    if image.error is not None:
        return [("-",) * (len(_COLUMNS) - 2)]
    return [(answer.network, f"{answer.distance:.4f}", *_reading_cells(answer)) for answer in image.answers]


def _reading_cells(answer: Answer) -> tuple[str, ...]:
    finding = answer.finding
    if finding is None:
        return ("-",) * 6
    return (lpips_rule(finding), *reading_texts(finding.deciding, finding.reading))
