"""A picture without a result, as a file of the journal."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invert.batch.names import check_name, name_key, one_line, printable

__all__ = ["Failure", "encode_failure", "read_failure"]


@dataclass(frozen=True)
class Failure:
    """A picture without a result: its name, a stable code and the reason in words."""

    name: bytes
    code: str
    reason: str


def encode_failure(failure: Failure) -> bytes:
    """Return a failure's file."""
    values = {
        "name_b64": base64.b64encode(failure.name).decode(),
        "name": printable(failure.name),
        "code": one_line(failure.code),
        "reason": one_line(failure.reason),
    }
    return json.dumps(values, indent=1).encode() + b"\n"


def read_failure(path: Path) -> Failure | None:
    """Return a failure of the journal; None when it is damaged."""
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        name = check_name(base64.b64decode(values["name_b64"], validate=True))
        if name_key(name) == path.stem:
            return Failure(name, one_line(str(values["code"])), one_line(str(values["reason"])))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    return None
