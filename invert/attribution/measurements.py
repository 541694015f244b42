"""Measure images against a network: project them and keep what the projection says, a small file per image.

    WORK/settings.json            method, run and network: what all measurements have in common
    WORK/<population>/<key>.json  an image's measurement; key is the sha256 of its name

It is a batch (`invert.batch.work`) whose results are evidence instead of latents.
"""

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from generator.jsontext import read_json
from invert.attribution.evidence import EVIDENCE_VERSION, FEATURES, with_derived
from invert.attribution.explained import Explained, check_group, group_of
from invert.attribution.kind import ImageKind
from invert.durable import TEMPORARY_PREFIX, ensure_folder, write_atomic
from invert.errors import NoInputError, UnreadableError, UsageError
from invert.images.opening import read_regular
from invert.projection.records import differing_keys, method_digest
from invert.store.journal import patient_lock
from invert.store.names import check_name, name_key
from invert.store.protocol import ImageStore

if TYPE_CHECKING:
    from invert.attribution.evidence import EvidenceMeter
    from invert.projection.projector import Projection
    from invert.projection.session import Records, Session

__all__ = [
    "Measurement",
    "MeasurementStore",
    "attribution_method",
    "begin_measurements",
    "begin_settled",
    "clear_measurements",
    "measurement_of",
    "read_measurement",
    "read_record",
    "read_settings",
    "write_record",
]

_Record = dict[str, Any]
_FORMAT = "invert measurements"
_MAX_BYTES = 1 << 20
_WRITTEN = re.compile(
    r"settings\.json|[0-9a-f]{64}\.(json|png)|seed[0-9]+\.png|\.(lock|settings\.lock|shard-[0-9]+-of-[0-9]+\.lock)",
    re.ASCII,
)


@dataclass(frozen=True)
class Measurement:
    """What is known of one image after its projection into one network.

    Attributes:
        name: Name of the image in its batch; see `invert.batch.images`.
        file_sha256: Hash of its file; see `invert.images.target.Target`.
        pixel_sha256: Hash of its pixels, likewise.
        status: Outcome of the optimisation; see `invert.projection.projector.Projection`.
        upsampled: Whether the image is smaller than the network's.
        evidence: Numbers by name, see `invert.attribution.evidence.FEATURES`; NaN where one could not be measured.
        kind: What kind of image it is; None where that was not recorded.
        explained: What preset exact found; None with another preset, and where a calibration has only the group.
        group: What happened to it, of preset exact; see `invert.attribution.explained`. Empty where there is none.
        made_of: Hash of the pixels of the image that it was made of by a perturbation; empty where it was not.
    """

    name: bytes
    file_sha256: str
    pixel_sha256: str
    status: str
    upsampled: bool
    evidence: Mapping[str, float] = field(repr=False)
    kind: ImageKind | None = None
    explained: Explained | None = None
    group: str = ""
    made_of: str = ""

    @property
    def source(self) -> str:
        """Hash of the pixels of the image that it was made of, or of itself."""
        return self.made_of or self.pixel_sha256

    @property
    def why_untold(self) -> str:
        """Why it says nothing of where the image is from, in words; empty where it does."""
        untold = "" if self.explained is None else self.explained.why_untold
        return untold or ("" if self.status == "ok" else "its optimisation diverged")

    @property
    def is_usable(self) -> bool:
        """Whether a calibration can count it: preset exact measures images at their own size, and no other does."""
        return not self.why_untold and (bool(self.group) or not self.upsampled)

    @property
    def distance(self) -> float:
        """LPIPS after the last step."""
        return math.exp(self.evidence["lpips"])

    @property
    def complexity(self) -> float:
        """Complexity of the image; see `invert.attribution.complexity`."""
        return self.evidence["complexity"]

    def to_record(self) -> _Record:
        """Return it as JSON types; what could not be measured is null."""
        evidence = {name: value if math.isfinite(value) else None for name, value in self.evidence.items()}
        return {
            "name": self.name.hex(),
            "file_sha256": self.file_sha256,
            "pixel_sha256": self.pixel_sha256,
            "status": self.status,
            "upsampled": self.upsampled,
            "evidence": evidence,
            "kind": None if self.kind is None else self.kind.to_record(),
            **({} if self.explained is None else {"explained": self.explained.to_record()}),
            **({"group": self.group} if self.group else {}),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read it back; a feature that was not known when it was written counts as not measured.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is no such record.
        """
        evidence = {name: _number(record["evidence"].get(name)) for name in FEATURES}
        if not math.isfinite(evidence["lpips"]) or record["status"] not in ("ok", "diverged"):
            raise ValueError("no measurement")
        explained, group = None, check_group(record["group"]) if "group" in record else ""
        upsampled = bool(record["upsampled"])
        if "explained" in record:
            explained = Explained.from_record(record["explained"])
            evidence, group = with_derived(evidence, explained), _group(explained, upsampled)
        return cls(
            check_name(bytes.fromhex(record["name"])),
            str(record["file_sha256"]),
            str(record["pixel_sha256"]),
            record["status"],
            upsampled,
            evidence,
            None if record.get("kind") is None else ImageKind.from_record(record["kind"]),
            explained,
            group,
        )


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)


def _group(explained: Explained | None, left_small: bool) -> str:
    return "" if explained is None or explained.why_untold else group_of(explained.processing, left_small)


def attribution_method(method: Mapping[str, Any]) -> _Record:
    """Return the method record of measurements: that of the projection, and how the evidence is read off it."""
    return {**method, "evidence_version": EVIDENCE_VERSION}


def measurement_of(name: bytes, projection: "Projection", meter: "EvidenceMeter") -> Measurement:
    """Return what a projection measures."""
    target = projection.target
    identity = name, target.file_sha256, target.pixel_sha256
    explained = Explained.of(projection)
    evidence = with_derived(meter.measure(projection), explained)
    group = _group(explained, target.upsampled)
    return Measurement(*identity, projection.status, target.upsampled, evidence, ImageKind.of(target), explained, group)


class MeasurementStore(ImageStore):
    """The measurements of one population in a work folder.

    Args:
        meter: Measures projections; None where nothing new is measured.
        folder: Folder of the population.
    """

    def __init__(self, meter: "EvidenceMeter | None", folder: Path) -> None:
        self._meter, self._folder = meter, folder
        self._kept: dict[bytes, Measurement] = {}

    def finished(self, name: bytes, file_sha256: str) -> Measurement | None:
        """Return the measurement of an image of this very file; None when it is to be done, or damaged."""
        found = self.get(name)
        return found if found is not None and found.file_sha256 == file_sha256 else None

    def has_entry(self, name: bytes) -> bool:
        """Tell whether there is a measurement."""
        return self.get(name) is not None

    def get(self, name: bytes) -> Measurement | None:
        """Return the measurement of an image, whatever its file is now."""
        if name not in self._kept:
            found = read_measurement(self._folder, name)
            if found is not None:
                self._kept[name] = found
        return self._kept.get(name)

    def fail(self, name: bytes, code: str, reason: str) -> None:
        """Keep nothing: an image without a result is tried again."""

    def keep(self, name: bytes, projection: "Projection") -> None:
        """Measure a projection and keep what is found.

        Raises:
            OutputError: It cannot be written.
        """
        if self._meter is None:
            raise TypeError("a store without a meter cannot measure")
        self.put(measurement_of(name, projection, self._meter))

    def put(self, found: Measurement) -> None:
        """Keep a measurement.

        Raises:
            OutputError: It cannot be written.
        """
        write_record(self._folder / f"{name_key(found.name)}.json", found.to_record())
        self._kept[found.name] = found


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write JSON types with their checksum.

    Raises:
        OutputError: The file cannot be written.
    """
    text = json.dumps(record, sort_keys=True, allow_nan=False)
    write_atomic(path, f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n".encode())


def read_record(path: Path) -> _Record | None:
    """Return what `write_record` wrote; None when it is not there, or damaged."""
    try:
        digest, _, text = read_regular(path, _MAX_BYTES, follow=False).rstrip(b"\n").partition(b" ")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            return None
        record = read_json(text)
    except (UnreadableError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def read_measurement(folder: Path, name: bytes) -> Measurement | None:
    """Return the measurement of an image that a folder keeps; None when it is not there, or damaged."""
    record = read_record(folder / f"{name_key(name)}.json")
    try:
        found = None if record is None else Measurement.from_record(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found is not None and found.name == name else None


def read_settings(work: Path) -> "Records | None":
    """Return the records of what a work folder has; None where nothing was begun.

    Raises:
        NoInputError: It is damaged, or something else.
    """
    from invert.projection.session import Records

    path = work / "settings.json"
    try:
        before = read_json(read_regular(path, _MAX_BYTES, follow=False))
        return Records(dict(before["method"]), dict(before["run"]))
    except UnreadableError as error:
        if error.fault != "missing":
            raise
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise NoInputError("is damaged or was not written by this program", path=path) from error


def begin_measurements(work: Path, method: _Record, run: _Record) -> None:
    """Begin a work folder, or resume one with the same settings; the caller holds its lock.

    Raises:
        UsageError: It was begun with other settings.
        OutputError: It cannot be written.
    """
    settings = {"format": _FORMAT, "method": method, "method_digest": method_digest(method), "run": run}
    ensure_folder(work)
    # Shards may begin at once: one writes the settings, the others compare theirs.
    with patient_lock(work / ".settings.lock", work):
        before = read_settings(work)
        if before is None:
            write_atomic(work / "settings.json", json.dumps(settings, indent=1).encode() + b"\n")
            return
    differing = differing_keys(dict(before.method), method) + differing_keys(dict(before.run), run)
    if differing:
        reason = f"was begun with other settings ({'; '.join(differing)})"
        raise UsageError(
            reason, path=work, advice="Use the same settings, or remove the folder.", code="settings-differ"
        )


def begin_settled(work: Path | None, open_session: "Callable[[], Session]") -> "Session":
    """Open a session and begin the work folder of its measurements.

    Args:
        work: The folder; None where nothing is kept.
        open_session: Opens a session whose open settings are those that the folder has; see `read_settings`.

    Raises:
        UsageError: The folder was begun with other settings.
        OutputError: It cannot be written.
    """
    while True:
        before = None if work is None else read_settings(work)
        session = open_session()
        try:
            if work is not None:
                begin_measurements(work, attribution_method(session.method), session.run)
            return session
        except UsageError as error:
            # Another shard may have begun in between: its record settles it for this one too.
            if error.code != "settings-differ" or (work is not None and read_settings(work) == before):
                raise


def clear_measurements(work: Path) -> None:
    """Remove a work folder that is not needed any more; what this program did not put there stays."""
    with contextlib.suppress(OSError):
        for folder, _, names in os.walk(work, topdown=False):
            for name in names:
                if _WRITTEN.fullmatch(name) or name.startswith(TEMPORARY_PREFIX):
                    os.unlink(os.path.join(folder, name))
            with contextlib.suppress(OSError):
                os.rmdir(folder)
