"""Sample images on an affine grid, differentiable any number of times.

torch's own `grid_sample` has a first derivative only. In the image sampling is linear, so its derivative is its
transpose, whose derivative is the sampling again.
"""

from typing import Any

import torch
from torch import Tensor

from generator.ops._library import LIBRARY, NAMESPACE, implement, layout_of

__all__ = ["affine_sample"]


def affine_sample(x: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images whose pixels are taken from other places of `x`, bilinearly; beyond the edges of `x` it is 0.

    Coordinates are in pixels, x to the right and y downwards, from the centre of each image.

    Args:
        x: Images `[N, C, H, W]`, float32 or float64.
        matrix: For each image the map from a pixel of the result to its place in `x`, `[N, 2, 3]`; no derivative is
            taken in it.
        size: Height and width of the result in pixels.

    Returns:
        Images `[N, C, height, width]`, differentiable any number of times in `x`.

    Raises:
        ValueError: The shapes do not fit together, or the matrix requires a gradient.
    """
    if x.ndim != 4 or matrix.shape != (len(x), 2, 3):
        raise ValueError(f"images {tuple(x.shape)} and matrices {tuple(matrix.shape)} are not [N, C, H, W], [N, 2, 3]")
    if min(size) < 1:
        raise ValueError(f"a result of {size} pixels has none")
    if matrix.requires_grad:
        raise ValueError("affine_sample has no derivative in the matrix; detach it")
    y: Tensor = torch.ops.invert.affine_sample(x, matrix, size[0], size[1], False)
    return y


def _grid(matrix: Tensor, source: torch.Size, target: torch.Size, like: Tensor) -> Tensor:
    """Return where in `source` each pixel of `target` lies, `[N, h, w, 2]`, as fractions of half its side."""
    (height, width), (rows, columns) = source, target
    options: dict[str, Any] = {"dtype": torch.float64, "device": like.device}
    y = torch.arange(rows, **options) - (rows - 1) / 2
    x = torch.arange(columns, **options) - (columns - 1) / 2
    scaled = matrix.to(torch.float64) / torch.tensor([[width / 2], [height / 2]], **options)
    a, b, c = scaled[:, None, None, :, :].unbind(dim=-1)
    places: Tensor = a * x[None, None, :, None] + b * y[None, :, None, None] + c
    return places.to(like.dtype)


def _portable(x: Tensor, matrix: Tensor, height: int, width: int, transposed: bool) -> Tensor:
    other = torch.Size([height, width])
    grid = _grid(matrix, other, x.shape[2:], x) if transposed else _grid(matrix, x.shape[2:], other, x)
    bilinear, zeros = 0, 0
    if transposed:
        like = x.new_zeros([]).expand([*x.shape[:2], height, width])
        y, _ = torch.ops.aten.grid_sampler_2d_backward(x, like, grid, bilinear, zeros, False, [True, False])
    else:
        y = torch.grid_sampler_2d(x, grid, bilinear, zeros, False)
    result: Tensor = y.contiguous(memory_format=layout_of(x))
    return result


def _fake(x: Tensor, matrix: Tensor, height: int, width: int, transposed: bool) -> Tensor:
    return x.new_empty([*x.shape[:2], height, width]).contiguous(memory_format=layout_of(x))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, matrix, _, _, ctx.transposed = inputs
    ctx.save_for_backward(matrix)
    ctx.size = x.shape[2:]


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    (matrix,) = ctx.saved_tensors
    dx = torch.ops.invert.affine_sample(dy, matrix, *ctx.size, not ctx.transposed)
    return (dx, None, None, None, None)


implement("affine_sample", _portable, _fake)
torch.library.register_autograd(f"{NAMESPACE}::affine_sample", _backward, setup_context=_setup_context, lib=LIBRARY)
