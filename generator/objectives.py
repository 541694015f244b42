"""What each network minimises on one (micro-)batch, as modules, so that a data-parallel wrapper sees one forward pass.

Reference: Karras et al. 2020, section 3.1 (lazy regularisation), section 3.2 and appendix B.
"""

import torch
from torch import Tensor, nn

from generator.draws import Draws
from generator.losses import (
    discriminator_logistic_loss,
    generator_logistic_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from generator.networks import Discriminator, Generator

__all__ = ["DiscriminatorObjective", "GeneratorObjective", "draw_images"]

Statistics = dict[str, Tensor]


def draw_images(generator: Generator, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures `[N, C, R, R]`, the styles they were drawn from, and w of the first latents `[N, w_dim]`."""
    labels = draws.labels
    w = generator.mapping(draws.z[:, 0], labels)
    ws = generator.broadcast(w)
    if bool((draws.crossover < generator.num_ws).any()):
        second = generator.broadcast(generator.mapping(draws.z[:, 1], labels))
        layers = torch.arange(generator.num_ws, device=w.device)
        ws = torch.where((layers < draws.crossover[:, None])[:, :, None], ws, second)
    else:
        ws = ws.clone()  # gradients of each layer's styles need a tensor of their own
    return generator.synthesis(ws, draws.noise), ws, w


def _touch(network: nn.Module) -> Tensor:
    """Return 0 as a function of all parameters.

    A regulariser does not reach some of them (the last bias changes no gradient). Data-parallel training and Adam
    want a gradient for each, be it zero.
    """
    return 0 * torch.stack([parameter.sum() for parameter in network.parameters()]).sum()


class GeneratorObjective(nn.Module):
    """The generator's loss, its path length penalty, or both at once.

    Args:
        generator: Trained.
        discriminator: Only asked; not part of this module.
    """

    def __init__(self, generator: Generator, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator = generator
        self._discriminator = [discriminator]

    def forward(self, draws: Draws, average: Tensor, adversarial: bool, weight: float) -> tuple[Tensor, Statistics]:
        """Return the mean loss of a batch, and what is worth recording of it.

        Args:
            draws: What the pictures are drawn from.
            average: The running average path length, a scalar.
            adversarial: Whether the logistic loss is in it.
            weight: Of the path length penalty; 0: it is not in it.
        """
        images, ws, w = draw_images(self.generator, draws)
        loss = images.new_zeros([])
        found: Statistics = {}
        if adversarial:
            logits = self._discriminator[0](images, draws.labels)
            losses = generator_logistic_loss(logits)
            loss = loss + losses.mean()
            found["generator"] = losses.detach().mean()
            found["w_mean"] = w.detach().mean(dim=0)
        if weight:
            if draws.y is None:
                raise ValueError("the path length needs draws with y")
            lengths = path_lengths(images, ws, draws.y)
            penalties = path_length_penalty(lengths, average)
            loss = loss + weight * penalties.mean() + _touch(self.generator)
            found["path_length"] = penalties.detach().mean()
            found["length"] = lengths.detach().mean()
        return loss, found


class DiscriminatorObjective(nn.Module):
    """The discriminator's loss, its R1 penalty, or both at once.

    Args:
        discriminator: Trained.
        generator: Only asked; not part of this module.
    """

    def __init__(self, discriminator: Discriminator, generator: Generator) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._generator = [generator]

    def forward(
        self, draws: Draws | None, real: Tensor, labels: Tensor | None, weight: float
    ) -> tuple[Tensor, Statistics]:
        """Return the mean loss of a batch, and what is worth recording of it.

        Args:
            draws: What the generated pictures are drawn from; None: the logistic loss is not in it.
            real: Pictures of the data set, `[N, C, R, R]`. labels: Theirs, or None.
            weight: Of |grad D|^2, gamma / 2 times the interval; 0: the penalty is not in it.
        """
        loss = real.new_zeros([])
        found: Statistics = {}
        real = real.detach().requires_grad_(bool(weight))
        real_logits = self.discriminator(real, labels)
        if draws is not None:
            with torch.no_grad():
                fake, _, _ = draw_images(self._generator[0], draws)
            fake_logits = self.discriminator(fake, draws.labels)
            losses = discriminator_logistic_loss(real_logits, fake_logits)
            loss = loss + losses.mean()
            found["discriminator"] = losses.detach().mean()
            found["real"], found["fake"] = real_logits.detach().mean(), fake_logits.detach().mean()
        if weight:
            penalties = r1_penalty(real_logits, real)
            loss = loss + weight * penalties.mean() + _touch(self.discriminator)
            found["r1"] = penalties.detach().mean()
        return loss, found
