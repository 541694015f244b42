"""Fuzz every format for some time: `python -m tests.fuzz --seconds 3600`.

Inputs are read in a process of its own, with limits on address space and processor time. A finding is an exception that
is not of the error trees, a signal, more than 5 seconds, or more memory than the limit: its seed and number are
printed, which make it again, and the input is written to a file.
"""

import argparse
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.files import allowed, clean
from tests.fuzz.formats import FORMATS, inputs

MEMORY = 1 << 30
"""Bytes of address space that reading one input may take beside what the process has."""

HANG = 5.0
SLICE = 1.0
"""Seconds for which one format is fuzzed before the next one's turn."""


def child(names: Sequence[str], seed: int, seconds: float, starts: dict[str, int]) -> None:
    """Read inputs, and say before each one which it is."""
    # What is imported once, and the networks that are made once, do not count as an input's.
    import h5py
    import torch

    torch.set_num_threads(1)
    assert h5py
    streams = {}
    for name in names:
        streams[name] = inputs(name, seed)
        for _ in range(starts.get(name, 0)):
            next(streams[name])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in names:  # good files are good, and load what they need
            for data in FORMATS[name].seeds():
                FORMATS[name].read(data, folder)
                clean(folder)
        _limit(seconds)
        numbers = Counter(starts)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name in names:
                until = time.monotonic() + min(SLICE, seconds / len(names))
                while time.monotonic() < until:
                    _one(name, numbers[name], next(streams[name]), folder)
                    numbers[name] += 1
    print("end", flush=True)


def _limit(seconds: float) -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    spent = int(time.process_time()) + int(seconds) + 60
    resource.setrlimit(resource.RLIMIT_CPU, (spent, spent))


def _one(name: str, number: int, make: object, folder: Path) -> None:
    data = make()  # type: ignore[operator]
    print(f"input {name} {number}", flush=True)
    started = time.process_time()
    outcome = "accepted"
    try:
        FORMATS[name].read(data, folder)
    except allowed():
        outcome = "refused"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.relpath(last.filename)}:{last.lineno}"
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        print(f"finding {text!a} at {where}", flush=True)
        outcome = "odd"
    clean(folder)
    if time.process_time() - started > HANG:
        print("finding it took more than 5 seconds", flush=True)
    print(outcome, flush=True)


class Fuzzing:
    """Start children until the time is over, and note what they find.

    Attributes:
        counts: How many inputs of each format were accepted and refused.
        findings: One line each.
    """

    def __init__(self, names: Sequence[str], seed: int, seconds: float, out: Path) -> None:
        self.names, self.seed, self.out = names, seed, out
        self.counts: Counter[tuple[str, str]] = Counter()
        self.findings: list[str] = []
        self._seconds = seconds
        self._starts: Counter[str] = Counter()
        self._kinds: set[str] = set()

    def run(self) -> None:
        """Fuzz, in one child after the other: one that dies is replaced, and goes on after the input it died of."""
        left = self._seconds
        while left > 0.5 and len(self.findings) < 50:
            left -= self._one_child(left)

    def _one_child(self, seconds: float) -> float:
        """Return for how many seconds it read inputs; its imports and good files do not count."""
        starts = ",".join(f"{name}={number}" for name, number in self._starts.items())
        command = [sys.executable, "-m", "tests.fuzz", "--child", "--seconds", str(seconds), "--seed", str(self.seed)]
        command += ["--formats", ",".join(self.names), "--starts", starts]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "INVERT_NATIVE": "0"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            name, number, is_over, started = "start", 0, False, 0.0
            selector = selectors.DefaultSelector()
            selector.register(process.stdout, selectors.EVENT_READ)
            rest = b""
            while True:
                # Ten times the limit on the clock: the machine may be busy with other things.
                if not selector.select(10 * HANG if name != "start" else 300):
                    process.kill()
                    self._found(name, number, "it did not end")
                    break
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    word, _, more = line.decode().partition(" ")
                    if word == "input":
                        name, _, index = more.rpartition(" ")
                        number = int(index)
                        started = started or time.monotonic()
                        self._starts[name] = number + 1
                    elif word == "finding":
                        self._found(name, number, more)
                    elif word == "end":
                        is_over = True
                    else:
                        self.counts[name, word] += 1
            _, complaint = process.communicate()
            if not is_over and process.returncode not in (0, -9):
                self._found(name, number, f"the process ended with {process.returncode}: {complaint[-300:]!r}")
            if name == "start":
                raise SystemExit(f"the fuzzer itself fails: {complaint.decode(errors='replace')[-2000:]}")
        return time.monotonic() - started

    def _found(self, name: str, number: int, what: str) -> None:
        # The same exception at the same line is one finding.
        kind = f"{name} {what.partition(' at ')[2] or what}"
        if kind in self._kinds or name == "start":
            return
        self._kinds.add(kind)
        path = self.out / f"{name.replace(' ', '_')}-{self.seed}-{number}"
        self.out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made(name, self.seed, number))
        self.findings.append(f"{name}: {what} (seed {self.seed}, input {number}, in {path})")
        print(self.findings[-1], flush=True)

    def table(self) -> str:
        """Return how many inputs there were."""
        lines = [f"{'format':<12} {'inputs':>8} {'refused':>8} {'accepted':>8}"]
        for name in self.names:
            refused, accepted = (self.counts[name, word] for word in ("refused", "accepted"))
            total = refused + accepted + self.counts[name, "odd"]
            lines.append(f"{name:<12} {total:>8} {refused:>8} {accepted:>8}")
        return "\n".join(lines)


def made(name: str, seed: int, number: int) -> bytes:
    """Make one input again."""
    stream = inputs(name, seed)
    for _ in range(number):
        next(stream)
    return next(stream)()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long (default: an hour)")
    parser.add_argument("--seed", type=int, default=0, help="the inputs depend on it")
    parser.add_argument("--formats", default=",".join(FORMATS), help="which, separated by commas (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="where inputs that were found go")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--starts", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.formats.split(",")
    if given.child:
        pairs = (pair.split("=") for pair in given.starts.split(",") if pair)
        child(names, given.seed, given.seconds, {name: int(number) for name, number in pairs})
        return 0
    fuzzing = Fuzzing(names, given.seed, given.seconds, given.out)
    fuzzing.run()
    print(fuzzing.table())
    print(f"{len(fuzzing.findings)} findings")
    return 1 if fuzzing.findings else 0


if __name__ == "__main__":
    sys.exit(main())
