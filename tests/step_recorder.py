"""A recorder of steps for the CPU: what a graph of a GPU does, one operator after another."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKS = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "item", "masked_select", "lift_fresh", "unique_dim"}
"""Operators that wait for a number of the device, or bring one from the host: a recording has none of them."""

MAKES = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_"}


class Recording(TorchDispatchMode):
    """All operators that are called inside, with the very tensors that they were called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ASKS, f"the step asks for a number: {func}"
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Do the same again, into the same memory."""
        for func, args, kwargs, result in self.calls:
            if func.overloadpacket.__name__ in MAKES:
                continue
            if _is_view(func, args, result):
                continue  # it sees what its base has
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _is_view(func: Any, args: Any, result: Any) -> bool:
    """Tell whether a result is the memory of an argument, which the operator only looked at."""
    if any(one.alias_info is not None and one.alias_info.is_write for one in func._schema.arguments):
        return False
    known, found = ({_memory(one) for one in tree_leaves(some) if isinstance(one, Tensor)} for some in (args, result))
    return bool(found) and known.issuperset(found)


def _memory(tensor: Tensor) -> int:
    """Return where a tensor's memory is; a packed weight is a memory of its own."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


class Replayed:
    """Work that is done as it stands for some times, recorded the next time, and repeated from then on.

    Args:
        work: As for `StepGraph`.
        before: How many times come before the recording.
    """

    def __init__(self, work: Callable[[], Tensor], before: int = 2) -> None:
        self._work, self._before, self.replayed = work, before, 0
        self._recording: Recording | None = None
        self._result: Tensor | None = None

    @torch.no_grad()
    def _repeat(self) -> Tensor:
        assert self._recording is not None
        assert self._result is not None
        self._recording.replay()
        self.replayed += 1
        return self._result

    def __call__(self) -> Tensor:
        if self._recording is not None:
            return self._repeat()
        if self._before:
            self._before -= 1
            return self._work()
        with Recording() as self._recording:
            self._result = self._work().detach()
        return self._result.clone()
