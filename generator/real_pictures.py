"""The training pictures of a step: which they are, how they are turned, and at which size they are seen."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from generator.data import Pictures, picture_order, stream_seed
from generator.growth import blend_reals
from generator.growth_schedule import Stage
from generator.train_config import TrainConfig

__all__ = ["RealPictures"]


class RealPictures:
    """What the discriminator is shown of a data set.

    Args:
        config: Of the run.
        pictures: The data set.
        device: Where the pictures are wanted.
    """

    def __init__(self, config: TrainConfig, pictures: Pictures, device: torch.device) -> None:
        self._config, self._pictures, self._device = config, pictures, device

    def read(self, first: int, batch: int, mine: Sequence[int]) -> Tensor:
        """Return pictures `[n, C, R, R]`, uint8.

        Args:
            first: Pictures seen before the step. batch: Pictures in the step.
            mine: Which of the step's pictures.
        """
        config = self._config
        order = picture_order(len(self._pictures), config.seed, first, batch)
        pixels = self._pictures.read([order[index] for index in mine])
        if config.mirror:
            turned = [bool(stream_seed("mirror", config.seed, first + index) & 1) for index in mine]
            pixels = np.where(np.array(turned)[:, None, None, None], pixels[..., ::-1], pixels)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def to_images(self, pixels: Tensor, stage: Stage) -> Tensor:
        """Return uint8 pictures as float32 `[n, C, r, r]` in [-1, 1], as the networks of a stage see them."""
        images = pixels.to(self._device).to(torch.float32) / 127.5 - 1
        images = blend_reals(images, stage.resolution, stage.alpha)
        # the channels innermost are the fastest
        return images.contiguous(memory_format=torch.channels_last)

    def labels(self, first: int, batch: int, part: Sequence[int]) -> Tensor | None:
        """Return the labels `[n, classes]` of pictures of a step, or None."""
        config = self._config
        if not config.classes or self._pictures.labels is None:
            return None
        order = picture_order(len(self._pictures), config.seed, first, batch)
        labels = torch.from_numpy(self._pictures.labels[[order[index] for index in part]]).to(self._device)
        return nn.functional.one_hot(labels, config.classes).float()
