"""Time projection steps alone, beside a busy process, and in two programs at once, under several waits of the threads.

OpenMP's threads spin while they wait for each other: that is quick where each has a core of its own, and takes the core
from whoever needs it where it has not. All ways are measured in turn in one run, several rounds long.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import torch

from bench.machine import machine
from bench.projection_step import CASES, network, ours
from bench.side_by_side import prepare_kernels
from generator import openmp
from invert.projection.perceptual import Perceptual
from invert.projection.session import keep_freed_memory

# What each way sets; None takes a variable away, so that the runtime's own default holds.
WAYS: dict[str, Mapping[str, str | None]] = {
    "runtime's own": dict.fromkeys(openmp.VARIABLES),
    "passive": {**dict.fromkeys(openmp.VARIABLES), "OMP_WAIT_POLICY": "passive"},
    "invert": {**dict.fromkeys(openmp.VARIABLES), **openmp.PATIENT},
}
WARM_UP = 5  # steps
_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # no longer than this program


class Program:
    """A process that has everything ready to make steps.

    Args:
        way: How its threads wait.
        case: One of `bench.projection_step.CASES`.
        steps: How many steps it makes.
        threads: How many threads it has; torch's own number when None.
    """

    def __init__(self, way: Mapping[str, str | None], case: str, steps: int, threads: int | None = None) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in way}
        environment |= {name: value for name, value in way.items() if value is not None}
        command = [sys.executable, "-m", "bench.busy_machine", "--measure", case, str(steps), str(threads or 0)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._output.readline()  # it is ready

    def go(self) -> None:
        """Let it begin."""
        self._input.write("\n")
        self._input.flush()

    def seconds(self) -> float:
        """Return how long a step took."""
        found = json.loads(self._output.readline())
        self._process.wait()
        return float(found)


def measure(case: str, steps: int, threads: int) -> None:
    """Make steps once a line is read from stdin, and print the seconds of one."""
    keep_freed_memory()
    prepare_kernels(True)
    if threads:
        torch.set_num_threads(threads)
    synthesis = CASES[case][0]
    torch.manual_seed(1)
    targets = torch.rand([1, 3, synthesis.img_resolution, synthesis.img_resolution]) * 2 - 1
    step = ours(network(synthesis), Perceptual(), targets)
    for index in range(WARM_UP):
        step(index + 3)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for index in range(steps):
        step(index + 3 + WARM_UP)
    print(json.dumps((time.perf_counter() - start) / steps), flush=True)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many processors busy for the length of the block."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def one_round(way: Mapping[str, str | None], case: str, steps: int) -> dict[str, float]:
    """Return the seconds of a step in each situation."""

    def together(count: int, busy: int, threads: int | None = None) -> float:
        programs = [Program(way, case, steps, threads) for _ in range(count)]
        with busy_processes(busy):
            for program in programs:
                program.go()
            return max(program.seconds() for program in programs)

    return {
        "alone": together(1, 0),
        "one thread": together(1, 0, 1),
        "beside a busy process": together(1, 1),
        "the same, one thread": together(1, 1, 1),
        "two at once": together(2, 0),
        "the same, one thread each": together(2, 0, 1),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="32 px", choices=tuple(CASES))
    parser.add_argument("--steps", type=int, default=100, help="timed steps of each program")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which each cell is the median")
    parser.add_argument("--spin", type=int, action="append", default=[], help="further values of GOMP_SPINCOUNT")
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "STEPS", "THREADS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        case, steps, threads = arguments.measure
        measure(case, int(steps), int(threads))
        return
    ways = WAYS | {
        f"GOMP_SPINCOUNT={count}": {**dict.fromkeys(openmp.VARIABLES), "GOMP_SPINCOUNT": str(count)}
        for count in arguments.spin
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            rounds[name].append(one_round(way, arguments.case, arguments.steps))
            print(f"{name}: {rounds[name][-1]}", file=sys.stderr, flush=True)
    found = {
        name: {situation: statistics.median(one[situation] for one in each) for situation in each[0]}
        for name, each in rounds.items()
    }
    situations = list(next(iter(found.values())))
    before = found["runtime's own"]
    print(f"One projection step at {arguments.case}, milliseconds, and the share of the runtime's own way; ", end="")
    print(f"{arguments.rounds} rounds.\n\n{machine()}\n")
    print(f"| threads wait | {' | '.join(situations)} |")
    print("|---" * (len(situations) + 1) + "|")
    for name, values in found.items():
        cells = [f"{values[one] * 1e3:.1f} / {values[one] / before[one]:.2f}" for one in situations]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
