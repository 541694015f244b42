"""Augmentation of all that the discriminator sees, and how often it happens.

An image's numbers belong to (seed, phase, step, index in the whole batch), as all others of training do, see
`generator.training.draws`. They are drawn on the CPU, so that every device augments alike.

References: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data (ADA); Zhao et al. 2020,
Differentiable Augmentation for Data-Efficient GAN Training (DiffAugment).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from generator.training import transforms
from generator.training.config import TrainConfig
from generator.training.images import stream_seed
from generator.training.transforms import BAND_POWER, BANDS

__all__ = ["AdaptiveProbability", "Augmentation", "Augmenter", "Blur", "blur_after"]

_TRANSFORMS = {
    "blit": ("mirror", "quarter turns", "whole pixels"),
    "geom": ("scale", "rotation before", "stretch", "rotation after", "translation"),
    "color": ("brightness", "contrast", "luma flip", "hue", "saturation"),
    "filter": tuple(f"band {band}" for band in range(BANDS)),
    "noise": ("noise",),
    "cutout": ("cut-out",),
}
"""The transforms of each group, in the order in which they are applied."""

_GATES = tuple(name for names in _TRANSFORMS.values() for name in names)
_UNIFORM = ("coin", "turns", "pixels x", "pixels y", "before", "after", "luma", "hue", "cut x", "cut y")
_NORMAL = ("scale", "stretch", "x", "y", "brightness", "contrast", "saturation", *_TRANSFORMS["filter"], "sigma")
_HALVES = ("rotation before", "rotation after")
"""Rotations of which either happens with p: each by itself does with 1 - sqrt(1 - p)."""


class Augmentation(Protocol):
    """What happens to the images of one batch."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return images `[N, C, S, S]` augmented; differentiable twice, and the very images where nothing happens."""
        ...


@dataclass(frozen=True)
class Blur:
    """Blur all images alike before they are augmented.

    Attributes:
        sigma: See `transforms.blur`.
        then: What happens afterwards, or None.
    """

    sigma: float
    then: Augmentation | None

    def __call__(self, images: Tensor) -> Tensor:
        """Blur images, see `Augmentation`."""
        images = transforms.blur(images, self.sigma)
        return images if self.then is None else self.then(images)


def blur_after(config: TrainConfig, images: int) -> float:
    """Return by how many pixels what the discriminator sees is blurred when a number of images were seen.

    Reference: Karras et al. 2021, appendix G: the discriminator of configuration R would else see at once that what is
    generated has no high frequencies yet, and the training collapse.
    """
    return config.blur_warmup_sigma * max(1 - images / (config.blur_warmup_kimg * 1000), 0.0)


class Augmenter:
    """Augmentations for the images of a run; there is none of what is certain not to happen.

    Args:
        config: Settings of the run, of which `augment` is not "none".
    """

    def __init__(self, config: TrainConfig) -> None:
        self._seed, self._differentiable = config.seed, config.augment == "diff"
        groups = config.augment_groups.split(",")
        self._multipliers = torch.tensor(
            [float(group in groups) for group, names in _TRANSFORMS.items() for _ in names], dtype=torch.float64
        )
        self._stream = torch.Generator()

    def draw(self, phase: str, step: int, indices: Sequence[int], probability: float) -> Augmentation | None:
        """Return what happens to the images at `indices` of the whole batch.

        Args:
            phase: Name of what is augmented, such as "D real"; each has numbers of its own.
            step: Number of the step.
            indices: Places of the images in the whole batch.
            probability: The p of each transform, in [0, 1]; DiffAugment has none.
        """
        if self._differentiable:
            seeds = [stream_seed("diffaugment", phase, self._seed, step, index) for index in indices]
            return DifferentiableAugmentation(self._uniform(seeds, DifferentiableAugmentation.NUMBERS))
        if probability <= 0:
            return None
        seeds = [stream_seed("augment", phase, self._seed, step, index) for index in indices]
        uniform = self._uniform(seeds, len(_GATES) + len(_UNIFORM))
        normal = torch.empty([len(seeds), len(_NORMAL)], dtype=torch.float64)
        for row, seed in enumerate(seeds):
            self._stream.manual_seed(stream_seed("normal", seed))
            normal[row].normal_(generator=self._stream)
        chances = probability * self._multipliers
        for name in _HALVES:
            place = _GATES.index(name)
            chances[place] = 1 - math.sqrt(1 - float(chances[place]))
        happens = uniform[:, : len(_GATES)] < chances
        if not bool(happens.any()):
            return None
        return AdaptiveAugmentation(happens, uniform[:, len(_GATES) :], normal, tuple(seeds))

    def _uniform(self, seeds: Sequence[int], count: int) -> Tensor:
        numbers = torch.empty([len(seeds), count], dtype=torch.float64)
        for row, seed in enumerate(seeds):
            self._stream.manual_seed(seed)
            numbers[row].uniform_(generator=self._stream)
        return numbers


@dataclass(frozen=True)
class AdaptiveAugmentation:
    """The pipeline of StyleGAN2-ADA, of which each image takes some transforms.

    Attributes:
        happens: Which transforms happen to each image, bool `[N, len(_GATES)]`.
        uniform: Numbers in [0, 1), `[N, len(_UNIFORM)]`.
        normal: Numbers of N(0, 1), `[N, len(_NORMAL)]`.
        seeds: Seed of each image's noise.
    """

    happens: Tensor
    uniform: Tensor
    normal: Tensor
    seeds: tuple[int, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Augment images, see `Augmentation`; those to which nothing happens keep their bits."""
        height, width = images.shape[2:]
        inverse = self.inverse_map(width, height)
        images = self._where(("blit", "geom"), images, lambda x, rows: transforms.warp(x, inverse[rows].to(x.device)))
        colours = self.colour_map(grey=images.shape[1] == 1)
        images = self._where(("color",), images, lambda x, rows: transforms.recolour(x, colours[rows]))
        gains = self.band_gains()
        images = self._where(("filter",), images, lambda x, rows: transforms.amplify_bands(x, gains[rows]))
        images = self._where(("noise",), images, self._add_noise)
        centres = torch.stack([self._u("cut x"), self._u("cut y")], dim=1)
        return self._where(("cutout",), images, lambda x, rows: transforms.cut_out(x, centres[rows]))

    def inverse_map(self, width: int, height: int) -> Tensor:
        """Return the map from a pixel of the result to its place in the image, `[N, 3, 3]`, see `transforms`.

        Args:
            width: Width of the images in pixels.
            height: Height of the images in pixels.
        """
        turn, n = 2 * math.pi, self._n
        one = torch.ones(len(self.happens), dtype=torch.float64)
        mirror = 1 - 2 * (self._u("coin") < 0.5) * self._if("mirror")
        quarters = torch.floor(4 * self._u("turns")) * self._if("quarter turns")
        # The k-th transform's inverse is applied k-th last: what is done last to the image is undone first.
        result = transforms.scaling(mirror, one) @ transforms.rotation(-turn / 4 * quarters)
        x, y = ((2 * self._u(f"pixels {axis}") - 1) / 8 * self._if("whole pixels") for axis in "xy")
        result = result @ transforms.translation(-torch.round(x * width), -torch.round(y * height))
        scale = torch.exp2(-0.2 * n("scale") * self._if("scale"))
        result = result @ transforms.scaling(scale, scale)
        result = result @ transforms.rotation(-turn * (self._u("before") - 0.5) * self._if("rotation before"))
        stretch = torch.exp2(-0.2 * n("stretch") * self._if("stretch"))
        result = result @ transforms.scaling(stretch, 1 / stretch)
        result = result @ transforms.rotation(-turn * (self._u("after") - 0.5) * self._if("rotation after"))
        x, y = (-n(axis) / 8 * self._if("translation") for axis in "xy")
        return result @ transforms.translation(x * width, y * height)

    def colour_map(self, *, grey: bool) -> Tensor:
        """Return what happens to the colours, `[N, 4, 4]`; grey images have no hue and no saturation."""
        result = transforms.brightness(0.2 * self._n("brightness") * self._if("brightness"))
        result = transforms.contrast(torch.exp2(0.5 * self._n("contrast") * self._if("contrast"))) @ result
        result = transforms.luma_flip((self._u("luma") < 0.5) * self._if("luma flip")) @ result
        if grey:
            return result
        result = transforms.hue(2 * math.pi * (self._u("hue") - 0.5) * self._if("hue")) @ result
        return transforms.saturation(torch.exp2(self._n("saturation") * self._if("saturation"))) @ result

    def band_gains(self) -> Tensor:
        """Return the factor of each band of frequencies, `[N, BANDS]`, the lowest first."""
        power = torch.tensor(BAND_POWER, dtype=torch.float64)
        result = torch.ones([len(self.happens), BANDS], dtype=torch.float64)
        for band, name in enumerate(_TRANSFORMS["filter"]):
            one = torch.ones_like(result)
            one[:, band] = torch.exp2(self._n(name) * self._if(name))
            # an image of the usual spectrum keeps its power
            result = result * one / (one.square() @ power).sqrt()[:, None]
        return result

    def _add_noise(self, images: Tensor, rows: list[int]) -> Tensor:
        noise = torch.empty(images.shape, dtype=torch.float64)
        stream = torch.Generator()
        for place, row in enumerate(rows):
            stream.manual_seed(stream_seed("noise", self.seeds[row]))
            noise[place].normal_(generator=stream)
        sigma = 0.1 * self._n("sigma").abs()[rows]
        return images + (sigma[:, None, None, None] * noise).to(images)

    def _u(self, name: str) -> Tensor:
        return self.uniform[:, _UNIFORM.index(name)]

    def _n(self, name: str) -> Tensor:
        return self.normal[:, _NORMAL.index(name)]

    def _if(self, name: str) -> Tensor:
        """Return 1 where a transform happens and 0 elsewhere, `[N]`."""
        return self.happens[:, _GATES.index(name)].to(torch.float64)

    def _where(self, groups: Sequence[str], images: Tensor, change: Callable[[Tensor, list[int]], Tensor]) -> Tensor:
        """Change the images to which something of these groups happens; the others keep their bits."""
        gates = [_GATES.index(name) for group in groups for name in _TRANSFORMS[group]]
        rows: list[int] = self.happens[:, gates].any(dim=1).nonzero()[:, 0].tolist()
        if not rows:
            return images
        if len(rows) == len(images):
            return change(images, rows)
        place = torch.tensor(rows, device=images.device)
        return images.index_copy(0, place, change(images.index_select(0, place), rows))


@dataclass(frozen=True)
class DifferentiableAugmentation:
    """DiffAugment's colour, translation and cut-out, which happen to every image.

    Attributes:
        uniform: Numbers in [0, 1), `[N, NUMBERS]`.
    """

    uniform: Tensor
    NUMBERS = 7

    def __call__(self, images: Tensor) -> Tensor:
        """Augment images, see `Augmentation`; of RGBA images the colours alone change."""
        side = images.shape[-1]
        added, saturation, contrast = self.uniform[:, :3].to(images)[:, :, None, None, None].unbind(dim=1)
        colours = images[:, :3] + (added - 0.5)
        grey = colours.mean(dim=1, keepdim=True)
        colours = grey + 2 * saturation * (colours - grey)
        level = colours.mean(dim=[1, 2, 3], keepdim=True)
        colours = level + (0.5 + contrast) * (colours - level)
        images = colours if images.shape[1] <= 3 else torch.cat([colours, images[:, 3:]], dim=1)
        # whole pixels, up to an eighth of the side; what comes in from beyond the edges is 0
        reach = round(side / 8)
        shifts = torch.floor(self.uniform[:, 3:5] * (2 * reach + 1)).long().tolist()
        padded = functional.pad(images, [reach] * 4)
        images = torch.stack([one[:, y : y + side, x : x + side] for one, (x, y) in zip(padded, shifts, strict=True)])
        return transforms.cut_out(images, torch.floor(self.uniform[:, 5:7] * (side + 1)) / side)


class AdaptiveProbability:
    """The p of augmentation, moved so that the discriminator is as sure of its training images as it should be.

    Args:
        config: Settings of the run.
        device: Device on which the discriminator computes.

    Attributes:
        value: The p of the next step, in [0, 1].
        signs: Sum over the training images since p last moved of the sign of what the discriminator says, and their
            number, float64 `[2]`.

    Reference: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, section 3 and equation 1
    (the heuristic r_t).
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self._is_adaptive = config.augment == "ada"
        self._target, self._images = config.augment_target, config.augment_kimg * 1000
        self._interval = config.augment_interval
        self.value = float(config.augment.partition(":")[2] or 0)
        self.signs = torch.zeros([2], dtype=torch.float64, device=device)

    def update(self, sign: Tensor, batch: int, step: int) -> None:
        """Note a step, and move p where it is due.

        Args:
            sign: Mean sign of what the discriminator said of the step's training images, a scalar.
            batch: Number of these images.
            step: Number of steps done, this one included.
        """
        if not self._is_adaptive:
            return
        self.signs += torch.stack([sign.to(self.signs) * batch, self.signs.new_tensor(batch)])
        if step % self._interval == 0:
            total, count = self.signs.tolist()
            away = total / count - self._target
            moved = self.value + math.copysign(count / self._images, away) * (away != 0)
            self.value = min(max(moved, 0.0), 1.0)
            self.signs.zero_()

    def state(self) -> dict[str, Tensor]:
        """Return what the next step depends on; nothing where p does not move."""
        if not self._is_adaptive:
            return {}
        return {"augment.p": torch.tensor(self.value, dtype=torch.float64), "augment.signs": self.signs}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Set what `state` returned."""
        if self._is_adaptive:
            self.value = min(max(float(state["augment.p"]), 0.0), 1.0)
            self.signs.copy_(state["augment.signs"])
