"""What a projection step of small images takes beside its convolutions: calls of operators, and processor time.

    python -m bench.step_overhead [--steps 100]

One thread. For the third column a step is made once and then again and again with convolutions that only return what
they returned then: what is left is other operators, their calls and Python.
"""

import argparse
import time
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.machine import machine
from bench.projection_step import network, ours
from bench.side_by_side import prepare_kernels
from generator.ops import frozen_conv
from generator.stylegan2.config import SynthesisConfig
from invert.projection.perceptual import Perceptual
from invert.projection.session import keep_freed_memory

__all__ = ["Calls"]

SIDES, BATCHES = (32, 64), (1, 8)
_FIRST = 100  # where the noise on w has not gone and the rate has risen


class Calls(TorchDispatchMode):
    """Counts the operators that are called while it is entered, without those that operators call themselves.

    Attributes:
        counts: By name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one and call it."""
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


class Replayed:
    """Stands for torch's packed convolutions: records what they return, and returns it again once `replay` was called.

    Args:
        operators: The operators.
    """

    def __init__(self, operators: Any) -> None:
        self._operators, self._kept, self._at, self._records = operators, list[torch.Tensor](), 0, True

    def replay(self) -> None:
        """Begin with the first result again."""
        self._records, self._at = False, 0

    def __getattr__(self, name: str) -> Any:
        """Return the operator of this name."""
        operator = getattr(self._operators, name)
        if not name.endswith("_pointwise"):
            return operator

        def call(*arguments: Any) -> torch.Tensor:
            if self._records:
                self._kept.append(operator(*arguments).clone())
            self._at += 1
            return self._kept[self._at - 1].clone()  # what comes after may write into it

        return call


def measure(side: int, batch: int, steps: int) -> tuple[int, float, float]:
    """Return the calls of a step, and the median milliseconds of processor time with and without convolutions."""
    targets = torch.rand([batch, 3, side, side], generator=torch.Generator().manual_seed(1)) * 2 - 1
    step = ours(network(SynthesisConfig(img_resolution=side, channel_base=2048)), Perceptual(), targets)
    step(_FIRST)
    with Calls() as calls:
        step(_FIRST)
    found = []
    replayed = Replayed(frozen_conv._MKLDNN)
    for operators in (frozen_conv._MKLDNN, replayed):
        frozen_conv._MKLDNN = operators
        times = []
        for number in range(steps + 1):
            if operators is replayed and number:
                replayed.replay()
            start = time.process_time()
            step(_FIRST + number)
            times.append(time.process_time() - start)
        found.append(sorted(times[1:])[steps // 2] * 1e3)
    frozen_conv._MKLDNN = replayed._operators
    return calls.counts.total(), found[0], found[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    keep_freed_memory()
    prepare_kernels(True)
    print(f"{machine()}\n\nOne projection step, one thread.\n")
    print("| px | batch | calls | processor, ms | beside the convolutions, ms |\n|---|---|---|---|---|")
    for side in SIDES:
        for batch in BATCHES:
            calls, whole, rest = measure(side, batch, steps)
            print(f"| {side} | {batch} | {calls} | {whole:.1f} | {rest:.1f} |", flush=True)


if __name__ == "__main__":
    main()
