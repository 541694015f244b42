"""Adam under lazy regularisation, the moving averages, and whole training steps against plain arithmetic."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from generator.training.config import TrainConfig
from generator.training.draws import RandomSource
from generator.training.images import image_order
from generator.training.objectives import generate_images
from generator.training.optimiser import adam, adam_state, ema_beta, load_adam_state, update_ema
from generator.training.trainer import Trainer
from tests.training.training_case import ArrayImages, largest_difference, parameters, tiny, train


class Scalar(nn.Module):
    """One parameter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(value, dtype=torch.float64))


class Adam:
    """Adam for one tensor as the paper that introduced it writes it."""

    def __init__(self, rate: float, beta1: float, beta2: float, epsilon: float) -> None:
        self.rate, self.beta1, self.beta2, self.epsilon = rate, beta1, beta2, epsilon
        self.m: Any = 0.0
        self.v: Any = 0.0
        self.t = 0

    def move(self, gradient: Any) -> Any:
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * gradient
        self.v = self.beta2 * self.v + (1 - self.beta2) * gradient**2
        m, v = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        return -self.rate * m / (v**0.5 + self.epsilon)


def descend(network: Scalar, optimiser: torch.optim.Adam, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@pytest.mark.parametrize("k", [1, 8, 16])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_lazy_steps_of_a_scalar(k: int, beta1: float) -> None:
    """The loss 3 x and every k steps the regulariser x^2, times k, in a step of its own with the same moments."""
    network = Scalar(2.0)
    optimiser = adam(network, tiny(adam_beta1=beta1, adam_beta2=0.99, adam_epsilon=0.01), 0.5, k)
    c = k / (k + 1)
    by_hand, x = Adam(0.5 * c, beta1**c, 0.99**c, 0.01), 2.0
    for step in range(2 * k + 1):
        descend(network, optimiser, 3 * network.x)
        x += by_hand.move(3.0)
        if step % k == 0:
            descend(network, optimiser, k * network.x.square())
            x += by_hand.move(k * 2 * x)
        assert network.x.item() == pytest.approx(x, rel=1e-12)


def test_first_lazy_step_in_numbers() -> None:
    """The first step of Adam is the rate itself: 0.9 * 16 / 17; the second one's moments remember it."""
    network = Scalar(0.0)
    optimiser = adam(network, tiny(adam_beta1=0.0, adam_beta2=0.99, adam_epsilon=0.0), 0.9, 16)
    descend(network, optimiser, 5 * network.x)
    assert network.x.item() == pytest.approx(-0.8470588235294118)
    assert optimiser.param_groups[0]["betas"][1] == pytest.approx(0.9905855715931036)  # 0.99 ** (16 / 17)
    descend(network, optimiser, 16 * network.x.square())
    gradient = 16 * 2 * -0.8470588235294118
    b = 0.9905855715931036
    v = (b * (1 - b) * 25 + (1 - b) * gradient**2) / (1 - b**2)
    assert network.x.item() == pytest.approx(-0.8470588235294118 * (1 + gradient / math.sqrt(v)))


def test_without_lazy_steps_the_settings_are_as_given() -> None:
    (group,) = adam(Scalar(0.0), tiny(adam_beta1=0.5, adam_beta2=0.9, adam_epsilon=1e-5), 0.25, None).param_groups
    assert (group["lr"], group["betas"], group["eps"]) == (0.25, (0.5, 0.9), 1e-5)


def test_state_of_the_optimiser_by_name() -> None:
    one, other = Scalar(1.0), Scalar(1.0)
    here, there = (adam(network, tiny(adam_beta1=0.5), 0.1, 4) for network in (one, other))
    assert adam_state(one, here) == {}
    descend(one, here, one.x.square())
    state = adam_state(one, here)
    assert set(state) == {"x:step", "x:exp_avg", "x:exp_avg_sq"}
    with torch.no_grad():
        other.x.copy_(one.x)
    load_adam_state(other, there, state)
    for network, optimiser in ((one, here), (other, there)):
        descend(network, optimiser, network.x.square())
    assert torch.equal(one.x, other.x)
    with pytest.raises(KeyError):
        load_adam_state(one, here, {"y:step": torch.tensor(1.0)})


def test_half_life_means_half() -> None:
    kept = math.prod(ema_beta(1000.0, 50, images, None) for images in range(50, 1001, 50))
    assert kept == pytest.approx(0.5)
    assert ema_beta(1000.0, 1000, 1000, None) == pytest.approx(0.5)
    # warm-up: the half-life is a share of what was seen, and at most the whole one
    assert ema_beta(1000.0, 10, 400, 0.05) == pytest.approx(0.5**0.5)
    assert ema_beta(1000.0, 10, 20_000, 0.05) == pytest.approx(0.5**0.01)
    assert ema_beta(1000.0, 10, 10**9, 0.05) == pytest.approx(0.5**0.01)


def test_average_moves_and_buffers_are_copied() -> None:
    synthesis = SynthesisConfig(4, 8, channel_base=32, channel_max=4)
    average, now = (Generator(GeneratorConfig(MappingConfig(4, 0, 4, 1), synthesis)) for _ in range(2))
    now.mapping.w_avg.normal_()
    before = {name: value.detach().clone() for name, value in average.named_parameters()}
    update_ema(average, dict(now.named_parameters()), dict(now.named_buffers()), 0.75)
    for name, value in now.named_parameters():
        torch.testing.assert_close(average.get_parameter(name), 0.75 * before[name] + 0.25 * value)
    copied = dict(average.named_buffers())
    assert {"mapping.w_avg", "synthesis.b8.conv0.noise_const"} <= copied.keys()
    assert all(torch.equal(copied[name], value) for name, value in now.named_buffers())


class PlainTraining:
    """The training loop of the paper, written for one batch at a time and without a thought of speed or memory."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.images = config, ArrayImages()
        start = Trainer(config, self.images)
        self.generator, self.discriminator, self.average = start.generator, start.discriminator, start.average
        sizes = self.generator.synthesis.noise_sizes
        self.random = RandomSource(
            config.seed,
            config.generator_config(),
            sizes,
            style_mixing=config.style_mixing,
            classes=None,
            device=torch.device("cpu"),
        )
        self.a = 0.0
        self.steps = 0
        self.g_adam = self._adam(self.generator, config.learning_rate, config.path_length_interval)
        self.d_adam = self._adam(self.discriminator, config.discriminator_learning_rate, config.r1_interval)

    def _adam(self, network: nn.Module, rate: float, interval: int) -> list[Adam]:
        config, c = self.config, interval / (interval + 1) if self.config.lazy else 1.0
        settings = (rate * c, config.adam_beta1**c, config.adam_beta2**c, config.adam_epsilon)
        return [Adam(*settings) for _ in network.parameters()]

    def _descend(self, network: nn.Module, optimisers: list[Adam], loss: Tensor) -> None:
        own = list(network.parameters())
        gradients = torch.autograd.grad(loss, own, allow_unused=True)
        with torch.no_grad():
            for parameter, optimiser, gradient in zip(own, optimisers, gradients, strict=True):
                parameter.add_(optimiser.move(torch.zeros_like(parameter) if gradient is None else gradient))

    def _draw(self, phase: str, y: bool = False) -> Any:
        draws = self.random.draw(phase, self.steps, range(self.config.batch), path_length=y)
        return draws, *generate_images(self.generator, draws)

    def _path_length(self, draws: Any, images: Tensor, ws: Tensor) -> Tensor:
        side = images.shape[2]
        (gradient,) = torch.autograd.grad((images * draws.y).sum() / side, ws, create_graph=True)
        lengths = (gradient**2).sum(dim=2).mean(dim=1).sqrt()
        penalty = ((lengths - self.a) ** 2).mean()
        decay = self.config.path_length_decay
        self.a = decay * self.a + (1 - decay) * float(lengths.detach().mean())
        return penalty

    def step(self) -> None:
        config = self.config
        path_due = not config.lazy or self.steps % config.path_length_interval == 0
        draws, images, ws, w = self._draw("G", y=not config.lazy)
        w_means = [w.detach().mean(dim=0)]
        loss = -torch.sigmoid(self.discriminator(images)).log().mean()
        if config.lazy:
            self._descend(self.generator, self.g_adam, loss)
            if path_due:
                draws, images, ws, w = self._draw("path length", y=True)
                w_means.append(w.detach().mean(dim=0))
                k = config.path_length_interval
                penalty = self._path_length(draws, images, ws)
                self._descend(self.generator, self.g_adam, config.path_length_weight * k * penalty)
        else:
            penalty = self._path_length(draws, images, ws)
            self._descend(self.generator, self.g_adam, loss + config.path_length_weight * penalty)

        order = image_order(len(self.images), config.seed, self.steps * config.batch, config.batch)
        real = torch.from_numpy(self.images.array[order]).float() / 127.5 - 1
        _, images, _, w = self._draw("D")
        fake = images.detach()
        w_means.append(w.detach().mean(dim=0))
        loss = -torch.sigmoid(self.discriminator(real)).log().mean()
        loss = loss - torch.sigmoid(-self.discriminator(fake)).log().mean()
        if config.lazy:
            self._descend(self.discriminator, self.d_adam, loss)
            if self.steps % config.r1_interval == 0:
                penalty = config.r1_gamma / 2 * config.r1_interval * self._r1(real)
                self._descend(self.discriminator, self.d_adam, penalty)
        else:
            self._descend(self.discriminator, self.d_adam, loss + config.r1_gamma / 2 * self._r1(real))

        self.steps += 1
        mapping, seen = self.generator.mapping, self.steps * config.batch
        for w_mean in w_means if config.w_avg_passes == "all" else w_means[:1]:
            mapping.w_avg.copy_(config.w_avg_beta * mapping.w_avg + (1 - config.w_avg_beta) * w_mean)
        kept = 0.5 ** (config.batch / min(config.ema_half_life_kimg * 1000, seen * config.ema_warmup))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.copy_(kept * mean + (1 - kept) * value)
        self.average.mapping.w_avg.copy_(mapping.w_avg)

    def _r1(self, real: Tensor) -> Tensor:
        real = real.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.discriminator(real).sum(), real, create_graph=True)
        return (gradient**2).sum(dim=[1, 2, 3]).mean()

    def parameters(self) -> dict[str, Tensor]:
        networks = {"G": self.generator, "D": self.discriminator, "EMA": self.average}
        return {f"{prefix}.{name}": p.detach() for prefix, n in networks.items() for name, p in n.named_parameters()}


@pytest.mark.parametrize(("lazy", "passes"), [(True, "generator"), (True, "all"), (False, "all")])
def test_steps_are_those_of_a_plain_loop(lazy: bool, passes: str) -> None:
    # an epsilon that keeps Adam from making steps out of rounding errors
    config = tiny(lazy=lazy, adam_beta1=0.3, adam_epsilon=1e-4, ema_warmup=4.0, w_avg_passes=passes)
    plain, trainer = PlainTraining(config), Trainer(config, ArrayImages())
    begun = parameters(trainer)
    for _ in range(5):  # path length in steps 0, 2, 4 and R1 in steps 0, 4
        plain.step()
        train(trainer, 1)
        assert largest_difference(parameters(trainer), plain.parameters()) < 1e-4
        assert float(trainer.path_length_average) == pytest.approx(plain.a, rel=1e-4)
        torch.testing.assert_close(trainer.generator.mapping.w_avg, plain.generator.mapping.w_avg, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(trainer.average.mapping.w_avg, plain.average.mapping.w_avg, rtol=1e-4, atol=1e-6)
    assert largest_difference(parameters(trainer), begun) > 0.01
    assert plain.a > 0
