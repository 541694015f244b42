"""Settings that came later than the files that are about: those stay as they were."""

import dataclasses
from typing import Any

__all__ = ["is_left_out", "later"]

_KEY = "later"


def later(default: Any) -> Any:
    """Return a dataclass field that is left out of files while it has its default.

    So a network or a run that does not use it is written as it was before there was such a setting.
    """
    return dataclasses.field(default=default, metadata={_KEY: True})


def is_left_out(field: "dataclasses.Field[Any]", value: Any) -> bool:
    """Tell whether a field's value is not written."""
    return bool(field.metadata.get(_KEY)) and bool(value == field.default)
