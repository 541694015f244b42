"""The training losses: pure functions of what the networks return.

References: Goodfellow et al. 2014 (non-saturating logistic loss); Mescheder et al. 2018 (R1); Karras et al. 2020,
section 3.2 and appendix B (path length regularisation); Gulrajani et al. 2017 and Karras et al. 2018, appendix A.1
(WGAN-GP); Huang et al. 2024 (R3GAN: the relativistic pairing loss with R1 and R2).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "critic_loss",
    "discriminator_logistic_loss",
    "generator_logistic_loss",
    "gradient_penalty",
    "path_length_penalty",
    "path_lengths",
    "r1_penalty",
    "random_interpolates",
    "relativistic_loss",
]


def generator_logistic_loss(fake_logits: Tensor) -> Tensor:
    """Return -log sigmoid(D(G(z))) for each image; logits and result are `[N, 1]`."""
    return functional.softplus(-fake_logits)


def discriminator_logistic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return -log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))) for each pair; logits and result are `[N, 1]`."""
    return functional.softplus(-real_logits) + functional.softplus(fake_logits)


def relativistic_loss(loser_logits: Tensor, winner_logits: Tensor) -> Tensor:
    """Return -log sigmoid(D(winner) - D(loser)) for each pair; logits and result are `[N, 1]`.

    The discriminator wants each real image to win over the generated one that it is paired with, the generator wants
    the generated one to.

    Reference: Huang et al. 2024, The GAN is dead; long live the GAN! (R3GAN), equation 2; Jolicoeur-Martineau 2018.
    """
    return functional.softplus(loser_logits - winner_logits)


def r1_penalty(real_logits: Tensor, real_images: Tensor) -> Tensor:
    """Return |grad D(x)|^2 of each image, differentiable; weigh it with gamma / 2.

    Of generated images it is R2.

    Args:
        real_logits: Logits `[N, 1]`, computed from `real_images`.
        real_images: Images `[N, C, R, R]` that require gradients.

    Returns:
        Penalties `[N]`.

    Reference: Mescheder et al. 2018, equation 9.
    """
    # One backward pass for all: each logit depends on its own image, so the gradient of the sum is that of each.
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.square().sum(dim=[1, 2, 3])


def path_lengths(images: Tensor, ws: Tensor, y: Tensor, layers: int | None = None) -> Tensor:
    """Return |J^T y| of each image, differentiable, with y scaled by 1 / sqrt(HW) and the MEAN over layers.

    Equation 4 has y unscaled and one w for all layers, so that |J^T y|^2 is the sum over layers. The two differ by the
    factor sqrt(layers * HW) = r sqrt(2 log2(r) - 2), and so, with a weight of 2 here and of
    ln 2 / (r^2 (ln r - ln 2)) there (appendix B), the penalties are the same.

    Args:
        images: Images `[N, C, R, R]`, generated from `ws`.
        ws: Styles `[N, L, w_dim]` that require gradients.
        y: Images of N(0, 1) noise, `[N, C, R, R]`.
        layers: Number of layers that the mean is over, for those besides the L have a part of 0; None: L.

    Returns:
        Lengths `[N]`.
    """
    # J^T y is the gradient of <image, y> by w: a vector-Jacobian product, without the Jacobian itself. The minibatch is
    # summed, as each image depends on its own styles alone.
    height, width = images.shape[2:]
    (gradient,) = torch.autograd.grad((images * y).sum() / math.sqrt(height * width), ws, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    return lengths if layers is None else lengths * math.sqrt(ws.shape[1] / layers)


def path_length_penalty(lengths: Tensor, average: Tensor) -> Tensor:
    """Return (|J^T y| - a)^2 of each image, equation 4; `average` a is a constant.

    Args:
        lengths: Lengths `[N]`.
        average: The long-running average of the lengths, a scalar.

    Returns:
        Penalties `[N]`.
    """
    return (lengths - average).square()


def critic_loss(real_logits: Tensor, fake_logits: Tensor, drift: float) -> Tensor:
    """Return D(G(z)) - D(x) + drift D(x)^2 for each pair; logits and result are `[N, 1]`.

    The generator's loss is -D(G(z)). The drift term keeps the critic's output near 0, which its loss leaves open.

    Args:
        real_logits: Logits D(x), `[N, 1]`.
        fake_logits: Logits D(G(z)), `[N, 1]`.
        drift: Weight of the drift term.

    Reference: Gulrajani et al. 2017, equation 3; Karras et al. 2018, appendix A.1 (drift, with a weight of 0.001).
    """
    return fake_logits - real_logits + drift * real_logits.square()


def random_interpolates(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """Return epsilon x + (1 - epsilon) G(z) for each pair; the result requires gradients.

    Args:
        real: Images x of the data set, `[N, C, R, R]`.
        fake: Generated images G(z), `[N, C, R, R]`.
        epsilon: Shares `[N]`, drawn uniformly from [0, 1].

    Returns:
        Images `[N, C, R, R]`.

    Reference: Gulrajani et al. 2017, algorithm 1.
    """
    share = epsilon[:, None, None, None]
    return (share * real + (1 - share) * fake).detach().requires_grad_()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Return (|grad D(x)| - 1)^2 of each image, differentiable.

    Args:
        logits: Logits `[N, 1]`, computed from `images`.
        images: What `random_interpolates` returned, `[N, C, R, R]`.

    Returns:
        Penalties `[N]`.

    Reference: Gulrajani et al. 2017, equation 3.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    # its derivative at 0 is taken for 0: a critic that is flat somewhere gives no NaN
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norms - 1).square()
