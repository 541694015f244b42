"""Parts of a long measurement, kept in the user's cache as they are done, so that one that was stopped is resumed."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from generator.ops.native.build import kernels_hash
from invert.projection.cache import cached_file, keep_arrays, read_arrays

__all__ = ["Parts"]

_KIND = "metrics"


class Parts:
    """Arrays by what they are computed from.

    Args:
        about: All that decides the arrays, as JSON types.
        device: Type of the device that computes them.
        keep: Whether they are kept, and looked for.
    """

    def __init__(self, about: Mapping[str, Any], *, device: str, keep: bool) -> None:
        # Other versions and other hardware round otherwise: what is resumed has to be what would be computed now.
        arithmetic = [torch.__version__, torch.backends.cpu.get_cpu_capability(), device, kernels_hash()]
        self._about = {**about, "arithmetic": arithmetic}
        self._keep = keep

    def get(
        self,
        part: Mapping[str, Any],
        compute: Callable[[], NDArray[Any]],
        kind: type[np.generic],
        shape: tuple[int, ...],
    ) -> NDArray[Any]:
        """Return an array that was kept, or compute it now and keep it.

        Args:
            part: What tells it from the others, as JSON types.
            compute: Computes it.
            kind: Its type.
            shape: Its shape.
        """
        if not self._keep:
            return compute()
        text = json.dumps([self._about, part], sort_keys=True)
        path = cached_file(_KIND, f"{hashlib.sha256(text.encode()).hexdigest()}.npz")
        found = read_arrays(path, {"values": (kind, shape)})
        if found is not None:
            return found["values"]
        values = compute()
        keep_arrays(path, values=values)
        return values
