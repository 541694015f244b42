"""How many processors this process may use, for threads and for processes, and whether they compute in bfloat16."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["doubt_bfloat16", "processors"]

_MEMBERSHIP = "proc/self/cgroup"
_GROUPS = "sys/fs/cgroup"


def processors(root: Path = Path("/")) -> int:
    """Return how many processors this process may use, at least 1.

    It is those of the machine, less those that the process is kept off (taskset, SLURM, cpusets), and no more than the
    processor time that its control groups grant (containers), rounded up.

    Args:
        root: Where `proc` and `sys` lie.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # macOS and Windows have none
    count = (os.cpu_count() or 1) if affinity is None else len(affinity(0))
    return max(1, min([count, *map(math.ceil, _quotas(root))]))


def doubt_bfloat16(precision: str, device: str) -> str | None:
    """Return what should be known of feature maps in bfloat16 on a processor that does not compute in it.

    Args:
        precision: "float32" or "bfloat16".
        device: "cpu" or that of a GPU.
    """
    if precision != "bfloat16" or device != "cpu":
        return None
    import torch

    told = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    known = [bool(told[name]) for name in told if "bf16" in name]
    if not known or any(known):
        return None
    return "this processor has no instructions for bfloat16: --precision bfloat16 is slower here than float32"


def _quotas(root: Path) -> Iterator[float]:
    """Yield what each control group of this process grants, in processors; nothing where none sets a limit."""
    try:
        lines = (root / _MEMBERSHIP).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    groups = root / _GROUPS
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            # Version 2, which lies beside version 1 where a system has both.
            for folder in (groups, groups / "unified"):
                yield from _along(folder, path, "cpu.max")
        elif "cpu" in controllers.split(","):
            for folder in {groups / controllers, groups / "cpu"}:
                yield from _along(folder, path, "cpu.cfs_quota_us")


def _along(folder: Path, path: str, name: str) -> Iterator[float]:
    """Yield the limits of a group and of those that it lies in: the tightest one holds.

    In a container the path may be that of the machine, while the container's own group is what lies at the top.
    """
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for depth in range(len(parts) + 1):
        group = folder.joinpath(*parts[:depth])
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, *period = (group / name).read_text("ascii").split()
            if not period:
                period = (group / "cpu.cfs_period_us").read_text("ascii").split()
            # "max" and -1 stand for no limit.
            if quota != "max" and int(quota) > 0:
                yield int(quota) / int(period[0])
