"""Building and loading native kernels on demand, and all that can go wrong with it."""

import re
import sys
from pathlib import Path

import pytest
import torch

from generator.ops._library import NAMESPACE
from generator.ops.native import build, compile, recipes
from generator.ops.native.build import NativeStatus, ensure, kernels_hash, status
from generator.ops.native.cache import NativeError
from generator.ops.native.recipes import CPU_ONLY, Recipe, ninja_text
from tests.ops.build_case import COMPILER, Tiny, leftovers, needs_compiler


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
