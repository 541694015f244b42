"""Random numbers of many seeds, as the published programs draw latents: numpy's RandomState(seed).randn(count).

The native kernel gives numpy's bits, in half the time for each thread that it has; the portable one is numpy itself, in
one thread.
"""

import numpy as np
import torch
from torch import Tensor

from generator.ops._library import implement

__all__ = ["seeded_normal"]


def seeded_normal(seeds: Tensor, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the first normal numbers of the stream of each seed, whatever other seeds there are.

    Args:
        seeds: int64 `[N]`, each in 0..2^32 - 1, on the CPU.
        count: How many numbers of each.
        dtype: float32, or float64, in which they are drawn and rounded from.

    Returns:
        `[N, count]` on the CPU; row i is numpy.random.RandomState(seeds[i]).randn(count).

    Raises:
        ValueError: Seeds or type are others.
    """
    if seeds.dtype != torch.int64 or seeds.ndim != 1:
        raise ValueError(f"seeds are {seeds.dtype} {list(seeds.shape)}, not int64 [N]")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"random numbers are float32 or float64, not {dtype}")
    if seeds.numel() and not 0 <= int(seeds.min()) <= int(seeds.max()) < 1 << 32:
        raise ValueError("a seed is not in 0..2^32 - 1")
    drawn: Tensor = torch.ops.invert.seeded_normal(seeds, count, dtype == torch.float64)
    return drawn


def _draw(seeds: Tensor, count: int, is_double: bool) -> Tensor:
    drawn = np.empty([len(seeds), count], np.float64 if is_double else np.float32)
    random = np.random.RandomState()
    for row, seed in zip(drawn, seeds.tolist(), strict=True):
        random.seed(seed)
        row[:] = random.randn(count)
    return torch.from_numpy(drawn)


def _fake(seeds: Tensor, count: int, is_double: bool) -> Tensor:
    return seeds.new_empty([len(seeds), count], dtype=torch.float64 if is_double else torch.float32)


implement("seeded_normal", _draw, _fake)
