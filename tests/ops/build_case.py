"""A library of one function, and processes that build it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from generator.ops.native import build
from generator.ops.native.build import NativeStatus, ensure
from generator.ops.native.recipes import Recipe, Unit

ROOT = Path(__file__).parent.parent.parent
SOURCE = 'extern "C" const char* invert_cpu_isa() { return "tiny"; }\n'
COMPILER = shutil.which("c++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
# A compiler that writes down that it was called, and does what the files beside it say.
WRAPPER = """#!/bin/sh
if [ "$1" = --version ]; then echo "tiny compiler 1"; exit 0; fi
echo "$@" >> {folder}/calls
if [ -e {folder}/full ]; then echo "error: x.o: No space left on device"; exit 1; fi
if [ -e {folder}/broken ]; then echo "tiny.cpp:1:1: error: nothing works today"; exit 1; fi
if [ -e {folder}/slow ]; then sleep 1; fi
if [ -e {folder}/stuck ]; then
  echo $$ > {folder}/pid; mv {folder}/pid {folder}/started
  for i in $(seq 150); do [ -e {folder}/stuck ] || break; sleep 0.2; done
fi
exec {compiler} "$@"
"""
# Another process: builds when told to, and says how that went.
CHILD = """
import os, sys
import ninja
from pathlib import Path
from generator.ops.native import build
from generator.ops.native.recipes import Recipe, Unit, ninja_text
unit = Unit(sys.argv[1], "tiny.o", "cxx", ("-fPIC",))
build._recipe = lambda target: Recipe(f"tiny_{target}", (unit,), (), ("-shared",))
if "as-nobody" in sys.argv and os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print("ready", flush=True)
sys.stdin.readline()
result = build.ensure(on_message=lambda text: print("message:", text, flush=True), timeout=240)
print("result:", result.cpu.code or "loaded", build.kernels_hash(), flush=True)
"""


class Tiny:
    """A library of one function, a compiler that counts its calls, and what `ensure` said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.source = folder / "tiny.cpp"
        self.source.write_text(SOURCE)
        self.compiler = folder / "compiler"
        self.compiler.write_text(WRAPPER.format(folder=folder, compiler=COMPILER))
        self.compiler.chmod(0o755)
        self.told: list[str] = []
        self._monkeypatch = monkeypatch

    def recipe(self, target: str) -> Recipe:
        return Recipe(f"tiny_{target}", (Unit(str(self.source), "tiny.o", "cxx", ("-fPIC",)),), (), ("-shared",))

    def ensure(self, **settings: Any) -> NativeStatus:
        """Call `ensure` as a new process would; `told` has what it said this time."""
        self.told.clear()
        self._monkeypatch.setattr(build, "_state", {})
        return ensure(on_message=self.told.append, **settings)

    @property
    def calls(self) -> int:
        """How often the compiler was called: twice for a build, to compile and to link."""
        path = self.folder / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def flag(self, name: str) -> Path:
        path = self.folder / name
        path.touch()
        return path

    def child(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start another process, which waits for `go` before it builds."""
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(self.source), *arguments],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def wait_for(path: Path, *, gone: bool = False, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while path.exists() == gone:
        assert time.monotonic() < deadline, f"{path} did not {'go' if gone else 'appear'}"
        time.sleep(0.02)


def go(children: list[subprocess.Popen[str]]) -> None:
    """Let processes build at the same time."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if ".tmp-" in path.name]
