"""Spaces that latents are searched in: what is a parameter, where it starts, and what keeps it where images are."""

import numpy as np
import pytest
import torch

from generator.networks import Generator
from invert.errors import UsageError
from invert.projection.config import SPACE_WEIGHT, ProjectConfig
from invert.projection.latents import LatentStatistics, latent_statistics, sample_w
from invert.projection.perceptual import Perceptual
from invert.projection.space import W, WPlus, Z
from tests.test_projection import project, target, tiny


@pytest.fixture(scope="module")
def alex() -> Perceptual:
    return Perceptual("alex")


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny().eval()


@pytest.fixture(scope="module")
def statistics(generator: Generator) -> LatentStatistics:
    return latent_statistics(generator)


def test_w_plus_starts_with_the_same_w_everywhere(generator: Generator, statistics: LatentStatistics) -> None:
    w = sample_w(generator, 2, seed=5)[:, None]
    (parameter,) = WPlus(generator, statistics, 1.0).start(w)
    assert parameter.shape == (2, generator.num_ws, 8)
    assert torch.equal(parameter, generator.broadcast(w))
    parameter += 1  # a copy of its own, layer by layer
    assert torch.equal(w, sample_w(generator, 2, seed=5)[:, None])


def test_the_pull_is_the_weight_where_the_networks_own_latents_are(
    generator: Generator, statistics: LatentStatistics
) -> None:
    own = generator.broadcast(sample_w(generator, 2000, seed=1))
    space = WPlus(generator, statistics, 0.5)
    pull = space.pull(own)
    assert pull is not None
    assert pull.mean().item() == pytest.approx(0.5, rel=0.1)
    nothing = space.pull(statistics.centre.expand(1, generator.num_ws, -1))
    assert nothing is not None
    assert nothing.item() == 0
    assert WPlus(generator, statistics, 0.0).pull(own) is None
    assert W(generator, statistics).pull(own) is None


def test_z_starts_at_the_nearest_sample(generator: Generator, statistics: LatentStatistics) -> None:
    space = Z(generator, statistics, samples=50, seed=9)
    known = sample_w(generator, 50, seed=9)
    (z,) = space.start(known[[7, 3]][:, None])
    np.testing.assert_array_equal(z.numpy(), np.random.RandomState(9).randn(50, 4)[[7, 3]].astype(np.float32))
    torch.testing.assert_close(space.w([z])[:, 0], known[[7, 3]])


def test_a_heavy_pull_keeps_latents_at_the_mean(generator: Generator, alex: Perceptual) -> None:
    settings = {"steps": 20, "noise": "fixed", "space": "w+"}
    free, held = (
        project(generator, alex, [target(1)], 1, space_weight=weight, **settings)[0] for weight in (0.0, 100.0)
    )
    centre = latent_statistics(generator).centre.numpy()
    assert free.w.shape == held.w.shape == (generator.num_ws, 8)
    assert np.abs(free.w - free.w[0]).max() > 0.01, "layers have a w of their own"
    assert np.square(held.w - centre).sum() < 0.1 * np.square(free.w - centre).sum()


def test_each_space_comes_nearer(generator: Generator, alex: Perceptual) -> None:
    for space in ("w", "w+", "z"):
        found = project(generator, alex, [target(1), target(2)], 2, steps=12, noise="fixed", space=space)
        assert [one.w.shape[0] for one in found] == [generator.num_ws if space == "w+" else 1] * 2
        assert all(one.curve[-1] < one.curve[0] for one in found), space


def test_an_image_is_as_if_it_was_alone(generator: Generator, alex: Perceptual) -> None:
    for space in ("w+", "z"):
        pair = project(generator, alex, [target(1), target(2)], 2, steps=3, space=space)
        alone = project(generator, alex, [target(2)], 2, steps=3, space=space)
        np.testing.assert_array_equal(pair[1].w, alone[0].w)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": "w+", "preset": "exact"}, "--space w+ does not go with --preset exact"),
        ({"space": "z", "space_weight": 0.5}, "--space-weight goes with --space w+"),
        ({"space": "s"}, "--space 's' is not one of w, w+, z"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("+", r"\+")):
        ProjectConfig(**settings)  # type: ignore[arg-type]


def test_the_weight_is_part_of_the_method_of_w_plus_alone() -> None:
    assert ProjectConfig(space="w+").space_weight == SPACE_WEIGHT
