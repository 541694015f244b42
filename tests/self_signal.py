"""Run the command line in a process that sends itself a signal when it has come so far.

`python -m tests.self_signal NUMBER PLACE PATTERN COUNT SECONDS ARGUMENT...` is `invert ARGUMENT...` that sends itself
signal NUMBER, SECONDS after

* PLACE `stdout` or `stderr`: a line was written that is the COUNTth to match PATTERN, or whose number in PATTERN's
  group is at least COUNT;
* PLACE `files`: COUNT files match the glob PATTERN, looked up after every file that was put in its place.

A test that watches another process and interrupts it comes too late on a machine that has no turn for it.
"""

import glob
import os
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def start(
    number: int, place: str, pattern: object, count: int, *arguments: object, seconds: float = 0
) -> "subprocess.Popen[str]":
    """Start a command, in a group of its own, that will send itself a signal."""
    command = [sys.executable, "-m", "tests.self_signal", int(number), place, pattern, count, seconds, *arguments]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, process_group=0, **pipes)


class Watched:
    """A stream that calls `tell` for each line."""

    def __init__(self, stream: Any, tell: Callable[[str], None]) -> None:
        self._stream, self._tell, self._line = stream, tell, ""

    def write(self, text: str) -> int:
        written: int = self._stream.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._stream.flush()
            self._tell(line)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main() -> None:
    number, place, pattern, count, seconds, *arguments = sys.argv[1:]
    sent = threading.Event()

    def send() -> None:
        if sent.is_set():
            return
        sent.set()
        if float(seconds):
            threading.Timer(float(seconds), os.kill, (os.getpid(), int(number))).start()
        else:
            os.kill(os.getpid(), int(number))

    matches = 0

    def line_written(line: str) -> None:
        nonlocal matches
        if match := re.search(pattern, line):
            matches = int(match[1]) if match.groups() else matches + 1
            if matches >= int(count):
                send()

    def then_count(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            result = real(*arguments, **settings)
            if len(glob.glob(pattern)) >= int(count):
                send()
            return result

        return call

    if place == "files":
        os.replace, os.rename, os.link = then_count(os.replace), then_count(os.rename), then_count(os.link)
    else:
        setattr(sys, place, Watched(getattr(sys, place), line_written))
    sys.argv = ["invert", *arguments]
    runpy.run_module("invert", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
