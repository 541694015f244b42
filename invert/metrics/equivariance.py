"""How exactly images follow a motion of their network's input: EQ-T for shifts, EQ-R for rotations.

Reference: Karras et al. 2021, section 3 (equation 4) and appendix E.3.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from generator.motion import inverse_motion
from generator.networks import Generator
from generator.training.images import stream_seed
from invert.errors import NumericError, UsageError
from invert.metrics.drawing import Drawing, labels_digest, labels_of
from invert.metrics.parts import Parts
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.projection.motion import check_movable

__all__ = ["measure", "moved_error"]

SAMPLES = 1000
_SHIFT = 1 / 8
"""The longest shift along each axis, in shares of the image's side."""

_REACH = 3
"""How many pixels to each side a windowed sinc takes to find a value between pixels."""

_DISC = 13
"""Taps of the filter that takes away what lies outside of the largest disc in the square of an image's frequencies."""


def measure(request: Request) -> Measured:
    """Measure the PSNR in dB between images of a moved input and moved images, over all pixels that both know.

    Raises:
        UsageError: What is measured are images, or a network whose input cannot be moved.
        NumericError: The images are not finite.
    """
    settings, kind = request.settings, request.chosen.kind
    samples = settings.samples or SAMPLES
    if request.subject.network is None:
        raise UsageError(f"{kind} is measured of networks, not of images", path=request.subject.path)
    generator = request.generator
    check_movable(generator, kind)
    batch = settings.batch_at(generator.config.synthesis.img_resolution)
    about = {"metric": kind, "network": request.subject.digest(), **settings.protocol("psi", "seed")}
    about |= {"labels": labels_digest(request), "batch": batch}
    parts = Parts(about, device=request.device, keep=request.keep)
    sums = np.zeros(2)
    for first in range(0, samples, batch):
        drawing = Drawing(generator, stream_seed("metrics", kind, settings.seed, first), labels_of(request))
        count = min(batch, samples - first)

        @torch.inference_mode()
        def compute(drawing: Drawing = drawing, count: int = count) -> NDArray[np.float64]:
            ws = generator.mapping_ws(drawing.z(count), drawing.labels(count), settings.psi)
            errors, pixels = moved_error(generator, ws, kind, drawing.rng)
            return np.array([errors, pixels])

        sums += parts.get({"first": first, "count": count}, compute, np.float64, (2,))
        request.on_progress(kind, first + count, samples)
    if not np.isfinite(sums).all():
        raise NumericError("its images are not finite", path=request.subject.path, code="network-not-finite")
    mean = sums[0] / sums[1]
    values = {"psnr": float("inf") if mean == 0 else 20 * math.log10(2) - 10 * math.log10(mean)}
    protocol = {"samples": samples, **settings.protocol("psi", "seed"), "batch": batch, "peak": 2}
    protocol |= {"motion": _MOTIONS[kind]}
    return Measured(request.subject.path, request.chosen.name, "psnr", values, request.protocol(protocol))


_MOTIONS = {
    "eqt-int": "shifts by whole pixels, up to 1/8 of the side",
    "eqt-frac": "shifts up to 1/8 of the side; images are shifted by a Lanczos filter of 3 pixels",
    "eqr": "rotations by any angle; images are turned by a Lanczos filter of 3 pixels, both low-passed to a disc",
}


def moved_error(generator: Generator, ws: Tensor, kind: str, rng: torch.Generator) -> tuple[float, float]:
    """Return the sum of squared differences between images of a moved input and moved images, and of how many values.

    Args:
        generator: One whose input can be moved.
        ws: Styles `[N, num_ws, w_dim]`.
        kind: "eqt-int", "eqt-frac" or "eqr".
        rng: Source of the motions.
    """
    side = generator.config.synthesis.img_resolution
    drawn = torch.rand([len(ws), 3], generator=rng, dtype=torch.float64) * 2 - 1
    motions = torch.zeros_like(drawn)
    if kind == "eqr":
        motions[:, 2] = drawn[:, 2] * 180
    else:
        motions[:, :2] = drawn[:, :2] * _SHIFT
        if kind == "eqt-int":
            motions = (motions * side).round() / side
    matrices = inverse_motion(motions).to(ws.device)
    still: Tensor = generator.synthesis(ws, transform=torch.eye(3, dtype=ws.dtype, device=ws.device)).double()
    made: Tensor = generator.synthesis(ws, transform=matrices.to(ws.dtype)).double()
    margin = 0
    if kind == "eqr":
        still, made = _in_disc(still), _in_disc(made)
        margin = _DISC // 2
    moved, known = _moved(still, matrices, margin)
    known = known & _inside(side, margin).to(known.device)
    squares = (made - moved).square().sum(dim=1)
    return float(squares[known].sum()), float(known.sum() * still.shape[1])


def _moved(images: Tensor, matrices: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Return moved images, and which of their pixels come from inside of the images.

    Args:
        images: `[N, C, R, R]`.
        matrices: `[N, 3, 3]` from a point of the moved image to the one it came from.
        margin: Pixels at the border that are not known.
    """
    n, _, side, _ = images.shape
    centres = (torch.arange(side, dtype=images.dtype, device=images.device) + 0.5) / side - 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)  # [R R, 3]
    came_from = (matrices.to(images.dtype) @ points.T)[:, :2] * side + (side / 2 - 0.5)  # [N, 2, R R], in pixels
    nearest = came_from.round()
    # of a shift by whole pixels rounding leaves the last digits
    came_from = torch.where((came_from - nearest).abs() < 1e-6, nearest, came_from)
    left = came_from.floor()
    steps = torch.arange(1 - _REACH, _REACH + 1, dtype=images.dtype, device=images.device)
    taps = left[..., None] + steps  # [N, 2, R R, 2 reach]
    distance = came_from[..., None] - taps
    weights = torch.sinc(distance) * torch.sinc(distance / _REACH) * (distance.abs() < _REACH)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    used = weights.abs() > 0
    inside = (((taps >= margin) & (taps < side - margin)) | ~used).all(dim=-1).all(dim=1)  # [N, R R]
    columns, rows = taps.clamp(0, side - 1).long().unbind(1)
    flat = images.flatten(2)
    result = torch.zeros_like(flat)
    for i in range(2 * _REACH):
        for j in range(2 * _REACH):
            at = (rows[..., i] * side + columns[..., j])[:, None].expand(-1, flat.shape[1], -1)
            result += flat.gather(2, at) * (weights[:, 1, :, i] * weights[:, 0, :, j])[:, None]
    return result.reshape(images.shape), inside.reshape(n, side, side)


def _inside(side: int, margin: int) -> Tensor:
    """Return which pixels of an image are not in its margin, `[1, R, R]`."""
    known = torch.zeros([1, side, side], dtype=torch.bool)
    known[:, margin : side - margin, margin : side - margin] = True
    return known


def _in_disc(images: Tensor) -> Tensor:
    """Return images without the frequencies that a rotation takes out of the square of those they can have."""
    from generator.stylegan3.filters import jinc_filter

    f = torch.from_numpy(jinc_filter(_DISC, cutoff=0.4, half_width=0.1, rate=1.0)).to(images)
    kernel = f[None, None].expand(images.shape[1], 1, -1, -1)
    return functional.conv2d(images, kernel, padding=_DISC // 2, groups=images.shape[1])
