"""What a pickle may ask of numpy: arrays and numbers of ten plain types, as records.

The real `numpy.dtype`, `scalar` and `_reconstruct` can be made to read any address (a dtype whose state claims field
offsets or objects), so none of them is ever called with anything out of a file.
"""

import math
from typing import Any, Final

from generator.errors import NetworkFileError, escaped
from generator.files.pickles.machine import Budget
from generator.files.pickles.records import ArrayRecord, DtypeRecord, Name, check_shape, kind_of

__all__ = ["CALLS", "WORDS", "build_array", "build_dtype"]

_ITEM_SIZES: Final = {"f2": 2, "f4": 4, "f8": 8, "i1": 1, "i2": 2, "i4": 4, "i8": 8, "u1": 1, "b1": 1}
ORDERS: Final = ("<", ">", "|", "=")


def _bytes(value: object, budget: Budget) -> memoryview:
    """Return bytes as they are, and Python 2's, which arrive as latin-1 text, encoded back."""
    if isinstance(value, str):
        budget.copy(len(value))
        try:
            return memoryview(value.encode("latin-1"))
        except UnicodeEncodeError:
            raise NetworkFileError("damaged: array data spelt as text has characters above 255") from None
    if not isinstance(value, memoryview):
        raise NetworkFileError(f"refused: array data is a {kind_of(value)}")
    return value


def _filled(record: ArrayRecord, dtype: object, shape: object, fortran: object, data: memoryview) -> ArrayRecord:
    """Give `record` its content once its size is known to be right."""
    if not isinstance(dtype, DtypeRecord):
        raise NetworkFileError("refused: an array's type is not a numpy dtype")
    record.shape = check_shape(shape)
    needed = math.prod(record.shape) * _ITEM_SIZES[dtype.code]
    if len(data) != needed:
        raise NetworkFileError(f"damaged: an array of shape {record.shape} needs {needed} bytes and has {len(data)}")
    record.dtype, record.fortran, record.data = dtype, fortran is True, data
    return record


def _dtype(arguments: tuple[Any, ...], budget: Budget) -> DtypeRecord:
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or len(code) > 3 or len(arguments) > 3:
        raise NetworkFileError("refused: a numpy dtype that is not a plain number")
    order, bare = (code[0], code[1:]) if code[:1] in ORDERS and code else ("", code)
    if bare not in _ITEM_SIZES:
        raise NetworkFileError(f"refused: numpy dtype '{escaped(code)}' is not one of {', '.join(_ITEM_SIZES)}")
    return DtypeRecord(bare, order)


def _scalar(arguments: tuple[Any, ...], budget: Budget) -> bool | int | float:
    if len(arguments) != 2:
        raise NetworkFileError("refused: a numpy scalar needs a type and its bytes")
    record = _filled(ArrayRecord(), arguments[0], (), False, _bytes(arguments[1], budget))
    value: bool | int | float = record.array().item()
    return value


def _reconstruct(arguments: tuple[Any, ...], budget: Budget) -> ArrayRecord:
    kind = arguments[0] if len(arguments) == 3 else None
    if not isinstance(kind, Name) or str(kind) != "numpy.ndarray" or arguments[1] != (0,):
        raise NetworkFileError("refused: numpy is asked for something that is not an empty plain array")
    return ArrayRecord()


def _frombuffer(arguments: tuple[Any, ...], budget: Budget) -> ArrayRecord:
    if len(arguments) != 4 or not isinstance(arguments[3], str) or arguments[3] not in ("C", "F"):
        raise NetworkFileError("refused: an array with an unknown memory order")
    data, dtype, shape, order = arguments
    return _filled(ArrayRecord(), dtype, shape, order == "F", _bytes(data, budget))


def _encode(arguments: tuple[Any, ...], budget: Budget) -> memoryview:
    """Handle `_codecs.encode(text, 'latin1')`, how protocol 2 spells bytes."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] not in ("latin1", "latin-1"):
        raise NetworkFileError("refused: '_codecs.encode' is asked for something other than latin-1 bytes")
    return _bytes(arguments[0], budget)


def _no_bytes(arguments: tuple[Any, ...], budget: Budget) -> memoryview:
    """Handle `bytes()`, how protocol 2 spells empty bytes."""
    if arguments:
        raise NetworkFileError("refused: 'bytes' is called with arguments")
    return memoryview(b"")


def build_dtype(record: DtypeRecord, state: object) -> None:
    """Give a dtype its byte order: the only state that a plain number's type has."""
    if not isinstance(state, tuple) or not all(type(item) in (int, str, type(None)) for item in state):
        raise NetworkFileError("refused: a numpy dtype is given a state that no plain number has")
    # version, order, subtype, names, fields, size, alignment, flags and from version 4 on metadata
    order = state[1] if len(state) in (8, 9) and state[1] in ORDERS else None
    expected = (order, None, None, None, -1, -1, 0, None)
    if order is None or state[0] not in (3, 4) or state[1:] != expected[: len(state) - 1]:
        raise NetworkFileError("refused: a numpy dtype is given fields, objects or a size")
    if record.order not in ("", order):
        raise NetworkFileError("refused: a numpy dtype is given two byte orders")
    record.order = order


def build_array(record: ArrayRecord, state: object, budget: Budget) -> None:
    """Fill an array that `_reconstruct` announced.

    Args:
        record: The array.
        state: What the pickle gives it: version, shape, type, memory order and bytes.
        budget: Work that is left for the file.

    Raises:
        NetworkFileError: It is no state of a plain array.
    """
    if record.dtype is not None or not isinstance(state, tuple) or len(state) != 5:
        raise NetworkFileError("refused: an array is given a state that no plain array has")
    _version, shape, dtype, fortran, data = state
    _filled(record, dtype, shape, fortran, _bytes(data, budget))


WORDS: Final = frozenset({("numpy", "ndarray")})
CALLS: Final = {
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
    # numpy 2 renamed the module
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
