"""Features of many images: samples of a network or a data set, part by part, kept and resumed."""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from generator.networks import Generator
from generator.training.images import stream_seed
from invert.errors import NumericError, UsageError
from invert.images.arrays import to_uint8
from invert.metrics.drawing import Drawing, labels_digest, labels_of
from invert.metrics.features import Features, features_of, fidelity
from invert.metrics.parts import Parts
from invert.metrics.request import Request, Subject
from invert.metrics.settings import MINIMUM_IMAGES

__all__ = ["compared_features", "own_features", "sampling_protocol"]

PART = 1024
"""Images of a part: what a run that is stopped does again at most. A multiple of every batch that is a power of two."""


_GROUND = "black"
"""What the features see behind transparent parts."""


class _Sampler(nn.Module):
    """z -> uint8 images of three channels, as torch-fidelity's wrapper of generative models wants them."""

    def __init__(self, generator: Generator, request: Request, seed: int, classes: NDArray[np.int64] | None) -> None:
        super().__init__()
        self.generator, self._request = generator, request
        self._draws = Drawing(generator, seed, classes)

    def forward(self, z: Tensor) -> Tensor:
        generator, settings = self.generator, self._request.settings
        ws = generator.mapping_ws(z, self._draws.labels(len(z)), settings.psi)
        images = generator.synthesis(ws, self._draws.noise(settings.noise, len(z)))
        if not bool(images.isfinite().all()):
            raise NumericError("its images are not finite", path=self._request.subject.path, code="network-not-finite")
        return _three_channels(torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2)).to(z.device)


class _Pixels(Dataset[Tensor]):
    """A part of a data set as torch-fidelity wants it: tensors of three channels."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        return _three_channels(torch.from_numpy(self._pixels[index : index + 1]))[0]


def _three_channels(images: Tensor) -> Tensor:
    """Return uint8 images `[N, 1, 3 or 4, H, W]` with three channels: grey is repeated, transparency laid on black.

    Black is what an image file with transparency is laid on where three channels are wanted, see `ImagePolicy`.
    """
    if images.shape[1] < 4:
        return images.expand(-1, 3, -1, -1)
    alpha = images[:, 3:].to(torch.int32)
    return ((images[:, :3] * alpha + 127) // 255).to(torch.uint8)


def sampling_protocol(request: Request) -> dict[str, Any]:
    """Return what a protocol says of how images were taken."""
    settings, against = request.settings, request.against
    count = request.subject.count(settings.images)
    found: dict[str, Any] = {"images": count}
    if 4 in (request.subject.channels, 0 if against is None else against.channels):
        found["transparency"] = _GROUND
    if request.subject.network is not None:
        found |= settings.protocol("psi", "noise", "seed")
        found["labels"] = _label_source(request)
    if against is not None:
        found |= {
            "against": str(against.path),
            "against_images": against.count(settings.images),
            "against_sha256" if against.network is not None else "against_fingerprint": against.digest(),
        }
    return found


def _label_source(request: Request) -> str | None:
    if request.subject.network is None or not request.generator.config.mapping.c_dim:
        return None
    return "each class alike" if labels_of(request) is None else "as in the data set"


def own_features(request: Request, metric: str) -> Tensor:
    """Return the features of the subject of a request.

    Args:
        request: The request.
        metric: torch-fidelity's word for the metric.

    Returns:
        float32 `[images, F]`.

    Raises:
        UsageError: There are too few images, or they are too small.
        NumericError: The network's images are not finite.
    """
    features = features_of(request)
    found = _all_features(request, request.subject, features)
    return found[features.layers[metric]]


def compared_features(request: Request, metric: str) -> tuple[Tensor, Tensor]:
    """Return the features of the subject, and of what it is compared with.

    Raises:
        UsageError: There are too few images, or sizes or channels differ.
        NumericError: A network's images are not finite.
    """
    subject, against = request.subject, request.against
    if against is None:
        raise UsageError(f"{request.chosen.name} compares with other images", advice="Name them with --against.")
    if (subject.resolution, min(subject.channels, 3)) != (against.resolution, min(against.channels, 3)):
        reason = f"its images have {_shape(against)}, those of '{subject.path}' {_shape(subject)}"
        advice = (
            f"Make them alike with 'invert dataset --resolution {subject.resolution} --channels {subject.channels}'."
        )
        raise UsageError(reason, path=against.path, advice=advice, code="metrics-shape")
    features = features_of(request)
    layer = features.layers[metric]
    return _all_features(request, subject, features)[layer], _all_features(request, against, features)[layer]


def _shape(subject: Subject) -> str:
    return f"{subject.resolution} px and {subject.channels} channel{'s'[: subject.channels != 1]}"


def _all_features(request: Request, subject: Subject, features: Features) -> dict[str, Tensor]:
    """Return every feature of a subject, computed once for all metrics of a request."""
    count = subject.count(request.settings.images)
    if count < MINIMUM_IMAGES:
        reason = f"there are {count} images, and {request.chosen.name} takes {MINIMUM_IMAGES} at the least"
        raise UsageError(reason, path=subject.path, advice="Give more images.", code="metrics-few")
    if subject.resolution < features.minimum:
        reason = f"its images have {subject.resolution} px, and {features.extractor} takes {features.minimum}"
        raise UsageError(reason, path=subject.path, advice="Use other --features.", code="metrics-small")
    # What is compared with is so for all subjects; what is a subject's own goes with it.
    kept = request.own if subject is request.subject else request.shared
    key = f"features {features.sha256}"
    if key not in kept:
        rows = [_part(request, subject, features, first, count) for first in range(0, count, PART)]
        joined = torch.from_numpy(np.concatenate(rows))
        layers = sorted(set(features.layers.values()))
        kept[key] = dict(zip(layers, torch.split(joined, [features.widths[one] for one in layers], dim=1), strict=True))
    found: dict[str, Tensor] = kept[key]
    return found


def _part(request: Request, subject: Subject, features: Features, first: int, count: int) -> NDArray[np.float32]:
    """Return the features of one part, all layers side by side."""
    n = min(PART, count - first)
    what = f"features of {subject.path.name}"
    settings = request.settings
    batch = settings.batch_at(subject.resolution)
    about = {"extractor": features.extractor, "weights": features.sha256, "batch": batch}
    if subject.channels == 4:
        about["transparency"] = _GROUND
    shape = (n, sum(features.widths[one] for one in set(features.layers.values())))

    def report(done: int) -> None:
        request.on_progress(what, first + min(done, n), count)

    side = "subject" if subject is request.subject else "against"  # a network against itself has other samples
    classes: NDArray[np.int64] | None = None
    if subject.images is not None:
        chosen = np.linspace(0, len(subject.images), count, endpoint=False).astype(int)[first : first + n]
        pixels = subject.images.read(chosen.tolist())
        # Names and sizes would not tell images that were changed.
        about["pixels"] = hashlib.sha256(pixels.tobytes()).hexdigest()
    else:
        classes = labels_of(request) if side == "subject" else None
        about |= {"network": subject.digest(), "side": side, **settings.protocol("psi", "noise", "seed")}
        about["labels"] = labels_digest(request) if side == "subject" else None

    def compute() -> NDArray[np.float32]:
        extractor = request.shared.get(features.sha256)
        if extractor is None:
            extractor = request.shared[features.sha256] = features.make(request.device)
        done = 0

        def count_up(_module: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
            nonlocal done
            done += len(inputs[0])
            report(done)

        handle = extractor.register_forward_hook(count_up)
        try:
            if subject.network is None:
                found = _of_pixels(pixels, extractor, batch, request.device)
            else:
                seed = stream_seed("metrics", side, settings.seed, first)
                found = _of_samples(request, subject.network.generator, extractor, n, batch, seed, classes)
        finally:
            handle.remove()
        return np.concatenate([found[one].numpy() for one in sorted(found)], axis=1)

    parts = Parts(about, device=request.device, keep=request.keep or subject.network is None)
    values = parts.get({"first": first if subject.network is not None else 0, "n": n}, compute, np.float32, shape)
    report(n)
    return values


def _of_pixels(pixels: NDArray[np.uint8], extractor: nn.Module, batch: int, device: str) -> dict[str, Tensor]:
    """Let torch-fidelity compute the features of images that are in memory."""
    with _device(device) as cuda:
        found: dict[str, Tensor] = fidelity("utils").get_featuresdict_from_dataset(
            _Pixels(pixels), extractor, batch, cuda, save_cpu_ram=True, verbose=False
        )
    return found


def _of_samples(
    request: Request,
    generator: Generator,
    extractor: nn.Module,
    n: int,
    batch: int,
    seed: int,
    classes: NDArray[np.int64] | None,
) -> dict[str, Tensor]:
    """Let torch-fidelity draw samples of a network, and compute their features."""
    sampler = _Sampler(generator.eval().to(request.device), request, seed, classes)
    wrapper: Any = fidelity("generative_model_modulewrapper").GenerativeModelModuleWrapper
    # Labels are drawn by the sampler: the wrapper's own are of a type that numpy has no more.
    model = wrapper(sampler, generator.config.mapping.z_dim, "normal", 0)
    with _device(request.device) as cuda:
        found: dict[str, Tensor] = fidelity("utils").get_featuresdict_from_generative_model(
            model, extractor, n, batch, cuda, seed % 2**32, verbose=False
        )
    return found


@contextlib.contextmanager
def _device(device: str) -> Iterator[bool]:
    """Make a device torch-fidelity's, which knows the processors and CUDA's current device; tell whether it is CUDA."""
    chosen = torch.device(device)
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(
            f"metrics of features are computed on cpu or cuda, not on {device}", advice="Use --device cpu."
        )
    with torch.cuda.device(chosen) if chosen.type == "cuda" else contextlib.nullcontext():
        yield chosen.type == "cuda"
