"""What a projection says about where its image comes from, as a handful of numbers.

All but the complexity are logarithms: they are ratios, and skewed otherwise.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from generator.networks import Generator
from invert.attribution.complexity import PRIMARY, complexity
from invert.attribution.latent_space import LatentSpace
from invert.projection.noise import autocorrelation
from invert.projection.perceptual import MINIMUM_SIZE, Perceptual
from invert.projection.projector import Projection

__all__ = ["CURVE", "EVIDENCE_VERSION", "FEATURES", "EvidenceMeter"]

EVIDENCE_VERSION = 1  # raised when the same projection would give other numbers

CURVE = (0.0, 0.25, 0.5, 0.75)
"""Where along the steps the distance is read, as shares; the end is `lpips`."""

FEATURES = (
    "lpips",
    *(f"lpips_layer{layer}" for layer in range(1, 6)),
    *(f"lpips_at_{share:.0%}".replace("%", "") for share in CURVE),
    "lpips_alex",
    "pixel_rmse",
    "latent_distance",
    "latent_mahalanobis",
    "noise_autocorrelation",
    "complexity",
)
"""Names of the numbers, in their order.

lpips, lpips_layerK: the distance of the projection's own backbone, and its layers' shares. lpips_at_P: the same after
P percent of the steps. lpips_alex: LPIPS of AlexNet. pixel_rmse: of levels in [0, 1]. latent_distance and
latent_mahalanobis: see `LatentSpace`. noise_autocorrelation: the regulariser of appendix D, per map and unweighted.
complexity: `invert.attribution.complexity.PRIMARY` of the image, as it is.
"""

_FLOOR = 1e-9
_DIGITS = 6
_WINDOW = 5  # steps over which the noisy curve is averaged


class EvidenceMeter:
    """Measure finished projections of one network.

    Args:
        generator: The network. class_index: Class that it is conditioned on.
        device: Of the second backbone, AlexNet, where the network's images are large enough for it.
    """

    def __init__(
        self, generator: Generator, *, class_index: int | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self._space = LatentSpace.of(generator, class_index=class_index)
        self._device = torch.device(device)
        self._alex = None
        if generator.config.synthesis.img_resolution >= MINIMUM_SIZE["alex"]:
            self._alex = Perceptual("alex").to(self._device)

    def measure(self, projection: Projection) -> dict[str, float]:
        """Return the evidence of one image by name, see `FEATURES`; NaN where it cannot be measured."""
        values: dict[str, float] = {"lpips": projection.distance}
        shares = projection.layer_distances.tolist()
        values |= {f"lpips_layer{layer}": share for layer, share in enumerate(shares, 1)}
        values |= dict(zip(FEATURES[6 : 6 + len(CURVE)], curve_points(projection.curve), strict=True))
        target, image = projection.target.array, projection.image
        difference = (target.astype(np.float64) - image.astype(np.float64)) / 255
        values["lpips_alex"] = self._alex_distance(target, image)
        values["pixel_rmse"] = float(np.sqrt(np.square(difference).mean()))
        values["latent_distance"] = float(self._space.distance(projection.w)[0])
        values["latent_mahalanobis"] = float(self._space.mahalanobis(projection.w)[0])
        values["noise_autocorrelation"] = noise_correlation(list(projection.noise.values()))
        logs = {name: math.log(max(value, _FLOOR)) if value == value else math.nan for name, value in values.items()}
        # What is kept is what is used: the digits that a calibration file has.
        return {
            name: round(value, _DIGITS) for name, value in {**logs, "complexity": complexity(target)[PRIMARY]}.items()
        }

    @torch.no_grad()
    def _alex_distance(self, target: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
        if self._alex is None:
            return math.nan
        features = self._alex.prepare(self._pixels(target))
        return float(self._alex.distance(self._pixels(image), features)[0])

    def _pixels(self, array: npt.NDArray[np.uint8]) -> torch.Tensor:
        scaled = torch.from_numpy(array.copy()).to(self._device, torch.float32) / 127.5 - 1
        return scaled.permute(2, 0, 1)[None]  # [1, C, H, W]


def curve_points(curve: npt.NDArray[np.float32]) -> list[float]:
    """Return the distance at the shares `CURVE` of the steps, each a mean over a few steps; NaN without steps."""
    if not len(curve):
        return [math.nan] * len(CURVE)
    starts = [min(int(share * len(curve)), max(0, len(curve) - _WINDOW)) for share in CURVE]
    return [float(curve[first : first + _WINDOW].mean()) for first in starts]


def noise_correlation(maps: Sequence[npt.NDArray[np.float32]]) -> float:
    """Return the mean over maps `[r, r]` of the regulariser's sum; NaN where the network takes no noise."""
    if not maps:
        return math.nan
    tensors = [torch.from_numpy(values)[None, None] for values in maps]  # [1, 1, r, r]
    return float(np.mean([float(autocorrelation(tensor, 2.0)) for tensor in tensors]))
