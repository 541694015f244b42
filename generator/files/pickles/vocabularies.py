"""Every global that a supported network file may ask for, and the record that each becomes."""

from typing import Any, Final

from generator.errors import NetworkFileError
from generator.files.pickles import numpy_records, torch_records
from generator.files.pickles.machine import Budget, Vocabulary, checked_key
from generator.files.pickles.records import (
    ArrayRecord,
    DtypeRecord,
    ModuleRecord,
    NamespaceRecord,
    NetworkRecord,
    OrderedRecord,
)

__all__ = ["NVIDIA", "TORCH"]


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
    else:
        raise NetworkFileError(f"refused: it sets the state of a {type(record).__name__}")


_CONTAINERS: Final = {
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
}

# stylegan2-ada-pytorch, stylegan3 and the TensorFlow code
NVIDIA: Final = Vocabulary(
    words=torch_records.WORDS | numpy_records.WORDS,
    calls={
        **_CONTAINERS,
        **torch_records.CALLS,
        **numpy_records.CALLS,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    },
    classes={("dnnlib.util", "EasyDict"): dict, ("dnnlib.tflib.network", "Network"): NetworkRecord},
    build=_build,
)

_NVIDIA_ONLY: Final = ("_load_from_bytes", "_reconstruct_persistent_obj")

# what torch.save writes for dictionaries of tensors and a training run's settings
TORCH: Final = Vocabulary(
    words=NVIDIA.words,
    calls={key: call for key, call in NVIDIA.calls.items() if key[1] not in _NVIDIA_ONLY},
    classes={("argparse", "Namespace"): NamespaceRecord},
    build=_build,
)
