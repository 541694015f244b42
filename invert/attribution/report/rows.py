"""Attributions as lines of text, rows of a table and JSON records.

A column has one name everywhere: the deciding `score`, the `threshold` that it is compared with, `p0`, `p1`, the
likelihood ratio (in tables for people `ratio`), and the `LPIPS rule`: what the distance says by its own threshold.
`score` and `threshold` are distances where LPIPS decides, but in JSON, which has the numbers that were computed with:
their logarithms. Preset exact adds `Q`, `rms` beside what is `expected`, and what was `found` to have happened.
"""

import os
from collections.abc import Sequence
from typing import Any

from invert.attribution.attributions import Answer, Attribution
from invert.attribution.candidate import Candidate
from invert.attribution.evidence import FEATURES
from invert.attribution.explained import Explained
from invert.attribution.promise import promise_of, ratio_sentence
from invert.attribution.ruling import sharing
from invert.attribution.score import shown_value
from invert.attribution.verdict import Finding, Outcome, Reading
from invert.errors import display_path
from invert.statistics.likelihood import ratio_text

__all__ = [
    "EXPLAINED",
    "csv_cells",
    "csv_header",
    "explained_texts",
    "header",
    "image_record",
    "lpips_rule",
    "network_record",
    "reading_texts",
    "text_lines",
]

_Record = dict[str, Any]

_WIDEST = 40  # characters
_CELLS = (
    *("distance", "decides", "score", "threshold", "p0", "p1", "likelihood_ratio", "lpips_rule"),
    *("network_sha256", "calibration", "calibration_sha256", "rate", "attributed_of_calibration"),
    *("processing", "noise", "q_per_number", "rms", "expected_rms", "group"),
)

EXPLAINED = ("Q for each number of the image", "rms in levels", "rms that is expected")
"""What `explained_texts` returns, in words."""


def lpips_rule(finding: Finding) -> str:
    """Say what the plain distance says by the calibration's threshold."""
    reading = finding.lpips
    return "-" if reading is None or reading.threshold is None else "below" if reading.below else "not below"


def reading_texts(score: str, reading: Reading | None) -> tuple[str, str, str, str, str]:
    """Return score, threshold, p0, p1 and likelihood ratio as text, the one way everywhere; "-" for what is not known.

    Args:
        score: One of `invert.attribution.settings.SCORES`.
        reading: What it says.
    """
    if reading is None:
        return ("-",) * 5
    digits = 4 if score == "lpips" else 2
    value, threshold = (
        "-" if number is None else f"{shown_value(score, number):.{digits}f}"
        for number in (reading.score, reading.threshold)
    )
    p0 = "-" if reading.p0 is None else f"{reading.p0:.4f}"
    p1 = "-" if reading.p1 is None else f"{reading.p1:.3f}"
    return value, threshold, p0, p1, "-" if reading.ratio is None else ratio_text(reading.ratio)


def explained_texts(found: Explained | None) -> tuple[str, str, str]:
    """Return Q for each number, rms and what is expected of it as text; "-" for what is not known."""
    if found is None:
        return ("-",) * 3
    q, rms, expected = ("-" if value != value else f"{value:.2f}" for value in (found.q, found.rms, found.expected_rms))
    return q, rms, expected


def _explained_header(candidates: Sequence[Candidate]) -> str:
    return f" {'Q':>7} {'rms':>6} {'expected':>8}  {'found':<20}" if any(one.is_exact for one in candidates) else ""


def _explained_cells(answer: Answer, candidates: Sequence[Candidate]) -> str:
    if not any(one.is_exact for one in candidates):
        return ""
    found = answer.measurement.explained
    q, rms, expected = explained_texts(found)
    return f" {q:>7} {rms:>6} {expected:>8}  {'-' if found is None else found.text:<20}"


def header(candidates: Sequence[Candidate], with_verdict: bool) -> str:
    """Return the line above the lines of `text_lines`."""
    explained = _explained_header(candidates)
    if not with_verdict:
        return f"{'distance':>9}{explained}  image" if len(candidates) == 1 else "distances  image"
    columns = f"{'score':>8} {'threshold':>9} {'p0':>7} {'p1':>6} {'ratio':>8}{explained}"
    return f"{'verdict':<{_width(candidates)}} {'distance':>8}  {'LPIPS rule':<10} {columns}  image"


def text_lines(found: Attribution, candidates: Sequence[Candidate]) -> list[str]:
    """Return the lines of an image: one for each network, and what there is to say about them."""
    shown = display_path(found.path)
    if found.verdict is None:
        values = "  ".join(f"{answer.distance:9.4f}" for answer in found.answers)
        if len(candidates) == 1:
            values += _explained_cells(found.answers[0], candidates)
        return [f"{values}  {shown}"]
    width = _width(candidates)
    name = _verdict_cell(found, len(candidates))
    lines = []
    for answer in found.answers:
        where = shown if len(candidates) == 1 else f"{shown} against {answer.network}"
        lines.append(
            f"{name:<{width}} {answer.distance:8.4f}  {_cells(answer)}{_explained_cells(answer, candidates)}  {where}"
        )
        name = ""
    if found.reason:
        lines.append(f"{'':<{width}} {found.reason}")
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
    rule = "-" if finding is None else lpips_rule(finding)
    score, threshold, p0, p1, ratio = reading_texts(
        "lpips" if finding is None else finding.deciding, None if finding is None else finding.reading
    )
    return f"{rule:<10} {score:>8} {threshold:>9} {p0:>7} {p1:>6} {ratio:>8}"


def image_record(found: Attribution, candidates: Sequence[Candidate]) -> _Record:
    """Return what --json says about an image that could be used."""
    target = found.answers[0].target
    record: _Record = {
        "type": "image",
        "code": "measured",
        "path": found.name,
        "file_sha256": target.file_sha256,
        "pixel_sha256": target.pixel_sha256,
        "original_size": list(target.original_size),
        "format": target.format or None,
        "warnings": list(dict.fromkeys((*found.warnings, *found.caveats))),
        "notes": list(found.notes),
        "distances": {answer.network: _finite(answer.distance) for answer in found.answers},
    }
    if any(one.is_exact for one in candidates) and found.verdict is None:
        explained = {answer.network: answer.measurement.explained for answer in found.answers}
        record["explained"] = {name: None if one is None else one.to_record() for name, one in explained.items()}
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
    finding, calibration, explained = answer.finding, candidate.calibration, answer.measurement.explained
    if finding is None:
        raise TypeError("a verdict without a finding for each network")
    return {
        "network": finding.network,
        "network_sha256": candidate.sha256,
        **_of_calibration(candidate),
        "outcome": str(finding.outcome),
        "reason": finding.reason,
        "decides": finding.deciding,
        "lpips_rule": lpips_rule(finding),
        "lpips": _reading(finding.lpips),
        "evidence": _reading(finding.evidence),
        **(
            {}
            if explained is None
            else {"explained": explained.to_record(), "group": finding.measurement.group or None}
        ),
        "measured": {
            name: _finite(value)
            for name, value in finding.measurement.evidence.items()
            if explained is not None or not FEATURES[name].of_exact
        },
        "likelihood_ratio_in_words": "" if calibration is None else ratio_sentence(finding, calibration),
    }


def _of_calibration(candidate: Candidate) -> _Record:
    path = candidate.calibration_path
    return {
        "calibration": None if path is None else os.fspath(path),
        "calibration_sha256": candidate.calibration_sha256 or None,
    }


def network_record(candidate: Candidate, share: int) -> _Record:
    """Return what --json says about a network and what the verdicts against it are worth.

    Args:
        candidate: The network.
        share: How many networks share the rate.
    """
    network = {"network": candidate.name, "path": os.fspath(candidate.path), "network_sha256": candidate.sha256}
    promise = promise_of(candidate, share).to_record()
    kinds = {} if candidate.calibration is None else candidate.calibration.kinds
    texts = {name: kind.text for name, kind in kinds.items()}
    return {**network, **_of_calibration(candidate), "decides": candidate.deciding, **promise, "kinds": texts}


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
        **({"threshold_group": reading.group, "p0_alike": reading.p0_alike} if reading.group else {}),
    }


def _finite(value: float) -> float | None:
    return value if value - value == 0 else None


def csv_header(candidates: Sequence[Candidate]) -> list[str]:
    """Return the names of the columns of `csv_cells`."""
    columns = [f"{candidate.name}: {cell}" for candidate in candidates for cell in _CELLS]
    return ["path", "verdict", "networks", "reason", "warnings", "notes", "file_sha256", *columns]


def csv_cells(found: Attribution, candidates: Sequence[Candidate]) -> list[Any]:
    """Return the row of an image, one that could not be used too; what is not known is empty."""
    verdict = "not read" if found.error is not None else str(found.outcome or "")
    networks = ", ".join(found.verdict.networks) if found.verdict else ""
    sha256 = found.answers[0].target.file_sha256 if found.answers else ""
    remarks = "; ".join(found.warnings), "; ".join(found.notes)
    row: list[Any] = [display_path(found.path), verdict, networks, found.reason, *remarks, sha256]
    share = sharing(candidates)
    for number, candidate in enumerate(candidates):
        answer = found.answers[number] if found.answers else None
        row += [*_csv(answer), *_csv_of(candidate, share), *_csv_explained(answer)]
    return row


def _csv_explained(answer: Answer | None) -> list[Any]:
    found = None if answer is None else answer.measurement.explained
    if found is None or answer is None:
        return [""] * 6
    numbers = ["" if value != value else value for value in (found.q, found.rms, found.expected_rms)]
    return [found.processing, found.noise, *numbers, answer.measurement.group]


def _csv(answer: Answer | None) -> list[Any]:
    if answer is None:
        return [""] * 8
    finding, distance = answer.finding, _finite(answer.distance)
    if finding is None:
        return [distance, *[""] * 7]
    one = finding.reading
    numbers: list[Any] = [""] * 5
    if one is not None:
        values = [one.score, one.threshold]
        # Without the last digits: a distance that was given comes back from its logarithm with other ones.
        shown = [None if value is None else float(f"{shown_value(finding.deciding, value):.13g}") for value in values]
        numbers = ["" if value is None else value for value in (*shown, one.p0, one.p1, one.ratio)]
    return [distance, finding.deciding, *numbers, lpips_rule(finding)]


def _csv_of(candidate: Candidate, share: int) -> list[Any]:
    promise, path = promise_of(candidate, share), candidate.calibration_path
    where = "" if path is None else display_path(path)
    rate = "" if promise.rate is None else promise.rate
    return [candidate.sha256, where, candidate.calibration_sha256, rate, promise.counts]
