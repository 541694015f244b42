"""A network while it grows: which of its parameters a stage trains, and the part of it that draws.

References: Karras et al. 2018, section 2 and figure 2.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.errors import ConfigError
from generator.networks import Generator
from generator.settings import MAX_RESOLUTION

__all__ = [
    "GrowthSchedule",
    "Stage",
    "blend_reals",
    "drawing_part",
    "is_used",
    "parse_by_resolution",
    "require_used_gradients",
    "styles_at",
]

_BLOCK = re.compile(r"(?:^|\.)b([0-9]+)\.(.*)")
_COLOUR_LAYERS = ("torgb.", "fromrgb.")


def is_used(name: str, resolution: int, alpha: float) -> bool:
    """Tell whether a parameter of a network that grows has a part in what it does at a resolution.

    Args:
        name: Of the parameter, such as "synthesis.b8.torgb.weight".
        resolution, alpha: Of the images, and how far the layers there have faded in.
    """
    found = _BLOCK.search(name)
    if found is None:
        return True
    at, rest = int(found[1]), found[2]
    if rest.startswith(_COLOUR_LAYERS):
        return at == resolution or (alpha < 1 and at == resolution // 2)
    return at <= resolution


def require_used_gradients(network: nn.Module, growing: bool, resolution: int, alpha: float) -> None:
    """Let the parameters that a stage trains have gradients, and no others; without growing, all."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not growing or is_used(name, resolution, alpha))


def styles_at(num_ws: int, resolution: int) -> int:
    """Return how many of a network's `num_ws` style inputs have a part in images of a resolution."""
    return min(num_ws, 2 * (resolution.bit_length() - 1) - 2)


def blend_reals(images: Tensor, resolution: int, alpha: float) -> Tensor:
    """Return training images as a network that grows sees them, so that they fade as what it draws does.

    Args:
        images: `[N, C, R, R]`.
        resolution: r, to which they are averaged (box filter).
        alpha: Share of the details at r; for the rest the image is that of r / 2 px, each pixel repeated.

    Returns:
        `[N, C, r, r]`.
    """
    if images.shape[-1] != resolution:
        images = functional.avg_pool2d(images, images.shape[-1] // resolution)
    if alpha == 1:
        return images
    coarse = functional.interpolate(functional.avg_pool2d(images, 2), scale_factor=2)
    return torch.lerp(coarse, images, alpha)


def drawing_part(generator: Generator, resolution: int, alpha: float) -> Generator:
    """Return a network of the layers up to a resolution, which draws by itself what a growing one draws there.

    Args:
        generator: The network that grows.
        resolution, alpha: Where it is; `alpha` is kept in the settings of the result.
    """
    whole = generator.config.synthesis
    widths = tuple(width for r, width in whole.widths.items() if r <= resolution)
    synthesis = dataclasses.replace(
        whole, img_resolution=resolution, alpha=alpha, channels=None if whole.channels is None else widths
    )
    with torch.random.fork_rng(devices=[]):  # the weights that it begins with are replaced
        part = Generator(dataclasses.replace(generator.config, synthesis=synthesis))
    state = generator.state_dict()
    part.load_state_dict({name: state[name] for name in part.state_dict()})
    part.to(next(generator.parameters()).device).to(memory_format=torch.channels_last)
    return part.eval().requires_grad_(False)


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Stage:
    """What one step trains.

    Attributes:
        resolution: Side of the images that are drawn and looked at.
        alpha: How far the layers at that resolution have faded in, in [0, 1].
        batch: Images in the step.
        learning_rate, discriminator_learning_rate: Of Adam, before lazy regularisation scales them.
    """

    resolution: int
    alpha: float
    batch: int
    learning_rate: float
    discriminator_learning_rate: float


@dataclass(frozen=True)
class GrowthSchedule:
    """From the images seen to the stage of the next step.

    The first resolution is trained for `stage_images`; each later one fades in over `fade_images` and is then
    trained for `stage_images`, the last one without end.

    Attributes:
        start: First resolution; that of the network: it does not grow. resolution: The network's.
        stage_images, fade_images: Lengths in images; 0: none of it.
        batch, learning_rate, discriminator_learning_rate: Where a resolution has none of its own.
        batches, learning_rates: By resolution; a learning rate is that of both networks.
    """

    start: int
    resolution: int
    stage_images: int
    fade_images: int
    batch: int
    learning_rate: float
    discriminator_learning_rate: float
    batches: Mapping[int, int]
    learning_rates: Mapping[int, float]

    @property
    def resolutions(self) -> list[int]:
        """All that are trained, in this order."""
        return [r for r in (4 << i for i in range(MAX_RESOLUTION.bit_length())) if self.start <= r <= self.resolution]

    def batch_at(self, resolution: int) -> int:
        """Return the images of a step at a resolution."""
        return self.batches.get(resolution, self.batch)

    def at(self, images: int) -> Stage:
        """Return the stage of the step that begins when so many images were seen."""
        period = self.stage_images + self.fade_images
        done = images - self.stage_images  # since the first fade began
        resolution, alpha = self.resolution, 1.0
        if self.start == self.resolution or done < 0:
            resolution = self.start
        elif period:
            level, into = divmod(done, period)
            if self.start << (level + 1) <= self.resolution:
                resolution = self.start << (level + 1)
                alpha = min(into / self.fade_images, 1.0) if self.fade_images else 1.0
        rate = self.learning_rates.get(resolution)
        return Stage(
            resolution,
            alpha,
            self.batch_at(resolution),
            self.learning_rate if rate is None else rate,
            self.discriminator_learning_rate if rate is None else rate,
        )


def parse_by_resolution(name: str, text: str, kind: type[Number]) -> dict[int, Number]:
    """Return the values of a setting such as "8:256,16:128" by resolution; an empty text has none.

    Args:
        name: Of the setting, for the error. text: Its value. kind: int or float.

    Raises:
        ConfigError: It is something else, a resolution is no power of two from 4 or named twice, or a value is not
            a positive number.
    """
    values: dict[int, Number] = {}
    for entry in text.split(",") if text.strip() else []:
        left, _, right = entry.partition(":")
        try:
            resolution, value = int(left), kind(right)
        except ValueError:
            raise ConfigError(f"{name} is {text!r}, not RESOLUTION:VALUE, ...") from None
        if not 4 <= resolution <= MAX_RESOLUTION or resolution & (resolution - 1):
            raise ConfigError(f"{name}: {resolution} is not a power of two in 4..{MAX_RESOLUTION}")
        if resolution in values:
            raise ConfigError(f"{name} names {resolution} px twice")
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name}: {value} at {resolution} px is not a finite number above 0")
        values[resolution] = value
    return values
