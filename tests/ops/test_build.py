"""Building and loading native kernels on demand, and all that can go wrong with it."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from generator.cache import cache_folder
from generator.ops._library import NAMESPACE
from generator.ops.native import build, compile, recipes
from generator.ops.native.build import NativeStatus, ensure, kernels_hash, status
from generator.ops.native.cache import NativeError
from generator.ops.native.recipes import CPU_ONLY, Recipe, Unit, ninja_text

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


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    tiny = Tiny(tmp_path, monkeypatch)
    monkeypatch.setattr(build, "_recipe", tiny.recipe)
    monkeypatch.setattr(build, "_state", {})
    monkeypatch.setenv("INVERT_CACHE", str(tiny.cache))
    monkeypatch.setenv("CXX", str(tiny.compiler))
    monkeypatch.delenv("INVERT_NATIVE", raising=False)
    return tiny


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes whose whole group is ended after the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


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


@needs_compiler
def test_builds_once_and_then_loads(tiny: Tiny) -> None:
    assert not tiny.cache.exists()
    result = tiny.ensure()
    assert result.cpu.loaded
    assert result.cpu.path is not None
    assert result.cpu.path.is_relative_to(tiny.cache)
    assert result.cpu.reason == result.cpu.code == ""
    assert result.cuda.code == "not-wanted"
    assert re.fullmatch(r"native-[0-9a-f]{16}-[0-9a-f]{8}", kernels_hash())
    assert kernels_hash() == f"native-{result.cpu.hash}"
    assert [text.split(";")[0] for text in tiny.told] == ["building the native CPU kernels"]
    assert tiny.calls == 2
    # The same process again, then a new one: neither builds nor says anything.
    tiny.told.clear()
    assert ensure(on_message=tiny.told.append) == result
    assert tiny.ensure() == result
    assert (tiny.told, tiny.calls) == ([], 2)
    assert tiny.cache.stat().st_mode & 0o777 == 0o700
    assert leftovers(tiny.cache) == []


def test_nothing_happens_before_it_is_wanted(tiny: Tiny) -> None:
    result = status()
    assert (result.cpu.loaded, result.cpu.code) == (False, "not-wanted")
    assert kernels_hash() == "portable"
    assert tiny.ensure(build=False).cpu.code == ("not-built" if COMPILER else "no-compiler")
    assert not tiny.cache.exists()
    assert tiny.calls == 0


@needs_compiler
def test_where_torch_lies_gives_no_other_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = recipes.recipe_digest(recipes.cpu_recipe(), "1")
    monkeypatch.setattr(recipes, "torch_folder", lambda: tmp_path / "torch")
    assert f"-L{tmp_path / 'torch' / 'lib'}" in recipes.cpu_recipe().link
    assert recipes.recipe_digest(recipes.cpu_recipe(), "1") == here
    assert recipes.recipe_digest(recipes.cpu_recipe(), "2") != here


def test_other_sources_flags_or_compilers_give_another_library(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {tiny.ensure().cpu.hash}
    tiny.compiler.write_text(tiny.compiler.read_text().replace("compiler 1", "compiler 2"))
    hashes.add(tiny.ensure().cpu.hash)
    recipe = tiny.recipe("cpu").with_flags("-DMORE")
    monkeypatch.setattr(build, "_recipe", lambda target: recipe)
    hashes.add(tiny.ensure().cpu.hash)
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    hashes.add(tiny.ensure().cpu.hash)
    assert len(hashes) == 4
    assert tiny.calls == 8


def test_switched_off(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVERT_NATIVE", "0")
    result = tiny.ensure(cuda=True)
    assert (result.cpu.code, result.cuda.code) == ("off", "off")
    assert "INVERT_NATIVE" in result.cpu.reason
    assert kernels_hash() == "portable"
    assert tiny.told == []
    assert not tiny.cache.exists()


@needs_compiler
def test_failing_compiler_is_told_once_and_remembered(tiny: Tiny) -> None:
    broken = tiny.flag("broken")
    result = tiny.ensure()
    assert result.cpu.code == "build-failed"
    assert kernels_hash() == "portable"
    message = tiny.told[-1]
    assert "nothing works today" in message
    assert "invert doctor --build" in message
    assert "\n" not in message
    log = re.search(r"see '(.*?)'", message)
    assert log is not None
    assert "nothing works today" in Path(log[1]).read_text()
    assert leftovers(tiny.cache) == []
    calls = tiny.calls

    broken.unlink()
    assert tiny.ensure().cpu.reason == result.cpu.reason
    assert (tiny.told, tiny.calls) == ([], calls)

    assert tiny.ensure(retry=True).cpu.loaded
    assert tiny.ensure().cpu.loaded
    assert tiny.told == []


@needs_compiler
def test_full_disk(tiny: Tiny) -> None:
    tiny.flag("full")
    assert tiny.ensure().cpu.code == "build-failed"
    assert "no space left" in tiny.told[-1]


@needs_compiler
def test_source_that_does_not_compile(tiny: Tiny) -> None:
    tiny.source.write_text("this is not C++\n")
    assert tiny.ensure().cpu.code == "build-failed"
    assert "error" in tiny.told[-1]


@needs_compiler
def test_library_that_does_not_load(tiny: Tiny) -> None:
    tiny.source.write_text("void nowhere(); void call() { nowhere(); }\n")
    result = tiny.ensure()
    assert result.cpu.code == "load-failed"
    assert len(tiny.told) == 2
    assert "nowhere" in tiny.told[1]
    assert tiny.ensure().cpu.code == "load-failed"
    assert (tiny.told, tiny.calls) == ([], 2)


@pytest.mark.parametrize("named", [True, False])
def test_no_compiler(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    monkeypatch.setenv("PATH", str(tiny.folder))
    monkeypatch.setenv("CXX", "/nonexistent/c++") if named else monkeypatch.delenv("CXX")
    assert tiny.ensure().cpu.code == "no-compiler"
    assert len(tiny.told) == 1
    assert "no C++ compiler" in tiny.told[0]
    assert ("/nonexistent/c++" in tiny.told[0]) == named
    assert tiny.ensure().cpu.code == "no-compiler"
    assert tiny.told == []
    assert kernels_hash() == "portable"


@needs_compiler
def test_compiler_that_comes_and_goes(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    assert not tiny.ensure().cpu.loaded
    monkeypatch.setenv("CXX", str(tiny.compiler))
    built = tiny.ensure().cpu
    assert built.loaded
    # A library that was built ahead serves where there is no compiler any more.
    monkeypatch.setenv("CXX", "/gone/c++")
    assert tiny.ensure().cpu == built


def test_compiler_that_does_not_run(tiny: Tiny) -> None:
    tiny.compiler.write_text("#!/bin/sh\nexit 1\n")
    assert tiny.ensure().cpu.code == "no-compiler"
    assert str(tiny.compiler) in tiny.told[0]


def test_compiler_name_that_is_no_command(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "'g++")
    assert tiny.ensure().cpu.code == "no-compiler"
    assert "CXX" in tiny.told[0]


@needs_compiler
def test_compiler_of_several_words(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"env LANG=C '{tiny.compiler}'")
    assert tiny.ensure().cpu.loaded
    assert tiny.calls == 2


@needs_compiler
def test_no_ninja(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ninja", None)
    monkeypatch.setenv("PATH", str(tiny.folder))
    assert tiny.ensure().cpu.code == "no-compiler"
    assert "ninja" in tiny.told[0]


@needs_compiler
def test_damaged_library_is_built_again(tiny: Tiny) -> None:
    path = tiny.ensure().cpu.path
    assert path is not None
    # The loaded file must not change under this process: the damaged one is another file.
    damaged = tiny.folder / "damaged"
    damaged.write_bytes(path.read_bytes()[:2000])
    damaged.replace(path)
    result = tiny.ensure()
    assert result.cpu.loaded
    assert "damaged" in tiny.told[0]
    assert tiny.calls == 4
    assert path.stat().st_size > 2000
    assert tiny.ensure() == result
    assert tiny.calls == 4


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_cache_that_others_can_write_to_is_refused(tiny: Tiny, mode: int) -> None:
    tiny.cache.mkdir()
    tiny.cache.chmod(mode)
    assert tiny.ensure().cpu.code == "unsafe-cache"
    assert f"'{tiny.cache}'" in tiny.told[0]
    assert list(tiny.cache.iterdir()) == []


def test_cache_of_somebody_else_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.cache.mkdir(mode=0o700)
    real = os.stat(tiny.cache)
    if real.st_uid == 0:
        os.chown(tiny.cache, 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: real.st_uid + 1)
    assert tiny.ensure().cpu.code == "unsafe-cache"
    assert "somebody else" in tiny.told[0]


def test_cache_that_is_a_file(tiny: Tiny) -> None:
    tiny.cache.write_text("")
    assert tiny.ensure().cpu.code == "no-cache"
    assert str(tiny.cache) in tiny.told[0]


def test_read_only_home(tiny: Tiny, children: list[subprocess.Popen[str]]) -> None:
    tiny.folder.chmod(0o755)
    for parent in tiny.folder.parents[:2]:
        parent.chmod(0o755)
    home = tiny.folder / "home"
    home.mkdir(mode=0o555)
    child = tiny.child("as-nobody", INVERT_CACHE="", XDG_CACHE_HOME="", HOME=str(home))
    children.append(child)
    go([child])
    output, _ = child.communicate(timeout=240)
    assert "result: no-cache portable\n" in output
    assert output.count("message:") == 1
    assert "Permission denied" in output
    assert "INVERT_CACHE" in output


def test_no_home(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("INVERT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    assert tiny.ensure().cpu.code == "no-cache"
    assert "INVERT_CACHE" in tiny.told[0]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("INVERT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("/home/ann/.cache/invert")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/ann/.cache/invert")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/cache")
    assert cache_folder() == Path("/big/cache/invert")
    monkeypatch.setenv("INVERT_CACHE", "/mine")
    assert cache_folder() == Path("/mine")


@needs_compiler
def test_stale_lock_file_does_not_matter(tiny: Tiny) -> None:
    path = tiny.ensure().cpu.path
    assert path is not None
    shutil.rmtree(path.parent)
    (lock,) = tiny.cache.glob("*.lock")
    os.utime(lock, (0, 0))
    assert tiny.ensure().cpu.loaded


@needs_compiler
def test_held_lock_is_waited_for_only_so_long(tiny: Tiny) -> None:
    path = tiny.ensure().cpu.path
    assert path is not None
    shutil.rmtree(path.parent)
    (lock,) = tiny.cache.glob("*.lock")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = tiny.ensure(timeout=0.2)
        assert result.cpu.code == "locked"
        assert kernels_hash() == "portable"
        assert "waiting" in tiny.told[0]
        assert f"'{lock}'" in tiny.told[1]
        assert tiny.calls == 2
    # Nothing is remembered of it.
    assert tiny.ensure().cpu.loaded


@needs_compiler
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_build(tiny: Tiny, children: list[subprocess.Popen[str]], number: signal.Signals) -> None:
    stuck = tiny.flag("stuck")
    child = tiny.child()
    children.append(child)
    go([child])
    wait_for(tiny.folder / "started")
    os.kill(child.pid, number)
    assert child.wait(120) != 0
    # An interrupt takes the compiler along and cleans up; a kill leaves both to the next build.
    killed = number == signal.SIGKILL
    assert len(leftovers(tiny.cache)) == killed
    if not killed:
        wait_for(Path("/proc", (tiny.folder / "started").read_text().strip()), gone=True)
    stuck.unlink()
    assert tiny.ensure(timeout=120).cpu.loaded
    assert leftovers(tiny.cache) == []


@needs_compiler
def test_two_processes_build_once(tiny: Tiny, children: list[subprocess.Popen[str]]) -> None:
    tiny.flag("slow")
    children += [tiny.child(), tiny.child()]
    go(children)
    outputs = [child.communicate(timeout=240)[0] for child in children]
    results = {re.findall(r"result: (.*)", output)[0] for output in outputs}
    assert len(results) == 1
    assert results.pop().startswith("loaded native-")
    assert tiny.calls == 2
    assert sorted("waiting" in output for output in outputs) == [False, True]


@needs_compiler
def test_two_processes_fail_once(tiny: Tiny, children: list[subprocess.Popen[str]]) -> None:
    tiny.flag("slow")
    tiny.source.write_text("this is not C++\n")
    children += [tiny.child(), tiny.child()]
    go(children)
    outputs = [child.communicate(timeout=240)[0] for child in children]
    assert ["result: build-failed portable" in output for output in outputs] == [True, True]
    assert tiny.calls == 1
    assert "".join(outputs).count("tries anew") == 1


@needs_compiler
def test_cuda_is_not_built_for_a_torch_without_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    result = tiny.ensure(cuda=True)
    assert result.cpu.loaded
    assert result.cuda.code == "no-cuda"
    assert "without CUDA" in tiny.told[-1]
    assert kernels_hash() == f"native-{result.cpu.hash}"
    assert tiny.calls == 2


@needs_compiler
@pytest.mark.parametrize(("release", "word"), [(None, "CUDA_HOME"), ("release 8.0, V8.0.61", "another version")])
def test_cuda_compiler_that_does_not_fit(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, release: str | None, word: str
) -> None:
    toolkit = tiny.folder / "cuda"
    (toolkit / "bin").mkdir(parents=True)
    if release is not None:
        (toolkit / "bin" / "nvcc").write_text(f"#!/bin/sh\necho 'Cuda compilation tools, {release}'\n")
        (toolkit / "bin" / "nvcc").chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    result = tiny.ensure(cuda=True)
    assert result.cpu.loaded
    assert result.cuda.code == "no-compiler"
    assert word in tiny.told[-1]


def test_both_libraries_are_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {name: build.LibraryStatus(hash=name * 2, path=Path(name)) for name in ("cuda", "cpu")}
    monkeypatch.setattr(build, "_state", loaded)
    assert kernels_hash() == "native-cpucpu+cudacuda"


def test_cuda_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert compile.cuda_home() == tmp_path
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compile.cuda_home() == Path("/usr/local/cuda")


def test_messages_are_one_line() -> None:
    error = NativeError("load-failed", "cannot load\nfor two\nreasons")
    assert error.reason == str(error) == "cannot load for two reasons"


def test_the_cpu_library(native: NativeStatus) -> None:
    assert native.cpu.loaded
    capability = torch.backends.cpu.get_cpu_capability()
    expected = {"AVX512": "native avx512", "AVX2": "native avx2"}.get(capability, "native baseline")
    assert {kernels["cpu"] for kernels in native.kernels.values()} == {expected}
    assert kernels_hash().startswith(f"native-{native.cpu.hash}")
    assert status().cpu == native.cpu


def test_the_cuda_library(native_cuda: NativeStatus) -> None:
    assert native_cuda.cuda.loaded
    names = set(native_cuda.kernels).difference(*CPU_ONLY.values())
    assert {native_cuda.kernels[name]["cuda"] for name in names} == {"native"}
    for name in names:
        # What torch itself says, not what this project concludes from it.
        assert f"{NAMESPACE}::{name}" in torch._C._dispatch_get_registrations_for_dispatch_key("CUDA")


def test_arguments_with_spaces_and_dollars_reach_the_compiler() -> None:
    recipe = Recipe("x", (), (Path("/a b/$c/include"),), ("-L/a b/$c",))
    text = ninja_text(recipe)
    assert "-isystem '/a b/$$c/include'" in text
    assert "flags = '-L/a b/$$c'" in text
