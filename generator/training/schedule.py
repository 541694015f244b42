"""Which resolution, batch and learning rates a run trains with, after how many images.

References: Karras et al. 2018, section 2 and appendix A (progressive growing).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from generator.errors import ConfigError
from generator.settings import MAX_RESOLUTION

__all__ = ["GrowthSchedule", "Stage", "parse_by_resolution"]

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Stage:
    """What one step trains.

    Attributes:
        resolution: Side of the images that are generated and looked at.
        alpha: How far the layers at that resolution have faded in, in [0, 1].
        batch: Images in the step.
        learning_rate: Learning rate of the generator's Adam, before lazy regularisation scales it.
        discriminator_learning_rate: Learning rate of the discriminator's Adam, before lazy regularisation scales it.
    """

    resolution: int
    alpha: float
    batch: int
    learning_rate: float
    discriminator_learning_rate: float

    def begins_anew(self, before: "Stage", *, fades: bool) -> bool:
        """Tell whether a new resolution begins here, or a fade ends.

        Args:
            before: The stage of the step before.
            fades: Whether the end of a fade counts.
        """
        return self.resolution != before.resolution or (fades and before.alpha < 1 and self.alpha == 1)


@dataclass(frozen=True)
class GrowthSchedule:
    """From the images seen to the stage of the next step.

    The first resolution is trained for `stage_images`; each later one fades in over `fade_images` and is then
    trained for `stage_images`, the last one without end.

    Attributes:
        start: First resolution; a network that starts at its own resolution does not grow.
        resolution: Resolution of the network.
        stage_images: Images for which a resolution is trained.
        fade_images: Images over which a resolution fades in; 0: it does not fade.
        batch: Images in a step, where a resolution has no batch of its own.
        learning_rate: Learning rate of the generator, where a resolution has none of its own.
        discriminator_learning_rate: Learning rate of the discriminator, where a resolution has none of its own.
        batches: Images in a step by resolution.
        learning_rates: Learning rates by resolution, each for both networks.
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
        """All resolutions that are trained, in this order."""
        return [r for r in (4 << i for i in range(MAX_RESOLUTION.bit_length())) if self.start <= r <= self.resolution]

    def batch_at(self, resolution: int) -> int:
        """Return the images of a step at a resolution."""
        return self.batches.get(resolution, self.batch)

    @property
    def grown_after(self) -> int:
        """After how many images the network has its whole resolution, faded in."""
        return (len(self.resolutions) - 1) * (self.stage_images + self.fade_images)

    def check_groups(self, size: int) -> None:
        """Check that the batch of every resolution is a whole number of minibatch-deviation groups of `size` images.

        Raises:
            ConfigError: It is not.
        """
        for resolution in self.resolutions:
            batch = self.batch_at(resolution)
            group = min(size, batch)
            if batch % group:
                reason = f"not a whole number of minibatch-deviation groups of {group} (mbstd_group_size)"
                raise ConfigError(f"batch is {batch}, {reason}")

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
        name: Name of the setting, for the error.
        text: Its value.
        kind: Type of the values, int or float.

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
