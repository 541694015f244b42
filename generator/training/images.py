"""Training images: what the trainer asks of a data set, and in which order it sees them."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generator.errors import ConfigError
from generator.training.config import TrainConfig
from generator.training.growth import blend_reals
from generator.training.schedule import Stage

__all__ = ["Images", "RealImages", "Subset", "check_images", "image_order", "stream_seed"]


class Images(Protocol):
    """A data set, in memory or read on demand.

    Attributes:
        resolution: Side in pixels.
        channels: 1, 3 or 4.
        labels: Class of each image, `[N]`, or None.
        classes: How many classes there are; 0 without labels.
        fingerprint: Changes when the images do; a training run is tied to it.
    """

    resolution: int
    channels: int
    labels: NDArray[np.int64] | None
    classes: int
    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Return the images of these indices, `[n, C, R, R]`."""
        ...


def stream_seed(*key: int | str) -> int:
    """Return a seed for `torch.Generator` that belongs to `key` alone (63 bits of its SHA-256)."""
    text = "/".join(map(str, key)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


@lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(stream_seed("epoch", seed, epoch))).permutation(size)


def image_order(size: int, seed: int, first: int, count: int) -> list[int]:
    """Return which of `size` images are the `first`-th and the following `count` ones that training sees.

    Each pass over the data has its own order. It depends on nothing but the arguments, so a run that is resumed goes
    on with the next image.

    Args:
        size: Number of images in the data set.
        seed: Seed of the run.
        first: Number of images seen before.
        count: Number of images that are wanted.

    Returns:
        Their indices in the data set.
    """
    return [int(_permutation(size, seed, i // size)[i % size]) for i in range(first, first + count)]


class Subset:
    """Some images of a data set, drawn at random; fewer of them are always among more. Implements `Images`.

    Args:
        images: The data set.
        count: Number of images.
        seed: Seed by which they are drawn.

    Attributes:
        indices: Which ones, in their order, `[count]`.
    """

    def __init__(self, images: Images, count: int, seed: int) -> None:
        self.resolution, self.channels, self.classes = images.resolution, images.channels, images.classes
        self._images = images
        order = np.random.Generator(np.random.PCG64(stream_seed("subset", seed))).permutation(len(images))
        self.indices = np.sort(order[:count])
        self.labels = None if images.labels is None else images.labels[self.indices]
        self.fingerprint = hashlib.sha256(f"{images.fingerprint}/{count}/{seed}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Return the images of these indices, `[n, C, R, R]`."""
        return self._images.read(self.indices[list(indices)].tolist())


class RealImages:
    """What the discriminator is shown of a data set.

    Args:
        config: Settings of the run.
        images: The data set.
        device: Device on which the images are wanted.
    """

    def __init__(self, config: TrainConfig, images: Images, device: torch.device) -> None:
        self._config, self._images, self._device = config, images, device

    def read(self, first: int, batch: int, mine: Sequence[int]) -> Tensor:
        """Read images of a step.

        Args:
            first: Number of images seen before the step.
            batch: Images in the step.
            mine: Places of the wanted images in the step.

        Returns:
            The images, uint8 `[n, C, R, R]`.
        """
        config = self._config
        order = image_order(len(self._images), config.seed, first, batch)
        pixels = self._images.read([order[index] for index in mine])
        for wanted, stream, axis in ((config.mirror, "mirror", 3), (config.mirror_y, "mirror y", 2)):
            if wanted:
                turned = [bool(stream_seed(stream, config.seed, first + index) & 1) for index in mine]
                pixels = np.where(np.array(turned)[:, None, None, None], np.flip(pixels, axis), pixels)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def to_images(self, pixels: Tensor, stage: Stage) -> Tensor:
        """Return uint8 images as float32 `[n, C, r, r]` in [-1, 1], as the networks of a stage see them."""
        images = pixels.to(self._device).to(torch.float32) / 127.5 - 1
        images = blend_reals(images, stage.resolution, stage.alpha)
        # the channels innermost are the fastest
        return images.contiguous(memory_format=torch.channels_last)

    def labels(self, first: int, batch: int, part: Sequence[int]) -> Tensor | None:
        """Return the labels of images of a step.

        Args:
            first: Number of images seen before the step.
            batch: Images in the step.
            part: Places of the wanted images in the step.

        Returns:
            One-hot labels, float32 `[n, classes]`; None for a network without labels.
        """
        config = self._config
        if not config.classes or self._images.labels is None:
            return None
        order = image_order(len(self._images), config.seed, first, batch)
        labels = torch.from_numpy(self._images.labels[[order[index] for index in part]]).to(self._device)
        return nn.functional.one_hot(labels, config.classes).float()


def check_images(config: TrainConfig, images: Images) -> None:
    """Check that a data set fits the settings.

    Args:
        config: Settings of the run.
        images: The data set.

    Raises:
        ConfigError: It does not.
    """
    wanted = (config.resolution, config.channels)
    if (images.resolution, images.channels) != wanted:
        has = f"{images.resolution} px and {images.channels} channels"
        raise ConfigError(f"the images have {has}, the network {config.resolution} px and {config.channels}")
    if config.classes and (images.labels is None or images.classes != config.classes):
        raise ConfigError(f"the network has {config.classes} classes, the images {images.classes}")
    if not len(images):
        raise ConfigError("there are no images to train on")
    if config.subset > len(images):
        raise ConfigError(f"subset is {config.subset}, but there are {len(images)} images")
