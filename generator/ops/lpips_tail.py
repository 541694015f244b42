"""The end of LPIPS: distance between an image's features and stored target features, in one pass.

Reference: Zhang et al. 2018, section 3, equation 1.
"""

from typing import Any

import torch
from torch import Tensor

from generator.ops._library import (
    LIBRARY,
    NAMESPACE,
    as_type,
    first_order,
    implement,
    keep_layout,
    layout_of,
    sum_dtype,
)

__all__ = ["lpips_tail", "lpips_tail_gradient", "normalise_features"]

_EPSILON = 1e-10


def normalise_features(features: Tensor) -> Tensor:
    """Divide each pixel's feature vector by its length plus 1e-10: the target of `lpips_tail`."""
    wide = features.to(sum_dtype(features))
    return (wide / (_length(wide) + _EPSILON)).to(features.dtype)


def lpips_tail(features: Tensor, target: Tensor, lin: Tensor) -> Tensor:
    """Return the mean over the pixels of sum_c lin_c (f_c / (|f| + 1e-10) - target_c)^2.

    Args:
        features: Features `[N, C, H, W]`, any floating type, contiguous or channels-last.
        target: Normalised features `[N, C, H, W]`, or `[1, C, H, W]` shared by all, from `normalise_features`.
        lin: Weight of each channel, `[C]`.

    Returns:
        Distances `[N]`, float64 for float64 features, else float32. Differentiable once, in `features`; where a
        feature vector is zero the length's gradient counts as zero.

    Raises:
        ValueError: The shapes do not fit.
        RuntimeError: `target` or `lin` wants a gradient, or a second derivative is asked for.
    """
    if features.ndim != 4 or target.shape not in (features.shape, (1, *features.shape[1:])):
        raise ValueError(f"target features of shape {tuple(target.shape)} do not fit {tuple(features.shape)}")
    if lin.shape != features.shape[1:2]:
        raise ValueError(f"channel weights of shape {tuple(lin.shape)} do not fit {features.shape[1]} channels")
    if torch.is_grad_enabled() and (target.requires_grad or lin.requires_grad):
        raise RuntimeError("lpips_tail has no gradient for target and lin; detach them")
    target, lin = as_type(target, features.dtype), as_type(lin, sum_dtype(features))
    y: Tensor = torch.ops.invert.lpips_tail(features, target, lin)
    return y


def lpips_tail_gradient(dy: Tensor, features: Tensor, target: Tensor, lin: Tensor) -> Tensor:
    """Return the gradient of the features, outside of autograd, from that of the distances `[N]`; see `lpips_tail`."""
    target, lin = as_type(target, features.dtype), as_type(lin, sum_dtype(features))
    gradient: Tensor = torch.ops.invert.lpips_tail_backward(dy, features, target, lin)
    return gradient


def _length(features: Tensor) -> Tensor:
    return features.square().sum(1, keepdim=True).sqrt()


def _difference(features: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wide = features.to(sum_dtype(features))
    length = _length(wide)
    inverse = 1 / (length + _EPSILON)
    return wide * inverse - target, length, inverse


def _forward(features: Tensor, target: Tensor, lin: Tensor) -> Tensor:
    difference, _, _ = _difference(features, target)
    return (difference.square() * lin[:, None, None]).sum(1).mean([1, 2])


def _backward(dy: Tensor, features: Tensor, target: Tensor, lin: Tensor) -> Tensor:
    difference, length, inverse = _difference(features, target)
    pixels = features.shape[2] * features.shape[3]
    # e is the gradient by the normalised features f / (|f| + 1e-10). That by f has two parts: e scaled as f was, less
    # what changes the length alone, which lies along f.
    e = difference * (lin[:, None, None] * 2) * (dy / max(pixels, 1))[:, None, None, None]
    # d inverse / d f_c = -inverse^2 f_c / length
    projected = (e * features).sum(1, keepdim=True) * inverse.square() / length
    # a length of zero has no derivative, and 0 / 0 would spread as NaN
    projected = torch.where(length > 0, projected, torch.zeros_like(projected))
    return keep_layout((e * inverse - projected * features).to(features.dtype), features)


def _fake_forward(features: Tensor, target: Tensor, lin: Tensor) -> Tensor:
    return features.new_empty([features.shape[0]], dtype=lin.dtype)


def _fake_backward(dy: Tensor, features: Tensor, target: Tensor, lin: Tensor) -> Tensor:
    return torch.empty_like(features, memory_format=layout_of(features))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _derivative(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    return torch.ops.invert.lpips_tail_backward(dy, *ctx.saved_tensors), None, None


implement("lpips_tail", _forward, _fake_forward)
implement("lpips_tail_backward", _backward, _fake_backward)
torch.library.register_autograd(f"{NAMESPACE}::lpips_tail", _derivative, setup_context=_setup, lib=LIBRARY)
first_order("lpips_tail_backward", "plain operations on normalise_features")
