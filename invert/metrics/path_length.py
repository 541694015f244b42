"""Perceptual path length: how far images move in LPIPS when their latents move by an epsilon.

References: Karras et al. 2019, section 4.1; Karras et al. 2020, section 3.2 and figures 4 and 5.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from generator.networks import Generator
from generator.training.images import stream_seed
from invert.errors import NumericError, UsageError
from invert.metrics.drawing import Drawing, labels_digest, labels_of
from invert.metrics.parts import Parts
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.projection.perceptual import MINIMUM_SIZE, Perceptual

__all__ = ["PART", "Pairs", "Path", "compared", "measure", "path_images", "path_of", "slerp", "spread_mean"]

PART = 256
"""Pairs of a part: what a run that is stopped does again at most."""

_NET = "vgg"
_COMPARED = 256  # px


@dataclass(frozen=True)
class Path:
    """On which paths the pairs lie.

    Attributes:
        space: "z", on great circles, or "w", on lines.
        full: Whether they lie anywhere on their paths, or at the beginning.
    """

    space: str
    full: bool


def path_of(kind: str) -> Path:
    """Return the paths of a metric's name, such as "ppl-wend"."""
    return Path(kind[len("ppl-")], kind.endswith("full"))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return the point at t of the great circle from a to b.

    Args:
        a: Latents `[N, F]`; of them, and of b, the direction alone counts.
        b: Latents `[N, F]`.
        t: `[N, 1]`; 0 is a, 1 is b.

    Returns:
        `[N, F]`, of length 1.

    Reference: Shoemake 1985.
    """
    a, b = functional.normalize(a, dim=1), functional.normalize(b, dim=1)
    cosine = (a * b).sum(dim=1, keepdim=True).clamp(-1, 1)
    angle = t * cosine.acos()
    across = functional.normalize(b - cosine * a, dim=1)
    return functional.normalize(a * angle.cos() + across * angle.sin(), dim=1)


def spread_mean(distances: NDArray[np.float64]) -> float:
    """Return the mean between the 1st percentile (the value below it) and the 99th (the value above it), inclusive."""
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean())


def path_images(
    generator: Generator,
    path: Path,
    ends: tuple[Tensor, Tensor],
    t: Tensor,
    epsilon: float,
    *,
    labels: Tensor | None = None,
    psi: float = 1.0,
    noise: dict[str, Tensor | None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the images of pairs: at t, and at t + epsilon, with the same noise.

    Args:
        generator: The generator.
        path: On which paths they lie.
        ends: Latents z `[N, z_dim]` of both ends.
        t: `[N, 1]`, in [0, 1].
        epsilon: How far the second lies from the first.
        labels: `[N, c_dim]` of a conditional network; the same for a path's both ends.
        psi: Truncation.
        noise: Maps of each layer; None: those stored in the network.

    Returns:
        Two times `[N, C, R, R]`, of the network's own type of numbers.
    """
    if path.space == "z":
        ws = [generator.mapping_ws(slerp(*ends, at), labels, psi) for at in (t, t + epsilon)]
    else:
        first, last = (generator.mapping_ws(z, labels, psi) for z in ends)
        ws = [first.lerp(last, at[:, :, None]) for at in (t, t + epsilon)]
    one, other = (generator.synthesis(styles, noise or "const", dtype=styles.dtype) for styles in ws)
    return one, other


def compared(images: Tensor, crop: bool) -> Tensor:
    """Return what is compared of images `[N, C, R, R]`: cropped if wanted, averaged down by R // 256."""
    resolution = images.shape[-1]
    if crop:
        eighth = resolution // 8
        images = images[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
    factor = resolution // _COMPARED
    return functional.avg_pool2d(images, factor) if factor > 1 else images


class Pairs:
    """Random pairs of a part: the same whatever the batch, and whoever asks for them.

    Args:
        request: The request.
        generator: The generator, of the type of numbers that the images are to have.
        path: On which paths they lie.
        first: Number of the first pair of the part.
        n: How many there are.
    """

    def __init__(self, request: Request, generator: Generator, path: Path, first: int, n: int) -> None:
        self._settings, self._generator, self._path, self._first = request.settings, generator, path, first
        dtype = next(generator.parameters()).dtype
        drawing = Drawing(generator, stream_seed("metrics", "pairs", request.settings.seed, first), labels_of(request))
        # Drawn in float64 whatever they are used in: the same pairs.
        self._ends = drawing.z(n, torch.float64).to(dtype), drawing.z(n, torch.float64).to(dtype)
        t = torch.rand([n, 1], generator=drawing.rng, dtype=torch.float64).to(self._ends[0])
        self._t = t if path.full else torch.zeros_like(t)
        self._labels = drawing.labels(n)

    def images(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Return both images `[N, C, R, R]` of some pairs."""
        first, last = (z[rows] for z in self._ends)
        labels = None if self._labels is None else self._labels[rows]
        settings = self._settings
        return path_images(
            self._generator,
            self._path,
            (first, last),
            self._t[rows],
            settings.epsilon,
            labels=labels,
            psi=settings.psi,
            noise=self._noise(rows),
        )

    def _noise(self, rows: slice) -> dict[str, Tensor | None]:
        word, seed = self._settings.noise, self._settings.seed
        if word != "random":
            return Drawing(self._generator, 0).noise(word, 1)
        each = [
            Drawing(self._generator, stream_seed("metrics", "noise", seed, self._first + i)).noise(word, 1)
            for i in range(rows.start, rows.stop)
        ]
        maps = {name: [one[name] for one in each] for name in each[0]}
        return {name: torch.cat([value for value in values if value is not None]) for name, values in maps.items()}


def measure(request: Request) -> Measured:
    """Measure the perceptual path length, and keep the distance of each pair.

    Raises:
        UsageError: The images are too small for LPIPS.
        NumericError: The network's images are not finite.
    """
    settings, path = request.settings, path_of(request.chosen.kind)
    resolution = request.subject.resolution
    side = resolution // 2 if settings.crop else resolution
    if side < MINIMUM_SIZE[_NET]:
        reason = f"LPIPS compares images from {MINIMUM_SIZE[_NET]} px on, and these have {side}"
        raise UsageError(reason, path=request.subject.path, advice="Leave --crop out." if settings.crop else "")
    if settings.precision == "float64":
        request.require_float64("Use --device cpu, or --precision float32.")
    generator = request.generator.to(getattr(torch, settings.precision))
    try:
        distances = _all_distances(request, generator, path)
    finally:
        generator.to(torch.float32)  # exact: the weights were float32
    if not np.isfinite(distances).all():
        raise NumericError("its images are not finite", path=request.subject.path, code="network-not-finite")
    names = ("pairs", "epsilon", "crop", "precision", "psi", "noise", "seed")
    protocol = {**settings.protocol(*names), "lpips": _NET, "interpolation": "slerp" if path.space == "z" else "lerp"}
    protocol |= {"position": "uniform" if path.full else "0", "noise_drawn": "for each pair"}
    values = {
        "mean": spread_mean(distances),
        "mean_of_all": float(distances.mean()),
        "median": float(np.median(distances)),
        "p10": float(np.percentile(distances, 10)),
        "p90": float(np.percentile(distances, 90)),
    }
    found = {"distances": distances}
    return Measured(request.subject.path, request.chosen.name, "mean", values, request.protocol(protocol), found)


def _all_distances(request: Request, generator: Generator, path: Path) -> NDArray[np.float64]:
    settings = request.settings
    names = ("epsilon", "crop", "precision", "psi", "noise", "seed")
    about = {
        "metric": request.chosen.kind,
        "network": request.subject.digest(),
        "batch": settings.batch_at(request.subject.resolution),
        "labels": labels_digest(request),
        **settings.protocol(*names),
    }
    parts = Parts(about, device=request.device, keep=request.keep)
    found = []
    for first in range(0, settings.pairs, PART):
        n = min(PART, settings.pairs - first)

        def compute(first: int = first, n: int = n) -> NDArray[np.float64]:
            return _distances(request, generator, path, first, n)

        found.append(parts.get({"first": first, "n": n}, compute, np.float64, (n,)))
        request.on_progress(request.chosen.name, first + n, settings.pairs)
    return np.concatenate(found)


@torch.inference_mode()
def _distances(request: Request, generator: Generator, path: Path, first: int, n: int) -> NDArray[np.float64]:
    """Return LPIPS / epsilon^2 of n pairs."""
    settings = request.settings
    perceptual = request.shared.get("lpips")
    if perceptual is None:
        perceptual = request.shared["lpips"] = Perceptual(_NET).to(request.device)
    pairs = Pairs(request, generator, path, first, n)
    batch = max(1, settings.batch_at(request.subject.resolution) // 2)
    found = []
    for begin in range(0, n, batch):
        rows = slice(begin, min(begin + batch, n))
        one, other = (compared(images, settings.crop) for images in pairs.images(rows))
        distance, _ = perceptual.distance(one, perceptual.prepare(other, one.dtype))
        found.append(distance.double().cpu().numpy() / settings.epsilon**2)
        request.on_progress(request.chosen.name, first + rows.stop, settings.pairs)
    return np.concatenate(found)
