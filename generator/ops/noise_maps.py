"""What keeps optimised noise maps noise: the penalty on their autocorrelation, and their normalisation.

Reference: Karras et al. 2020, appendix D (regularisation and normalisation of the noise maps).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from generator.ops._library import LIBRARY, NAMESPACE, below_autograd, first_order, implement

__all__ = ["noise_penalties", "noise_penalty", "normalise_noise_"]

_PYRAMID_FLOOR = 8  # px; a map is halved until it is this large
_EPSILON = 1e-8


def noise_penalty(maps: Tensor, pyramid_scale: float) -> Tensor:
    """Return the squared shift-by-one autocorrelations of noise maps, summed over a pyramid of sizes.

    Args:
        maps: `[N, K, H, W]`, float32 or float64.
        pyramid_scale: Factor on the 2x2 mean between levels: 2 keeps the variance of white noise at one and
            is what the paper says; the public code has 1.

    Returns:
        `[N]`. Differentiable once: its gradient is worked out with it.

    Raises:
        ValueError: The maps are of other types or shapes.
        RuntimeError: A second derivative is asked for.

    Reference: Karras et al. 2020, appendix D, the sum L over maps i and levels j.
    """
    _check(maps)
    penalty: Tensor = torch.ops.invert.noise_penalty(maps, pyramid_scale)[0]
    return penalty


def noise_penalties(stacks: Sequence[Tensor], pyramid_scale: float) -> Tensor:
    """Return the sum over sizes of `noise_penalty`, `[N]`, as one step of the graph; differentiable once.

    Args:
        stacks: The maps of each size, `[N, K, H, W]`.
        pyramid_scale: See `noise_penalty`.
    """
    for maps in stacks:
        _check(maps)
    penalty: Tensor = _Penalties.apply(pyramid_scale, *stacks)
    return penalty


def normalise_noise_(maps: Tensor) -> None:
    """Bring every noise map to mean 0 and variance 1, in place; a constant one becomes zero.

    Args:
        maps: `[N, K, H, W]`, float32 or float64, contiguous.

    Raises:
        ValueError: The maps are of other types or shapes, or not contiguous.
    """
    _check(maps)
    if not maps.is_contiguous():
        raise ValueError("noise maps that are normalised in place must be contiguous")
    torch.ops.invert.noise_normalise_(maps)


def _check(maps: Tensor) -> None:
    if maps.ndim != 4 or maps.dtype not in (torch.float32, torch.float64) or not maps.shape[2] * maps.shape[3]:
        raise ValueError(f"noise maps are {maps.dtype} {list(maps.shape)}, not float32 or float64 [N, K, H, W]")


def _penalty(maps: Tensor, pyramid_scale: float) -> tuple[Tensor, Tensor]:
    total = maps.new_zeros([len(maps)])
    levels, gradients = [maps], []
    while True:
        level = levels[-1]
        gradient = torch.zeros_like(level)
        for dimension in (3, 2):
            correlation = (level * level.roll(1, dimension)).mean(dim=[2, 3], keepdim=True)
            total = total + correlation.square().sum(dim=[1, 2, 3])
            neighbours = level.roll(1, dimension) + level.roll(-1, dimension)
            gradient += neighbours * (correlation * (2 / max(level.shape[2] * level.shape[3], 1)))
        gradients.append(gradient)
        if min(level.shape[2:]) <= _PYRAMID_FLOOR:
            break
        levels.append(functional.avg_pool2d(level, 2) * pyramid_scale)
    # From the smallest up: each mean of 2x2 pixels hands its gradient to the four; an odd last row is in none.
    for larger, smaller in zip(gradients[-2::-1], gradients[:0:-1], strict=True):
        h, w = smaller.shape[2:]
        larger[:, :, : 2 * h, : 2 * w] += smaller.repeat_interleave(2, 2).repeat_interleave(2, 3) * (pyramid_scale / 4)
    return total, gradients[0].contiguous()


def _fake_penalty(maps: Tensor, pyramid_scale: float) -> tuple[Tensor, Tensor]:
    return maps.new_empty([len(maps)]), torch.empty_like(maps, memory_format=torch.contiguous_format)


def _normalise(maps: Tensor) -> None:
    maps -= maps.mean(dim=[2, 3], keepdim=True)
    # The reference divides without the epsilon: a constant map becomes NaN.
    maps *= (maps.square().mean(dim=[2, 3], keepdim=True) + _EPSILON**2).rsqrt()


def _fake_normalise(maps: Tensor) -> None:
    return None


def _scaled(dy: Tensor, gradient: Tensor, maps: Tensor) -> Tensor:
    return dy[:, None, None, None] * gradient


def _fake_scaled(dy: Tensor, gradient: Tensor, maps: Tensor) -> Tensor:
    return torch.empty_like(gradient)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1], inputs[0])


def _derivative(ctx: Any, dy: Tensor | None, _: Any) -> tuple[Any, ...]:
    if dy is None:
        return None, None
    # The maps go along so that a second derivative is refused, not taken for zero.
    return torch.ops.invert.noise_penalty_backward(dy, *ctx.saved_tensors), None


class _Penalties(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pyramid_scale: float, *stacks: Tensor) -> Tensor:
        with below_autograd():
            found = [torch.ops.invert.noise_penalty(maps, pyramid_scale) for maps in stacks]
            penalty = torch.stack([terms for terms, _ in found], dim=1).sum(dim=1)
        ctx.save_for_backward(*(gradient for _, gradient in found))
        return penalty

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        gradients = ctx.saved_tensors
        with below_autograd():
            return None, *torch._foreach_mul(gradients, [dy.reshape(-1, 1, 1, 1)] * len(gradients))


implement("noise_penalty", _penalty, _fake_penalty)
implement("noise_normalise_", _normalise, _fake_normalise)
implement("noise_penalty_backward", _scaled, _fake_scaled)
torch.library.register_autograd(f"{NAMESPACE}::noise_penalty", _derivative, setup_context=_setup, lib=LIBRARY)
first_order("noise_penalty_backward", "plain rolls and means of the maps")
