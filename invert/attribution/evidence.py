"""What a projection says about where its image comes from, as a handful of numbers.

All but the complexity are logarithms: they are ratios, and skewed otherwise.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from generator.networks import Generator
from generator.ops import noise_penalty
from invert.attribution.complexity import complexity
from invert.attribution.explained import Explained
from invert.projection.latents import sample_w
from invert.projection.perceptual import MINIMUM_SIZE, Perceptual
from invert.projection.projector import Explanation, Projection
from invert.statistics.checks import FloatArray

__all__ = ["EVIDENCE_VERSION", "FEATURES", "EvidenceMeter", "Feature", "LatentSpace"]

EVIDENCE_VERSION = 1  # raised when the same projection would give other numbers


_FLOOR = 1e-9
_DIGITS = 6
_WINDOW = 5  # steps over which the noisy curve is averaged

_SAMPLES = 10_000
_SEED = 123  # that of the statistics of W
_SLOPE = 0.2  # of the leaky ReLU
_LEAST_VARIANCE = 1e-6  # as a share of the largest


@dataclass(frozen=True)
class Feature:
    """One number of the evidence.

    Args:
        measure: Reads it off a projection, with the meter of the network; NaN where it cannot be measured.
        since: First version of this program whose calibrations have it.
        is_log: Keep its logarithm.
        of_exact: Whether preset exact alone has it, whose score is fitted on such features.
        also_exact: Whether that score is fitted on it too.
        derive: In place of `measure`, where it follows from what preset exact found and from other numbers.
    """

    measure: Callable[[Projection, "EvidenceMeter"], float] = lambda *_: math.nan
    since: str = "0.1.0"
    is_log: bool = True
    of_exact: bool = False
    also_exact: bool = False
    derive: Callable[[Explained, Mapping[str, float]], float] | None = None


def with_derived(evidence: Mapping[str, float], found: Explained | None) -> dict[str, float]:
    """Return evidence with what follows from the rest of it; NaN where nothing does.

    Args:
        evidence: Numbers that were measured, by name.
        found: What preset exact found; None with another preset.
    """
    derived = {name: feature.derive for name, feature in FEATURES.items() if feature.derive is not None}
    if found is None or found.why_untold:
        return {**evidence, **dict.fromkeys(derived, math.nan)}
    return {**evidence, **{name: round(derive(found, evidence), _DIGITS) for name, derive in derived.items()}}


class EvidenceMeter:
    """Measure finished projections of one network.

    Args:
        generator: The network.
        class_index: Class that it is conditioned on.
        device: Device of the second backbone, AlexNet, where the network's images are large enough for it.

    Attributes:
        space: Where the network's w lie.
    """

    def __init__(
        self, generator: Generator, *, class_index: int | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.space = LatentSpace.of(generator, class_index=class_index)
        self._device = torch.device(device)
        self._alex = None
        if generator.config.synthesis.img_resolution >= MINIMUM_SIZE["alex"]:
            self._alex = Perceptual("alex").to(self._device)

    def measure(self, projection: Projection) -> dict[str, float]:
        """Return the evidence of one image by name, see `FEATURES`; NaN where a number cannot be measured."""
        found = {}
        for name, feature in FEATURES.items():
            value = feature.measure(projection, self)
            if math.isnan(value):
                found[name] = math.nan  # the one and only, so that equal evidence is equal
                continue
            if feature.is_log:
                value = math.log(max(value, _FLOOR))
            found[name] = round(value, _DIGITS)  # the digits that a calibration file has: what is kept is what is used
        return found

    @torch.no_grad()
    def alex_distance(self, projection: Projection) -> float:
        """Return LPIPS of AlexNet between an image and its reconstruction; NaN for images too small for it."""
        if self._alex is None:
            return math.nan
        features = self._alex.prepare(self._pixels(projection.target.array))
        return float(self._alex.distance(self._pixels(projection.image), features)[0])

    def _pixels(self, array: npt.NDArray[np.uint8]) -> torch.Tensor:
        scaled = torch.from_numpy(array.copy()).to(self._device, torch.float32) / 127.5 - 1
        return scaled.permute(2, 0, 1)[None]  # [1, C, H, W]


def _layer(index: int) -> Feature:
    return Feature(lambda projection, _: float(projection.layer_distances[index]))


def _at(share: float) -> Feature:
    """Return the distance after a share of the steps, a mean over a few steps; NaN without steps."""

    def measure(projection: Projection, _: EvidenceMeter) -> float:
        curve = projection.curve
        if not len(curve):
            return math.nan
        first = min(int(share * len(curve)), max(0, len(curve) - _WINDOW))
        return float(curve[first : first + _WINDOW].mean())

    return Feature(measure)


def _rmse(projection: Projection, _: EvidenceMeter) -> float:
    """Return the root of the mean squared difference of levels in [0, 1]."""
    difference = (projection.target.array.astype(np.float64) - projection.image.astype(np.float64)) / 255
    return float(np.sqrt(np.square(difference).mean()))


def _noise_correlation(projection: Projection, _: EvidenceMeter) -> float:
    """Return the mean over the noise maps of the regulariser's sum; NaN where the network takes no noise.

    Reference: Karras et al. 2020, appendix D; here per map and unweighted.
    """
    if not projection.noise:
        return math.nan
    tensors = [torch.from_numpy(values)[None, None] for values in projection.noise.values()]  # [1, 1, r, r]
    return float(np.mean([float(noise_penalty(tensor, 2.0)) for tensor in tensors]))


def _explained(measure: Callable[[Projection, Explanation], float]) -> Feature:
    """Return a feature of what preset exact found; NaN of other presets."""

    def of(projection: Projection, _: EvidenceMeter) -> float:
        found = projection.explanation
        return math.nan if found is None else measure(projection, found)

    return Feature(of, since="0.2.0", of_exact=True)


def _derived(derive: Callable[[Explained, Mapping[str, float]], float]) -> Feature:
    return Feature(since="0.2.0", is_log=False, of_exact=True, derive=derive)


def _was(*kinds: str) -> Feature:
    """Return a feature that is 1 where one of some kinds of processing was found, and else 0."""
    return _derived(lambda found, _: float(not found.kinds.isdisjoint(kinds)))


FEATURES = {
    "lpips": Feature(lambda projection, _: projection.distance),  # of the projection's own backbone
    "lpips_layer1": _layer(0),
    "lpips_layer2": _layer(1),
    "lpips_layer3": _layer(2),
    "lpips_layer4": _layer(3),
    "lpips_layer5": _layer(4),
    "lpips_at_0": _at(0.0),
    "lpips_at_25": _at(0.25),
    "lpips_at_50": _at(0.5),
    "lpips_at_75": _at(0.75),
    "lpips_alex": Feature(lambda projection, meter: meter.alex_distance(projection)),
    "pixel_rmse": Feature(_rmse),
    "latent_distance": Feature(lambda projection, meter: float(meter.space.distance(projection.w)[0])),
    "latent_mahalanobis": Feature(lambda projection, meter: float(meter.space.mahalanobis(projection.w)[0])),
    "noise_autocorrelation": Feature(_noise_correlation),
    "complexity": Feature(lambda projection, _: complexity(projection.target.array), is_log=False, also_exact=True),
    "q": _explained(lambda projection, found: found.q / projection.target.array.size),
    "misfit": _explained(lambda projection, found: found.misfit / projection.target.array.size),
    "latent_norm": _explained(lambda projection, found: found.latent_norm / projection.w.shape[-1]),
    "rms_ratio": _explained(lambda _, found: found.rms / found.expected_rms),
    # How much a number tells depends on how much was lost on the way, and on what happened.
    "expected_rms": _derived(lambda found, _: math.log(found.expected_rms)),
    "q_by_loss": _derived(lambda found, its: its["q"] * math.log(found.expected_rms)),
    "norm_by_loss": _derived(lambda found, its: its["latent_norm"] * math.log(found.expected_rms)),
    "stored_noise": _derived(lambda found, _: float(found.noise == "stored")),
    "was_compressed": _was("jpeg"),
    "was_cropped": _was("crop"),
    "was_scaled": _was("resize"),
    "was_blurred": _was("blur"),
    "was_noised": _was("noise"),
    "was_shifted": _was("shift"),
    "was_toned": _was("gamma", "gain"),
}
"""All features by name, in their order; a new one is one row at the end, with the version to come as `since`.

Calibrations name the features that they have, so that those made without a newer one can still be read and used.
"""


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """Where a network's w lie: how typical a w is of it, by the distance from the centre of W, plain and whitened.

    A mapping network ends in a leaky ReLU. Before it, w is close to normal; undone and whitened, the distance from the
    centre is that of Mahalanobis.

    Attributes:
        centre: Mean w `[D]`.
        deviation: sqrt(E |w - centre|^2), over all dimensions.
        mean: Mean of the undone w `[D]`.
        axes: Principal axes of the undone w as columns `[D, D]`.
        deviations: Standard deviations along these axes `[D]`.
        gain: Gain of the activation at the mapping network's end; None where it has no leaky ReLU.
    """

    centre: FloatArray
    deviation: float
    mean: FloatArray
    axes: FloatArray
    deviations: FloatArray
    gain: float | None

    @classmethod
    def of(cls, generator: Generator, *, class_index: int | None = None) -> Self:
        """Measure 10 000 mapped latents of a fixed seed; see `invert.projection.latents.latent_statistics`."""
        w = sample_w(generator, _SAMPLES, seed=_SEED, class_index=class_index)
        samples = w.to("cpu", torch.float64).numpy()
        gain = math.sqrt(2) if generator.config.mapping.activation == "lrelu" else None
        undone = _undo(samples, gain)
        mean = undone.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(undone - mean, rowvar=False))
        # Directions in which w hardly varies would count as infinitely unlikely.
        variances = np.maximum(variances, _LEAST_VARIANCE * variances.max())
        centre = samples.mean(axis=0)
        deviation = float(np.sqrt(np.square(samples - centre).sum(axis=1).mean()))
        return cls(centre, deviation, mean, axes, np.sqrt(variances), gain)

    def distance(self, w: npt.ArrayLike) -> FloatArray:
        """Return |w - centre| / deviation of w `[N, D]`, as `[N]`: about 1 for the network's own w."""
        found: FloatArray = np.linalg.norm(np.asarray(w, np.float64) - self.centre, axis=1) / self.deviation
        return found

    def mahalanobis(self, w: npt.ArrayLike) -> FloatArray:
        """Return the whitened distance of w `[N, D]`, over sqrt(D), as `[N]`: about 1 for the network's own w."""
        whitened = (_undo(np.asarray(w, np.float64), self.gain) - self.mean) @ self.axes / self.deviations
        found: FloatArray = np.sqrt(np.square(whitened).mean(axis=1))
        return found


def _undo(w: FloatArray, gain: float | None) -> FloatArray:
    """Undo the activation: return w `[N, D]` before the last leaky ReLU."""
    return w if gain is None else np.where(w < 0, w / _SLOPE, w) / gain
