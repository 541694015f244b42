"""The native kernels built in other ways: for CUDA, for CUDA on no GPU at all, and under sanitizers."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from generator.ops._library import NAMESPACE, OPERATORS
from generator.ops.native.build import NativeStatus
from generator.ops.native.compile import compile_library, find_toolchain
from generator.ops.native.recipes import CPU_ONLY, Recipe, Unit, cpu_recipe

TESTS = Path(__file__).parent
EMULATION = TESTS / "emulated_cuda"
KERNEL_TESTS = [str(TESTS / f"test_{name}.py") for name in ("native_kernels", "native_promises", "filtered_lrelu")]


def emulated_recipe() -> Recipe:
    """The CUDA kernels, compiled for the processor, in the place of the CPU's: see `emulated_cuda`."""
    recipe = cpu_recipe()
    flags = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-DINVERT_ISA=cuda", "-x", "c++")
    binding = [
        unit for unit in recipe.units if unit.source.startswith("binding/") and Path(unit.source).stem not in CPU_ONLY
    ]
    kernels = [
        Unit(f"cuda/{name}.cu", f"{name}.cu.o", "cxx", flags) for name in sorted(Path(u.source).stem for u in binding)
    ]
    return replace(recipe, name="invert_emulated", units=(*kernels, *binding), include=(EMULATION, *recipe.include))


def build(recipe: Recipe, folder: Path) -> Path:
    """Build a library that only this test wants."""
    (folder / "build").mkdir()
    compile_library(recipe, find_toolchain(cuda=False), folder / "build", folder / "log")
    return folder / "build" / recipe.file_name


def run_kernel_tests(library: Path, environment: dict[str, str], only: str = "") -> str:
    """Run the kernel tests on a library in a process of their own, and return what that printed."""
    environment = {**os.environ, **environment, "INVERT_TEST_LIBRARY": str(library)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *KERNEL_TESTS, "-k", only]
    run = subprocess.run(command, env=environment, cwd=TESTS.parent.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    return run.stdout


def test_every_operator_has_a_cuda_kernel(native_cuda: NativeStatus) -> None:
    assert native_cuda.cuda.loaded
    for name in set(OPERATORS).difference(*CPU_ONLY.values()):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{name}", "CUDA"), name


def test_every_operator_has_a_cpu_kernel(native: NativeStatus) -> None:
    for name in OPERATORS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{name}", "CPU"), name


@pytest.mark.cuda
def test_cuda_kernels_give_the_same_on_a_gpu(native_cuda: NativeStatus) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert native_cuda.cuda.path is not None
    compared = "upfirdn2d or filters or bias_act or conv_tail or modulate or lpips or portable_one"
    assert " passed" in run_kernel_tests(native_cuda.cuda.path, {"INVERT_TEST_DEVICE": "cuda"}, compared)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_cuda_kernels_give_the_same_without_a_gpu(tmp_path: Path) -> None:
    # Without a kernel of its own a product of matrices rounds by where in memory a picture lies.
    printed = run_kernel_tests(build(emulated_recipe(), tmp_path), {}, "not threads and not images_of_features")
    assert " passed" in printed
    assert " skipped" not in printed


@pytest.mark.long
@pytest.mark.timeout(900)
def test_cpu_kernels_pass_under_sanitizers(tmp_path: Path) -> None:
    recipe = cpu_recipe().with_flags("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g1")
    cxx = find_toolchain(cuda=False).cxx
    libraries = []
    for name in ("libasan.so", "libubsan.so"):
        path = subprocess.run([*cxx, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        if not Path(path).is_absolute():
            pytest.skip(f"the compiler comes without {name}")
        libraries.append(path)
    # Python leaves memory to the system at its end; what is written out of bounds is what counts.
    options = {"LD_PRELOAD": ":".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}
    assert " passed" in run_kernel_tests(build(recipe, tmp_path), options)
