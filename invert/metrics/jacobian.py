"""The singular values of dG/dw, and the path length that StyleGAN2's regulariser keeps constant.

References: Karras et al. 2020, section 3.2 and figure 17; Roy and Vetterli 2007 (effective rank).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from generator.layers import freeze
from generator.networks import Generator
from generator.ops.dual import Dual
from generator.training.images import stream_seed
from invert.errors import NumericError, UsageError
from invert.metrics.drawing import Drawing, labels_digest, labels_of
from invert.metrics.parts import Parts
from invert.metrics.request import Request
from invert.metrics.result import Measured
from invert.projection.session import load_network

__all__ = ["effective_rank", "jacobian", "measure"]

SAMPLES = 16
_TANGENTS = 64 * 32**2
"""Pixels of tangents that are carried together."""

_DIRECTIONS = 100


def jacobian(generator: Generator, w: torch.Tensor, maps: dict[str, torch.Tensor | None]) -> torch.Tensor:
    """Return dG/dw of an image, one w for all layers.

    Args:
        generator: The generator, frozen (`generator.layers.freeze`).
        w: `[w_dim]`, of the network's own type of numbers.
        maps: Noise map `[1, 1, r, r]` of every layer; None where there is no noise.

    Returns:
        `[C * R * R, w_dim]`, pixels in about [-1, 1].
    """
    synthesis = generator.synthesis
    ws = Dual(generator.broadcast(w[None]).contiguous())
    noise = {name: None if value is None else Dual(value) for name, value in maps.items()}
    together = max(1, _TANGENTS // synthesis.config.img_resolution**2)
    columns = []
    for first in range(0, len(w), together):
        directions = torch.eye(len(w), dtype=w.dtype, device=w.device)[first : first + together]
        tangents = directions[:, None].expand(-1, generator.num_ws, -1).contiguous()
        carried = synthesis.carry(Dual(ws.value, tangents), noise).tangents
        if carried is None:
            raise RuntimeError("the image has no derivative")
        columns.append(carried.flatten(1))
    return torch.cat(columns).T


def effective_rank(singular_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp of the entropy of the normalised squared spectra `[..., w_dim]`: w_dim where all values are alike."""
    squares = np.square(singular_values)
    shares = squares / squares.sum(axis=-1, keepdims=True)
    entropy = -np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1)), 0).sum(axis=-1)
    return np.asarray(np.exp(entropy), np.float64)


def measure(request: Request) -> Measured:
    """Measure the spectra of dG/dw at random w, in float64.

    Raises:
        UsageError: What is measured are images.
        NumericError: The derivatives are not finite.
    """
    settings = request.settings
    samples = settings.samples or SAMPLES
    if request.subject.network is None:
        raise UsageError("jacobian is measured of networks, not of images", path=request.subject.path)
    request.require_float64()
    rows = _rows(request, samples)
    if not np.isfinite(rows).all() or not rows[:, 0].all():
        reason = "its derivatives are not finite, or all zero"
        raise NumericError(reason, path=request.subject.path, code="network-not-finite")
    spectra, lengths = rows[:, :-1], rows[:, -1]
    ranks = effective_rank(spectra)
    with np.errstate(divide="ignore"):
        conditions = spectra[:, 0] / spectra[:, -1]
    values = {
        "effective_rank": float(ranks.mean()),
        "effective_rank_deviation": float(ranks.std()),
        "condition": float(np.median(conditions)),
        "path_length": float(lengths.mean()),
        "path_length_deviation": float(lengths.std()),
        "frobenius": float(np.sqrt(np.square(spectra).sum(axis=1).mean())),
    }
    protocol = {"samples": samples, **settings.protocol("psi", "noise", "seed"), "precision": "float64"}
    protocol |= {"w": "one for all layers", "directions": _DIRECTIONS}
    name, found = request.chosen.name, {"spectra": spectra}
    return Measured(request.subject.path, name, "effective_rank", values, request.protocol(protocol), found)


def _rows(request: Request, samples: int) -> NDArray[np.float64]:
    """Return the singular values of each sample, largest first, and after them its path length."""
    settings = request.settings
    # A network of its own: frozen it has other bits than those that images are sampled with.
    generator = load_network(request.subject.path).generator.double().to(request.device)
    freeze(generator)
    width = generator.config.mapping.w_dim
    classes = labels_of(request)
    about = {"metric": "jacobian", "network": request.subject.digest(), **settings.protocol("psi", "noise", "seed")}
    about["labels"] = labels_digest(request)
    parts = Parts(about, device=request.device, keep=request.keep)
    rows = []
    for index in range(samples):
        drawing = Drawing(generator, stream_seed("metrics", "jacobian", settings.seed, index), classes)

        @torch.inference_mode()
        def compute(drawing: Drawing = drawing) -> NDArray[np.float64]:
            w = generator.mapping_ws(drawing.z(1, torch.float64), drawing.labels(1), settings.psi)[0, 0]
            maps = drawing.noise(settings.noise, 1)
            doubled = {name: None if value is None else value.double() for name, value in maps.items()}
            matrix = jacobian(generator, w, doubled)
            # E |J'y| of y ~ N(0, I): what the regulariser measures, its images' y scaled by 1 / sqrt(pixels).
            directions = torch.randn([_DIRECTIONS, len(matrix)], generator=drawing.rng, dtype=torch.float64)
            length = (directions.to(matrix.device) @ matrix).norm(dim=1).mean()
            found = torch.cat([torch.linalg.svdvals(matrix).flatten(), length[None]]).cpu().numpy()
            return np.asarray(np.pad(found, (width + 1 - len(found), 0)) if len(found) <= width else found)

        rows.append(parts.get({"sample": index}, compute, np.float64, (width + 1,)))
        request.on_progress(request.chosen.name, index + 1, samples)
    return np.stack(rows)
