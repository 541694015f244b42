"""A bank of samples of a network, to start optimisations near their end: w and thumbnails, kept by network.

Sample i of a bank is the same whatever the bank's size, so a larger one begins with a smaller one. The bank's size is
part of the method record: another start leads to other distances.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from generator.networks import Generator
from invert.images.arrays import to_uint8
from invert.projection.cache import cached_file, keep_arrays, read_arrays
from invert.projection.config import BANK_VERSION, FINALISTS
from invert.projection.latents import LatentStatistics, Targets, sample_w
from invert.projection.perceptual import Perceptual

__all__ = ["BankStart", "SampleBank", "bank_size", "load_bank", "thumbnail"]

_PIECE = 500  # samples per file of the cache
_MAX_PIECE = 64 << 20  # of a file of the cache, in bytes
_AT_ONCE = 20  # samples synthesised at once; divides _PIECE
_THUMBNAIL = 64  # px at most
_SEED = 7_000_000  # of piece 0; far from the seeds that people use, for a bank must not hold the exam
_SIZES = {64: 4000, 128: 2000, 256: 1000}

_NEIGHBOURS = 100  # samples whose latents are regressed
_NEARNESS = 0.3  # share of the median squared distance that is added to each: the nearest must not decide alone
_RIDGE = 0.3  # penalty for each pixel, in squared levels


@dataclass(frozen=True, eq=False)
class SampleBank:
    """Samples of a network: w float32 `[M, w_dim]`, thumbnails uint8 `[M, C, t, t]`."""

    w: npt.NDArray[np.float32]
    thumbnails: npt.NDArray[np.uint8]

    def nearest(
        self, thumbnail: npt.NDArray[np.float32], count: int, mask: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.intp]:
        """Return the rows whose thumbnails are nearest to one `[C, t, t]` by pixel distance, the nearest first.

        Args:
            thumbnail: Of the image.
            count: How many rows.
            mask: How much each of its pixels counts, `[1, t, t]` in 0..1; None where all of them do.
        """
        distances = np.empty(len(self.w), np.float64)
        for first in range(0, len(self.w), _PIECE):
            rows = slice(first, first + _PIECE)
            difference = self.thumbnails[rows].astype(np.float32) - thumbnail
            if mask is not None:
                difference *= mask
            distances[rows] = np.square(difference).sum(axis=(1, 2, 3), dtype=np.float64)
        return np.argsort(distances, kind="stable")[:count]

    def latents_near(self, thumbnail: npt.NDArray[np.float32], latents: Tensor) -> Tensor:
        """Return the latents `[1, K]` that the samples around an image suggest for it.

        The latents are regressed on the pixels, among the nearest samples and by their nearness.

        Args:
            thumbnail: Of the image, `[C, t, t]`.
            latents: Those of all samples, `[M, K]`, float64.

        Reference: Hastie, Tibshirani and Friedman 2009, sections 3.4.1 (ridge) and 6.1.1 (local regression).
        """
        around = self._around(thumbnail, latents)
        known = latents[torch.from_numpy(around.rows).to(latents.device)]
        mean = around.weights @ known
        found: Tensor = mean + around.shares @ ((known - mean) * around.weights.sqrt()[:, None])
        return found[None]

    def rms_near(self, thumbnail: npt.NDArray[np.float32]) -> float:
        """Return how nearly the samples around an image meet it by that regression: an rms in levels of 255.

        Args:
            thumbnail: Of the image, `[C, t, t]`.
        """
        around = self._around(thumbnail, torch.empty(0, dtype=torch.float64))
        return float((around.offset - around.shares @ around.deviations).square().mean().sqrt())

    def _around(self, thumbnail: npt.NDArray[np.float32], like: Tensor) -> "_Around":
        """Regress an image on its nearest samples, on the device and in the type of another tensor."""
        rows = self.nearest(thumbnail, _NEIGHBOURS)
        pixels = torch.from_numpy(self.thumbnails[rows].reshape(len(rows), -1)).to(like)
        image = torch.from_numpy(thumbnail.reshape(-1)).to(like)
        distances = (pixels - image).square().sum(dim=1)
        weights = 1 / (distances + _NEARNESS * distances.median() + 1)
        weights = weights / weights.sum()
        centre = weights @ pixels
        deviations = (pixels - centre) * weights.sqrt()[:, None]
        gram = deviations @ deviations.T
        gram.diagonal().add_(_RIDGE * image.numel())
        return _Around(
            rows, weights, deviations, image - centre, torch.linalg.solve(gram, deviations @ (image - centre))
        )


@dataclass(frozen=True, eq=False)
class _Around:
    """The samples around an image, and the regression of its pixels on theirs.

    Attributes:
        rows: Of the N samples.
        weights: By their nearness, `[N]`; they add up to 1.
        deviations: Pixels from their weighted mean, by the root of the weights, `[N, P]`.
        offset: Those of the image from the same mean, `[P]`.
        shares: The image is near the mean and so many times each deviation, `[N]`.
    """

    rows: npt.NDArray[np.intp]
    weights: Tensor
    deviations: Tensor
    offset: Tensor
    shares: Tensor


def bank_size(resolution: int) -> int:
    """Return how many samples a bank has unless the user says: what two slow cores synthesise in two minutes."""
    return next((size for side, size in _SIZES.items() if resolution <= side), _PIECE)


def load_bank(
    generator: Generator,
    weights_sha256: str,
    samples: int,
    *,
    class_index: int | None = None,
    on_message: Callable[[str], None] | None = None,
) -> SampleBank:
    """Return a bank from the user's cache; what is missing there is generated, piece by piece, and kept.

    Args:
        generator: The network, in evaluation mode.
        weights_sha256: Names it in the cache.
        samples: How many, at least 1.
        class_index: As in `invert.projection.latents.latent_statistics`.
        on_message: Called with a line when much has to be generated.
    """
    bank = f"{weights_sha256}-{class_index}-v{BANK_VERSION}"
    pieces = []
    plain: Generator | None = None
    for number in range(-(-samples // _PIECE)):
        path = cached_file("banks", f"{bank}/{number:04d}.npz")
        piece = _read_piece(path, generator)
        if piece is None:
            if on_message is not None and samples > _PIECE:
                on_message(
                    f"generating samples {number * _PIECE + 1} to {(number + 1) * _PIECE} of {samples} to start from"
                )
            plain = plain or _as_loaded(generator)
            piece = _generate_piece(plain, number, class_index)
            keep_arrays(path, w=piece.w, thumbnails=piece.thumbnails)
        pieces.append(piece)
    w = np.concatenate([piece.w for piece in pieces])[:samples]
    return SampleBank(w, np.concatenate([piece.thumbnails for piece in pieces])[:samples])


def _as_loaded(generator: Generator) -> Generator:
    """Return a copy of a network as it comes from its file.

    One that was used before is frozen and laid out otherwise, which rounds otherwise, and what is kept in the cache
    serves every later process.
    """
    with torch.random.fork_rng(devices=[]):
        found = Generator(generator.config)
    found.load_state_dict(generator.state_dict())
    return found.requires_grad_(False).eval().to(generator.mapping.w_avg.device)


def _read_piece(path: Path | None, generator: Generator) -> SampleBank | None:
    """Return a piece of the cache; None when it is not there or damaged."""
    config = generator.config.synthesis
    side = min(_THUMBNAIL, config.img_resolution)
    thumbnails = (np.uint8, (_PIECE, config.img_channels, side, side))
    found = read_arrays(path, {"w": (np.float32, (_PIECE, config.w_dim)), "thumbnails": thumbnails})
    return None if found is None else SampleBank(found["w"], found["thumbnails"])


def _generate_piece(generator: Generator, number: int, class_index: int | None) -> SampleBank:
    w = sample_w(generator, _PIECE, seed=_SEED + number, class_index=class_index)
    thumbnails = [thumbnail(images) for images in _synthesise(generator, w)]
    return SampleBank(w.cpu().numpy(), np.concatenate(thumbnails))


@torch.no_grad()
def _synthesise(generator: Generator, w: Tensor) -> Iterator[Tensor]:
    for piece in torch.split(w, _AT_ONCE):
        yield generator.synthesis(generator.broadcast(piece), "const")


def _small(images: Tensor) -> Tensor:
    size = min(_THUMBNAIL, images.shape[-1])
    return functional.interpolate(images, size=(size, size), mode="area") if size < images.shape[-1] else images


def thumbnail(images: Tensor) -> npt.NDArray[np.uint8]:
    """Return uint8 `[N, C, t, t]` of images `[N, C, H, W]` in [-1, 1]: larger ones averaged down to 64 px."""
    images = _small(images)
    return np.ascontiguousarray(to_uint8(images).transpose(0, 3, 1, 2))


class BankStart:
    """Start each image at the sample that is nearest to it: by pixels among all, then by LPIPS among the first few.

    Restart r starts at the sample in place r.

    Args:
        bank: Samples of the generator.
        generator: Frozen or not.
        perceptual: The distance.
    """

    def __init__(self, bank: SampleBank, generator: Generator, perceptual: Perceptual) -> None:
        self._bank, self._generator, self._perceptual = bank, generator, perceptual

    def __call__(self, statistics: LatentStatistics, targets: Targets, restart: int) -> Tensor:
        """Return w `[N, 1, w_dim]` for N targets; no image's depends on another's."""
        # one by one: sums over a larger batch round otherwise, and could choose another start
        masks = [None] * len(targets.pixels) if targets.masks is None else list(targets.masks[:, None])
        found = [self._nearest(one[None], mask, restart) for one, mask in zip(targets.pixels, masks, strict=True)]
        return torch.stack(found)[:, None].to(statistics.centre)

    @torch.no_grad()
    def _nearest(self, target: Tensor, mask: Tensor | None, restart: int) -> Tensor:
        # LPIPS of thousands of samples would take longer than the projection; by pixels they are compared in no time.
        counts = None if mask is None else _small(mask)[0].cpu().numpy()
        rows = self._bank.nearest(thumbnail(target)[0].astype(np.float32), FINALISTS, counts)
        w = torch.from_numpy(self._bank.w[rows]).to(target.device)  # [16, w_dim]
        images = self._generator.synthesis(self._generator.broadcast(w), "const")
        if mask is not None:
            target, images = target * mask, images * mask
        features = [feature.expand(len(w), -1, -1, -1) for feature in self._perceptual.prepare(target)]
        distances, _ = self._perceptual.distance(images, features)
        # stable: among equals the earlier sample, wherever this runs
        return w[torch.argsort(distances, stable=True)[restart % len(w)]]
