"""Compare everything in a file of latents with its checksums."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from generator.jsontext import JsonError, read_json
from invert.errors import NumericError
from invert.hdf5.reading import Latents, LatentsError
from invert.hdf5.schema import content_digest, row_digest
from invert.store.names import check_name, printable, row_order
from invert.store.result import FIELDS, MAX_TEXTS

__all__ = ["verify"]


def verify(latents: Latents, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Read all of a file and compare it with its checksums.

    Args:
        latents: The file.
        on_progress: Called with the number of rows looked at, and of all.

    Raises:
        LatentsError: Something is damaged; the message says what.
        NumericError: A w or a distance is not finite.
    """
    names = latents.names
    _check_order(latents)
    digests = [digest.decode("ascii", "replace") for digest in latents.column("row_sha256")]
    shown = [text.decode("utf-8", "replace") for text in latents.column("name")]
    structure = latents.structure
    for first, values in latents.blocks():
        if on_progress is not None:
            on_progress(first, len(latents))
        for i in range(len(values["distance"])):
            number = first + i
            row = {path: column[i] for path, column in values.items()}
            if row_digest(names[number], latents.warnings[number], row, structure.columns) != digests[number]:
                raise _damaged(latents, f"row {number}, {printable(names[number])}, differs from its checksum")
            _check_values(latents, number, row)
            if shown[number] != printable(names[number]):
                raise _damaged(latents, f"row {number} is shown under another name")
    failures = [(index, failure.name, failure.code, failure.reason) for index, failure in latents.failures]
    rows = zip(latents.column("index").tolist(), shown, digests, strict=True)
    if content_digest(structure.header, rows, failures) != structure.content_sha256:
        raise _damaged(latents, "settings, order or failures differ from the checksum")


def _check_order(latents: Latents) -> None:
    """Compare the order of all images, also of those without a result, with that of their names."""
    index = latents.column("index").tolist()
    both = [*zip(index, latents.names, strict=True), *((i, failure.name) for i, failure in latents.failures)]
    both.sort()
    names = [name for _, name in both]
    try:
        keys = [row_order(check_name(name)) for name in names]
    except ValueError as error:
        raise _damaged(latents, "a name cannot be that of a file") from error
    if [i for i, _ in both] != list(range(len(both))) or any(a >= b for a, b in pairwise(keys)):
        raise _damaged(latents, "the rows are in another order")


def _check_values(latents: Latents, number: int, row: dict[str, Any]) -> None:
    fields = [field for field in FIELDS if field.column in row]  # a file of an earlier version lacks some
    for field in fields:
        if field.choices and row[field.column or ""].decode("ascii", "replace") not in field.choices:
            raise _damaged(latents, f"row {number} has an unknown {field.name}")
    try:
        read_json(latents.warnings[number], MAX_TEXTS)
    except JsonError as error:
        raise _damaged(latents, f"row {number} has warnings that cannot be read") from error
    if not all(np.isfinite(row[field.column or ""]).all() for field in fields if field.finite):
        raise NumericError(f"row {number} has numbers that are not finite", path=latents.path)


def _damaged(latents: Latents, reason: str) -> LatentsError:
    return LatentsError(f"is damaged: {reason}", path=latents.path)
