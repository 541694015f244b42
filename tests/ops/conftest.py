"""The native kernels, built once for all tests that ask for them, and a tiny library that each test builds anew."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from generator.ops.native import build
from generator.ops.native.compile import cuda_home
from tests.conftest import NAMED_CACHE, uses_native_kernels
from tests.ops.build_case import Tiny


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Whichever test comes first waits for the compiler.
    for item in items:
        if uses_native_kernels(item):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def native_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the libraries under test are built: INVERT_CACHE where that is set, else pytest's own cache.

    Both outlive the session, and workers of pytest-xdist share them: the second one waits for the first one's compiler.
    """
    kept: pytest.Cache | None = getattr(request.config, "cache", None)
    folder = kept.mkdir("native") if kept else tmp_path_factory.mktemp("native")
    folder.chmod(0o700)  # a library is loaded only from where nobody else can write
    return NAMED_CACHE or str(folder)


def _ensure(cache: str, *, cuda: bool) -> build.NativeStatus:
    # Only for this call: the other tests run with native kernels switched off.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("INVERT_NATIVE", raising=False)
        patch.setenv("INVERT_CACHE", cache)
        status = build.ensure(cuda=cuda, retry=True, timeout=800)
    library = status.cuda if cuda else status.cpu
    if library.code == "no-compiler":
        pytest.skip(f"no native kernels: {library.reason}")
    assert library.loaded, library.reason
    return status


@pytest.fixture(scope="session")
def native(native_cache: str) -> build.NativeStatus:
    """Build and load the CPU library."""
    return _ensure(native_cache, cuda=False)


@pytest.fixture(scope="session")
def native_cuda(native: build.NativeStatus, native_cache: str) -> build.NativeStatus:
    """Build and load the CUDA library; no GPU is needed for that."""
    if torch.version.cuda is None:
        pytest.skip("torch is built without CUDA")
    if not (cuda_home() / "bin" / "nvcc").exists():
        pytest.skip("no nvcc; set CUDA_HOME to a CUDA toolkit")
    return _ensure(native_cache, cuda=True)


@pytest.fixture(scope="session")
def kernels(request: pytest.FixtureRequest) -> Path:
    """Load the library under test: the one INVERT_TEST_LIBRARY names, else the project's own."""
    if named := os.environ.get("INVERT_TEST_LIBRARY"):
        torch.ops.load_library(named)
        return Path(named)
    return request.getfixturevalue("native").cpu.path


# A library that a test has built on purpose is tested as it is.
@pytest.fixture(params=["best"] if os.environ.get("INVERT_TEST_LIBRARY") else ["best", "avx2", "baseline"])
def isa(request: pytest.FixtureRequest, kernels: Path) -> Iterator[str]:
    """Run a test once for each instruction set the library has kernels for and this processor understands."""
    library = ctypes.CDLL(str(kernels))
    if not hasattr(library, "invert_cpu_isa"):  # CUDA kernels, emulated
        yield "only"
        return
    library.invert_cpu_isa.restype = ctypes.c_char_p
    best = library.invert_cpu_isa()
    name = best if request.param == "best" else request.param.encode()
    if (request.param != "best" and name == best) or not library.invert_cpu_use_isa(name):
        pytest.skip(f"{name.decode()} is the best one, or the processor lacks it")
    yield name.decode()
    library.invert_cpu_use_isa(best)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """The library of one function, in a cache of its own that is empty."""
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
