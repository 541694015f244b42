"""Every global that a supported network file may ask for, and the record that each becomes.

Beside networks stand paths, dates and command lines: they become text or records that are only ever shown.
"""

from dataclasses import replace
from typing import Any, Final

from generator.errors import NetworkFileError
from generator.files.pickles import numpy_records, torch_records
from generator.files.pickles.machine import MAX_KEY, Budget, Vocabulary, checked_key
from generator.files.pickles.records import (
    ArrayRecord,
    DtypeRecord,
    ModuleRecord,
    Name,
    NamespaceRecord,
    NetworkRecord,
    ObjectRecord,
    OrderedRecord,
    kind_of,
)

__all__ = ["NVIDIA", "TORCH"]

MAX_PARTS: Final = 100  # of a path


def _ordered(arguments: tuple[Any, ...], budget: Budget) -> OrderedRecord:
    """Handle `OrderedDict()`; its items follow one by one, or as one list of pairs from Python 2."""
    pairs = arguments[0] if len(arguments) == 1 else []
    if len(arguments) > 1 or not isinstance(pairs, list):
        raise NetworkFileError("refused: an ordered dictionary that is not made from pairs")
    result = OrderedRecord()
    budget.spend(len(pairs))
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise NetworkFileError("refused: an ordered dictionary that is not made from pairs")
        result[checked_key(pair[0])] = pair[1]
    return result


def _set(arguments: tuple[Any, ...], budget: Budget) -> set[Any]:
    """Handle `set([...])`, how protocols before 4 spell a set."""
    items = arguments[0] if len(arguments) == 1 else []
    if len(arguments) > 1 or not isinstance(items, list):
        raise NetworkFileError("refused: a set that is not made from a list")
    budget.spend(len(items))
    return set(map(checked_key, items))


def _module(arguments: tuple[Any, ...], budget: Budget) -> ModuleRecord:
    """Handle `_reconstruct_persistent_obj(meta)`: keep the class name and state, leave the source text unread."""
    meta = arguments[0] if len(arguments) == 1 else None
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise NetworkFileError("refused: a persistent object that does not describe a class")
    class_name, state, source = meta.get("class_name"), meta.get("state"), meta.get("module_src", "")
    if not isinstance(class_name, str) or not isinstance(state, dict) or not isinstance(source, str):
        raise NetworkFileError("refused: a persistent object without a class name and its attributes")
    return ModuleRecord(class_name, state, len(source))


def _build(record: object, state: object, budget: Budget) -> None:
    """Fill the few records that have a state; nothing else has any."""
    if isinstance(record, DtypeRecord):
        numpy_records.build_dtype(record, state)
    elif isinstance(record, ArrayRecord):
        numpy_records.build_array(record, state, budget)
    elif isinstance(record, NetworkRecord) and record.state is None and isinstance(state, dict):
        record.state = state
    elif isinstance(record, NamespaceRecord) and record.values is None and isinstance(state, dict):
        record.values = state
    elif isinstance(record, OrderedRecord) and isinstance(state, dict) and state.keys() <= {"_metadata"}:
        pass
    elif isinstance(record, ObjectRecord) and not record.is_filled:
        record.state, record.is_filled = state, True
    elif isinstance(record, _EasyDict) and isinstance(state, dict):
        pass  # it keeps its items as attributes too
    else:
        raise NetworkFileError(f"refused: it sets the state of a {kind_of(record)}")


class _EasyDict(dict[Any, Any]):
    """An `easydict.EasyDict`."""

    __slots__ = ()


def _path(arguments: tuple[Any, ...], budget: Budget) -> str:
    """Handle `pathlib.PosixPath(part, ...)` and its kin: a text, which is only shown."""
    if len(arguments) > MAX_PARTS or not all(isinstance(part, str) and len(part) <= MAX_KEY for part in arguments):
        raise NetworkFileError("refused: a path that is not made of a few names")
    budget.copy(sum(map(len, arguments)))
    return "/".join("" if part == "/" else part for part in arguments)


def _default(arguments: tuple[Any, ...], budget: Budget) -> OrderedRecord:
    """Handle `defaultdict(factory)`, whose items follow one by one."""
    if len(arguments) > 1 or not all(item is None or isinstance(item, Name) for item in arguments):
        raise NetworkFileError("refused: a dictionary with defaults that is made of more than a class")
    return OrderedRecord()


def _namespace(arguments: tuple[Any, ...], budget: Budget) -> NamespaceRecord:
    """Handle `SimpleNamespace()`, whose attributes follow."""
    if arguments:
        raise NetworkFileError("refused: a namespace that is made of something")
    return NamespaceRecord()


def _moment(arguments: tuple[Any, ...], budget: Budget) -> ObjectRecord:
    """Handle dates, times and what is between them."""
    return ObjectRecord(Name("datetime", "datetime"), is_filled=True)


_BESIDE: Final = {
    **{
        (module, name): _path
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
    },
    **{("datetime", name): _moment for name in ("date", "datetime", "time", "timedelta", "timezone")},
    ("collections", "defaultdict"): _default,
    ("types", "SimpleNamespace"): _namespace,
}
_PLAIN_CLASSES: Final = frozenset(
    (module, name)
    for module in ("builtins", "__builtin__")
    for name in ("bool", "dict", "float", "int", "list", "str", "tuple")
)

_CONTAINERS: Final = {
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
}

# a bare pickle, as the code of stylegan2-ada-pytorch, stylegan3 and TensorFlow write it
NVIDIA: Final = Vocabulary(
    words=torch_records.WORDS | numpy_records.WORDS | _PLAIN_CLASSES,
    calls={
        **_CONTAINERS,
        **_BESIDE,
        **torch_records.CALLS,
        **numpy_records.CALLS,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    },
    classes={
        ("dnnlib.util", "EasyDict"): dict,
        ("easydict", "EasyDict"): _EasyDict,
        ("dnnlib.tflib.network", "Network"): NetworkRecord,
        ("argparse", "Namespace"): NamespaceRecord,
    },
    build=_build,
    foreign=True,
)

# what torch.save writes, whose storages lie beside the pickle and never in it
TORCH: Final = replace(NVIDIA, calls={key: call for key, call in NVIDIA.calls.items() if key[1] != "_load_from_bytes"})
