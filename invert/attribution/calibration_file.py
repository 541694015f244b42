"""Calibrations as JSON files: written whole, read with care, found by network.

A file holds the raw measurements; thresholds and rates stand in it for people, and are computed again when it is read.
It names its features: one that was made before this program measured a newer feature has no column of it, and says no
less than it did.

Version 1 calls the lines of measurements "pictures", version 2 "images"; among what is there for people, it calls a
threshold "below". Nothing else differs.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from generator.cache import CacheError, cache_folder
from generator.jsontext import JsonError, read_json
from invert.attribution.calibration import Calibration, Population
from invert.attribution.evidence import FEATURES
from invert.attribution.measurements import Measurement
from invert.attribution.score import EvidenceScore
from invert.attribution.settings import SCORES, CalibrationSettings
from invert.durable import ensure_folder, write_atomic
from invert.errors import OutputError, UnreadableError, UsageError
from invert.images.opening import read_regular
from invert.statistics.intervals import clopper_pearson

__all__ = [
    "CalibrationError",
    "cached_path",
    "decode_calibration",
    "encode_calibration",
    "find_calibration",
    "held_out",
    "read_calibration",
    "write_calibration",
]

_FORMAT = "invert calibration"
_VERSION = 2
_SUFFIX = ".calibration.json"

_LINES = {1: "pictures", 2: "images"}
"""Key of the measurements of a population in each version of the format that can be read."""

_MAX_BYTES = 64 << 20
_MAX_LINE = 1 << 14
_HASH = "content_sha256"

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
        "held_out": held_out(calibration),
        "evidence_score": calibration.evidence.to_record(),
        "features": list(FEATURES),
        "populations": [_population(population) for population in (calibration.own, *calibration.others)],
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


def held_out(calibration: Calibration) -> _Record:
    """Return what the thresholds do on images that had no part in setting them, by score and population.

    Each is a record of how many are `attributed`, `of` how many, with the exact 95 % interval `low` to `high`.
    """
    found: _Record = {}
    for score in SCORES:
        found[score] = {}
        for population in (calibration.own, *calibration.others):
            count, total = calibration.attributed(score, population)
            low, high = clopper_pearson(count, total)
            found[score][population.name] = {"attributed": count, "of": total, "low": low, "high": high}
    return found


def _population(population: Population) -> _Record:
    # One line per image: json's own indentation would give each number a line.
    lines = []
    for one in population.measurements:
        values = (one.evidence[name] for name in FEATURES)
        numbers = [value if math.isfinite(value) else None for value in values]
        lines.append(f"{one.pixel_sha256} {json.dumps(numbers, separators=(',', ':'))}")
    return {
        "name": population.name,
        "source": population.source,
        "count": len(lines),
        "left_out": population.left_out,
        "sha256": population.sha256,
        _LINES[_VERSION]: lines,
    }


def decode_calibration(data: bytes) -> Calibration:
    """Read a calibration's file.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is none, damaged or of another version.
    """
    record = read_json(data, _MAX_BYTES)
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ValueError("is no calibration")
    version = record.get("version")
    if type(version) is not int or version not in _LINES:
        raise ValueError(f"is in version {version!r} of its format, this program knows {', '.join(map(str, _LINES))}")
    if record.pop(_HASH, None) != _digest(record):
        raise ValueError("was changed after it was written: its content differs from its checksum")
    features = _read_features(record["features"], str(record["invert"]))
    own, *others = (_read_population(one, features, one[_LINES[version]]) for one in record["populations"])
    calibration = Calibration(
        CalibrationSettings(**record["settings"]),
        dict(record["method"]),
        dict(record["run"]),
        dict(record["network"]),
        str(record["invert"]),
        own,
        tuple(others),
        EvidenceScore.from_record(record["evidence_score"]),
    )
    if not others or record["method_digest"] != calibration.digest:
        raise ValueError("contradicts itself")
    return calibration


def _read_features(names: list[str], tool: str) -> list[str]:
    """Return the names of a calibration's columns: all that its program measured, and none that this one does not."""
    if not set(names) <= set(FEATURES):
        raise ValueError("has other evidence than this program measures")
    made_by = _version(tool)
    if any(name not in names and _version(feature.since) <= made_by for name, feature in FEATURES.items()):
        raise ValueError("lacks evidence that the program which wrote it measures")
    return names


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text, re.ASCII))


def _read_population(record: Mapping[str, Any], features: Sequence[str], lines: Sequence[str]) -> Population:
    measurements = []
    for line in lines:
        digest, _, numbers = line.partition(" ")
        evidence = dict(zip(features, read_json(numbers, _MAX_LINE), strict=True))
        row = {
            "name": digest.encode().hex(),
            "file_sha256": "",
            "pixel_sha256": digest,
            "status": "ok",
            "upsampled": False,
        }
        measurements.append(Measurement.from_record({**row, "evidence": evidence}))
    found = Population(str(record["name"]), str(record["source"]), tuple(measurements), int(record["left_out"]))
    if found.sha256 != record["sha256"]:
        raise ValueError("contradicts itself")
    return found


def read_calibration(path: Path) -> Calibration:
    """Read a calibration's file.

    Raises:
        CalibrationError: It cannot be read, is damaged, or is something else.
    """
    try:
        data = read_regular(path, _MAX_BYTES)
    except UnreadableError as error:
        raise CalibrationError(error.reason, path=path, advice=error.advice) from error
    try:
        return decode_calibration(data)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, UsageError) as error:
        plain = type(error) is ValueError and not isinstance(error, JsonError)
        reason = str(error) if plain else "is damaged or was not written by this program"
        raise CalibrationError(reason, path=path, advice="Make it again with 'invert calibrate'.") from error


def find_calibration(
    network_path: Path, network_sha256: str, given: Iterable[Path] = ()
) -> tuple[Path, Calibration] | None:
    """Return the calibration of a network: among those given, beside it, in the user's cache, or with the project.

    Args:
        network_path: The network's file.
        network_sha256: Its hash.
        given: Files that the user named; those of other networks are passed over.

    Raises:
        CalibrationError: A file that was looked at is damaged.
    """
    beside = (path for path in _places(network_path, network_sha256) if path.is_file())
    for path in itertools.chain(given, beside):
        calibration = read_calibration(path)
        if calibration.network["sha256"] == network_sha256:
            return path, calibration
    return None


def _places(network_path: Path, network_sha256: str) -> list[Path]:
    """Return where the calibration of a network is looked for, in this order."""
    paths = [network_path.with_suffix(_SUFFIX), network_path.with_name(network_path.name + _SUFFIX)]
    cached = cached_path(network_sha256)
    if cached is not None:
        paths.append(cached)
    package = Path(__file__).resolve().parent.parent
    for data in (package / "data" / "networks", package.parent / "data" / "networks"):
        if data.is_dir():
            paths += sorted(path for path in data.iterdir() if path.name.endswith(_SUFFIX))
    return paths


def cached_path(network_sha256: str) -> Path | None:
    """Return where the user's cache keeps the calibration of a network; None where there is no cache."""
    try:
        return cache_folder() / "calibrations" / f"{os.path.basename(network_sha256)}{_SUFFIX}"
    except CacheError:
        return None


def write_calibration(calibration: Calibration, out: Path, on_message: Callable[[str], None]) -> None:
    """Write a calibration, and a copy into the user's cache, where it is found from any folder.

    Args:
        calibration: The calibration.
        out: Its file.
        on_message: Called with a line when there can be no copy.

    Raises:
        OutputError: The file cannot be written.
    """
    data = encode_calibration(calibration)
    write_atomic(out, data)
    cached = cached_path(calibration.network["sha256"])
    if cached is not None:
        try:
            ensure_folder(cached.parent)
            write_atomic(cached, data)
        except OutputError as error:
            on_message(f"no copy is kept for other folders: {error.reason}")
