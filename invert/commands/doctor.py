"""`invert doctor`: what this installation has, which kernels run, and building the native ones ahead."""

import contextlib
import hashlib
import os
import platform
import warnings
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.processors import processors
from invert import __version__
from invert.cli import options
from invert.cli.output import Output
from invert.errors import ExitCode, InvertError, OutputError, UsageError, display_path

if TYPE_CHECKING:
    from generator.ops.native.build import LibraryStatus, NativeStatus

__all__ = ["doctor"]

_PACKAGES = ("torch", "numpy", "pillow", "h5py")
_WEIGHTS = {"vgg": "lpips_vgg.safetensors", "alex": "lpips_alex.safetensors"}
_TARGETS = {"cpu": "CPU", "cuda": "CUDA"}


class _BuildError(OutputError):
    """A native library that was asked for could not be built."""

    what = "native kernels"


@options.command(
    short_help="Show what this installation has, and build the native kernels.",
    examples=("invert doctor --build", "invert doctor --shared /mnt/cluster/photos"),
)
@options.option("--build", is_flag=True, help="Build the native kernels now, also where that failed before.")
@options.option("--cuda", is_flag=True, help="With --build: build the kernels for CUDA, too.")
@options.option(
    "--shared",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also try whether locks work in a folder that several machines are to share.",
)
@options.as_json
@options.quiet
def doctor(build: bool, cuda: bool, shared: Path | None, as_json: bool, quiet: bool) -> None:
    """Show versions, threads, kernels, CUDA, weights and the cache folder.

    \b
    Exit codes: 0 everything needed is there (without native kernels, the portable ones do),
    1 the installation is damaged, 6 --build failed or the --shared folder does not do,
    7 --build found another process building.
    """
    if cuda and not build:
        raise UsageError("--cuda says what to build", advice="Give --build, too.")
    output = Output(as_json=as_json, quiet=quiet)
    record: dict[str, Any] = {"type": "doctor", "code": "doctor", "versions": _versions(), "lpips": _weights()}
    problems = [f"{name} is not installed" for name, version in record["versions"].items() if version is None]
    problems += [
        f"the weights {_WEIGHTS[net]} are {w['state']}" for net, w in record["lpips"].items() if not w["sha256"]
    ]
    native = None
    try:
        native = _native(output, build, cuda)
        record |= _torch_facts() | _native_facts(native)
    except ImportError as error:
        problems.append(f"torch does not work, {error}")
    record["problems"] = problems
    if shared is not None:
        record["shared"] = _shared(shared)
    output.result(record, *_lines(record))
    if problems:
        raise InvertError("; ".join(problems), advice="Install invert again.", code="installation")
    if shared is not None and record["shared"]["problems"]:
        raise OutputError("; ".join(record["shared"]["problems"]), path=shared, advice="Do not run shards there.")
    if build and native is not None:
        _check_built([native.cpu, native.cuda] if cuda else [native.cpu])


def _check_built(libraries: "list[LibraryStatus]") -> None:
    for library in libraries:
        if library.loaded:
            continue
        if library.code == "off":
            raise UsageError(f"the native kernels are {library.reason}", advice="Unset it to build them.")
        error = _BuildError(library.reason, advice="The portable kernels run.", code=f"native-{library.code}")
        if library.code == "locked":
            error.exit_code = ExitCode.BUSY
        raise error


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"invert": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _weights() -> dict[str, dict[str, str | None]]:
    return {net: _weight(name) for net, name in _WEIGHTS.items()}


def _weight(name: str) -> dict[str, str | None]:
    """Return the hash of a file of weights, None where it cannot be used, and its state in a word."""
    from safetensors import SafetensorError, safe_open

    with resources.as_file(resources.files("invert") / "weights" / name) as path:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            with safe_open(path, "numpy") as tensors:
                tensors.keys()
        except FileNotFoundError:
            return {"sha256": None, "state": "missing"}
        except (OSError, SafetensorError):
            return {"sha256": None, "state": "damaged"}
    return {"sha256": digest, "state": "present"}


def _native(output: Output, build: bool, cuda: bool) -> "NativeStatus":
    """Build what is asked for, and load whatever is there."""
    from generator.ops.native.build import ensure

    if build:
        ensure(cuda, on_message=output.note, retry=True)
    return ensure(cuda=True, build=False)


def _torch_facts() -> dict[str, Any]:
    import torch

    from generator.ops.native.compile import cuda_home

    nvcc = cuda_home() / "bin" / "nvcc"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of drivers that are too old
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "processors": processors(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": {
            "torch": torch.version.cuda,
            "devices": [torch.cuda.get_device_name(index) for index in range(count)],
            "nvcc": str(nvcc) if os.access(nvcc, os.X_OK) else None,
        },
    }


def _native_facts(native: "NativeStatus") -> dict[str, Any]:
    from generator.cache import CacheError, cache_folder
    from generator.ops.native.build import kernels_hash

    folder: Path | None = None
    with contextlib.suppress(CacheError):
        folder = cache_folder()
    return {
        "native": {
            target: {
                "hash": library.hash,
                "path": None if library.path is None else os.fspath(library.path),
                "code": library.code or "loaded",
                "reason": library.reason,
            }
            for target, library in (("cpu", native.cpu), ("cuda", native.cuda))
        },
        "kernels_hash": kernels_hash(),
        "kernels": {name: dict(kernels) for name, kernels in native.kernels.items()},
        "cache": {"folder": None if folder is None else os.fspath(folder), "bytes": _size(folder)},
    }


def _shared(folder: Path) -> dict[str, Any]:
    from invert.batch.shared_folder import check_shared_folder, file_system

    return {
        "folder": os.fspath(folder),
        "file_system": file_system(folder),
        "problems": check_shared_folder(folder),
    }


def _size(folder: Path | None) -> int:
    """Return how many bytes the files in a folder have, as far as it can be read."""
    total = 0
    for parent, _, names in os.walk(folder) if folder is not None else ():
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _lines(record: dict[str, Any]) -> list[str]:
    facts = {name: version or "missing" for name, version in record["versions"].items()}
    if "torch" in record:
        facts["torch"] = record["torch"]
        facts["threads"] = f"{record['threads']} of {record['processors']} processors"
        facts["CPU"] = record["cpu_capability"]
        facts["CUDA"] = _cuda_line(record["cuda"])
        for target, library in record["native"].items():
            where = f"{library['hash']} in {display_path(library['path'])}" if library["path"] else ""
            facts[f"native {_TARGETS[target]}"] = where or f"no: {library['reason']}"
        folder, size = record["cache"]["folder"], record["cache"]["bytes"]
        facts["cache"] = "none: there is no home" if folder is None else f"{display_path(folder)}, {size / 1e6:.1f} MB"
    for net, weights in record["lpips"].items():
        facts[f"LPIPS {net}"] = f"sha256 {weights['sha256']}" if weights["sha256"] else weights["state"]
    if "shared" in record:
        found = record["shared"]
        state = "locks work between processes" if not found["problems"] else "; ".join(found["problems"])
        facts["shared"] = f"{display_path(found['folder'])} on {found['file_system']}: {state}"
    lines = [f"{name:<12} {value}" for name, value in facts.items()]
    if "kernels" in record:
        width = max(map(len, record["kernels"]))
        lines += ["", f"{'operator':<{width}} {'on the CPU':<16} on CUDA"]
        lines += [f"{name:<{width}} {on['cpu']:<16} {on['cuda']}" for name, on in record["kernels"].items()]
    return lines


def _cuda_line(cuda: dict[str, Any]) -> str:
    devices = ", ".join(cuda["devices"]) or "no device"
    nvcc = f"nvcc {display_path(cuda['nvcc'])}" if cuda["nvcc"] else "no nvcc"
    return f"torch for CUDA {cuda['torch']}, {devices}, {nvcc}" if cuda["torch"] else f"torch without CUDA, {nvcc}"
