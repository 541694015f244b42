"""Spectral normalisation: what it holds, and the plain network that is kept of it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from generator.files.invert_format import network_bytes
from generator.networks import Generator
from tests.training.training_case import tiny, train, trained


def layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in network.named_modules() if parametrize.is_parametrized(module)}


def largest_singular_values(network: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        weights = {name: layer.weight.flatten(1) for name, layer in layers(network).items()}
    return {name: float(torch.linalg.matrix_norm(weight, 2)) for name, weight in weights.items()}


def raw_singular_values(network: nn.Module) -> dict[str, float]:
    weights = {name: raw_weight(network, name).detach().flatten(1) for name in layers(network)}
    return {name: float(torch.linalg.matrix_norm(weight, 2)) for name, weight in weights.items()}


def raw_weight(network: nn.Module, layer: str) -> Tensor:
    return network.get_parameter(f"{layer}.parametrizations.weight.original")


@pytest.mark.parametrize("which", ["none", "d", "g", "gd"])
def test_the_networks_that_were_asked_for(which: str) -> None:
    trainer = trained(tiny(spectral_norm=which), 2)
    assert trainer.is_finite()
    assert all(value is not None for value in trainer.losses().values())
    weights = {"g": trainer.generator, "d": trainer.discriminator}
    for letter, network in weights.items():
        with_weights = {name.rpartition(".")[0] for name in plain_names(network) if name.endswith(".weight")}
        assert set(layers(network)) == (with_weights if letter in which else set())
    assert not layers(trainer.average)


def plain_names(network: nn.Module) -> list[str]:
    return [name.replace(".parametrizations.weight.original", ".weight") for name, _ in network.named_parameters()]


def test_largest_singular_values_stay_where_they_began() -> None:
    # steps large enough for the raw weights to leave where they began
    rates = {"learning_rate": 0.03, "discriminator_learning_rate": 0.03}
    trainer = trained(tiny(spectral_norm="gd", **rates), 0)
    networks = (trainer.generator, trainer.discriminator)
    began = [(largest_singular_values(network), raw_singular_values(network)) for network in networks]
    train(trainer, 25)
    for network, (normalised, raw) in zip(networks, began, strict=True):
        assert largest_singular_values(network) == pytest.approx(normalised, rel=0.06)
        moved = raw_singular_values(network)
        assert max(abs(moved[name] / raw[name] - 1) for name in raw) > 0.12


def test_it_begins_near_the_weights_without_it() -> None:
    """A Gaussian matrix begins close to deviation (sqrt(rows) + sqrt(columns)); equalised layers expect that size."""
    begun = trained(tiny(), 0)
    for name, value in largest_singular_values(trained(tiny(spectral_norm="gd"), 0).discriminator).items():
        plain = begun.discriminator.get_parameter(f"{name}.weight").detach().flatten(1)
        assert value == pytest.approx(
            float(torch.linalg.matrix_norm(plain, 2)), rel=0.4
        )  # so small that 'close' is not very


def test_the_average_is_a_plain_network_that_begins_with_the_same_images() -> None:
    trainer = trained(tiny(spectral_norm="g"), 0)
    z = torch.randn([4, 16], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(trainer.average(z), trainer.generator(z))
        plain = Generator(trainer.config.generator_config())
        plain.load_state_dict(trainer.average.state_dict())
        torch.testing.assert_close(plain(z), trainer.average(z))
    assert b"parametrizations" not in network_bytes(trainer.average)
    # with next to no memory it is the network itself
    trainer = trained(tiny(spectral_norm="g", ema_half_life_kimg=1e-6), 3)
    with torch.no_grad():
        torch.testing.assert_close(trainer.average(z), trainer.generator(z))


def test_normalised_weights_are_what_the_gradient_sees() -> None:
    """A raw weight that is scaled changes nothing, so the gradient along it is zero."""
    trainer = trained(tiny(spectral_norm="gd"), 1)
    score = trainer.discriminator(torch.randn([4, 3, 16, 16], generator=torch.Generator().manual_seed(0))).sum()
    weights = [raw_weight(trainer.discriminator, name) for name in layers(trainer.discriminator)]
    for weight, gradient in zip(weights, torch.autograd.grad(score, weights), strict=True):
        along = float(nn.functional.cosine_similarity(weight.detach().flatten(), gradient.flatten(), dim=0))
        assert abs(along) < 1e-4
