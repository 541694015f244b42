"""The exponential moving average of the generator: the network that is kept.

Reference: Karras et al. 2018, section "generator weights averaging"; Karras et al. 2020, appendix B.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["ema_beta", "update_ema"]


def ema_beta(half_life: float, batch: int, images: int, warmup: float | None) -> float:
    """Return how much of the average is kept at one step.

    Args:
        half_life: In pictures: after so many, what was in the average counts half.
        batch: Pictures in this step.
        images: Pictures seen so far, this step included.
        warmup: The half-life is at most this share of `images`, so that the random start is soon forgotten; None: no
            warm-up.
    """
    if warmup is not None:
        half_life = min(half_life, images * warmup)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(average: nn.Module, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], beta: float) -> None:
    """Move the parameters of `average` towards `weights` by 1 - beta, and copy `buffers`; both by name."""
    own = dict(average.named_parameters())
    torch._foreach_lerp_([own[name] for name in weights], list(weights.values()), 1 - beta)
    for name, buffer in average.named_buffers():
        if name in buffers:
            buffer.copy_(buffers[name])
