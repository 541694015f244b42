"""Verdicts as lines, cells and records."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.attribution.verdict import Finding, Reading, Verdict, ratio_sentence
from invert.errors import display_path
from invert.images.target import Target
from invert.report.spreadsheet import csv_line

if TYPE_CHECKING:
    from invert.attribution.candidate import Candidate

__all__ = ["csv_row", "header", "image_record", "text_line"]

Record = dict[str, Any]

_WIDEST = 40  # characters


def header(candidates: "Sequence[Candidate]", with_verdict: bool) -> str:
    """Return the line above the table."""
    if not with_verdict:
        return f"{'distance':>9}  image" if len(candidates) == 1 else "distances  image"
    columns = f"{'evidence':>8} {'below':>7} {'p0':>7} {'p1':>6} {'ratio':>8}"
    return f"{'verdict':<{_width(candidates)}} {'distance':>8}  {'LPIPS rule':<10} {columns}  image"


def text_line(
    path: Path, verdict: Verdict | None, candidates: "Sequence[Candidate]", distances: Sequence[float], plain: str
) -> str:
    """Return an image's line: one for each network, where there are several."""
    shown = display_path(path)
    if verdict is None:
        values = "  ".join(f"{distance:9.4f}" for distance in distances)
        return f"{values}  {shown}{f': {plain}' if plain else ''}"
    name = str(verdict.outcome) if len(candidates) == 1 or not verdict.networks else verdict.text.partition(":")[0]
    if verdict.outcome == "attributed":
        name = verdict.text
    lines, width = [], _width(candidates)
    for finding, distance in zip(verdict.findings, distances, strict=True):
        where = shown if len(candidates) == 1 else f"{shown} against {finding.network}"
        lines.append(f"{name:<{width}} {distance:8.4f}  {_cells(finding)}  {where}")
        name = ""
    reason = f"{'':<{width}} {verdict.reason}" if verdict.reason else ""
    more = f"{'':<{width}} by --threshold: {plain}" if plain else ""
    return "\n".join(line for line in (*lines, reason, more) if line)


def _width(candidates: "Sequence[Candidate]") -> int:
    """Return the width of the column of verdicts, which hold a network's name; a very long one may stick out."""
    return max(17, *(min(len(f"attributed to {candidate.name}"), _WIDEST) for candidate in candidates))


def _cells(finding: Finding) -> str:
    reading, lpips = finding.reading, finding.lpips
    rule = "-" if lpips is None else "below" if lpips.below else "not below"
    if reading is None:
        return f"{rule:<10} {'-':>8} {'-':>7} {'-':>7} {'-':>6} {'-':>8}"
    ratio = f"{reading.ratio:.0f}" if reading.ratio >= 10 else f"{reading.ratio:.2g}"
    return f"{rule:<10} {reading.score:8.2f} {reading.threshold:7.2f} {reading.p0:7.4f} {reading.p1:6.3f} {ratio:>8}"


def _reading(reading: Reading | None) -> Record | None:
    if reading is None:
        return None
    return {
        "score": reading.score,
        "threshold": reading.threshold,
        "below": reading.below,
        "threshold_population": reading.population,
        "p0": reading.p0,
        "p1": reading.p1,
        "likelihood_ratio": reading.ratio,
        "likelihood_ratio_cap": reading.ratio_high,
    }


def image_record(
    path: Path,
    target: Target,
    verdict: Verdict | None,
    candidates: "Sequence[Candidate]",
    distances: Sequence[float],
    plain: str,
) -> Record:
    """Return what --json says of an image."""
    record: Record = {
        "type": "image",
        "code": "measured",
        "path": os.fspath(path),
        "file_sha256": target.file_sha256,
        "pixel_sha256": target.pixel_sha256,
        "warnings": list(target.warnings),
        "distances": {c.name: _finite(d) for c, d in zip(candidates, distances, strict=True)},
    }
    if plain:
        record["plain"] = plain
    if verdict is None:
        return record
    record |= {"code": "judged", "verdict": str(verdict.outcome), "networks": list(verdict.networks)}
    record["reason"] = verdict.reason
    record["findings"] = []
    for finding, candidate in zip(verdict.findings, candidates, strict=True):
        evidence = {name: _finite(value) for name, value in finding.measurement.evidence.items()}
        calibration = candidate.calibration
        record["findings"].append(
            {
                "network": finding.network,
                "network_sha256": candidate.sha256,
                "outcome": str(finding.outcome),
                "reason": finding.reason,
                "decides": finding.deciding,
                "lpips": _reading(finding.lpips),
                "evidence": _reading(finding.evidence),
                "measured": evidence,
                "ratio": "" if calibration is None else ratio_sentence(finding, calibration),
            }
        )
    return record


def _finite(value: float) -> float | None:
    return value if value - value == 0 else None


def csv_row(record: Record | None, candidates: "Sequence[Candidate]") -> str:
    """Return an image's row, or with None the header; names that a spreadsheet would compute are marked as text."""
    fields = ["path", "verdict", "networks", "reason", "file_sha256"]
    cells = ("distance", "decides", "score", "threshold", "p0", "p1", "likelihood_ratio", "lpips_below")
    fields += [f"{candidate.name}: {cell}" for candidate in candidates for cell in cells]
    if record is None:
        return csv_line(fields)
    path = display_path(record["path"])
    row = [path, record.get("verdict", ""), ", ".join(record.get("networks", ())), record.get("reason", "")]
    row.append(record["file_sha256"])
    findings = record.get("findings", [{}] * len(candidates))
    for candidate, finding in zip(candidates, findings, strict=True):
        reading = finding.get(finding.get("decides", ""), None) or {}
        lpips = finding.get("lpips") or {}
        row += [record["distances"][candidate.name], finding.get("decides", "")]
        row += [reading.get(key, "") for key in ("score", "threshold", "p0", "p1", "likelihood_ratio")]
        row += [lpips.get("below", "")]
    return csv_line(row)
