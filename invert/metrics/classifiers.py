"""Classifiers of attributes, of a discriminator's architecture, that label samples for linear separability.

Reference: Karras et al. 2019, section 4.2 and appendix C (auxiliary classifiers).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from generator.stylegan2.config import DiscriminatorConfig
from generator.stylegan2.discriminator import Discriminator
from generator.training.images import image_order, stream_seed
from invert.datasets.training_images import TrainingImages
from invert.errors import NoInputError, UsageError, display_path
from invert.metrics.parts import Parts

__all__ = ["Attribute", "Classifier", "attributes_of", "classifier_input", "pixels_digest", "train_classifier"]

_BATCH = 32
_RATE, _BETAS = 1e-3, (0.0, 0.99)
_HELD_OUT = 10
"""One image in so many is not trained on, and tells how good a classifier is."""

_LARGEST = 256  # px
_READ = 256


@dataclass(frozen=True, eq=False)
class Attribute:
    """Something that images have or have not.

    Attributes:
        name: What it is called.
        values: int8 `[N]` of the images of a data set: 1, 0, or -1 where it is not known.
    """

    name: str
    values: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier.

    Attributes:
        network: Images `[N, C, R, R]` to logits `[N, 1]`, whose double is that of the attribute's probability.
        accuracy: Share of the held-out images that it is right about.
    """

    network: nn.Module
    accuracy: float


def attributes_of(images: TrainingImages, only: Sequence[str] = ()) -> list[Attribute]:
    """Return the attributes of a data set; without any, each of its classes against the rest.

    An attribute with named values is one attribute for each of them, or for the second alone where there are two.

    Args:
        images: The data set.
        only: Names of the attributes, as its dataset.json has them, that are wanted; empty: all.

    Raises:
        NoInputError: It has neither.
        UsageError: It lacks one that is wanted.
    """
    for name in only:
        if name not in images.attributes:
            known = ", ".join(f"'{display_path(one)}'" for one in images.attributes) or "none"
            reason = f"its dataset.json has no attribute '{display_path(name)}'"
            raise UsageError(reason, path=images.path, advice=f"There are: {known}.", code="attribute-missing")
    if images.attributes:
        return [one for name in images.attributes if not only or name in only for one in _binary(images, name)]
    if images.labels is None:
        advice = "They are in its dataset.json, as docs/metrics.md says."
        raise NoInputError("has neither labels nor attributes", path=images.path, advice=advice, code="labels-missing")
    names = images.class_names or [f"class {number}" for number in range(images.classes)]
    return [Attribute(name, (images.labels == number).astype(np.int8)) for number, name in enumerate(names)]


def _binary(images: TrainingImages, name: str) -> list[Attribute]:
    """Return what an attribute says as attributes that images have or have not."""
    values, names = images.attributes[name], images.value_names.get(name)
    if names is None:
        return [Attribute(name, values.astype(np.int8))]
    numbers = [1] if len(names) == 2 else range(len(names))
    known = values >= 0
    return [
        Attribute(f"{name} {names[number]}", np.where(known, values == number, -1).astype(np.int8))
        for number in numbers
        if (values == number).any()
    ]


def pixels_digest(images: TrainingImages) -> str:
    """Return a hash of all pixels: names and sizes of files would not tell images that were changed."""
    digest = hashlib.sha256()
    for first in range(0, len(images), _READ):
        digest.update(images.read(range(first, min(first + _READ, len(images)))).tobytes())
    return digest.hexdigest()


def classifier_input(images: Tensor) -> Tensor:
    """Return images `[N, C, R, R]` in about [-1, 1] as a classifier takes them: averaged down to 256 px at most."""
    factor = images.shape[-1] // _LARGEST
    return functional.avg_pool2d(images, factor) if factor > 1 else images


def train_classifier(
    images: TrainingImages,
    attribute: Attribute,
    *,
    digest: str,
    kimg: float,
    seed: int,
    device: str,
    keep: bool,
    on_step: Callable[[int], None],
) -> Classifier:
    """Train a classifier of an attribute, or take the one that was trained before.

    Args:
        images: The data set.
        attribute: One of `attributes_of(images)`.
        digest: From `pixels_digest(images)`.
        kimg: Thousands of images to train on.
        seed: Seed of the weights and of the order of the images.
        device: Device that computes.
        keep: Whether it is kept in the user's cache.
        on_step: Called with how many images were seen.

    Raises:
        NoInputError: Of the images that it is known of, fewer than two have it, or fewer than two have it not.
    """
    known = np.flatnonzero(attribute.values >= 0)
    held_out, learnt = known[::_HELD_OUT], np.delete(known, np.s_[::_HELD_OUT])
    counts = np.bincount(attribute.values[learnt], minlength=2)
    if min(counts) < 2:
        reason = f"of attribute {attribute.name!r}, {counts[1]} images have it and {counts[0]} have it not"
        raise NoInputError(reason, path=images.path, advice="Give at least two of each.", code="labels-few")
    config = _config(images)
    about = {
        "classifier": config.__dict__ | {"resample_filter": list(config.resample_filter)},
        "data": digest,
        "attribute": hashlib.sha256(attribute.values.tobytes()).hexdigest(),
        "training": [kimg, seed, _BATCH, _RATE, *_BETAS, _HELD_OUT],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("classifier", seed, attribute.name))
        network = Discriminator(config).to(device)

    def compute() -> NDArray[np.float32]:
        _train(network, images, attribute, learnt, round(kimg * 1000), seed, device, on_step)
        return torch.cat([value.detach().flatten() for value in network.state_dict().values()]).cpu().numpy()

    sizes = {name: value.shape for name, value in network.state_dict().items()}
    total = sum(shape.numel() for shape in sizes.values())
    weights = torch.from_numpy(Parts(about, device=device, keep=keep).get({}, compute, np.float32, (total,)))
    split = weights.split([shape.numel() for shape in sizes.values()])  # type: ignore[no-untyped-call]
    network.load_state_dict({name: part.reshape(sizes[name]) for name, part in zip(sizes, split, strict=True)})
    network.eval().requires_grad_(False)
    right = [
        (network(batch)[:, 0] > 0).cpu().numpy() == (attribute.values[rows] > 0)
        for rows, batch in _batches(images, held_out, device)
    ]
    return Classifier(network, float(np.concatenate(right).mean()))


def _config(images: TrainingImages) -> DiscriminatorConfig:
    side = min(images.resolution, _LARGEST)
    base = max(512, 16 * side)
    # Without the minibatch deviation: what is said of an image must not depend on the others.
    return DiscriminatorConfig(
        c_dim=0,
        img_resolution=side,
        img_channels=images.channels,
        channel_base=base,
        channel_max=min(512, base // 4),
        architecture="resnet",
        mbstd_channels=0,
    )


def _train(
    network: nn.Module,
    images: TrainingImages,
    attribute: Attribute,
    learnt: NDArray[np.intp],
    total: int,
    seed: int,
    device: str,
    on_step: Callable[[int], None],
) -> None:
    network.train().requires_grad_(True)
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE, betas=_BETAS)
    for seen in range(0, total, _BATCH):
        rows = learnt[image_order(len(learnt), seed, seen, min(_BATCH, total - seen))]
        signs = torch.from_numpy(attribute.values[rows].astype(np.float32) * 2 - 1).to(device)
        # Cross entropy of softmax(logit, -logit), which is a sigmoid of twice the logit.
        loss = functional.softplus(-2 * signs * network(_read(images, rows, device))[:, 0]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        on_step(seen + len(rows))


def _read(images: TrainingImages, rows: NDArray[np.intp], device: str) -> Tensor:
    return classifier_input(torch.from_numpy(images.read(rows.tolist())).to(device).float() / 127.5 - 1)


def _batches(images: TrainingImages, rows: NDArray[np.intp], device: str) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    for first in range(0, len(rows), _BATCH):
        chosen = rows[first : first + _BATCH]
        yield chosen, _read(images, chosen, device)
