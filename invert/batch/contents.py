"""What a journal holds, in the order in which it is packed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from invert.batch.entry import Entry, EntryError, decode
from invert.batch.failure import Failure, read_failure
from invert.batch.manifest import Manifest
from invert.batch.names import name_key, row_order
from invert.batch.work_folder import WorkFolder

__all__ = ["REPORT_EVERY", "Contents", "OnProgress", "collect", "read_entry"]

REPORT_EVERY = 256

OnProgress = Callable[[str, int, int], None]
"""Called with "reading", "writing" or "checking", the pictures done, and all of them."""


@dataclass
class Contents:
    """What goes into the file: rows in their order, as names and warnings, and failures in theirs."""

    manifest: Manifest
    names: list[bytes] = field(default_factory=list)
    warnings: list[bytes] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    failure_indices: list[int] = field(default_factory=list)
    layers: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    diverged: int = 0


def collect(work: WorkFolder, manifest: Manifest, on_progress: OnProgress) -> Contents:
    """Read the whole journal once, to know what is intact and in which order it goes.

    Raises:
        OSError, OutputError: It cannot be read.
    """
    contents = Contents(manifest)
    found: list[tuple[list[bytes], bytes, bytes | Failure]] = []
    keys = sorted(work.keys("entries"))
    for done, key in enumerate(keys):
        if done % REPORT_EVERY == 0:
            on_progress("reading", done, len(keys))
        try:
            entry = read_entry(work, key, manifest)
            layers = {layer: values.shape[0] for layer, values in entry.noise.items()}
            contents.layers = contents.layers or layers
            if layers != contents.layers:
                raise EntryError("its noise maps are of other layers")
        except EntryError:
            contents.damaged.append(f"{key}.entry")
            continue
        contents.diverged += entry.status != "ok"
        found.append((row_order(entry.name), entry.name, json.dumps(list(entry.warnings)).encode()))
    for key in sorted(work.keys("failures") - set(keys)):
        failure = read_failure(work.failure(key))
        if failure is None:
            contents.damaged.append(f"{key}.json")
        else:
            found.append((row_order(failure.name), failure.name, failure))
    for index, (_, name, what) in enumerate(sorted(found, key=lambda item: item[0])):
        if isinstance(what, Failure):
            contents.failures.append(what)
            contents.failure_indices.append(index)
        else:
            contents.names.append(name)
            contents.warnings.append(what)
            contents.indices.append(index)
    return contents


def read_entry(work: WorkFolder, key: str, manifest: Manifest) -> Entry:
    """Return one picture of a journal.

    Raises:
        EntryError: It is damaged. OSError: It cannot be read.
    """
    entry = decode(work.entry(key).read_bytes(), manifest)
    if name_key(entry.name) != key:
        raise EntryError("it is under another name")
    return entry
