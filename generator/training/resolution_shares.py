"""How much each resolution contributes to the images of a skip generator.

Reference: Karras et al. 2020, section 4.1 and figure 8.
"""

from functools import partial

import torch
from torch import Tensor, nn

from generator.networks import Generator

__all__ = ["SAMPLES", "resolution_shares"]

SAMPLES = 1024
"""Random latents that the shares are measured on, as in the paper."""

# Images at a time, so that feature maps of large ones fit the memory.
_BATCH, _BATCH_PIXELS = 32, 32 * 256 * 256


class _Spread:
    """Deviation of what one layer gives, over samples and pixels together, each channel's mean taken off."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        values = values.double()
        self._count += values.shape[0] * values.shape[2] * values.shape[3]
        self._sum = self._sum + values.sum(dim=[0, 2, 3])
        self._squares = self._squares + values.square().sum(dim=[0, 2, 3])

    def deviation(self) -> float:
        variance = torch.as_tensor(self._squares / self._count - (self._sum / self._count) ** 2)
        return float(variance.clamp(min=0).mean().sqrt())


@torch.inference_mode()
def resolution_shares(generator: Generator, samples: int = SAMPLES, seed: int = 0) -> dict[int, float] | None:
    """Return the share of each resolution's tRGB in the sum of their deviations, 4 px first.

    Measured on what each tRGB layer gives at its own resolution, its bias included, before it is enlarged; noise
    on, no truncation, random labels.

    Args:
        generator: The generator, in evaluation mode.
        samples: Number of random latents.
        seed: Seed of the latents and the noise.

    Returns:
        Shares in [0, 1] by resolution; None where the network has not one tRGB per resolution ("orig" and "resnet").
    """
    synthesis, mapping = generator.synthesis, generator.config.mapping
    if synthesis.config.architecture != "skip":
        return None
    device = next(synthesis.parameters()).device
    batch = max(1, min(_BATCH, _BATCH_PIXELS // synthesis.config.img_resolution**2))
    rng = torch.Generator().manual_seed(seed)
    spreads = {r: _Spread() for r in synthesis.config.widths}

    def note(spread: _Spread, _module: nn.Module, _inputs: object, image: Tensor) -> None:
        spread.add(image)

    handles = [
        synthesis.get_submodule(f"b{r}.torgb").register_forward_hook(partial(note, spread))
        for r, spread in spreads.items()
    ]
    try:
        for first in range(0, samples, batch):
            n = min(batch, samples - first)
            z = torch.randn([n, mapping.z_dim], generator=rng).to(device)
            c = None
            if mapping.c_dim:
                classes = torch.randint(mapping.c_dim, [n], generator=rng)
                c = nn.functional.one_hot(classes, mapping.c_dim).float().to(device)
            generator(z, c, noise="random", rng=rng)
    finally:
        for handle in handles:
            handle.remove()
    deviations = {r: spread.deviation() for r, spread in spreads.items()}
    total = sum(deviations.values())
    return {r: deviation / total if total else 0.0 for r, deviation in deviations.items()}
