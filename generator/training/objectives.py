"""What each network minimises on one (micro-)batch, as modules, so that a data-parallel wrapper sees one forward pass.

References: Karras et al. 2020, section 3.1 (lazy regularisation), section 3.2 and appendix B; Gulrajani et al. 2017 and
Karras et al. 2018, appendix A.1 (WGAN-GP); Huang et al. 2024 (R3GAN: relativistic pairing, R1 and R2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generator.bases import DiscriminatorBase
from generator.networks import Generator
from generator.ops.trained_layer import first_order_pass, is_first_order
from generator.training.augmentation import Augmentation
from generator.training.draws import Draws
from generator.training.growth import styles_at
from generator.training.losses import (
    critic_loss,
    discriminator_logistic_loss,
    generator_logistic_loss,
    gradient_penalty,
    path_length_penalty,
    path_lengths,
    r1_penalty,
    random_interpolates,
    relativistic_loss,
)

__all__ = ["AdversarialLoss", "DiscriminatorObjective", "GeneratorObjective", "generate_images"]

Statistics = dict[str, Tensor]


@dataclass(frozen=True)
class AdversarialLoss:
    """The loss that the two networks play for.

    Attributes:
        name: "logistic", "wgan-gp" or "relativistic".
        penalty: Weight of WGAN-GP's gradient penalty.
        drift: Weight of WGAN-GP's drift term.
    """

    name: str = "logistic"
    penalty: float = 10.0
    drift: float = 0.001

    @property
    def is_wgan(self) -> bool:
        """Whether it is WGAN-GP."""
        return self.name == "wgan-gp"

    @property
    def is_relativistic(self) -> bool:
        """Whether each generated image is compared with a real one."""
        return self.name == "relativistic"


def generate_images(
    generator: Generator,
    draws: Draws,
    resolution: int | None = None,
    alpha: float | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Generate a batch of images.

    Args:
        generator: The generator.
        draws: What the images are generated from.
        resolution: Side r of the images of a network that grows; None: that of the network.
        alpha: How far the layers at r have faded in, in [0, 1]; None: 1.
        dtype: Type of the feature maps; None: as elsewhere, float32.

    Returns:
        The images `[N, C, r, r]`; the styles of the L layers that have a part in them, `[N, L, w_dim]`; and w of the
        first latents, `[N, w_dim]`.
    """
    labels = draws.labels
    if bool((draws.crossover < generator.num_ws).any()):
        both = generator.mapping(draws.z.transpose(0, 1).flatten(0, 1), None if labels is None else labels.repeat(2, 1))
        w, second = both.chunk(2)
        ws, second = generator.broadcast(w), generator.broadcast(second)
        layers = torch.arange(generator.num_ws, device=w.device)
        ws = torch.where((layers < draws.crossover[:, None])[:, :, None], ws, second)
    else:
        w = generator.mapping(draws.z[:, 0], labels)
        ws = generator.broadcast(w).clone()  # gradients of each layer's styles need a tensor of their own
    if torch.is_grad_enabled() and not ws.requires_grad:
        ws.requires_grad_()  # a mapping network that is frozen still has path lengths behind it
    used = ws
    if resolution is not None:
        count = styles_at(generator.config.synthesis, resolution)
        used = ws[:, :count]
        ws = torch.cat([used, ws[:, count:]], dim=1)
    options = {} if dtype is None else {"dtype": dtype}
    image = generator.synthesis(ws, draws.noise, resolution=resolution, alpha=alpha, **options)
    return image, used, w


def _to_follow(generator: Generator, w: Tensor) -> Statistics:
    """Return what the generator's running averages are to follow, of a batch that was just generated, detached."""
    magnitudes = generator.synthesis.magnitudes()
    return {"w_mean": w.detach().mean(dim=0)} | ({} if magnitudes is None else {"magnitudes": magnitudes})


def _seen(images: Tensor, augment: Augmentation | None) -> Tensor:
    """Return images as the discriminator sees them, laid out as they were."""
    if augment is None:
        return images
    return augment(images).contiguous(memory_format=torch.channels_last)


def _in_turns(one: Tensor, other: Tensor, size: int) -> Tensor:
    """Return the rows of two tensors of one shape, `size` of the one, as many of the other, and so on."""
    pairs = zip(torch.split(one, size), torch.split(other, size), strict=True)
    return torch.cat([part for pair in pairs for part in pair])


def _touch(network: nn.Module) -> Tensor:
    """Return 0 as a function of all parameters that are trained.

    A regulariser does not reach some of them (the last bias changes no gradient). Data-parallel training and Adam
    want a gradient for each, be it zero.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return 0 * torch.stack([parameter.sum() for parameter in trained]).sum()


class GeneratorObjective(nn.Module):
    """The generator's loss, its path length penalty, or both at once.

    Args:
        generator: The network that is trained.
        discriminator: The network that scores its images; it is not part of this module.
        loss: The loss that they play for; None: the logistic one.
        maps: Type of the feature maps in passes without a penalty; None: as elsewhere, that of the images.
        all_layers: Whether path lengths are means over all layers, also over those that have not grown yet.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: DiscriminatorBase,
        loss: AdversarialLoss | None = None,
        *,
        maps: torch.dtype | None = None,
        all_layers: bool = False,
    ) -> None:
        super().__init__()
        self.generator = generator
        self._discriminator = [discriminator]
        self._loss = loss or AdversarialLoss()
        self._maps = maps
        self._layers = generator.num_ws if all_layers else None

    def forward(
        self,
        draws: Draws,
        average: Tensor,
        adversarial: bool,
        weight: float,
        resolution: int | None = None,
        alpha: float = 1.0,
        augment: Augmentation | None = None,
        real: Tensor | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Return the mean loss of a batch, and what is worth recording of it.

        Args:
            draws: What the images are generated from.
            average: The running average path length, a scalar.
            adversarial: Whether the adversarial loss is in it.
            weight: Weight of the path length penalty; 0: it is not in it.
            resolution: Side of the images of networks that grow; None: that of the networks.
            alpha: How far the layers at that resolution have faded in, in [0, 1].
            augment: What happens to the images before the discriminator sees them; path lengths are those of the
                images themselves.
            real: Images of the data set as the discriminator sees them, `[N, C, r, r]`, of the same labels; the
                relativistic loss alone needs them.

        Returns:
            The loss, a scalar, and means by name, detached.
        """
        with first_order_pass(not weight):
            return self._forward(draws, average, adversarial, weight, resolution, alpha, augment, real)

    def _forward(
        self,
        draws: Draws,
        average: Tensor,
        adversarial: bool,
        weight: float,
        resolution: int | None,
        alpha: float,
        augment: Augmentation | None,
        real: Tensor | None,
    ) -> tuple[Tensor, Statistics]:
        maps = None if weight else self._maps
        images, ws, w = generate_images(self.generator, draws, resolution, alpha, maps)
        loss = images.new_zeros([])
        found = _to_follow(self.generator, w)
        if adversarial:
            logits = self._discriminator[0](_seen(images, augment), draws.labels, alpha=alpha, dtype=maps)
            if self._loss.is_relativistic:
                if real is None:
                    raise ValueError("the relativistic loss needs images of the data set")
                with torch.no_grad():
                    real_logits = self._discriminator[0](real, draws.labels, alpha=alpha, dtype=maps)
                losses = relativistic_loss(real_logits, logits)
            else:
                losses = -logits if self._loss.is_wgan else generator_logistic_loss(logits)
            loss = loss + losses.mean()
            found["generator"] = losses.detach().mean()
        if weight:
            if draws.y is None:
                raise ValueError("the path length needs draws with y")
            lengths = path_lengths(images, ws, draws.y, self._layers)
            penalties = path_length_penalty(lengths, average)
            loss = loss + weight * penalties.mean() + _touch(self.generator)
            found["path_length"] = penalties.detach().mean()
            found["length"] = lengths.detach().mean()
        return loss, found


class DiscriminatorObjective(nn.Module):
    """The discriminator's loss, its penalty R1 (with the relativistic loss R1 and R2), or both at once.

    Args:
        discriminator: The network that is trained.
        generator: The network that gives images; it is not part of this module.
        loss: The loss that they play for; None: the logistic one.
        maps: Type of the feature maps in passes without a penalty; None: as elsewhere, that of the images.
    """

    def __init__(
        self,
        discriminator: DiscriminatorBase,
        generator: Generator,
        loss: AdversarialLoss | None = None,
        *,
        maps: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._generator = [generator]
        self._loss = loss or AdversarialLoss()
        self._maps = maps

    def forward(
        self,
        draws: Draws | None,
        real: Tensor,
        labels: Tensor | None,
        weight: float,
        resolution: int | None = None,
        alpha: float = 1.0,
        augments: tuple[Augmentation | None, Augmentation | None] = (None, None),
        adversarial: bool = True,
    ) -> tuple[Tensor, Statistics]:
        """Return the mean loss of a batch, and what is worth recording of it.

        Args:
            draws: What the generated images come from; None: there are none, and the adversarial loss is not in it.
            real: Images of the data set, `[N, C, r, r]`.
            labels: Labels of these images `[N, c_dim]`, or None.
            weight: Weight of |grad D|^2, gamma / 2 times the interval; 0: the penalty is not in it.
            resolution: Side of the images of networks that grow; None: that of the networks.
            alpha: How far the layers at that resolution have faded in, in [0, 1].
            augments: What happens to the images of the data set, and to the generated ones, before the discriminator
                sees them. R1 is of the images themselves; WGAN-GP's interpolates lie between images that are seen.
            adversarial: Whether the adversarial loss is in it, where there are draws.

        Returns:
            The loss, a scalar, and means by name, detached.
        """
        loss = real.new_zeros([])
        found: Statistics = {}
        real = real.detach().requires_grad_(bool(weight))
        real_seen = _seen(real, augments[0])
        is_plain = not weight and not self._loss.is_wgan
        maps = self._maps if is_plain else None
        with first_order_pass(is_plain):
            if draws is None:
                real_logits = self.discriminator(real_seen, labels, alpha=alpha, dtype=maps)
            else:
                with torch.no_grad(), first_order_pass():
                    fake, _, w = generate_images(self._generator[0], draws, resolution, alpha, maps)
                fake.requires_grad_(bool(weight) and self._loss.is_relativistic)
                fake_seen = _seen(fake, augments[1])
                real_logits, fake_logits = self._scores(real_seen, labels, fake_seen, draws.labels, alpha, maps)
        if draws is not None:
            if adversarial:
                found |= _to_follow(self._generator[0], w)
                losses = self._losses(real_logits, fake_logits)
                if self._loss.is_wgan:
                    penalty = self._gradient_penalty(real_seen, fake_seen, draws, labels, alpha)
                    loss = loss + self._loss.penalty * penalty
                    found["gradient_penalty"] = penalty.detach()
                loss = loss + losses.mean()
                found["discriminator"] = losses.detach().mean()
                found["real"], found["fake"] = real_logits.detach().mean(), fake_logits.detach().mean()
                surer = real_logits - fake_logits if self._loss.is_relativistic else real_logits
                found["real_sign"] = surer.detach().sign().mean()
            if fake.requires_grad:
                penalties = r1_penalty(fake_logits, fake)
                loss = loss + weight * penalties.mean()
                found["r2"] = penalties.detach().mean()
        if weight:
            penalties = r1_penalty(real_logits, real)
            loss = loss + weight * penalties.mean() + _touch(self.discriminator)
            found["r1"] = penalties.detach().mean()
        return loss, found

    def _scores(
        self,
        real: Tensor,
        real_labels: Tensor | None,
        fake: Tensor,
        fake_labels: Tensor | None,
        alpha: float,
        maps: torch.dtype | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of real and generated images, of which minibatch-deviation groups are one kind or other."""
        config, n = self.discriminator.config, len(real)
        rows = config.mbstd_group_size if config.mbstd_channels else 1
        # A difference of logits gives the last bias no gradient: rounding does not, where the sum is over both at once.
        if not is_first_order(real) or self._loss.is_relativistic or rows is None or n % rows:
            real_logits = self.discriminator(real, real_labels, alpha=alpha, dtype=maps)
            return real_logits, self.discriminator(fake, fake_labels, alpha=alpha, dtype=maps)
        # Image i of a batch of n is in group i modulo n / rows, so the kinds have to take turns, n / rows images each.
        images = _in_turns(real, fake, n // rows)
        labels = None
        if real_labels is not None and fake_labels is not None:
            labels = _in_turns(real_labels, fake_labels, n // rows)
        logits = self.discriminator(images, labels, alpha=alpha, dtype=maps).reshape(rows, 2, n // rows)
        return logits[:, 0].reshape(n, 1), logits[:, 1].reshape(n, 1)

    def _losses(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        if self._loss.is_wgan:
            return critic_loss(real_logits, fake_logits, self._loss.drift)
        if self._loss.is_relativistic:
            return relativistic_loss(fake_logits, real_logits)
        return discriminator_logistic_loss(real_logits, fake_logits)

    def _gradient_penalty(
        self, real: Tensor, fake: Tensor, draws: Draws, labels: Tensor | None, alpha: float
    ) -> Tensor:
        if draws.epsilon is None:
            raise ValueError("the gradient penalty needs draws with epsilon")
        between = random_interpolates(real, fake, draws.epsilon)
        # an interpolate has no class of its own: the discriminator is told that of the real image
        return gradient_penalty(self.discriminator(between, labels, alpha=alpha), between).mean()
