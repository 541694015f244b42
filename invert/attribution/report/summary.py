"""What the report of `invert attribute` is made from, and its table of all images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from invert.attribution.calibration import Calibration
from invert.attribution.score import SCORE_NAMES, shown_value
from invert.attribution.verdict import Finding, Outcome, Reading, Verdict
from invert.errors import display_path
from invert.report.page import Table

__all__ = [
    "MAX_IMAGES",
    "ReportImage",
    "ReportNetwork",
    "heading",
    "lead",
    "numbers",
    "summary_table",
]

MAX_IMAGES = 200
"""Images with a section of their own; all are in the table."""

_COLUMNS = ("image", "verdict", "network", "distance", "paper's rule", "score", "threshold", "p0", "p1", "ratio")

Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ReportNetwork:
    """A network that the images were held against.

    Args:
        name: As shown. path, sha256: Of its file.
        calibration, calibration_path: If there is one.
    """

    name: str
    path: Path
    sha256: str
    calibration: Calibration | None
    calibration_path: Path | None


@dataclass(frozen=True, eq=False)
class ReportImage:
    """An image, and what came out.

    Args:
        path, file_sha256: Of its file.
        targets: uint8 [H, W, C] as each network is given it; none if the image could not be read.
        verdict: None without calibrations.
        reconstructions: uint8 [H, W, C] by each network. distances: LPIPS to them.
        plain: What the paper's rule with a given threshold says, or why the image could not be read.
    """

    path: Path
    file_sha256: str
    targets: Sequence[Array]
    verdict: Verdict | None
    reconstructions: Sequence[Array]
    distances: Sequence[float]
    plain: str = ""


def heading(number: int, image: ReportImage) -> str:
    """Return the heading of an image's section, counted from 0."""
    return f"{number + 1}. {display_path(image.path)}"


def lead(images: Sequence[ReportImage]) -> str:
    """Say how many images came out how."""
    counts = Counter(map(_outcome, images))
    order = [*map(str, Outcome), "no verdict", "not read"]
    listed = ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome])
    return f"{len(images)} image{'s'[: len(images) != 1]}: {listed}"


def _outcome(image: ReportImage) -> str:
    if not image.targets:
        return "not read"
    return "no verdict" if image.verdict is None else str(image.verdict.outcome)


def summary_table(networks: Sequence[ReportNetwork], images: Sequence[ReportImage], first: int) -> Table:
    """Return the table of all images, a row for each network.

    Args:
        networks, images: In the order asked.
        first: Number of the first image's section.
    """
    rows: list[tuple[str, ...]] = []
    leads_to: list[int] = []
    for number, image in enumerate(images):
        cells = _cells(networks, image)
        rows += [(heading(number, image), _verdict(image), *row) for row in cells]
        leads_to += [first + number if number < MAX_IMAGES else 0] * len(cells)
    kept = [column for column in range(len(_COLUMNS)) if column not in _left_out(networks)]
    return Table(
        [[row[column] for column in kept] for row in rows],
        [_COLUMNS[column] for column in kept],
        _caption(networks),
        leads_to,
    )


def _left_out(networks: Sequence[ReportNetwork]) -> set[int]:
    """Return the columns that would say nothing: one network's name, and the distance as the score that decides."""
    by_evidence = any(n.calibration is not None and n.calibration.settings.score != "lpips" for n in networks)
    needless = {"network": len(networks) == 1, "score": not by_evidence}
    return {_COLUMNS.index(name) for name, is_needless in needless.items() if is_needless}


def _verdict(image: ReportImage) -> str:
    verdict = image.verdict
    return verdict.text if verdict is not None and verdict.outcome is Outcome.ATTRIBUTED else _outcome(image)


def _caption(networks: Sequence[ReportNetwork]) -> str:
    decide = [SCORE_NAMES[n.calibration.settings.score] for n in networks if n.calibration is not None]
    distance = "Distance: LPIPS between image and reconstruction."
    scores = " and ".join(dict.fromkeys(decide))
    return f"{distance} Threshold, p0, p1 and likelihood ratio: of the {scores}." if decide else distance


def _cells(networks: Sequence[ReportNetwork], image: ReportImage) -> list[tuple[str, ...]]:
    """Return an image's rows from the network's name on."""
    if not image.targets:
        return [("-",) * (len(_COLUMNS) - 2)]
    findings = image.verdict.findings if image.verdict is not None else [None] * len(networks)
    return [
        (network.name, f"{distance:.4f}", *_reading_cells(finding))
        for network, distance, finding in zip(networks, image.distances, findings, strict=True)
    ]


def _reading_cells(finding: Finding | None) -> tuple[str, ...]:
    if finding is None or finding.reading is None:
        return ("-",) * 6
    rule = "-" if finding.lpips is None else "below" if finding.lpips.below else "not below"
    return (rule, *numbers(finding.deciding, finding.reading))


def numbers(score: str, reading: Reading) -> tuple[str, ...]:
    """Return value, threshold, p0, p1 and likelihood ratio as text."""
    digits = 4 if score == "lpips" else 2
    value, threshold = (f"{shown_value(score, number):.{digits}f}" for number in (reading.score, reading.threshold))
    ratio = f"{reading.ratio:.0f}" if reading.ratio >= 10 else f"{reading.ratio:.2g}"
    return value, threshold, f"{reading.p0:.2g}", f"{reading.p1:.2g}", ratio
