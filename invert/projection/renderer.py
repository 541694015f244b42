"""Synthesise images from w and noise maps again, with the arithmetic of the projection that found them."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from generator import networks
from generator.layers import freeze
from invert.images.arrays import to_uint8
from invert.projection.latents import random_stream
from invert.projection.motion import Motion, inverse_matrices
from invert.projection.noise import start_noise

__all__ = ["Latent", "Renderer"]


@dataclass(frozen=True, eq=False)
class Latent:
    """What an image is synthesised from.

    Fresh noise comes from the random stream of the projection, which seed, pixel_sha256 and restart name.

    Attributes:
        w: `[1, w_dim]`, one style for all layers, or `[num_ws, w_dim]`, one for each.
        noise: Map `[r, r]` of each layer; empty for fresh noise.
        seed: Seed of the projection, whose random stream fresh noise comes from.
        pixel_sha256: Digest of the image's pixels, of which that stream depends.
        restart: Which of the restarts it is, likewise.
        transform: Shift and rotation that were optimised; None: none were.
    """

    w: npt.NDArray[np.float32]
    noise: dict[str, npt.NDArray[np.floating]]
    seed: int
    pixel_sha256: str
    restart: int
    transform: Motion | None = None


class Renderer:
    """Synthesise latents in groups of the projection's batch size: at another size the last bits would be others.

    Args:
        generator: The network; it is frozen.
        batch: Images in a group, the last one padded.
        noise: The projection's noise setting, "optimise", "fixed" or "zero": what is taken where no maps were kept.
        device: Where to work.
    """

    def __init__(
        self, generator: networks.Generator, *, batch: int, noise: str, device: torch.device | str = "cpu"
    ) -> None:
        self.batch, self._noise, self.device = batch, noise, torch.device(device)
        self._generator = generator.to(self.device).to(memory_format=torch.channels_last)
        freeze(self._generator)

    def synthesise(self, latents: Iterable[Latent]) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield an image `[H, W, C]` for each latent.

        Raises:
            KeyError: A noise map is of a layer that the network does not have.
        """
        stream = iter(latents)
        while group := list(itertools.islice(stream, self.batch)):
            yield from self._synthesise(group)

    @torch.no_grad()
    def _synthesise(self, group: list[Latent]) -> list[npt.NDArray[np.uint8]]:
        padded = [*group, *[group[-1]] * (self.batch - len(group))]
        w = torch.from_numpy(np.stack([latent.w for latent in padded])).to(self.device)  # [N, 1 or num_ws, w_dim]
        streams = [random_stream(latent.seed, latent.pixel_sha256, latent.restart) for latent in padded]
        noise = start_noise(self._generator, self._noise, streams, self.device)
        for layer in group[0].noise:
            maps = np.stack([latent.noise[layer] for latent in padded]).astype(np.float32)
            noise.fill({layer: torch.from_numpy(maps).to(self.device)})
        matrices = inverse_matrices([latent.transform for latent in padded], self.device)
        moved = {} if matrices is None else {"transform": matrices}
        images = self._generator.synthesis(self._generator.broadcast(w), noise.by_layer(), dtype=torch.float32, **moved)
        return list(to_uint8(images)[: len(group)])
