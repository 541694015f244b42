"""Pivotal tuning: what it changes, and what it leaves."""

import numpy as np
import pytest
import torch

from generator.layers import freeze
from generator.networks import Generator
from invert.projection import tuning
from invert.projection.perceptual import Perceptual
from invert.projection.tuning import TuningTask, tuned_copy, tuning_steps
from tests.test_projection import project, target, tiny


@pytest.fixture(scope="module")
def alex() -> Perceptual:
    return Perceptual("alex")


@pytest.fixture(autouse=True)
def rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take larger steps: these networks are not trained, and the tests are short."""
    monkeypatch.setattr(tuning, "_RATE", 1e-2)


@pytest.fixture
def generator() -> Generator:
    found = tiny()
    freeze(found)
    return found


def task(generator: Generator, mask: torch.Tensor | None = None) -> TuningTask:
    styles = torch.randn([1, generator.num_ws, 8], generator=torch.Generator().manual_seed(1))
    noise = {name: torch.zeros([1, 1, size, size]) for name, size in generator.synthesis.noise_sizes.items()}
    return TuningTask(target(1).pixels, mask, styles, noise, torch.Generator().manual_seed(2))


def test_tuning_lowers_the_distance_and_leaves_the_original(generator: Generator, alex: Perceptual) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    one, tuned = task(generator), tuned_copy(generator)
    assert float(one.measure(tuned, alex).distances) == pytest.approx(float(one.measure(generator, alex).distances))
    steps = list(tuning_steps(tuned, generator, alex, one, 8))
    assert len(steps) == 8
    assert float(one.measure(tuned, alex).distances) < steps[0]
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    changed = {name for name, value in tuned.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("synthesis.") and "noise_const" not in name for name in changed)
    assert not any(parameter.requires_grad for parameter in tuned.parameters())


def test_the_regulariser_holds_the_network_elsewhere(
    generator: Generator, alex: Perceptual, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(weight: float) -> float:
        monkeypatch.setattr(tuning, "_LOCALITY", weight)
        one, tuned = task(generator), tuned_copy(generator)
        list(tuning_steps(tuned, generator, alex, one, 8))
        w = generator.broadcast(generator.mapping(torch.randn([8, 4], generator=torch.Generator().manual_seed(3))))
        noise = {name: maps.expand(8, -1, -1, -1) for name, maps in one.noise.items()}
        with torch.no_grad():
            difference = tuned.synthesis(w, noise) - generator.synthesis(w, noise)
        return float(difference.square().mean())

    assert moved(10.0) < 0.8 * moved(0.0)


def test_what_the_mask_hides_does_not_count(generator: Generator, alex: Perceptual) -> None:
    mask = torch.zeros([1, 1, 32, 32])
    mask[..., :16] = 1
    one = task(generator, mask)
    other = TuningTask(one.target.flip(3).lerp(one.target, mask), mask, one.styles, one.noise, one.stream)
    assert torch.equal(one.measure(generator, alex).distances, other.measure(generator, alex).distances)


def test_a_step_that_is_not_finite_ends_it(generator: Generator, alex: Perceptual) -> None:
    one = task(generator)
    one.target[:] = torch.nan
    tuned = tuned_copy(generator)
    assert list(tuning_steps(tuned, generator, alex, one, 3)) == []
    assert all(bool(value.isfinite().all()) for value in tuned.state_dict().values())


def test_an_image_is_tuned_as_if_it_was_alone(generator: Generator, alex: Perceptual) -> None:
    pair = project(tiny(), alex, [target(1), target(2)], 2, steps=1, tune=2)
    (alone,) = project(tiny(), alex, [target(2)], 2, steps=1, tune=2)
    assert pair[1].tuned is not None
    assert alone.tuned is not None
    for name, value in alone.tuned.state_dict().items():
        np.testing.assert_array_equal(pair[1].tuned.state_dict()[name], value)
    assert pair[1].distance == alone.distance
