"""A recorded step does what a step does: on the CPU by a recorder of operators, on a GPU by a graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from generator.config import GeneratorConfig, MappingConfig, SynthesisSettings
from generator.layers import freeze
from generator.networks import Generator
from generator.stylegan.config import StyleGANSynthesisConfig
from generator.stylegan2.config import SynthesisConfig
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from invert.projection.latents import LatentStatistics
from invert.projection.motion import Motions
from invert.projection.noise import NoiseMaps
from invert.projection.objective import PaperObjective
from invert.projection.optimisers import Adam, Problem, Recorder, Schedule
from invert.projection.perceptual import Perceptual
from invert.projection.space import Space, W, WPlus, Z
from tests.step_recorder import Replayed

SMALL = {"w_dim": 8, "img_resolution": 32, "channel_base": 64, "channel_max": 8}
STATISTICS = LatentStatistics(torch.zeros([8]), 1.0)


def stylegan2(**settings: Any) -> Generator:
    return _network(SynthesisConfig(**SMALL, **settings))


def stylegan() -> Generator:
    return _network(StyleGANSynthesisConfig(**SMALL))


def _network(synthesis: SynthesisSettings) -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(MappingConfig(4, 0, 8, 2), synthesis)).requires_grad_(False)


def optimise(
    generator: Generator,
    space: Callable[[Generator], Space],
    record: Recorder | None,
    *,
    steps: int = 8,
    noise_weight: float = 1e5,
    masked: bool = False,
    device: str = "cpu",
) -> tuple[Tensor, ...]:
    """Return the distances of each step, and what an optimisation of two images ends with."""
    generator = generator.to(device).to(memory_format=torch.channels_last)
    freeze(generator)
    side = generator.config.synthesis.img_resolution
    targets = torch.rand([2, 3, side, side], generator=torch.Generator().manual_seed(5)).to(device) * 2 - 1
    masks = torch.ones([2, 1, side, side], device=device)
    masks[..., : side // 2] = 0
    streams = [torch.Generator().manual_seed(i) for i in range(2)]
    noise = NoiseMaps(generator.synthesis.noise_sizes, 2, torch.device(device))
    noise.draw(streams)
    motions = Motions(2, torch.device(device)) if generator.synthesis.is_movable else None
    perceptual = Perceptual("alex").to(device)
    objective = PaperObjective(
        generator, perceptual, targets, noise_weight, 2.0, torch.float32, motions, masks if masked else None
    )
    start = torch.zeros([2, 1, 8], device=device)
    problem = Problem(objective, space(generator), start, noise, streams, bool(noise_weight), motions)
    optimisation = Adam(problem, Schedule(steps), record=record)
    curve = torch.stack([optimisation.step(step).clone() for step in range(steps)])
    optimisation.finish()
    return curve, optimisation.w, *noise.stacks.values(), *([] if motions is None else motions.parameters())


def w(generator: Generator) -> Space:
    return W(generator, STATISTICS)


def w_plus(generator: Generator) -> Space:
    return WPlus(generator, STATISTICS, 0.1)


def z(generator: Generator) -> Space:
    return Z(generator, STATISTICS, samples=20)


CASES: dict[str, tuple[Callable[[], Generator], Callable[[Generator], Space], dict[str, Any]]] = {
    "w": (stylegan2, w, {}),
    "w+": (stylegan2, w_plus, {}),
    "z": (stylegan2, z, {}),
    "fixed noise": (stylegan2, w, {"noise_weight": 0.0}),
    "masked": (stylegan2, w, {"masked": True}),
    "resnet": (lambda: stylegan2(architecture="resnet"), w, {}),
    "stylegan": (stylegan, w, {}),
    "stylegan3": (lambda: _network(StyleGAN3SynthesisConfig(**SMALL)), w, {"noise_weight": 0.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_step_has_the_bits_of_a_step(case: str) -> None:
    make, space, settings = CASES[case]
    expected = optimise(make(), space, None, **settings)
    recorded: list[Replayed] = []

    def record(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        recorded.append(Replayed(work))
        return recorded[0]

    found = optimise(make(), space, record, **settings)
    assert recorded[0].replayed == 5
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_diverged_image_stays_at_its_best_in_a_recorded_step() -> None:
    """Its neighbour goes on as if it were not there."""

    class Broken(W):
        def draw(self, parameters: Any, deviations: float, streams: Any) -> Tensor | None:
            self.step = getattr(self, "step", -1) + 1
            if self.step < 5:
                return None
            return torch.tensor([[[0.0]], [[torch.inf]]]).expand(2, 1, 8).contiguous()

    def broken(generator: Generator) -> Space:
        return Broken(generator, STATISTICS)

    expected, found = (optimise(stylegan2(), broken, record) for record in (None, Replayed))
    assert found[0][5:, 1].isnan().all()
    assert found[0][:, 0].isfinite().all()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.cuda
@pytest.mark.parametrize("case", CASES)
def test_a_graph_does_what_a_step_does(case: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from invert.projection.step_graph import StepGraph

    make, space, settings = CASES[case]
    expected = optimise(make(), space, None, device="cuda", **settings)
    found = optimise(make(), space, StepGraph, device="cuda", **settings)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
