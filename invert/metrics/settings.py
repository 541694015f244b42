"""Settings of a measurement, each declared once: what makes two figures comparable. Nothing here imports torch."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from generator.settings import Flag, setting, setting_of
from invert.errors import UsageError
from invert.projection.config import NOISE_ALIASES, SYNTHESIS_NOISE

__all__ = ["FEATURES", "MINIMUM_IMAGES", "MeasureSettings"]

FEATURES = ("inception", "vgg", "alex")
"""Networks whose features images are compared by; a file of weights may stand for one."""

MINIMUM_IMAGES = 10
"""With fewer images a distance between distributions says nothing."""

_SAMPLING, _PATHS, _OTHERS = "Sampling", "Path length", "Jacobian, equivariance, resolutions, separability"


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured, and how.

    Raises:
        UsageError: A value is out of range.
    """

    images: int = setting(
        50_000,
        minimum=MINIMUM_IMAGES,
        maximum=10_000_000,
        help="Number of samples of each network, and the most images of each data set, for metrics of features.",
        group=_SAMPLING,
        metavar="N",
    )
    psi: float = setting(
        1.0,
        minimum=-10.0,
        maximum=10.0,
        help="Truncation towards the mean w; 1 is none, as in the papers.",
        group=_SAMPLING,
        metavar="X",
    )
    noise: str = setting(
        "random",
        choices=SYNTHESIS_NOISE,
        help="Noise maps: fresh ones for each image (or pair), those stored in the network, or zero.",
        group=_SAMPLING,
        aliases=NOISE_ALIASES,
    )
    seed: int = setting(0, minimum=0, maximum=2**32 - 1, help="Seed of everything random.", group=_SAMPLING)
    batch: int | None = setting(
        None,
        minimum=1,
        maximum=4096,
        help="Number of images that are computed together.",
        group="Computation",
        metavar="N",
        unset="64 up to 256 px, fewer above",
    )
    pairs: int = setting(
        50_000,
        minimum=MINIMUM_IMAGES,
        maximum=10_000_000,
        help="Number of pairs of images for path lengths.",
        group=_PATHS,
        metavar="N",
    )
    epsilon: float = setting(
        1e-4,
        minimum=1e-9,
        maximum=0.1,
        help="How far the images of a pair lie apart on their path.",
        group=_PATHS,
        metavar="X",
    )
    crop: bool = setting(
        False,
        help="Whether path lengths are measured on rows 3/8 to 7/8 and columns 2/8 to 6/8, where aligned faces are.",
        option="--crop",
        flag=Flag(True, "Measure rows 3/8 to 7/8, columns 2/8 to 6/8 alone, where aligned faces are."),
        group=_PATHS,
    )
    precision: str = setting(
        "float64",
        choices=("float64", "float32"),
        help="Numbers that path lengths are computed with; float32 is faster and drowns part of the difference.",
        group=_PATHS,
    )
    samples: int | None = setting(
        None,
        minimum=1,
        maximum=10_000_000,
        help="Number of random latents.",
        group=_OTHERS,
        metavar="N",
        unset="16 for jacobian, 1024 for resolutions, 1000 for eqt and eqr, 200000 for separability",
    )
    classifier_kimg: float = setting(
        100.0,
        minimum=0.1,
        maximum=1e6,
        help="Thousands of images that each classifier of separability is trained on.",
        group=_OTHERS,
        metavar="K",
    )
    attributes: str | None = setting(
        None,
        help="Which attributes of --labels separability is measured of, such as skin,hair.",
        group=_OTHERS,
        metavar="LIST",
        unset="all",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            wanted = setting_of(field).wanted(value)
            if wanted is not None:
                raise UsageError(f"{field.name.replace('_', '-')} is {value!r}, not {wanted}")

    @property
    def chosen_attributes(self) -> tuple[str, ...]:
        """Names of the attributes that are wanted; empty: all."""
        return tuple(name.strip() for name in (self.attributes or "").split(",") if name.strip())

    def batch_at(self, resolution: int) -> int:
        """Return how many images are computed together: it does not depend on how many there are."""
        return self.batch or max(1, min(64, 64 * 256**2 // resolution**2))

    def protocol(self, *names: str) -> dict[str, Any]:
        """Return the settings of these names as a result's record has them."""
        return {name: getattr(self, name) for name in names}
