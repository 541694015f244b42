"""Measure each way of doing a thing in a process of its own: no way's memory, kernels or allocator reach another.

A benchmark module prints one JSON object when it is called with `--measure`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

__all__ = ["measure_apart", "median_seconds", "prepare_kernels"]


def measure_apart(module: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Run `python -m module --measure arguments...` and return what it printed."""
    command = [sys.executable, "-m", module, "--measure", *arguments]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})})
    result: dict[str, float] = json.loads(found.stdout)
    return result


def prepare_kernels(native: bool, cuda: bool = False) -> None:
    """Load the native kernels, those for a GPU too, or see that they stay away."""
    if native:
        from generator.ops.native.build import ensure

        ensure(cuda=cuda, on_message=lambda text: print(text, file=sys.stderr))
    else:
        os.environ["INVERT_NATIVE"] = "0"


def median_seconds(step: Callable[[int], object], budget: float, warm_up: int = 2, least: int = 3) -> float:
    """Return the median time of a step over about `budget` seconds, after `warm_up` steps."""
    times: list[float] = []
    for index in range(10_000):
        start = time.perf_counter()
        step(index + 3)
        times.append(time.perf_counter() - start)
        if len(times) >= warm_up + least and sum(times[warm_up:]) > budget:
            break
    kept = sorted(times[warm_up:])
    return kept[len(kept) // 2]
