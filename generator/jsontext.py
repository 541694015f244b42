"""Read JSON that anybody may have written: bounded in size, depth and number of values before it is parsed.

What comes out is plain: no key twice, no integer beyond 64 bits and, unless asked for, no NaN or infinity and no lone
surrogates, which no stream can write. Whatever is wrong with the text is one kind of error.
"""

import json
import math
import re
from typing import Any, Final

__all__ = ["MAX_BYTES", "MAX_DEPTH", "JsonError", "finite_number", "read_json", "whole_number"]

MAX_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 1 << 23
"""A value takes up to a hundred bytes of memory, however few it has in the text."""

MAX_INTEGER: Final = (1 << 63) - 1
_MARKS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_MARK: Final = b"\xef\xbb\xbf"  # some editors begin UTF-8 so
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class JsonError(ValueError):
    """A text is no JSON, or more than this program takes."""


def read_json(data: bytes | str, limit: int = MAX_BYTES, *, surrogates: bool = False, finite: bool = True) -> Any:
    """Return what a JSON text says.

    Args:
        data: The text; bytes are UTF-8.
        limit: The most bytes, or characters, that it may have.
        surrogates: Whether strings may hold lone surrogates, which stand for the bytes of a file's name.
        finite: Whether numbers must be finite; where not, NaN and Infinity are numbers too.

    Raises:
        JsonError: It is not JSON, or too large, too deep, or holds a key twice or a number that is out of range.
    """
    if len(data) > limit:
        raise JsonError(f"it has {len(data)} bytes, over the limit of {limit}")
    try:
        text = data if isinstance(data, str) else data.removeprefix(_MARK).decode()
        _check_extent(text)
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float if finite else float,
            parse_constant=_constant if finite else float,
        )
        if not surrogates and _SURROGATE.search(text):
            _check_characters(value)
    except JsonError:
        raise
    except UnicodeError as error:
        raise JsonError("it is not UTF-8") from error
    except RecursionError as error:
        raise JsonError("it is nested too deeply") from error
    except ValueError as error:
        raise JsonError(f"it is not JSON ({' '.join(str(error).split())[:100]})") from error
    return value


def _check_extent(text: str) -> None:
    brackets = text.count("[") + text.count("{")
    if brackets + text.count(",") + text.count(":") > MAX_VALUES:
        raise JsonError(f"it has more than {MAX_VALUES} values")
    if brackets <= MAX_DEPTH:
        return
    depth = 0
    for mark in _MARKS.finditer(text):
        first = text[mark.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise JsonError("it is nested too deeply")
        elif first != '"':
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise JsonError("it has a key twice")
    return result


def _integer(text: str) -> int:
    # int() of thousands of digits takes long, or raises an error of its own.
    value = int(text) if len(text) <= 20 else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise JsonError("it has an integer of more than 64 bits")
    return value


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise JsonError("it has a number out of range")
    return value


def _constant(text: str) -> float:
    raise JsonError(f"it has {text} in the place of a number")


def _check_characters(value: Any) -> None:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            one.encode()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one
            waiting += one.values()


def whole_number(value: object, name: str, low: int, high: int) -> int:
    """Return a value that a file gives if it is an integer in low..high; true and false are none.

    Raises:
        ValueError: It is not.
    """
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} is not an integer in {low}..{high}")
    return value


def finite_number(value: object, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a value that a file gives as a float if it is a finite number in low..high; true and false are none.

    Raises:
        ValueError: It is not.
    """
    if type(value) not in (int, float):
        raise ValueError(f"{name} is not a number")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{name} is out of range")
    return number
