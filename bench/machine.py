"""The machine that a table was made on: a line to stand above it, since a time without it means nothing."""

import datetime
import platform
from pathlib import Path

import torch

from bench.side_by_side import median_seconds
from generator.ops.frozen_conv import FrozenConv2d
from generator.processors import processors

__all__ = ["machine", "product_speed"]

_SIDE = 2048
_BUDGET = 1.0  # seconds for each way


def product_speed() -> float:
    """Return the operations a second of a large float32 product: what the machine can do, in torch's faster way.

    On some processors the library behind `@` leaves the widest instructions unused; the convolutions' does not.
    """
    a = torch.randn([_SIDE, _SIDE])
    as_convolution = FrozenConv2d(a[:, :, None, None], padding=0)
    image = torch.randn([1, _SIDE, _SIDE // 64, 64]).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        ways = (lambda _: a @ a, lambda _: as_convolution(image))
        return max(2 * _SIDE**3 / median_seconds(way, _BUDGET) for way in ways)


def machine(speed: float | None = None) -> str:
    """Return what a table was made on: processor, cores, instructions, the speed of a large product, torch, date.

    Args:
        speed: That of `product_speed`, where it is known.
    """
    speed = product_speed() if speed is None else speed
    threads = torch.get_num_threads()
    return (
        f"Machine: {_processor()}, {processors()} processors, {torch.backends.cpu.get_cpu_capability()}; "
        f"a large float32 product reaches {speed / 1e9:.0f} GFLOP/s with {threads} "
        f"{'thread' if threads == 1 else 'threads'}; torch {torch.__version__}; {datetime.date.today():%Y-%m-%d}."
    )


def _processor() -> str:
    """Return the name of the processor as its maker has it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []  # not Linux
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    name = named.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {named['cpu family']}, model {named['model']})" if "cpu family" in named else name
