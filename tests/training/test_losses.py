"""The losses and penalties: closed forms, golden gradients, finite differences, and the paper's two scalings."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generator import mapping
from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan2 import synthesis
from generator.stylegan2.config import SynthesisConfig
from generator.stylegan2.discriminator import Discriminator
from generator.training.draws import Draws
from generator.training.losses import (
    critic_loss,
    discriminator_logistic_loss,
    generator_logistic_loss,
    gradient_penalty,
    path_length_penalty,
    path_lengths,
    r1_penalty,
    random_interpolates,
)
from generator.training.objectives import DiscriminatorObjective, GeneratorObjective, generate_images
from tests.golden_data import NETWORKS, load_networks

LOGITS = [-1e30, -1e4, -800.0, -30.0, -1.5, 0.0, 1e-9, 2.0, 30.0, 800.0, 1e4, 1e30]


def minus_log_sigmoid(x: float) -> float:
    return math.log1p(math.exp(-x)) if x > 0 else -x + math.log1p(math.exp(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logistic_losses_are_their_closed_forms(dtype: torch.dtype) -> None:
    logits = torch.tensor(LOGITS, dtype=dtype)[:, None]
    rounded = [float(value) for value in logits[:, 0]]
    expected = [minus_log_sigmoid(x) for x in rounded]
    found = generator_logistic_loss(logits)
    assert found.shape == logits.shape
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6, atol=1e-8)
    # -log(1 - sigmoid(x)) is -log sigmoid(-x)
    fake = logits.flip(0)
    both = [a + minus_log_sigmoid(-x) for a, x in zip(expected, reversed(rounded), strict=True)]
    np.testing.assert_allclose(discriminator_logistic_loss(logits, fake)[:, 0], both, rtol=1e-6, atol=1e-8)


def test_gradients_of_the_logistic_losses_stay_finite() -> None:
    fake = torch.tensor(LOGITS, dtype=torch.float64).requires_grad_()
    real = fake.detach().clone().requires_grad_()
    sigmoid = torch.tensor([math.exp(-minus_log_sigmoid(x)) for x in LOGITS], dtype=torch.float64)
    (of_generator,) = torch.autograd.grad(generator_logistic_loss(fake).sum(), fake)
    torch.testing.assert_close(of_generator, sigmoid - 1, rtol=1e-9, atol=1e-12)
    of_real, of_fake = torch.autograd.grad(discriminator_logistic_loss(real, fake).sum(), [real, fake])
    torch.testing.assert_close(of_real, sigmoid - 1, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(of_fake, sigmoid, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_r1_is_the_golden_gradients_squared_norm(name: str) -> None:
    arrays, _, discriminator = load_networks(name)
    images = arrays["img_noise_const"].requires_grad_()
    penalties = r1_penalty(discriminator(images, arrays.optional("c")), images)
    expected = np.square(arrays["dlogits_dimg"].double().numpy()).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(penalties.detach(), expected, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_path_lengths_are_the_golden_gradients_norms(name: str) -> None:
    arrays, generator, _ = load_networks(name)
    ws = arrays["ws"].requires_grad_()
    lengths = path_lengths(generator.synthesis(ws, "const"), ws, arrays["dimg"])
    gradient = arrays["dws"].double().numpy()  # of the sum of dimg * image
    side, layers = arrays["dimg"].shape[2], gradient.shape[1]
    expected = np.sqrt(np.square(gradient).sum(axis=(1, 2)) / layers) / side
    np.testing.assert_allclose(lengths.detach(), expected, rtol=1e-4)


def test_r1_by_hand() -> None:
    """D(x) = a |x|^2 / 2 has the gradient a x, the penalty a^2 |x|^2, and that has the gradient 2 a |x|^2 by a."""
    a = torch.tensor(3.0, requires_grad=True)
    x = torch.tensor([1.0, -2.0, 2.0, 0.5]).reshape(1, 1, 2, 2).requires_grad_()
    penalty = r1_penalty((a * x.square() / 2).sum(dim=[1, 2, 3])[:, None], x)
    assert penalty.item() == pytest.approx(9 * 9.25)
    (slope,) = torch.autograd.grad(penalty.sum(), a)
    assert slope.item() == pytest.approx(2 * 3 * 9.25)


def test_path_length_penalty_holds_the_average_constant() -> None:
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)
    penalties = path_length_penalty(lengths, torch.tensor(2.5))
    assert penalties.tolist() == [2.25, 0.25]
    (slope,) = torch.autograd.grad(penalties.sum(), lengths)
    assert slope.tolist() == [-3.0, 1.0]


# Finite differences need float64 from the latents to the image; the networks otherwise draw in float32.


class _Doubled:
    """torch, with float64 under the name of float32."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], tuple[Any, Generator, Discriminator]]]:
    """Load a golden network whose layers all work in float64."""
    monkeypatch.setattr(synthesis, "torch", _Doubled())
    monkeypatch.setattr(mapping, "torch", _Doubled())

    def build(name: str) -> tuple[Any, Generator, Discriminator]:
        arrays, generator, discriminator = load_networks(name)
        generator.double()
        discriminator.double()
        synthesis: Any = generator.synthesis
        synthesis.forward = partial(synthesis.forward, dtype=torch.float64)
        return arrays, generator, discriminator

    return build


def draws_for(arrays: Any, generator: Generator, seed: int = 0) -> Draws:
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    side, z_dim = generator.config.synthesis.img_resolution, generator.config.mapping.z_dim
    noise = {name: normal(4, 1, r, r) for name, r in generator.synthesis.noise_sizes.items()}
    crossover = torch.tensor([1, 3, generator.num_ws - 1, generator.num_ws])
    return Draws(normal(4, 2, z_dim), crossover, noise, arrays.optional("c"), normal(4, 3, side, side))


def check_slope(network: nn.Module, loss: Callable[[], Tensor], step: float = 1e-7) -> None:
    """Compare the gradient by all parameters with central differences along random directions.

    The step is so small because the gradients of penalties jump where a leaky ReLU turns.
    """
    parameters = list(network.parameters())
    gradient = torch.autograd.grad(loss(), parameters)
    rng = torch.Generator().manual_seed(1)
    for _ in range(3):
        # a direction with something of the gradient in it: a wrong factor cannot hide in the rounding
        noise = [torch.randn(p.shape, generator=rng, dtype=p.dtype) for p in parameters]
        scale = math.sqrt(float(sum((g * g).sum() for g in gradient)))
        direction = [n / math.sqrt(n.numel()) + g / scale for n, g in zip(noise, gradient, strict=True)]
        expected = float(sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)))
        ends = []
        for sign in (step, -2 * step, step):
            with torch.no_grad():
                for parameter, d in zip(parameters, direction, strict=True):
                    parameter.add_(d, alpha=sign)
            ends.append(float(loss().detach()))
        assert abs((ends[0] - ends[1]) / (2 * step) - expected) < 1e-6 * abs(expected)
        assert abs(expected) > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("part", ["main", "r1", "both"])
def test_slope_of_the_discriminators_objective(name: str, part: str, in_float64: Callable[..., Any]) -> None:
    arrays, generator, discriminator = in_float64(name)
    objective = DiscriminatorObjective(discriminator, generator)
    draws = None if part == "r1" else draws_for(arrays, generator)
    weight = 0.0 if part == "main" else 0.7
    images = arrays["img_noise_const"].double()
    check_slope(discriminator, lambda: objective(draws, images, arrays.optional("c"), weight)[0])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("part", ["main", "path length", "both"])
def test_slope_of_the_generators_objective(name: str, part: str, in_float64: Callable[..., Any]) -> None:
    arrays, generator, discriminator = in_float64(name)
    objective = GeneratorObjective(generator, discriminator)
    draws, average = draws_for(arrays, generator), torch.tensor(0.3, dtype=torch.float64)
    weight = 0.0 if part == "main" else 2.0
    check_slope(generator, lambda: objective(draws, average, part != "path length", weight)[0])


def test_the_discriminators_objective_says_what_it_is_made_of(in_float64: Callable[..., Any]) -> None:
    arrays, generator, discriminator = in_float64("conditional")
    draws, real = draws_for(arrays, generator), arrays["img_noise_none"].double().requires_grad_()
    labels = arrays["c"]
    loss, found = DiscriminatorObjective(discriminator, generator)(draws, real, labels, 0.7)
    fake = generate_images(generator, draws)[0].detach()
    real_logits, fake_logits = discriminator(real, labels), discriminator(fake, labels)
    logistic = (torch.log1p(torch.exp(-real_logits)) + torch.log1p(torch.exp(fake_logits))).mean()
    (gradient,) = torch.autograd.grad(real_logits.sum(), real)
    penalty = gradient.square().sum() / len(real)
    torch.testing.assert_close(loss, logistic + 0.7 * penalty)
    found_here = (real_logits.mean(), fake_logits.mean(), logistic, penalty)
    for name, value in zip(("real", "fake", "discriminator", "r1"), found_here, strict=True):
        torch.testing.assert_close(found[name], value)


def test_mixed_styles_come_from_two_latents(in_float64: Callable[..., Any]) -> None:
    arrays, generator, _ = in_float64("skip_resnet")
    draws = draws_for(arrays, generator)
    images, ws, w = generate_images(generator, draws)
    first, second = (generator.mapping(draws.z[:, i]) for i in (0, 1))
    torch.testing.assert_close(w, first)
    for row, place in enumerate(draws.crossover.tolist()):
        layers = [first[row]] * place + [second[row]] * (generator.num_ws - place)
        torch.testing.assert_close(ws[row], torch.stack(layers))
    torch.testing.assert_close(images, generator.synthesis(ws, draws.noise))


def small_generator(side: int) -> Generator:
    torch.manual_seed(0)
    synthesis = SynthesisConfig(5, side, channel_base=32, channel_max=8)
    return Generator(GeneratorConfig(MappingConfig(4, 0, 5, 1), synthesis))


def test_path_lengths_against_the_whole_jacobian() -> None:
    generator = small_generator(8)
    ws, y = torch.randn([2, generator.num_ws, 5]), torch.randn([2, 3, 8, 8])
    leaf = ws.clone().requires_grad_()
    found = path_lengths(generator.synthesis(leaf, "const"), leaf, y)
    for row in (0, 1):

        def draw(styles: Tensor) -> Tensor:
            image: Tensor = generator.synthesis(styles[None], "const")
            return image.flatten()

        jacobian = torch.autograd.functional.jacobian(draw, ws[row])  # type: ignore[no-untyped-call]
        product = torch.einsum("plw,p->lw", jacobian, y[row].flatten())
        expected = (product.square().sum() / generator.num_ws / 64).sqrt()
        torch.testing.assert_close(found[row], expected)


@pytest.mark.parametrize("side", [8, 16, 32])
def test_both_scalings_of_the_path_length_penalty_are_one(side: int) -> None:
    """Weight 2, y / sqrt(HW), mean over layers; or the weight of appendix B, y as it is, sum over layers."""
    generator = small_generator(side)
    ws = torch.randn([3, generator.num_ws, 5]).requires_grad_()
    y, average = torch.randn([3, 3, side, side]), 0.4
    images = generator.synthesis(ws, "const")
    scaled = path_lengths(images, ws, y)
    (gradient,) = torch.autograd.grad((images * y).sum(), ws)
    unscaled = gradient.square().sum(dim=[1, 2]).sqrt()
    # the average is one of lengths, so it is scaled as they are
    factor = float((unscaled.mean() / scaled.mean()).detach())
    ours = 2 * path_length_penalty(scaled, torch.tensor(average))
    weight = math.log(2) / (side**2 * (math.log(side) - math.log(2)))
    theirs = weight * path_length_penalty(unscaled, torch.tensor(average * factor))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)
    assert factor == pytest.approx(side * math.sqrt(2 * math.log2(side) - 2), rel=1e-5)
    mixed = weight * path_length_penalty(scaled, torch.tensor(average))
    assert bool((mixed < ours / 100).all()), "the small weight with the small lengths is next to no penalty"


def test_wgan_gp_of_a_linear_critic_is_its_closed_form() -> None:
    """D(x) = a . x + b has the gradient a everywhere."""
    rng = torch.Generator().manual_seed(0)
    a = torch.randn([1, 2, 4, 4], generator=rng, dtype=torch.float64)
    real, fake = (torch.randn([3, 2, 4, 4], generator=rng, dtype=torch.float64) for _ in range(2))
    epsilon = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)

    def critic(x: Tensor) -> Tensor:
        return (a * x).sum(dim=[1, 2, 3])[:, None] + 0.5

    between = random_interpolates(real, fake, epsilon)
    assert between.requires_grad
    assert torch.equal(between[0], fake[0])
    assert torch.equal(between[2], real[2])
    torch.testing.assert_close(between[1], 0.25 * real[1] + 0.75 * fake[1])
    expected = (float(a.square().sum().sqrt()) - 1) ** 2
    torch.testing.assert_close(
        gradient_penalty(critic(between), between), torch.full([3], expected, dtype=torch.float64)
    )
    d_real, d_fake = critic(real), critic(fake)
    torch.testing.assert_close(critic_loss(d_real, d_fake, 0.001), d_fake - d_real + 0.001 * d_real**2)


def test_gradient_penalty_against_finite_differences() -> None:
    rng = torch.Generator().manual_seed(0)
    between = torch.randn([2, 1, 2, 2], generator=rng, dtype=torch.float64, requires_grad=True)

    def penalty(weight: Tensor) -> Tensor:
        logits = torch.tanh(between.flatten(1) @ weight).square().sum(dim=1, keepdim=True)
        return gradient_penalty(logits, between)

    weight = torch.randn([4, 3], generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, (weight,))


def test_gradient_penalty_of_a_flat_critic_is_finite() -> None:
    weight = torch.zeros([4, 1], requires_grad=True)
    between = torch.ones([2, 1, 2, 2], requires_grad=True)
    penalties = gradient_penalty(between.flatten(1) @ weight, between)
    assert penalties.tolist() == [1.0, 1.0]
    (gradient,) = torch.autograd.grad(penalties.sum(), weight)
    assert bool(gradient.isfinite().all())
