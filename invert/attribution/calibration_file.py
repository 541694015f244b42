"""Calibrations as JSON files: written whole, read with care. `invert.attribution.calibration_places` finds them.

A file holds the raw measurements; thresholds and rates stand in it for people, and are computed again when it is read.
So is the score: weights that do not follow from the measurements are refused.
It names its features: one that was made before this program measured a newer feature has no column of it, and says no
less than it did.

Version 3 has populations after processing: each says which, and each line of an image whose method finds groups has its
group and the hash of what it was made of. Version 2 has neither. Version 1 calls the lines of measurements "pictures",
and among what is there for people a threshold "below". Nothing else differs.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from generator.jsontext import JsonError, read_json
from invert.attribution.calibration import Calibration, fit_evidence
from invert.attribution.evidence import FEATURES
from invert.attribution.explained import check_group, is_small
from invert.attribution.kind import PopulationKind
from invert.attribution.measurements import Measurement
from invert.attribution.perturbations import parse_perturbations
from invert.attribution.score import EvidenceScore
from invert.attribution.settings import OWN, SCORES, UNPROCESSED, CalibrationSettings
from invert.attribution.splits import Population, divide
from invert.durable import write_atomic
from invert.errors import UnreadableError, UsageError
from invert.images.opening import read_regular
from invert.statistics.intervals import clopper_pearson

__all__ = [
    "SUFFIX",
    "CalibrationError",
    "CalibrationFile",
    "decode_calibration",
    "encode_calibration",
    "held_out",
    "read_calibration",
    "read_calibration_file",
    "read_calibration_of",
    "write_calibration",
]

_FORMAT = "invert calibration"
_VERSION = 3

SUFFIX = ".calibration.json"
"""End of the names of files in which a calibration is looked for."""

_LINES = {1: "pictures", 2: "images", 3: "images"}
"""Key of the measurements of a population in each version of the format that can be read."""

_VERSION_TEXT = re.compile(r"[0-9]+(\.[0-9]+)*[a-z0-9.+]{0,32}", re.ASCII)

_SAME = 0.01
"""By how much the weights of a score may differ from those that are fitted again to the same numbers."""

_MAX_BYTES = 64 << 20
_MAX_LINE = 1 << 14
_HASH = "content_sha256"
_PIXELS = re.compile(r"[0-9a-f]{64}", re.ASCII)

_Record = dict[str, Any]


class CalibrationError(UsageError):
    """A file is no calibration, or is damaged."""

    code = "calibration-damaged"
    what = "calibration"


def encode_calibration(calibration: Calibration) -> bytes:
    """Return a calibration's file; equal calibrations give equal bytes."""
    record: _Record = {
        "format": _FORMAT,
        "version": _VERSION,
        "invert": calibration.tool,
        "network": dict(calibration.network),
        "settings": dataclasses.asdict(calibration.settings),
        "method": dict(calibration.method),
        "method_digest": calibration.digest,
        "run": dict(calibration.run),
        "thresholds": _thresholds(calibration),
        **({"groups": _groups(calibration)} if calibration.has_groups else {}),
        "held_out": held_out(calibration),
        "evidence_score": calibration.evidence.to_record(),
        "features": list(FEATURES),
        "populations": [_population(population) for population in calibration.populations],
    }
    record[_HASH] = _digest(record)
    return json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"


def _digest(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _thresholds(calibration: Calibration) -> _Record:
    """Return the thresholds of each bin, for people to read."""
    edges = [None, *calibration.bins.edges]
    found: _Record = {}
    for score in SCORES:
        found[score] = []
        for index, edge in enumerate(edges):
            population, threshold = calibration.bin_threshold(score, index)
            values = {"threshold": threshold.value, "rank": threshold.rank, "negatives": threshold.negatives}
            found[score].append({"complexity_from": edge, **values, "population": population})
    return found


def _groups(calibration: Calibration) -> _Record:
    """Return which groups each score judges, for people to read."""
    return {
        score: {name: dataclasses.asdict(group) for name, group in calibration.groups(score).found.items()}
        for score in SCORES
    }


def held_out(calibration: Calibration) -> _Record:
    """Return what the thresholds do on images that had no part in setting them, by score and population.

    Each is a record of how many are `attributed`, `of` how many, with the exact 95 % interval `low` to `high`.
    """
    found: _Record = {}
    for score in SCORES:
        found[score] = {}
        for population in calibration.populations:
            count, total = calibration.attributed(score, population)
            low, high = clopper_pearson(count, total)
            found[score][population.label] = {"attributed": count, "of": total, "low": low, "high": high}
    return found


def _population(population: Population) -> _Record:
    # One line per image: json's own indentation would give each number a line.
    lines = []
    for one in population.measurements:
        values = (one.evidence[name] for name in FEATURES)
        numbers = [value if math.isfinite(value) else None for value in values]
        line = f"{one.pixel_sha256} {json.dumps(numbers, separators=(',', ':'))}"
        lines.append(f"{line} {one.group} {one.source}" if one.group else line)
    kind = {} if population.kind is None else {"kind": population.kind.to_record()}
    return {
        "name": population.name,
        "source": population.source,
        "processing": population.processing,
        "count": len(lines),
        "left_out": population.left_out,
        **kind,
        "sha256": population.sha256,
        _LINES[_VERSION]: lines,
    }


def decode_calibration(data: bytes) -> Calibration:
    """Read a calibration's file.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is none, damaged or of another version.
    """
    return _calibration(_whole(data))


def _whole(data: bytes) -> dict[str, Any]:
    """Return the record of a calibration's file that is as it was written; what it says is not looked at."""
    record = read_json(data, _MAX_BYTES)
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ValueError("is no calibration")
    version = record.get("version")
    if type(version) is not int or version not in _LINES:
        raise ValueError(f"is in version {version!r} of its format, this program knows {', '.join(map(str, _LINES))}")
    if record.pop(_HASH, None) != _digest(record):
        raise ValueError("was changed after it was written: its content differs from its checksum")
    return record


def _calibration(record: Mapping[str, Any]) -> Calibration:
    version = record["version"]
    features = _read_features(record["features"], str(record["invert"]))
    settings = CalibrationSettings(**record["settings"])
    read = [_read_population(one, features, one[_LINES[version]], version) for one in record["populations"]]
    divided = divide(read, settings.shares)
    calibration = Calibration(
        settings,
        dict(record["method"]),
        dict(record["run"]),
        dict(record["network"]),
        str(record["invert"]),
        tuple(one for one in divided if one.name == OWN),
        tuple(one for one in divided if one.name != OWN),
        EvidenceScore.from_record(record["evidence_score"]),
    )
    if (
        [one.name for one in read] != [one.name for one in calibration.populations]
        or not _is_complete(calibration)
        or record["method_digest"] != calibration.digest
        or not _follows(calibration, features)
    ):
        raise ValueError("contradicts itself")
    return calibration


def _is_complete(calibration: Calibration) -> bool:
    """Tell whether there are own images and others after each processing, each population once, and groups of all."""
    labels = [(one.name, one.processing) for one in calibration.populations]
    processings = [{one.processing for one in part} for part in (calibration.owns, calibration.others)]
    groups = {bool(one.group) for population in calibration.populations for one in population.measurements}
    is_plain = processings[0] == {UNPROCESSED}
    return (
        len(set(labels)) == len(labels)
        and bool(calibration.owns)
        and processings[0] == processings[1]
        and len(groups) == 1
        and (is_plain or calibration.has_groups)
    )


def _follows(calibration: Calibration, features: Sequence[str]) -> bool:
    """Tell whether score and thresholds follow from the measurements: a file that claims others was made up."""
    _thresholds(calibration)  # raises where a rate is claimed that so few images cannot promise
    stated = calibration.evidence
    fitted = fit_evidence(calibration.owns, calibration.others, features)
    if set(fitted.features) != set(stated.features):
        return False
    numbers = [_numbers(one, fitted.features) for one in (stated, fitted)]
    # Other versions of the library that fits it, and other processors, end in other last digits.
    return bool(np.allclose(numbers[0], numbers[1], rtol=_SAME, atol=_SAME))


def _numbers(score: EvidenceScore, features: Sequence[str]) -> list[float]:
    """Return all numbers of a score, its features in this order."""
    rows = score.to_record()["features"]
    return [*(value for name in features for value in rows[name].values()), score.intercept]


def _read_features(names: list[str], tool: str) -> list[str]:
    """Return the names of a calibration's columns: all that its program measured, and none that this one does not."""
    if not set(names) <= set(FEATURES):
        raise ValueError("has other evidence than this program measures")
    if not _VERSION_TEXT.fullmatch(tool):
        raise ValueError("was written by a program of no version")
    made_by = _version(tool)
    if any(name not in names and _version(feature.since) <= made_by for name, feature in FEATURES.items()):
        raise ValueError("lacks evidence that the program which wrote it measures")
    return names


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text, re.ASCII))


def _read_population(
    record: Mapping[str, Any], features: Sequence[str], lines: Sequence[str], version: int
) -> Population:
    processing = UNPROCESSED if version < 3 else str(record["processing"])
    if [one.key for one in parse_perturbations(processing)] != [processing]:
        raise ValueError("contradicts itself")
    measurements = []
    for line in lines:
        digest, numbers, *of_group = line.split(" ")
        group, source = of_group or ("", "")
        if of_group and (version < 3 or not _PIXELS.fullmatch(source)):
            raise ValueError("no line of a group")
        evidence = dict(zip(features, read_json(numbers, _MAX_LINE), strict=True))
        row = {
            "name": digest.encode().hex(),
            "file_sha256": "",
            "pixel_sha256": digest,
            "status": "ok",
            "upsampled": is_small(group),
        }
        if group:
            row["group"] = check_group(group)
        found = Measurement.from_record({**row, "evidence": evidence})
        measurements.append(dataclasses.replace(found, made_of="" if source == digest else source))
    kind = PopulationKind.from_record(record["kind"]) if "kind" in record else None
    texts = str(record["name"]), str(record["source"])
    population = Population(*texts, tuple(measurements), int(record["left_out"]), kind, processing)
    if population.sha256 != record["sha256"]:
        raise ValueError("contradicts itself")
    return population


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration that was read.

    Attributes:
        path: Its file; None for one from memory.
        sha256: Hash of the file's bytes, or of those that it would have.
        calibration: What is in it.
    """

    path: Path | None
    sha256: str
    calibration: Calibration = field(repr=False)

    @classmethod
    def of(cls, calibration: Calibration) -> Self:
        """Return a calibration from memory."""
        return cls(None, hashlib.sha256(encode_calibration(calibration)).hexdigest(), calibration)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration's file; see `read_calibration_file`."""
    return read_calibration_file(path).calibration


def read_calibration_file(path: Path) -> CalibrationFile:
    """Read a calibration's file, and keep which file it was.

    Raises:
        CalibrationError: It cannot be read, is damaged, or is something else.
    """
    with _refusals(path):
        data = read_regular(path, _MAX_BYTES)
        return CalibrationFile(path, hashlib.sha256(data).hexdigest(), decode_calibration(data))


def read_calibration_of(path: Path, network_sha256: str) -> CalibrationFile | None:
    """Read a calibration's file if it is of a network; of another network's only checks that it is whole.

    Args:
        path: The file.
        network_sha256: Hash of the network's file.

    Returns:
        What is in it; None where it is of another network.

    Raises:
        CalibrationError: See `read_calibration_file`.
    """
    with _refusals(path):
        data = read_regular(path, _MAX_BYTES)
        record = _whole(data)
        if record["network"]["sha256"] != network_sha256:
            return None
        return CalibrationFile(path, hashlib.sha256(data).hexdigest(), _calibration(record))


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Say of a file what is wrong with it."""
    try:
        yield
    except UnreadableError as error:
        raise CalibrationError(error.reason, path=path, advice=error.advice) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, UsageError) as error:
        plain = type(error) is ValueError and not isinstance(error, JsonError)
        reason = str(error) if plain else "is damaged or was not written by this program"
        raise CalibrationError(reason, path=path, advice="Make it again with 'invert calibrate'.") from error


def write_calibration(calibration: Calibration, out: Path) -> None:
    """Write a calibration, to this file and nowhere else.

    Args:
        calibration: The calibration.
        out: Its file.

    Raises:
        OutputError: The file cannot be written.
    """
    write_atomic(out, encode_calibration(calibration))
