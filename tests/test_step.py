"""What one step of a projection asks of the machine, and that its written-out gradients are those of autograd."""

from typing import Any

import pytest
import torch

from bench.step_overhead import Calls
from generator.config import GeneratorConfig, MappingConfig
from generator.layers import freeze
from generator.networks import Generator
from generator.ops import frozen_conv
from generator.stylegan2.config import SynthesisConfig
from invert.projection.latents import LatentStatistics
from invert.projection.noise import NoiseMaps
from invert.projection.objective import PaperObjective
from invert.projection.optimisers import Adam, Problem, Schedule
from invert.projection.perceptual import Perceptual
from invert.projection.space import W


def network(**settings: Any) -> Generator:
    torch.manual_seed(0)
    config = SynthesisConfig(**{"w_dim": 8, "img_resolution": 32, "channel_base": 64, "channel_max": 8, **settings})
    generator = Generator(GeneratorConfig(MappingConfig(4, 0, 8, 2), config)).requires_grad_(False)
    for name in generator.synthesis.noise_sizes:
        generator.synthesis.get_submodule(name).noise_strength.fill_(0.3)
    return generator


@pytest.mark.parametrize("batch", [1, 3])
def test_a_step_makes_few_calls_of_operators(batch: int) -> None:
    """At 32 px: it is the layers that are counted, not their width."""
    generator = network()
    freeze(generator)
    objective = PaperObjective(generator, Perceptual("vgg"), torch.zeros([batch, 3, 32, 32]), 1e5, 2.0)
    streams = [torch.Generator().manual_seed(i) for i in range(batch)]
    noise = NoiseMaps(generator.synthesis.noise_sizes, batch, torch.device("cpu"))
    noise.draw(streams)
    w = torch.zeros([batch, 1, 8])
    step = Adam(Problem(objective, W(generator, LatentStatistics(w[0, 0], 1.0)), w, noise, streams), Schedule(100)).step
    step(10)
    with Calls() as calls:
        step(11)
    assert calls.counts.total() <= 310, calls.counts.most_common()


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(
    "settings",
    [{}, {"conv_clamp": 0.4}, {"architecture": "resnet"}, {"demodulate": False, "activation": "swish"}],
    ids=["skip", "clamped", "resnet", "swish"],
)
def test_a_frozen_network_has_the_gradients_of_a_trained_one(
    settings: dict[str, Any], packing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_conv, "_PACKING", packing and frozen_conv._PACKING)
    generator = network(**settings)
    ws = torch.randn([2, generator.num_ws, 8], requires_grad=True)
    # One map for both images, and one for each.
    first, *names = generator.synthesis.noise_sizes
    maps = {name: torch.randn([2, 1, size, size]) for name, size in generator.synthesis.noise_sizes.items()}
    maps[first] = maps[first][:1]
    wanted = [ws, *(maps[name].requires_grad_() for name in (first, *names))]
    found = []
    for _ in range(2):
        image = generator.synthesis(ws, maps)
        found.append([image, *torch.autograd.grad(image.square().sum(), wanted)])
        freeze(generator)
    for frozen, trained in zip(*reversed(found), strict=True):
        torch.testing.assert_close(frozen, trained, rtol=1e-4, atol=1e-5 * float(trained.detach().abs().max()))


def test_shares_of_the_distance_have_gradients_too() -> None:
    perceptual, x = Perceptual("alex"), torch.rand([2, 3, 32, 32], requires_grad=True)
    targets = perceptual.prepare(torch.zeros([2, 3, 32, 32]))
    distances, shares = perceptual.distance(x, targets)
    (expected,) = torch.autograd.grad(distances.sum(), x, retain_graph=True)
    (by_shares,) = torch.autograd.grad(shares.sum(), x, retain_graph=True)
    (by_both,) = torch.autograd.grad((distances + shares.sum(dim=1)).sum(), x)
    torch.testing.assert_close(by_shares, expected)
    torch.testing.assert_close(by_both, 2 * expected)
