"""Scale each image's channels by its styles, with both gradients from one pass.

Reference: Karras et al. 2020, equation 1, applied to the activations.
"""

from typing import Any

import torch
from torch import Tensor

from generator.ops._library import LIBRARY, NAMESPACE, implement, keep_layout, layout_of, sum_dtype

__all__ = ["modulate"]


def modulate(x: Tensor, styles: Tensor) -> Tensor:
    """Multiply each channel of each image by its style.

    Args:
        x: Feature maps `[N, C, H, W]`, any floating type, contiguous or channels-last (which is kept).
        styles: Styles `[N, C]`, any floating type; float32 beside half-precision activations keeps the most digits.

    Returns:
        A tensor like `x`. Differentiable any number of times in both.

    Raises:
        ValueError: The shapes do not fit.
    """
    if x.ndim != 4 or styles.shape != x.shape[:2]:
        raise ValueError(f"styles of shape {tuple(styles.shape)} do not fit activations {tuple(x.shape)}")
    y: Tensor = torch.ops.invert.modulate(x, styles.to(sum_dtype(x)))
    return y


def _forward(x: Tensor, styles: Tensor) -> Tensor:
    return keep_layout((x * styles[:, :, None, None]).to(x.dtype), x)


def _backward(dy: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    dx = keep_layout((dy * styles[:, :, None, None]).to(x.dtype), x)
    return dx, (dy.to(styles.dtype) * x).sum([2, 3])


def _fake(x: Tensor, styles: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=layout_of(x))


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_forward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, styles = ctx.saved_tensors
    if not ctx.needs_input_grad[1]:
        return torch.ops.invert.modulate(dy, styles), None
    dx, dstyles = torch.ops.invert.modulate_backward(dy, x, styles)
    return dx, dstyles


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)
    ctx.set_materialize_grads(False)


def _backward_backward(ctx: Any, v: Tensor | None, v_styles: Tensor | None) -> tuple[Any, ...]:
    # <v, dy s> + <v_styles, sum(dy x)> is linear in each of dy, x and s.
    dy, x, styles = ctx.saved_tensors
    ddy = dx = dstyles = None
    if v is not None:
        ddy, dstyles = torch.ops.invert.modulate_backward(v, dy, styles)
    if v_styles is not None:
        more = torch.ops.invert.modulate(x, v_styles)
        ddy = more if ddy is None else ddy + more
        dx = torch.ops.invert.modulate(dy, v_styles)
    return ddy, dx, dstyles


implement("modulate", _forward, _fake)
implement("modulate_backward", _backward, lambda dy, x, styles: (_fake(x, styles), torch.empty_like(styles)))
torch.library.register_autograd(f"{NAMESPACE}::modulate", _backward_forward, setup_context=_setup_forward, lib=LIBRARY)
torch.library.register_autograd(
    f"{NAMESPACE}::modulate_backward", _backward_backward, setup_context=_setup_backward, lib=LIBRARY
)
