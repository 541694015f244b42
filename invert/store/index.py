"""The index of a folder of results: results.jsonl, which grows by a line for each image.

The first line has the format, the settings and the run record. Then there is one line, with its "type", for each

    image    that is finished: the names of its files, and the numbers and texts of its result;
    failure  an image that could not be used, with a code and the reason;
    run      a command that began later: failures before this line are those of earlier commands.

Where one image has several lines, the last one counts. A last line that was torn by a crash is left out. Version 1 was
one JSON object, results.json, that was written anew for each image; it is read, and converted when the folder is
resumed.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generator.jsontext import read_json
from invert.errors import OutputError, UnreadableError, UsageError
from invert.images.opening import read_regular
from invert.projection.records import method_digest
from invert.store.result import FIELDS

__all__ = [
    "EARLIER_INDEX",
    "INDEX",
    "PASTED",
    "SNAPSHOTS",
    "FolderEntry",
    "FolderError",
    "Index",
    "drop_earlier_index",
    "encode_lines",
    "read_index",
]

INDEX = "results.jsonl"
SNAPSHOTS = "-steps.png"
"""Ends the name of the images on the way to a result, beside it."""

PASTED = "-pasted.png"
"""Ends the name of the photo with the reconstruction in the place of the face that was cut out."""

EARLIER_INDEX = "results.json"
_FORMAT = "invert projections"
_VERSION = 2

_MAX_INDEX = 1 << 30
_MAX_LINE = 1 << 20

_DIGESTS = ("npz_sha256", "png_sha256", "network_sha256", "snapshots_sha256", "pasted_sha256")

_Record = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class FolderEntry:
    """A finished image as the index lists it.

    Attributes:
        name: Name of its two files, without suffix.
        image: The image's name in the batch, as it may be shown.
        source: Name of the image's file.
        npz_sha256: Digest of the .npz, to notice damage.
        png_sha256: Digest of the .png, to know it as ours; None in an index of an earlier version.
        network_sha256: Digest of the network that was tuned to the image, likewise; None where none was.
        run: Which of the index's runs made it.
        facts: Numbers and texts of its result; see `invert.store.result.Result.facts`.
        snapshots_sha256: Digest of the images on the way to the result; None where none were asked for.
        pasted_sha256: Digest of the photo with the result in it; None where it was not asked for.
    """

    name: str
    image: str
    source: str
    npz_sha256: str
    run: int
    facts: Mapping[str, Any]
    png_sha256: str | None = None
    network_sha256: str | None = None
    snapshots_sha256: str | None = None
    pasted_sha256: str | None = None

    @property
    def digests(self) -> dict[str, str | None]:
        """Digest of each of its files, by suffix; None for that of a .png that an earlier version wrote."""
        more = {
            ".safetensors": self.network_sha256,
            SNAPSHOTS: self.snapshots_sha256,
            PASTED: self.pasted_sha256,
        }
        made = {suffix: digest for suffix, digest in more.items() if digest}
        return {".npz": self.npz_sha256, ".png": self.png_sha256, **made}

    @property
    def key(self) -> Key:
        """What the image is known by: the name and the content of its file, wherever it lies."""
        return self.source, self.facts["file_sha256"]

    @property
    def distance(self) -> float:
        """LPIPS after the last step."""
        return float(self.facts["distance"])

    @property
    def status(self) -> str:
        """ "ok" or "diverged"."""
        return str(self.facts["status"])

    def to_line(self) -> _Record:
        """Return its line in the index."""
        names = {"type": "image", "name": self.name, "image": self.image, "source": self.source}
        digests = {key: getattr(self, key) for key in _DIGESTS}
        known = {key: digest for key, digest in digests.items() if digest is not None}
        return {**names, **known, "run": self.run, **self.facts}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> "FolderEntry":
        """Read its line in an index, of this version or an earlier one.

        Raises:
            ValueError, TypeError, KeyError: It is none.
        """
        facts: _Record = {}
        for one in FIELDS:
            if not one.is_listed:
                continue
            # What is not known is left out, as `Result.facts` does: JSON has no NaN.
            if one.name not in line and (one.is_of_some or one.default != one.default):
                continue
            facts[one.name] = line[one.name] if one.since == 1 else line.get(one.name, one.default)
            if one.kind == "texts" and not all(isinstance(text, str) for text in facts[one.name]):
                raise ValueError(f"its {one.name} are no texts")
            problem = one.problem(facts[one.name], {}, "none")
            if problem:
                raise ValueError(problem)
        # Names lead to files that are removed and replaced: nothing but plain names in this folder.
        name, run = line["name"], line["run"]
        if not isinstance(name, str) or not name or set(name) & {"/", "\\", "\0"} or type(run) is not int:
            raise ValueError("its name is not plain")
        source, digest = line["source"], line["npz_sha256"]
        image = line.get("image", source)
        others = [line.get(key) for key in _DIGESTS[1:]]
        if not all(isinstance(text, str) for text in (source, digest, image, *(other or "" for other in others))):
            raise TypeError("its names are no texts")
        return cls(name, image, source, digest, run, facts, *others)


@dataclass
class Index:
    """What an index says.

    Attributes:
        method: `invert.projection.records.method_record` of all results.
        runs: Run records, in the order of the commands.
        entries: The finished images, by what they are known by.
        failures: The images without a result of the last command, by their names as they may be shown.
        version: Version of the file that it was read from.
        size: How many bytes of results.jsonl hold whole lines; 0 before there is a file.
    """

    method: _Record
    runs: list[_Record]
    entries: dict[Key, FolderEntry] = field(default_factory=dict)
    failures: dict[str, _Record] = field(default_factory=dict)
    version: int = _VERSION
    size: int = 0

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take account of a line.

        Raises:
            ValueError, TypeError, KeyError: It is none.
        """
        if line["type"] == "image":
            entry = FolderEntry.from_line(line)
            if not 0 <= entry.run < len(self.runs):
                raise ValueError("it is of no run")
            self.entries[entry.key] = entry
            self.failures.pop(entry.image, None)
        elif line["type"] == "failure":
            self.failures[str(line["image"])] = {key: str(line[key]) for key in ("image", "code", "reason")}
        elif line["type"] == "run" and isinstance(line["run"], dict):
            self.runs.append(line["run"])
            self.failures.clear()
        else:
            raise ValueError("it is of another type")

    def to_bytes(self) -> bytes:
        """Return the whole of a new results.jsonl that says the same."""
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "method_digest": method_digest(self.method),
            "method": self.method,
            "run": self.runs[0],
        }
        runs = [{"type": "run", "run": run} for run in self.runs[1:]]
        failures = [{"type": "failure", **failure} for failure in self.failures.values()]
        return encode_lines([header, *runs, *(entry.to_line() for entry in self.entries.values()), *failures])


def encode_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return lines as they are in an index."""
    return b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines)


def read_index(folder: Path) -> Index | None:
    """Return what the index of a folder says; None when there is none.

    Raises:
        UsageError: It is damaged, of a later version, or was not written by this program.
        OutputError: It cannot be read.
    """
    data = _read(folder / INDEX)
    if data is not None:
        return _guarded(folder / INDEX, _of_lines, data)
    data = _read(folder / EARLIER_INDEX)
    return None if data is None else _guarded(folder / EARLIER_INDEX, _of_object, data)


def drop_earlier_index(folder: Path) -> None:
    """Remove a results.json of version 1, whose content is in results.jsonl; that of somebody else stays."""
    path = folder / EARLIER_INDEX
    with contextlib.suppress(FileNotFoundError, UsageError):
        data = _read(path)
        if data is not None:
            _guarded(path, _of_object, data)
            path.unlink()


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, _MAX_INDEX, follow=False)
    except UnreadableError as error:
        if error.fault == "missing":
            return None
        if error.fault in ("folder", "not-regular"):
            raise _not_ours(path) from error
        raise OutputError(error.reason, path=path, advice=error.advice) from error


def _guarded(path: Path, read: Callable[[bytes], Index], data: bytes) -> Index:
    try:
        return read(data)
    except _VersionError as error:
        reason = f"is in version {error} of its format, this program writes {_VERSION}"
        raise FolderError(reason, path=path, advice="Choose another --out.", code="results-version") from error
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise _not_ours(path) from error


def _of_lines(data: bytes) -> Index:
    whole = data[: data.rfind(b"\n") + 1]
    lines = (read_json(line, _MAX_LINE) for line in whole.split(b"\n")[:-1])
    header: Any = next(lines, None)
    _check_header(header, _VERSION)
    index = Index(dict(header["method"]), [dict(header["run"])], size=len(whole))
    for line in lines:
        index.hear(line)
    return index


def _of_object(data: bytes) -> Index:
    """Read version 1."""
    values = read_json(data)
    _check_header(values, 1)
    index = Index(dict(values["method"]), [dict(run) for run in values["runs"]], version=1)
    if not index.runs:
        raise ValueError("it is of no run")
    for line in values["images" if "images" in values else "pictures"]:
        index.hear({**line, "type": "image"})
    for failure in values["failures"]:
        image = str(failure["path"])
        index.failures[image] = {"image": image, "code": str(failure["code"]), "reason": str(failure.get("reason"))}
    return index


class _VersionError(ValueError):
    """The index is of another version."""


def _check_header(values: Any, version: int) -> None:
    if values["format"] != _FORMAT:
        raise ValueError("it is something else")
    if values["version"] != version:
        raise _VersionError(values["version"])


class FolderError(UsageError):
    """What the output folder holds does not go with the command."""

    what = "output"


def _not_ours(path: Path) -> UsageError:
    return FolderError(
        "is damaged or was not written by this program",
        path=path,
        advice="Move it away, or choose another --out.",
        code="results-damaged",
    )
