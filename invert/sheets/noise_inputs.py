"""What the noise inputs of a network do: realisations, their spread per pixel, coarse against fine layers.

Reference: Karras et al. 2019, section 3.2, figures 4 and 5.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generator.networks import Generator
from invert.errors import UsageError
from invert.images.arrays import Pixels, enlarge, to_uint8
from invert.projection.synthesis import KeptMaps
from invert.sheets.layout import Grid, Legend, heat

__all__ = [
    "NoiseLayers",
    "NoiseStudy",
    "Spread",
    "Zoom",
    "effect_grid",
    "pixel_deviation",
    "realisation_grid",
    "split_layers",
    "synthesise_with_noise",
]


@dataclass(frozen=True)
class NoiseLayers:
    """Noise inputs by name, split into coarse and fine ones.

    Attributes:
        coarse: Names of the coarse inputs.
        fine: Names of the fine inputs.
        coarse_sizes: Resolutions of the coarse inputs in pixels.
        fine_sizes: Resolutions of the fine inputs in pixels.
    """

    coarse: tuple[str, ...]
    fine: tuple[str, ...]
    coarse_sizes: tuple[int, ...]
    fine_sizes: tuple[int, ...]

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The cases of figure 5, each with the inputs that get noise."""
        return {"all": (*self.coarse, *self.fine), "none": (), "fine only": self.fine, "coarse only": self.coarse}


@dataclass(frozen=True, eq=False)
class Spread:
    """An image with noise in some of the inputs, and how far it spreads.

    Attributes:
        image: One realisation `[H, W, C]`.
        deviation: `[H, W]`, see `pixel_deviation`.
    """

    image: Pixels
    deviation: NDArray[np.float64]


def split_layers(sizes: Mapping[str, int], limit: int | None = None) -> NoiseLayers:
    """Split noise inputs into coarse and fine ones.

    Args:
        sizes: Side of each input's map by name.
        limit: The largest side that is coarse. None: that of the lower half of the sides, rounded down; at 1024 px
            4 to 32 are coarse and 64 to 1024 fine, as in the paper.
    """
    sides = sorted(set(sizes.values()))
    coarse_sides = sides[: len(sides) // 2] if limit is None else [side for side in sides if side <= limit]
    fine_sides = sides[len(coarse_sides) :]
    coarse = tuple(name for name, side in sizes.items() if side in coarse_sides)
    fine = tuple(name for name, side in sizes.items() if side in fine_sides)
    return NoiseLayers(coarse, fine, tuple(coarse_sides), tuple(fine_sides))


@torch.inference_mode()
def synthesise_with_noise(generator: Generator, ws: Tensor, layers: Collection[str], seed: int) -> Tensor:
    """Synthesise `[1, C, H, W]` from styles with fresh noise in some inputs, none in the others.

    Args:
        generator: The generator, in evaluation mode.
        ws: Styles `[1, num_ws, w_dim]`.
        layers: Names of the inputs that get noise.
        seed: Seed of all maps: an input gets the same map whatever the others get, that of `invert generate --noise
            random` for this seed.
    """
    maps = generator.synthesis.noise_maps("random", 1, torch.Generator().manual_seed(seed))
    # A map of zeros adds nothing: it is no noise.
    chosen = {
        name: value if name in layers else torch.zeros_like(value) for name, value in maps.items() if value is not None
    }
    image: Tensor = generator.synthesis(ws, chosen)
    return image


def pixel_deviation(images: Iterable[Tensor]) -> NDArray[np.float64]:
    """Return how far each pixel spreads over images, in levels of 255.

    The standard deviation (of these images: divided by their number) of what is seen, values outside [-1, 1] at the
    nearest of them; over channels the root of the mean square.

    Args:
        images: `[1, C, H, W]` in about [-1, 1], one or more; only one is kept in memory.

    Returns:
        `[H, W]`.

    Raises:
        ValueError: There are none.
    """
    # Welford's recurrence: the sum of squares alone would cancel.
    count = 0
    mean = square = torch.zeros([], dtype=torch.float64)
    for image in images:
        count += 1
        levels = image[0].cpu().double().clamp(-1, 1) * 127.5  # [C, H, W]
        change = levels - mean
        mean = mean + change / count
        square = square + change * (levels - mean)
    if not count:
        raise ValueError("there are no images to spread")
    deviation: NDArray[np.float64] = (square / count).mean(dim=0).sqrt().cpu().numpy()
    return deviation


class NoiseStudy:
    """Images of one latent with the noise of the seeds from 0 on.

    Args:
        generator: The generator, in evaluation mode.
        ws: Styles `[1, num_ws, w_dim]`.
        count: Number of realisations that a spread is taken over.
        on_image: Called after each image.
        own: Map `[r, r]` of every input, for the images that are shown; None: those of seed 0.
    """

    def __init__(
        self,
        generator: Generator,
        ws: Tensor,
        count: int,
        on_image: Callable[[], None],
        own: KeptMaps | None = None,
    ) -> None:
        self._generator, self._ws, self._count, self._on_image = generator, ws, count, on_image
        self._own = own

    def count(self, layers: NoiseLayers) -> int:
        """Return how many images the spreads of all choices take."""
        return sum(map(self._needed, layers.choices.values()))

    def images(self, layers: Collection[str], count: int) -> Iterator[Tensor]:
        """Synthesise `count` realisations `[1, C, H, W]` with noise in some inputs."""
        for seed in range(count):
            yield synthesise_with_noise(self._generator, self._ws, layers, seed)
            self._on_image()

    def shown(self, layers: Collection[str]) -> Tensor:
        """Synthesise `[1, C, H, W]` with the latent's own noise, or that of seed 0, in some inputs."""
        if self._own is None:
            return synthesise_with_noise(self._generator, self._ws, layers, 0)
        device = self._ws.device
        maps = {
            name: torch.from_numpy(np.asarray(one, np.float32)).to(device)[None, None] * (name in layers)
            for name, one in self._own.items()
        }
        with torch.inference_mode():
            image: Tensor = self._generator.synthesis(self._ws, maps)
        return image

    def spread(self, layers: Collection[str]) -> Spread:
        """Return the image that is shown, and how far all realisations spread."""
        deviation = pixel_deviation(self.images(layers, self._needed(layers)))
        return Spread(to_uint8(self.shown(layers))[0], deviation)

    def _needed(self, layers: Collection[str]) -> int:
        # Without noise all images are the same one.
        return self._count if layers else 1


@dataclass(frozen=True)
class Zoom:
    """A square part of an image that is shown enlarged.

    Attributes:
        x: Its left edge in pixels.
        y: Its upper edge.
        side: Its side, a divisor of the image's.
    """

    x: int
    y: int
    side: int

    def check(self, resolution: int) -> None:
        """Check that images of a resolution have it.

        Raises:
            UsageError: They have not, or the part cannot be enlarged by a whole number to their size.
        """
        inside = max(self.x, self.y) + self.side <= resolution
        if not inside or resolution % self.side:
            reason = f"--zoom {self.x},{self.y},{self.side}: images have {resolution} px"
            advice = "Name a part inside, whose side divides theirs."
            raise UsageError(reason, advice=advice)

    def of(self, image: Pixels) -> Pixels:
        """Return the part of an image `[H, W, C]`, enlarged to the image's size."""
        part = image[self.y : self.y + self.side, self.x : self.x + self.side]
        return enlarge(part, len(image) // self.side)


def realisation_grid(label: str, images: Sequence[Tensor], own: Tensor | None = None, zoom: Zoom | None = None) -> Grid:
    """Return a row of images of one latent, each with other noise (figure 4b).

    Args:
        label: Which latent it is.
        images: `[1, C, H, W]` each, with the noise of the seeds from 0 on.
        own: The image with the latent's own noise, which comes first.
        zoom: A part that is shown enlarged in a second row.
    """
    row = [to_uint8(image)[0] for image in ([] if own is None else [own]) + list(images)]
    cells = [row] if zoom is None else [row, [zoom.of(image) for image in row]]
    title = f"{label[:1].upper()}{label[1:]}: {len(images)} realisations of the noise"
    columns = ([] if own is None else ["own noise"]) + [f"noise {i}" for i in range(len(images))]
    return Grid(title, cells, columns)


def effect_grid(spreads: Mapping[str, Spread], layers: NoiseLayers, count: int) -> Grid:
    """Return images with noise in all, no, fine and coarse inputs (figure 5), their spread below (figure 4c).

    Args:
        spreads: A spread for each name of `NoiseLayers.choices`.
        layers: The inputs.
        count: Number of realisations that they spread over.
    """
    largest = max(float(spread.deviation.max()) for spread in spreads.values())
    maps = [heat(spread.deviation / (largest or 1)) for spread in spreads.values()]
    legend = Legend("0", f"{largest:.3g}", "levels of 255")
    cells: list[list[Pixels | Legend | None]] = [[spread.image for spread in spreads.values()], [*maps, legend]]
    title = (
        f"Noise in all inputs, in none, in the fine ones ({_sides(layers.fine_sizes)}), in the coarse ones "
        f"({_sides(layers.coarse_sizes)}); below, the standard deviation of each pixel over {count} realisations"
    )
    return Grid(title, cells, list(spreads))


def _sides(sides: Sequence[int]) -> str:
    if not sides:
        return "there are none"
    return f"{sides[0]} px" if len(sides) == 1 else f"{sides[0]} to {sides[-1]} px"
