"""A layer's styles and the demodulation that they call for, with constant weights, outside of autograd."""

import torch
from torch import Tensor

__all__ = ["FrozenStyle"]


class FrozenStyle:
    """Maps w to styles s = w A^T + b and, with demodulation, to the factors 1 / sqrt(s^2 E^T + epsilon).

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

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map w `[N, w_dim]` to styles `[N, I]` and factors `[N, O]`, or None."""
        styles = torch.addmm(self.bias, w, self._weight_t)
        if self._energy_t is None:
            return styles, None
        return styles, (styles.square() @ self._energy_t).add_(self.epsilon).rsqrt_()

    def backward(
        self, dstyles: Tensor, dfactors: Tensor | None, styles: Tensor | None, factors: Tensor | None
    ) -> Tensor:
        """Return the gradient of w from those of the styles and factors, and what `forward` returned."""
        if dfactors is None or self.energy is None or styles is None or factors is None:
            return dstyles @ self.weight
        # d f / d s_i = -f^3 / 2 * E_i * 2 s_i
        through = ((factors.pow(3) * dfactors) @ self.energy).mul_(styles)
        return (dstyles - through) @ self.weight
