"""The process that computes: its device, its threads, its memory and its kernels."""

import ctypes
import sys
from collections.abc import Callable

import torch

from generator.ops.native.build import ensure
from generator.processors import processors
from invert.errors import UsageError

__all__ = ["default_threads", "keep_freed_memory", "prepare_process", "settle_device"]

_OnMessage = Callable[[str], None]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**30


def default_threads(workers: int = 1) -> int:
    """Return the CPU threads of each of several processes unless the user says: an equal share of the processors.

    One process has as many as torch takes (which is where OMP_NUM_THREADS counts), if there are processors for them.
    """
    return min(torch.get_num_threads(), processors()) if workers == 1 else max(1, processors() // workers)


def settle_device(choice: str) -> str:
    """Return the device that computes, as torch writes it: "cpu", "cuda", "cuda:1", "mps".

    Args:
        choice: "auto", which is CUDA where it can be used and else the processors, or a device of torch.

    Raises:
        UsageError: It cannot be used here.
    """
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    advice = "Use cpu."
    try:
        device = torch.device(choice)
        if device.type == "cpu":
            return "cpu"
        module = torch.get_device_module(device)
    except (RuntimeError, AttributeError):
        reason = f"--device {choice} is none that PyTorch {torch.__version__} knows"
        raise UsageError(reason, advice=advice) from None
    if not module.is_available():
        raise UsageError(
            f"--device {choice}: there is no {device.type} device here that PyTorch can use", advice=advice
        )
    count = module.device_count()
    if device.index is not None and device.index >= count:
        raise UsageError(f"--device {choice}: there are {count}, counted from 0", advice=advice)
    return str(device)


def prepare_process(device: str, threads: int | None, on_message: _OnMessage) -> None:
    """Set this process up for projections: memory, native kernels and threads.

    Args:
        device: From `settle_device`.
        threads: CPU threads; None takes `default_threads`.
        on_message: Called with a line when kernels have to be built.
    """
    keep_freed_memory()
    ensure(cuda=device.startswith("cuda"), on_message=on_message)
    torch.set_num_threads(threads or default_threads())


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory, and return whether it understood.

    A projection step frees and asks for the same gigabytes again; by default each is returned to the system
    and cleared page by page before its next use, which takes half of a 1024 px step (see
    `bench/projection_step.py`). It holds for the whole process.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
