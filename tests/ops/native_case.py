"""Random cases for the native kernels, and the comparison with the portable ones in float64."""

import os
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from generator.ops._library import portable, sum_dtype

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# What rounding may come to, as a share of the largest value. Half types are rounded once, at the end.
COMPUTED = {torch.float64: 1e-12, torch.float32: 3e-6}
STORED = {torch.float64: 0.0, torch.float32: 0.0, torch.float16: 5e-4, torch.bfloat16: 4e-3, torch.uint8: 0.0}
SHAPES = (
    (2, 3, 5, 7),
    (1, 16, 9, 33),
    (3, 40, 8, 8),
    (1, 5, 1, 1),
    (2, 1, 6, 4),
    (1, 17, 19, 70),
    (1, 130, 3, 4),
    (0, 3, 4, 4),
    (2, 0, 3, 3),
)


# Where the kernels under test run.
DEVICE = os.environ.get("INVERT_TEST_DEVICE", "cpu")


class Case:
    """A source of random tensors and settings."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype

    def choose(self, *options: Any) -> Any:
        return self.random.choice(options)

    def normal(self, *shape: int) -> Tensor:
        """Activations: odd sizes, channels-last, transposed, with gaps."""
        return self.lay(torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.dtype))

    def side(self, *shape: int) -> Tensor:
        """A small tensor beside activations, in the type sums are made in."""
        x = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return x.to(sum_dtype(torch.empty(0, dtype=self.dtype)))

    def perhaps(self, x: Tensor) -> Tensor | None:
        return self.choose(x, x, None)

    def lay(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.numel() == 0:
            return x
        n, c, h, w = x.shape
        match self.choose("planes", "channels_last", "transposed", "gaps"):
            case "channels_last":
                return x.contiguous(memory_format=torch.channels_last)
            case "transposed":
                return x.transpose(2, 3).contiguous().transpose(2, 3)
            case "gaps":
                wide = x.new_empty([n, c, h + 1, 2 * w + 1])
                wide[:, :, 1:, 1::2] = x
                return wide[:, :, 1:, 1::2]
        return x.contiguous()


def compare(name: str, *arguments: Any, tolerance: float = 1.0) -> None:
    """Compare what the loaded kernel gives with the portable kernel, run in float64 on the same numbers."""
    op: Callable[..., Any] = getattr(torch.ops.invert, name)
    actual, same_type = _tuple(op(*map(_moved, arguments))), _tuple(portable(name)(*arguments))
    expected = _tuple(portable(name)(*(_double(a) for a in arguments)))
    for a, s, e in zip(actual, same_type, expected, strict=True):
        assert a.dtype == s.dtype
        assert a.shape == s.shape
        assert _significant_strides(a) == _significant_strides(s)
        if a.numel():
            scale = max(1.0, e.abs().max().item())
            error = (a.double().cpu() - e).abs().max().item() / scale
            assert error <= tolerance * COMPUTED[sum_dtype(a)] + STORED[a.dtype], (
                f"{name}: {error} on {_shapes(arguments)}"
            )


def _tuple(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def _moved(a: Any) -> Any:
    return a.to(DEVICE) if isinstance(a, Tensor) else a


def _double(a: Any) -> Any:
    return a.double() if isinstance(a, Tensor) else a


def _significant_strides(x: Tensor) -> list[int]:
    return [stride for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1] if x.numel() else []


def _shapes(arguments: tuple[Any, ...]) -> list[Any]:
    return [tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments]
