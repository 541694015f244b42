"""A layer's styles and the demodulation that they call for, with constant weights, as one step of the graph."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["FrozenStyle"]


class FrozenStyle:
    """Maps w to styles s = w A^T + b and, with demodulation, to the factors 1 / sqrt(s^2 E^T + epsilon).

    Written out because a projection of small images spends its time on the number of operations, not on their size.

    Args:
        weight: A, `[I, w_dim]`.
        bias: b, `[I]`.
        energy: E, `[O, I]`: the sum over the taps of the layer's squared weights. None: there is no demodulation.
        epsilon: Added under the root.

    Reference: Karras et al. 2020, section 2.2, equation 3.
    """

    def __init__(self, weight: Tensor, bias: Tensor, energy: Tensor | None = None, epsilon: float = 0.0) -> None:
        self.weight, self.bias, self.energy, self.epsilon = weight.detach(), bias.detach(), energy, epsilon
        self._weight_t = self.weight.t()
        self._energy_t = None if energy is None else energy.detach().t()

    def __call__(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map w `[N, w_dim]` to styles `[N, I]` and factors `[N, O]`, or None; differentiable once."""
        styles, factors = _Styled.apply(w, self)
        return styles, factors

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the result outside of autograd."""
        styles = torch.addmm(self.bias, w, self._weight_t)
        if self._energy_t is None:
            return styles, None
        return styles, (styles.square() @ self._energy_t).add_(self.epsilon).rsqrt_()

    def backward(
        self, dstyles: Tensor | None, dfactors: Tensor | None, styles: Tensor, factors: Tensor
    ) -> Tensor | None:
        """Return the gradient of w from those of the styles and factors."""
        if dfactors is None or self.energy is None:
            return dstyles if dstyles is None else dstyles @ self.weight
        # d f / d s_i = -f^3 / 2 * E_i * 2 s_i
        through = ((factors.pow(3) * dfactors) @ self.energy).mul_(styles)
        total = through.neg_() if dstyles is None else dstyles - through
        return total @ self.weight


class _Styled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, layer: FrozenStyle) -> tuple[Tensor, Tensor | None]:
        styles, factors = layer.forward(w)
        ctx.layer = layer
        ctx.set_materialize_grads(False)
        if factors is not None:
            ctx.save_for_backward(styles, factors)
        return styles, factors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dstyles: Tensor | None, dfactors: Tensor | None) -> tuple[Tensor | None, None]:
        styles, factors = ctx.saved_tensors or (None, None)
        return ctx.layer.backward(dstyles, dfactors, styles, factors), None
