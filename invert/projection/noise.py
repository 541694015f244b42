"""The noise maps of a batch of images while they are optimised, and what keeps them noise.

Reference: Karras et al. 2020, appendix D (regularisation and normalisation of the noise maps).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from generator.networks import Generator
from generator.ops import noise_penalties, normalise_noise_
from generator.settings import map_shape

__all__ = ["NoiseMaps", "start_noise"]


class NoiseMaps:
    """Noise maps of N images, kept stacked by size so that one operation serves a whole size.

    Args:
        sizes: Side, or height and width, of each map by layer name, in the network's order.
        batch: N.
        device: Where the maps live.

    Attributes:
        stacks: `[N, layers of that size, H, W]` by size.
    """

    def __init__(self, sizes: Mapping[str, int | tuple[int, int]], batch: int, device: torch.device) -> None:
        self._place: dict[str, tuple[int | tuple[int, int], int]] = {}
        counts: dict[int | tuple[int, int], int] = {}
        for name, r in sizes.items():
            self._place[name] = (r, counts.get(r, 0))
            counts[r] = counts.get(r, 0) + 1
        self.stacks = {r: torch.zeros([batch, k, *_shape(r)], device=device) for r, k in counts.items()}

    def draw(self, streams: Sequence[torch.Generator]) -> None:
        """Fill the maps with N(0, 1), image i from its own stream."""
        for i, stream in enumerate(streams):
            for r, place in self._place.values():
                self.stacks[r][i, place] = torch.randn(_shape(r), generator=stream)

    def fill(self, maps: Mapping[str, Tensor]) -> None:
        """Give every image the maps `[r, r]`, or each its own `[N, r, r]`."""
        for name, value in maps.items():
            r, place = self._place[name]
            self.stacks[r][:, place] = value

    def by_layer(self) -> dict[str, Tensor]:
        """Return the maps `[N, 1, r, r]` by layer name, as views."""
        layers = {r: torch.split(stack, 1, dim=1) for r, stack in self.stacks.items()}
        return {name: layers[r][place] for name, (r, place) in self._place.items()}

    def parameters(self) -> list[Tensor]:
        """Return the stacks, for an optimiser."""
        return list(self.stacks.values())

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring every map of every image to mean 0 and variance 1, in place."""
        for stack in self.stacks.values():
            normalise_noise_(stack)

    def autocorrelation(self, pyramid_scale: float) -> Tensor:
        """Return the regulariser of each image, `[N]`: see `generator.ops.noise_penalty`."""
        return noise_penalties(self.parameters(), pyramid_scale)


def _shape(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def start_noise(generator: Generator, mode: str, streams: Sequence[torch.Generator], device: torch.device) -> NoiseMaps:
    """Return the noise maps that optimisations begin with, one set per stream.

    Args:
        generator: On `device`.
        streams: One random stream per image.
        device: Where the maps live.
        mode: "optimise" draws them from the streams, "fixed" takes the network's own, "zero" leaves them zero.
    """
    synthesis = generator.synthesis
    shapes = {name: map_shape(synthesis.config, r) for name, r in synthesis.noise_sizes.items()}
    sizes = {name: shape[0] if shape[0] == shape[1] else shape for name, shape in shapes.items()}
    noise = NoiseMaps(sizes, len(streams), device)
    if mode == "optimise":
        noise.draw(streams)
    elif mode == "fixed":
        maps = synthesis.noise_maps("const", len(streams))
        noise.fill({name: value[:, 0] for name, value in maps.items() if value is not None})
    return noise
