"""Attributions as lines of text, rows of a table and JSON records.

A column has one name everywhere: the deciding `score`, the `threshold` that it is compared with, `p0`, `p1`, the
likelihood ratio (in tables for people `ratio`), and the `LPIPS rule`: what the distance says by its own threshold.
"""

from collections.abc import Sequence
from typing import Any

from invert.attribution.attributions import Answer, Attribution
from invert.attribution.candidate import Candidate
from invert.attribution.verdict import Finding, Outcome, Reading, ratio_sentence
from invert.errors import display_path

__all__ = ["csv_cells", "csv_header", "header", "image_record", "lpips_rule", "ratio_text", "text_lines"]

_Record = dict[str, Any]

_WIDEST = 40  # characters
_CELLS = ("distance", "decides", "score", "threshold", "p0", "p1", "likelihood_ratio", "lpips_rule")


def lpips_rule(finding: Finding) -> str:
    """Say what the plain distance says by the calibration's threshold."""
    reading = finding.lpips
    return "-" if reading is None else "below" if reading.below else "not below"


def ratio_text(ratio: float) -> str:
    """Return a likelihood ratio as text, without digits that mean nothing."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def header(candidates: Sequence[Candidate], with_verdict: bool) -> str:
    """Return the line above the lines of `text_lines`."""
    if not with_verdict:
        return f"{'distance':>9}  image" if len(candidates) == 1 else "distances  image"
    columns = f"{'score':>8} {'threshold':>9} {'p0':>7} {'p1':>6} {'ratio':>8}"
    return f"{'verdict':<{_width(candidates)}} {'distance':>8}  {'LPIPS rule':<10} {columns}  image"


def text_lines(found: Attribution, candidates: Sequence[Candidate]) -> list[str]:
    """Return the lines of an image: one for each network, and what there is to say about them."""
    shown, plain = display_path(found.path), found.threshold_rule
    if found.verdict is None:
        values = "  ".join(f"{answer.distance:9.4f}" for answer in found.answers)
        return [f"{values}  {shown}{f': {plain}' if plain else ''}"]
    width = _width(candidates)
    name = _verdict_cell(found, len(candidates))
    lines = []
    for answer in found.answers:
        where = shown if len(candidates) == 1 else f"{shown} against {answer.network}"
        lines.append(f"{name:<{width}} {answer.distance:8.4f}  {_cells(answer)}  {where}")
        name = ""
    if found.reason:
        lines.append(f"{'':<{width}} {found.reason}")
    if plain:
        lines.append(f"{'':<{width}} by --threshold: {plain}")
    return lines


def _verdict_cell(found: Attribution, candidates: int) -> str:
    if found.verdict is None:
        return ""
    if found.outcome is Outcome.ATTRIBUTED:
        return found.verdict.text
    is_plain = candidates == 1 or not found.verdict.networks
    return str(found.outcome) if is_plain else found.verdict.text.partition(":")[0]


def _width(candidates: Sequence[Candidate]) -> int:
    """Return the width of the column of verdicts, which hold a network's name; a very long one may stick out."""
    return max(17, *(min(len(f"attributed to {candidate.name}"), _WIDEST) for candidate in candidates))


def _cells(answer: Answer) -> str:
    finding = answer.finding
    rule, reading = ("-", None) if finding is None else (lpips_rule(finding), finding.reading)
    if reading is None:
        return f"{rule:<10} {'-':>8} {'-':>9} {'-':>7} {'-':>6} {'-':>8}"
    numbers = f"{reading.score:8.2f} {reading.threshold:9.2f} {reading.p0:7.4f} {reading.p1:6.3f}"
    return f"{rule:<10} {numbers} {ratio_text(reading.ratio):>8}"


def image_record(found: Attribution, candidates: Sequence[Candidate]) -> _Record:
    """Return what --json says about an image that could be used."""
    target = found.answers[0].target
    record: _Record = {
        "type": "image",
        "code": "measured",
        "path": found.name,
        "file_sha256": target.file_sha256,
        "pixel_sha256": target.pixel_sha256,
        "warnings": list(found.warnings),
        "distances": {answer.network: _finite(answer.distance) for answer in found.answers},
    }
    if found.threshold_rule:
        record["threshold_rule"] = found.threshold_rule
    if found.verdict is None:
        return record
    record |= {"code": "judged", "verdict": str(found.outcome), "networks": list(found.verdict.networks)}
    record["reason"] = found.reason
    record["findings"] = [
        _finding(answer, candidate) for answer, candidate in zip(found.answers, candidates, strict=True)
    ]
    return record


def _finding(answer: Answer, candidate: Candidate) -> _Record:
    finding, calibration = answer.finding, candidate.calibration
    if finding is None or calibration is None:
        raise TypeError("a verdict without a finding for each network")
    return {
        "network": finding.network,
        "network_sha256": candidate.sha256,
        "outcome": str(finding.outcome),
        "reason": finding.reason,
        "decides": finding.deciding,
        "lpips_rule": lpips_rule(finding),
        "lpips": _reading(finding.lpips),
        "evidence": _reading(finding.evidence),
        "measured": {name: _finite(value) for name, value in finding.measurement.evidence.items()},
        "likelihood_ratio_in_words": ratio_sentence(finding, calibration),
    }


def _reading(reading: Reading | None) -> _Record | None:
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


def _finite(value: float) -> float | None:
    return value if value - value == 0 else None


def csv_header(candidates: Sequence[Candidate]) -> list[str]:
    """Return the names of the columns of `csv_cells`."""
    columns = [f"{candidate.name}: {cell}" for candidate in candidates for cell in _CELLS]
    return ["path", "verdict", "networks", "reason", "file_sha256", *columns, "warnings"]


def csv_cells(found: Attribution) -> list[Any]:
    """Return the row of an image; what is not known is empty."""
    outcome, networks = (found.outcome or "", found.verdict.networks) if found.verdict else ("", ())
    row = [display_path(found.path), str(outcome), ", ".join(networks), found.reason]
    row.append(found.answers[0].target.file_sha256)
    cells: list[Any] = [cell for answer in found.answers for cell in _csv(answer)]
    return [*row, *cells, "; ".join(found.warnings)]


def _csv(answer: Answer) -> list[Any]:
    finding, distance = answer.finding, _finite(answer.distance)
    if finding is None:
        return [distance, *[""] * (len(_CELLS) - 1)]
    one = finding.reading
    numbers = [""] * 5 if one is None else [one.score, one.threshold, one.p0, one.p1, one.ratio]
    return [distance, finding.deciding, *numbers, lpips_rule(finding)]
