"""Find the compilers and run them, with ninja, on what a recipe lists."""

import hashlib
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from generator.ops.native.cache import NativeError
from generator.ops.native.recipes import Recipe, ninja_text
from generator.processors import processors

__all__ = ["Toolchain", "compile_library", "cuda_home", "find_toolchain", "fingerprint"]

_COMPILERS = ("c++", "g++", "clang++")
_VERSION_TIMEOUT = 60  # seconds; a compiler on a network file system may take a while to start
_MAX_QUOTE = 300


@dataclass(frozen=True)
class Toolchain:
    """The programs that a library is built with.

    Attributes:
        cxx: Words of the C++ compiler's command.
        nvcc: The CUDA compiler, or None.
        ninja: The ninja program.
        identity: Changes whenever one of the compilers might give other bytes.
    """

    cxx: tuple[str, ...]
    nvcc: str | None
    ninja: str
    identity: str

    def command(self, tool: str) -> str:
        """Return how a shell calls the compiler `tool`, "cxx" or "nvcc"."""
        if tool == "cxx" or self.nvcc is None:
            return shlex.join(self.cxx)
        # The last word is the compiler in the likes of `ccache g++`.
        host = next(word for word in reversed(self.cxx) if not word.startswith("-"))
        return shlex.join([self.nvcc, "-ccbin", host])


def cuda_home() -> Path:
    """Return where the CUDA toolkit is, or would be: CUDA_HOME, the place of nvcc, or /usr/local/cuda."""
    if named := os.environ.get("CUDA_HOME"):
        return Path(named)
    default = Path("/usr/local/cuda")
    found = shutil.which("nvcc")
    return Path(found).resolve().parent.parent if found and not (default / "bin" / "nvcc").exists() else default


def find_toolchain(*, cuda: bool) -> Toolchain:
    """Find the compilers.

    Args:
        cuda: Whether nvcc is wanted, too.

    Raises:
        NativeError: One is missing or does not run, or nvcc's major version is not that of torch.
    """
    cxx = _find_cxx()
    versions = [_version(cxx)]
    nvcc = None
    if cuda:
        nvcc = str(cuda_home() / "bin" / "nvcc")
        if shutil.which(nvcc) is None:
            raise NativeError("no-compiler", f"there is no CUDA compiler '{nvcc}'; set CUDA_HOME to the CUDA toolkit")
        versions.append(_version((nvcc,)))
        _check_cuda_version(versions[-1])
    return Toolchain(cxx, nvcc, _find_ninja(), "\n".join(versions))


def _find_cxx() -> tuple[str, ...]:
    """Return the compiler's words, the first one absolute: it is run in another folder."""
    try:
        named = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise NativeError("no-compiler", f"CXX cannot be understood ({error})") from error
    for words in [named] if named else [[name] for name in _COMPILERS]:
        if found := shutil.which(words[0]):
            return (str(Path(found).absolute()), *words[1:])
    if named:
        raise NativeError("no-compiler", f"there is no C++ compiler '{named[0]}', which CXX names")
    raise NativeError("no-compiler", "there is no C++ compiler; install g++ or clang++, or set CXX")


def _find_ninja() -> str:
    try:
        import ninja
    except ImportError:
        folder = None
    else:
        folder = ninja.BIN_DIR
    found = (shutil.which("ninja", path=folder) if folder else None) or shutil.which("ninja")
    if found is None:
        raise NativeError("no-compiler", "ninja is missing; install it with 'pip install ninja'")
    return found


def _version(words: tuple[str, ...]) -> str:
    try:
        run = subprocess.run(
            [*words, "--version"],
            capture_output=True,
            check=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeError("no-compiler", f"the compiler '{shlex.join(words)}' does not run") from error
    return run.stdout


def _check_cuda_version(version: str) -> None:
    """Refuse an nvcc of another major version: two CUDA run-time libraries do not fit into one process."""
    major = str(torch.version.cuda).partition(".")[0]
    if f"release {major}." not in version:
        raise NativeError("no-compiler", f"torch is built for CUDA {torch.version.cuda}, nvcc is of another version")


def fingerprint(text: str) -> str:
    """Return a short hash of a toolchain's identity, or of why there is none."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def compile_library(recipe: Recipe, toolchain: Toolchain, folder: Path, log: Path) -> None:
    """Build the library of a recipe in `folder`.

    Args:
        recipe: What is built.
        toolchain: What it is built with.
        folder: An empty folder; the library's file is in it afterwards, and nothing else.
        log: File that gets the compiler's output when it fails.

    Raises:
        NativeError: The build failed, or the disk is full.
    """
    objects = folder / "objects"
    text = ninja_text(recipe, toolchain.command("cxx"), toolchain.command("nvcc"))
    try:
        objects.mkdir()
        (objects / "build.ninja").write_text(text, "utf-8", "surrogateescape")
        output = _run_ninja(toolchain.ninja, objects)
        if output is None:
            (objects / recipe.file_name).rename(folder / recipe.file_name)
    except OSError as error:
        raise NativeError("build-failed", f"the build failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(objects, ignore_errors=True)
    if output is not None:
        raise NativeError("build-failed", _explain(output, log))


def _run_ninja(ninja: str, folder: Path) -> str | None:
    """Return what the compilers wrote when one failed."""
    # Compilers' temporary files go where they are cleaned up, whatever kills the build.
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    command = [ninja, "-j", str(processors())]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            process.terminate()  # ninja stops its compilers; a kill would leave them running
            raise
    return output.decode("utf-8", "replace") if process.returncode else None


def _explain(output: str, log: Path) -> str:
    try:
        log.write_text(output, "utf-8")
    except OSError:
        where = ""
    else:
        where = f"; see '{log}'"
    if "No space left on device" in output:
        return f"the build failed: no space left on the disk{where}"
    lines = [line.strip() for line in output.splitlines()]
    line = next((line for line in lines if "error:" in line or "fatal" in line), lines[-1] if lines else "no output")
    return f"the build failed: {line[:_MAX_QUOTE]}{where}"
