"""The native kernels: built when they are first wanted, loaded, and told about. Nothing happens at import.

Without them every operator runs on its portable kernel, which gives the same results, slower.
"""

import ctypes
import os
import platform
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from generator.ops._library import NAMESPACE, OPERATORS
from generator.ops.native import recipes
from generator.ops.native.cache import NOT_BUILT, Entry, NativeError, open_cache
from generator.ops.native.compile import Toolchain, compile_library, cuda_home, find_toolchain, fingerprint

__all__ = ["LibraryStatus", "NativeStatus", "ensure", "kernels_hash", "status"]

_load_library: Callable[[str], None] = torch.ops.load_library  # torch gives it no types
_TARGETS = {"cpu": "CPU", "cuda": "CUDA"}
_UNTOLD = frozenset({"off", "not-wanted", "not-built"})  # as the user wants it, or no failure
_REMEMBERED = frozenset({"no-compiler", "build-failed", "load-failed"})


@dataclass(frozen=True)
class LibraryStatus:
    """One native library.

    Attributes:
        hash: Stands for everything that it was made from; None unless it is loaded.
        path: Its file; None unless it is loaded.
        code: Name, for programs, of why it is not loaded; empty when it is.
        reason: Why it is not loaded, in one line; empty when it is.
    """

    hash: str | None = None
    path: Path | None = None
    code: str = ""
    reason: str = ""

    @property
    def loaded(self) -> bool:
        """Whether its kernels run in this process."""
        return self.path is not None


@dataclass(frozen=True)
class NativeStatus:
    """Which kernels run in this process.

    Attributes:
        cpu: The library of the CPU kernels.
        cuda: The library of the CUDA kernels.
        kernels: For each operator what runs on "cpu" and on "cuda": "native" and the instruction set, or "portable".
    """

    cpu: LibraryStatus
    cuda: LibraryStatus
    kernels: Mapping[str, Mapping[str, str]]


_NOT_WANTED = LibraryStatus(code="not-wanted", reason="not asked for in this process")
_state: dict[str, LibraryStatus] = {}
_state_lock = threading.Lock()


def ensure(
    cuda: bool = False,
    *,
    on_message: Callable[[str], None] | None = None,
    timeout: float = 60,
    build: bool = True,
    retry: bool = False,
) -> NativeStatus:
    """Load the native kernels, building them first where that has not been done.

    Whatever goes wrong, the portable kernels run; why is told once and then remembered, in the process and, where
    it has to do with the compiler, in the cache. INVERT_NATIVE=0 switches the native kernels off.

    Args:
        cuda: Whether the CUDA kernels are wanted, too.
        on_message: What is told, in one line each, what takes long and what went wrong.
        timeout: How long to wait for another process that builds the same library, in seconds.
        build: Whether what is missing is built; otherwise only what is there is loaded.
        retry: Whether what failed earlier is tried again; what fails then is in the result and not told.

    Returns:
        What `status` returns.
    """
    tell = on_message or (lambda _: None)
    with _state_lock:
        for target in _TARGETS if cuda else ("cpu",):
            before = _state.get(target, _NOT_WANTED)
            if before.loaded or (before.code not in _UNTOLD and not retry):
                continue
            try:
                _state[target] = _provide(target, tell, timeout, build, retry)
            except NativeError as error:
                _state[target] = LibraryStatus(code=error.code, reason=error.reason)
                if error.code not in _UNTOLD and not error.told and not retry:
                    tell(_advise(target, error))
    return status()


def status() -> NativeStatus:
    """Return which kernels run now; nothing is built or loaded."""
    return NativeStatus(
        _state.get("cpu", _NOT_WANTED),
        _state.get("cuda", _NOT_WANTED),
        {name: {target: _kernel(name, target) for target in _TARGETS} for name in OPERATORS},
    )


def kernels_hash() -> str:
    """Return what the run record says about kernels: "portable", or "native-" and the hash of each loaded library."""
    hashes = [state.hash for state in (_state.get(target) for target in _TARGETS) if state and state.hash]
    return f"native-{'+'.join(hashes)}" if hashes else "portable"


def _provide(target: str, tell: Callable[[str], None], timeout: float, build: bool, retry: bool) -> LibraryStatus:
    if os.environ.get("INVERT_NATIVE", "").strip() == "0":
        raise NativeError("off", "switched off by INVERT_NATIVE=0")
    if target == "cuda" and torch.version.cuda is None:
        raise NativeError("no-cuda", "this torch is built without CUDA; install one with it to run on a GPU")
    entry = _find_or_build(target, tell, timeout, build, retry)
    try:
        _load_library(str(entry.library))
    except OSError as error:
        why = error.__cause__ or error  # torch puts a sentence without the reason around the loader's
        failure = NativeError("load-failed", f"the library was built but does not load ({why})")
        entry.discard()
        entry.remember(failure)
        raise failure from error
    return LibraryStatus(entry.place.name.partition("-")[2], entry.library)


def _recipe(target: str) -> recipes.Recipe:
    return recipes.cpu_recipe() if target == "cpu" else recipes.cuda_recipe(cuda_home())


def _find_or_build(target: str, tell: Callable[[str], None], timeout: float, build: bool, retry: bool) -> Entry:
    """Return the library of a target, whole.

    Raises:
        NativeError: It is not there and cannot be, or shall not be, built.
    """
    recipe = _recipe(target)
    folder = open_cache(create=build)
    try:
        name = f"{recipe.name}-{recipes.recipe_digest(recipe, torch.__version__, platform.machine())}"
    except OSError as error:
        raise NativeError("build-failed", f"their source cannot be read ({error})") from error
    try:
        toolchain = find_toolchain(cuda=target == "cuda")
    except NativeError as error:
        # Any that was built ahead will do, before the compiler went away.
        built = (Entry(folder, path.name, recipe.file_name) for path in sorted(folder.glob(f"{name}-????????")))
        if whole := next((entry for entry in built if entry.is_whole()), None):
            return whole
        if build:
            entry = Entry(folder, f"{name}-{fingerprint(error.reason)}", recipe.file_name)
            _raise_noted(entry, retry)
            entry.remember(error)
        raise
    entry = Entry(folder, f"{name}-{fingerprint(toolchain.identity)}", recipe.file_name)
    if entry.is_whole():
        return entry
    _raise_noted(entry, retry)
    if not build:
        raise NativeError("not-built", NOT_BUILT)
    with entry.locked(timeout, lambda: tell(f"waiting for another process that builds the {_TARGETS[target]} kernels")):
        if not entry.is_whole():
            _raise_noted(entry, retry)
            _build(entry, recipe, toolchain, tell, _TARGETS[target])
    return entry


def _raise_noted(entry: Entry, retry: bool) -> None:
    if not retry and (failure := entry.failure()):
        raise failure


def _build(entry: Entry, recipe: recipes.Recipe, toolchain: Toolchain, tell: Callable[[str], None], key: str) -> None:
    damaged = " again, for the library is damaged" if entry.library.exists() else ""
    tell(f"building the native {key} kernels{damaged}; this is done once and takes a minute or two")
    try:
        with entry.building() as folder:
            compile_library(recipe, toolchain, folder, entry.log)
    except NativeError as error:
        entry.remember(error)
        raise
    entry.forget()


def _advise(target: str, error: NativeError) -> str:
    advice = "The portable ones run, which are slower."
    if error.code in _REMEMBERED:
        advice += " This is not said again; 'invert doctor --build' tries anew."
    return f"native {_TARGETS[target]} kernels: {error.reason}. {advice}"


def _kernel(operator: str, target: str) -> str:
    """Return what the dispatcher calls, whoever loaded it."""
    if not torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{operator}", _TARGETS[target]):
        return "portable"
    path = _state.get(target, _NOT_WANTED).path
    return f"native {_instruction_set(path)}" if path and target == "cpu" else "native"


def _instruction_set(path: Path) -> str:
    """Return the instruction set that the loaded CPU library has chosen for this processor."""
    name = ctypes.CDLL(str(path)).invert_cpu_isa
    name.restype = ctypes.c_char_p
    return str(name().decode("ascii"))
