"""Spectral normalisation of all weights of a network, for the ablation of the StyleGAN2 paper (appendix E).

References: Miyato et al. 2018 (power iteration, one per step); Karras et al. 2020, appendix E (why the static scale of
the equalised learning rate has to be made up for).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from generator.layers import EqualizedConv2d, EqualizedLinear
from generator.stylegan2.layers import ModulatedConv2d, ToRGB

__all__ = ["add_spectral_norm", "plain_buffers", "plain_weights", "update_spectral_norm"]

_LAYERS = (EqualizedConv2d, EqualizedLinear, ModulatedConv2d, ToRGB)
_START_ITERATIONS = 15


class SpectralNorm(nn.Module):
    """Keep the largest singular value of a weight, seen as a matrix `[O, I * kh * kw]`, where it began.

    A Gaussian O x F matrix of deviation s begins at about s (sqrt(O) + sqrt(F)). Keeping it there rather than at one
    leaves the size of the signals as the equalised learning rate had it.

    Args:
        weight: The weight at the start, `[O, ...]`.
    """

    u: Tensor
    v: Tensor
    target: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        rows, columns = matrix.shape
        self.register_buffer("target", matrix.square().mean().sqrt() * (math.sqrt(rows) + math.sqrt(columns)))
        self.register_buffer("u", nn.functional.normalize(torch.randn([rows]), dim=0))
        self.register_buffer("v", torch.zeros([columns]))
        for _ in range(_START_ITERATIONS):
            self.update(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight divided by its spectral norm, times where that began."""
        norm = torch.dot(self.u, weight.flatten(1) @ self.v)
        return weight * (self.target / norm)

    @torch.no_grad()
    def update(self, weight: Tensor) -> None:
        """Do one power iteration."""
        matrix = weight.flatten(1)
        self.v.copy_(nn.functional.normalize(matrix.t() @ self.u, dim=0))
        self.u.copy_(nn.functional.normalize(matrix @ self.v, dim=0))


def add_spectral_norm(network: nn.Module) -> None:
    """Let the weights of all layers of a network be normalised from now on."""
    for layer in [module for module in network.modules() if isinstance(module, _LAYERS)]:
        parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def update_spectral_norm(network: nn.Module) -> None:
    """Do the power iteration of one step; apart from the forward pass, which may run any number of times in a step."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList):
            for parametrization in module:
                if isinstance(parametrization, SpectralNorm):
                    parametrization.update(module.original)


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters under the names of a network without normalisation, normalised."""
    named = network.named_parameters()
    weights: dict[str, Tensor] = {name: value for name, value in named if ".parametrizations." not in name}
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module):
            weights[f"{name}.weight"] = module.weight
    return weights


def plain_buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that a network without normalisation has too."""
    return {name: value for name, value in network.named_buffers() if ".parametrizations." not in name}
