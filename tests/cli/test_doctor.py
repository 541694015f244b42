"""`invert doctor`, with kernels from a small library where building matters."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generator.ops.native import build
from generator.ops.native.recipes import Recipe, Unit
from invert.commands import doctor as command
from tests.cli.conftest import Invert, Result

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a library that compiles in a moment."""
    source = tmp_path / "tiny.cpp"
    source.write_text('extern "C" const char* invert_cpu_isa() { return "tiny"; }\n')
    unit = Unit(str(source), "tiny.o", "cxx", ("-fPIC",))
    monkeypatch.setattr(build, "_recipe", lambda target: Recipe(f"tiny_{target}", (unit,), (), ("-shared",)))
    monkeypatch.setattr(build, "_state", {})
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))
    for name in ("INVERT_NATIVE", "CXX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def record(result: Result) -> dict[str, Any]:
    (only,) = result.records()
    return only


def test_shows_everything_without_building(invert: Invert, cache: Path) -> None:
    result = invert("doctor")
    assert (result.code, result.err) == (0, "")
    for word in ("invert", "python", "torch", "numpy", "pillow", "h5py", "threads", "CUDA"):
        assert any(line.split()[0] == word for line in result.out.splitlines() if line), word
    assert str(cache) in result.out
    assert "bias_act" in result.out
    assert not cache.exists()


def test_json(invert: Invert, cache: Path) -> None:
    import torch

    from invert.projection.perceptual import NETS

    result = invert("doctor", "--json")
    facts = record(result)
    assert result.code == 0
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert facts["cache"] == {"folder": str(cache), "bytes": 0}
    assert facts["kernels_hash"] == "portable"
    assert facts["cuda"]["torch"] == torch.version.cuda
    assert set(facts["kernels"]["upfirdn2d"]) == {"cpu", "cuda"}
    assert set(facts["lpips"]) == set(NETS)
    assert all(len(weights["sha256"]) == 64 for weights in facts["lpips"].values())
    assert facts["problems"] == []


@needs_compiler
def test_build(invert: Invert, cache: Path) -> None:
    result = invert("doctor", "--build", "--json")
    facts = record(result)
    assert result.code == 0
    assert "building the native CPU kernels" in result.err
    assert facts["native"]["cpu"]["code"] == "loaded"
    assert Path(facts["native"]["cpu"]["path"]).is_relative_to(cache)
    assert facts["kernels_hash"] == f"native-{facts['native']['cpu']['hash']}"
    assert facts["cache"]["bytes"] > 1000
    again = invert("doctor", "--build", "--json")
    assert (again.code, again.err) == (0, "")
    assert record(again)["native"] == facts["native"]
    assert facts["native"]["cpu"]["hash"] in invert("doctor").out


def test_failed_build(invert: Invert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    for _ in range(2):  # asked for, it is told every time
        result = invert("doctor", "--build")
        assert result.code == 6
        assert "'/nonexistent/c++'" in result.err
        assert len(result.err.splitlines()) == 1
    # It is no reason to call the installation damaged.
    assert invert("doctor").code == 0


@needs_compiler
def test_build_while_another_process_builds(invert: Invert, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invert("doctor", "--build").code == 0
    (lock,) = cache.glob("*.lock")
    shutil.rmtree(lock.with_suffix(""))
    monkeypatch.setattr(build, "_state", {})
    real = build.ensure
    monkeypatch.setattr(build, "ensure", lambda *a, **k: real(*a, **{**k, "timeout": 0.1}))
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = invert("doctor", "--build")
    assert result.code == 7
    assert str(lock) in result.err


def test_build_of_kernels_that_are_switched_off(invert: Invert, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVERT_NATIVE", "0")
    assert invert("doctor").code == 0
    result = invert("doctor", "--build")
    assert result.code == 2
    assert "INVERT_NATIVE=0" in result.err
    assert not cache.exists()


@needs_compiler
def test_build_for_cuda_on_a_torch_without_it(invert: Invert, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    result = invert("doctor", "--build", "--cuda")
    assert result.code == 6
    assert "without CUDA" in result.err
    assert "torch without CUDA" in result.out


def test_cuda_without_build(invert: Invert) -> None:
    result = invert("doctor", "--cuda")
    assert (result.code, result.out) == (2, "")
    assert "--build" in result.err


@pytest.mark.parametrize(("content", "state"), [(None, "missing"), (b"", "damaged"), (b"x" * 100, "damaged")])
def test_damaged_weights(
    invert: Invert, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, state: str
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    if content is not None:
        (folder / "lpips_vgg.safetensors").write_bytes(content)
    monkeypatch.setattr(command.resources, "files", lambda name: tmp_path)
    result = invert("doctor")
    assert result.code == 1
    assert f"lpips_vgg.safetensors are {state}" in result.err
    assert "a bug" not in result.err
    assert state in result.out


def test_package_that_is_missing(invert: Invert, monkeypatch: pytest.MonkeyPatch) -> None:
    real = command.metadata.version

    def version(name: str) -> str:
        if name == "h5py":
            raise command.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(command.metadata, "version", version)
    result = invert("doctor")
    assert result.code == 1
    assert "h5py is not installed" in result.err
    assert "bias_act" in result.out


def test_no_home(invert: Invert, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("INVERT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    result = invert("doctor")
    assert result.code == 0
    assert "there is no home" in result.out


def test_help_imports_no_torch(in_a_process: Callable[..., Result]) -> None:
    result = in_a_process("doctor", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.code == 0
    assert "--build" in result.out
    assert "torch" not in {line.rpartition("|")[2].strip() for line in result.err.splitlines()}
