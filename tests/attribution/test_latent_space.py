"""How typical a w is."""

import numpy as np
import pytest

from generator.networks import Generator
from invert.attribution.evidence import LatentSpace
from invert.projection.latents import latent_statistics, sample_w
from tests.golden_data import load_networks


@pytest.fixture(scope="module")
def generator() -> Generator:
    found: Generator = load_networks("skip_resnet")[1]
    return found.requires_grad_(False)


@pytest.fixture(scope="module")
def space(generator: Generator) -> LatentSpace:
    return LatentSpace.of(generator)


def test_the_networks_own_w_are_at_one(generator: Generator, space: LatentSpace) -> None:
    w = sample_w(generator, 4000, seed=9).numpy()
    assert np.sqrt(np.square(space.distance(w)).mean()) == pytest.approx(1, abs=0.03)
    assert np.sqrt(np.square(space.mahalanobis(w)).mean()) == pytest.approx(1, abs=0.05)


def test_centre_and_deviation_are_those_of_the_projection(generator: Generator, space: LatentSpace) -> None:
    statistics = latent_statistics(generator)
    np.testing.assert_allclose(space.centre, statistics.centre, rtol=1e-5, atol=1e-6)
    assert space.deviation == pytest.approx(statistics.deviation, rel=1e-6)


def test_whitening_makes_the_undone_w_white(generator: Generator, space: LatentSpace) -> None:
    w = sample_w(generator, 10_000, seed=123).numpy().astype(np.float64)
    undone = np.where(w < 0, w / 0.2, w) / np.sqrt(2)
    white = (undone - space.mean) @ space.axes / space.deviations
    kept = space.deviations > 1e-2 * space.deviations.max()
    np.testing.assert_allclose(np.cov(white[:, kept], rowvar=False), np.eye(kept.sum()), atol=1e-6)


def test_distances_grow_away_from_the_centre(generator: Generator, space: LatentSpace) -> None:
    w = sample_w(generator, 100, seed=9).numpy()
    far = space.centre + 2 * (w - space.centre)
    np.testing.assert_allclose(space.distance(far), 2 * space.distance(w), rtol=1e-5)
    assert (space.mahalanobis(space.centre + 4 * (w - space.centre)) > space.mahalanobis(w)).all()
    assert space.distance(space.centre[None])[0] == pytest.approx(0, abs=1e-9)
