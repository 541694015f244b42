"""A layer's styles and the demodulation that they call for, with constant weights, outside of autograd."""

import torch
from torch import Tensor

from generator.ops._library import implement

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
        return styles, torch.ops.invert.demodulation(styles, self._energy_t, self.epsilon)

    def backward(
        self, dstyles: Tensor, dfactors: Tensor | None, styles: Tensor | None, factors: Tensor | None
    ) -> Tensor:
        """Return the gradient of w from those of the styles and factors, and what `forward` returned."""
        if dfactors is None or self.energy is None or styles is None or factors is None:
            return dstyles @ self.weight
        total: Tensor = torch.ops.invert.demodulation_backward(dfactors, dstyles, styles, factors, self.energy)
        return total @ self.weight


def _factors(styles: Tensor, energy_t: Tensor, epsilon: float) -> Tensor:
    return (styles.square() @ energy_t).add_(epsilon).rsqrt_()


def _through(dfactors: Tensor, dstyles: Tensor, styles: Tensor, factors: Tensor, energy: Tensor) -> Tensor:
    # d f / d s_i = -f^3 / 2 * E_i * 2 s_i
    return dstyles - ((factors.pow(3) * dfactors) @ energy).mul_(styles)


def _fake_factors(styles: Tensor, energy_t: Tensor, epsilon: float) -> Tensor:
    return styles.new_empty([styles.shape[0], energy_t.shape[1]])


def _fake_through(dfactors: Tensor, dstyles: Tensor, styles: Tensor, factors: Tensor, energy: Tensor) -> Tensor:
    return styles.new_empty(styles.shape)


implement("demodulation", _factors, _fake_factors)
implement("demodulation_backward", _through, _fake_through)
