"""Preset exact: images of a network are explained to the last level, others are not."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from generator.files.reading import load
from generator.layers import freeze
from generator.networks import Generator
from invert.attribution.perturbations import apply, parse_perturbations
from invert.images.target import Target, target_of
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.exact import ExactProjector
from invert.projection.latents import sample_w
from invert.projection.noise_response import noise_response
from invert.projection.perceptual import Perceptual
from invert.projection.projector import Explanation, Projection, StepRecord
from invert.projection.start import SampleBank, load_bank, thumbnail
from invert.projection.synthesis import synthesise_image
from invert.projection.whitening import measure_whitening
from tests.networks.stylegan_case import made, small
from tests.test_projection import tiny

NETWORKS = Path(__file__).parent.parent / "data" / "networks"
SEED = 6_000_000  # of the images; far from those of banks and of whitening


def network(name: str) -> Generator:
    return load(NETWORKS / f"{name}.safetensors").generator


def sample(generator: Generator, seed: int, noise: str = "const") -> Target:
    w = sample_w(generator, 1, seed=seed)
    return target_of(
        synthesise_image(generator, generator.broadcast(w), noise, seed)[..., 0], 32, 1, name=f"{seed}.png"
    )


def projector(generator: Generator, **settings: object) -> ExactProjector:
    config = ProjectConfig(**with_defaults({"preset": "exact", "lpips": "alex", **settings}))
    return ExactProjector(generator, Perceptual("alex"), config, bank=load_bank(generator, "test", 500))


def explain(exact: ExactProjector, targets: Iterable[Target]) -> list[Projection]:
    return [event for event in exact.run(targets) if isinstance(event, Projection)]


def explanation(projection: Projection) -> Explanation:
    assert projection.explanation is not None
    return projection.explanation


@pytest.fixture(scope="module")
def exact() -> ExactProjector:
    return projector(network("A"), steps=10, restarts=1)


@pytest.mark.slow
def test_an_image_of_the_network_is_explained_and_one_of_its_sibling_is_not(exact: ExactProjector) -> None:
    own, sibling = explain(exact, [sample(exact.generator, SEED), sample(network("B"), SEED)])
    assert explanation(own).rms < explanation(own).expected_rms + 0.5
    assert explanation(own).q < 3 * 1024
    assert explanation(own).iterations <= 10
    assert np.abs(own.image.astype(int) - own.target.array).max() <= 3
    assert explanation(sibling).rms > 4
    assert explanation(sibling).q > 50 * explanation(own).q
    assert (explanation(own).stopped, explanation(sibling).stopped) == ("converged", "stalled")
    assert explanation(sibling).iterations < explanation(own).iterations + 3
    for found in (explanation(own), explanation(sibling)):
        assert found.q == pytest.approx(found.misfit + found.latent_norm)


@pytest.mark.slow
def test_fresh_noise_is_found_together_with_w(exact: ExactProjector) -> None:
    config = dataclasses.replace(exact.config, noise="both", steps=8)
    random = ExactProjector(exact.generator, exact.perceptual, config, bank=exact.bank)
    (found,) = explain(random, [sample(exact.generator, SEED + 3, noise="random")])
    assert explanation(found).noise_kind == "random"
    assert explanation(found).rms < 2  # with the stored maps it stays above 3
    assert explanation(found).q == pytest.approx(
        explanation(found).misfit + explanation(found).latent_norm + explanation(found).noise_norm
    )
    stored = exact.generator.synthesis.noise_maps("const", 1)
    assert not any(np.array_equal(maps, stored[name][0, 0]) for name, maps in found.noise.items())  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("done", "kind", "value"), [("blur:0.8", "blur", 0.8), ("crop:0.04", "crop", 0.04), ("shift:1", "shift", 1.0)]
)
def test_what_happened_is_found_out_with_its_value(exact: ExactProjector, done: str, kind: str, value: float) -> None:
    config = dataclasses.replace(exact.config, processing="auto", restarts=2)
    auto = ExactProjector(exact.generator, exact.perceptual, config, bank=exact.bank)
    own = sample(exact.generator, SEED + 1).array
    (found,) = explain(auto, [target_of(apply(own, parse_perturbations(done)[0])[..., 0], 32, 1)])
    name, _, text = explanation(found).processing.partition(":")
    assert name == kind
    assert float(text) == pytest.approx(value, rel=0.1)
    assert explanation(found).q < 3 * 1024
    assert np.abs(found.image.astype(int) - own).max() <= 12  # before it happened, which the search never saw


def test_a_start_is_read_off_the_samples_around_an_image() -> None:
    rng = np.random.default_rng(0)
    latents = rng.standard_normal([400, 3])
    thumbnails = np.clip(120 + 20 * latents @ rng.standard_normal([3, 64]), 0, 255).astype(np.uint8)
    bank = SampleBank(latents.astype(np.float32), thumbnails.reshape(400, 1, 8, 8))
    u = torch.from_numpy(latents)
    image, others = thumbnails[7], np.delete(np.arange(400), 7)
    rest = SampleBank(bank.w[others], bank.thumbnails[others])
    found = rest.latents_near(image.reshape(1, 8, 8).astype(np.float32), u[others])
    assert torch.allclose(found, u[7:8], atol=0.1)  # an image depends linearly on its latents here
    assert not torch.allclose(u[others][rest.nearest(image.reshape(1, 8, 8).astype(np.float32), 1)], u[7:8], atol=0.1)


def test_samples_around_an_image_tell_whether_it_was_moved() -> None:
    rng = np.random.default_rng(0)
    smooth = np.sin(np.arange(16) / 3.0 + np.arange(5)[:, None])[:, None, :] * np.ones([16, 1])  # vary along a row
    images = 128 + 25 * np.tensordot(rng.standard_normal([400, 5]), smooth, axes=1)
    thumbnails = np.clip(images, 0, 255).astype(np.uint8)[:, None]
    bank = SampleBank(rng.standard_normal([399, 3]).astype(np.float32), np.delete(thumbnails, 7, axis=0))
    image = thumbnails[7].astype(np.float32)
    assert bank.rms_near(image) < 2  # of its kind but for rounding
    assert bank.rms_near(image.transpose(0, 2, 1)) > 3 * bank.rms_near(image)


@pytest.mark.slow
def test_a_search_that_was_left_for_others_has_stalled(exact: ExactProjector) -> None:
    config = dataclasses.replace(exact.config, processing="auto")
    auto = ExactProjector(exact.generator, exact.perceptual, config, bank=exact.bank)
    rng = np.random.default_rng(0)
    images = [target_of(rng.integers(0, 256, [32, 32], np.uint8), 32, 1), sample(network("C"), SEED)]
    assert [explanation(found).stopped for found in explain(auto, images)] == ["stalled", "stalled"]


@pytest.mark.slow
def test_fresh_noise_is_not_tried_where_the_stored_maps_lead_nowhere() -> None:
    both = projector(tiny(img_channels=1), noise="both", steps=1, restarts=1)
    image = target_of(np.random.default_rng(0).integers(0, 256, [32, 32], np.uint8), 32, 1)
    steps = [event for event in both.run([image]) if isinstance(event, StepRecord)]
    assert len(steps) == 1


@pytest.mark.parametrize("family", ["stylegan2", "stylegan"])
def test_answers_to_noise_from_few_images_are_the_derivatives(family: str) -> None:
    generator = tiny(img_channels=1) if family == "stylegan2" else made(small(img_channels=1))
    freeze(generator)
    synthesis = generator.synthesis
    ws = generator.broadcast(torch.randn(1, synthesis.config.w_dim))
    maps = {name: torch.randn(1, 1, r, r, requires_grad=True) for name, r in synthesis.noise_sizes.items()}
    with torch.no_grad():
        found = noise_response(synthesis, ws, {name: values.detach() for name, values in maps.items()})
    assert found.shape[0] == sum(r * r for r in synthesis.noise_sizes.values())
    image, side = synthesis(ws, maps), synthesis.config.img_resolution
    for y, x in ((0, 0), (side // 2, side // 3), (side - 1, 5)):
        gradients = torch.autograd.grad(image[0, 0, y, x], list(maps.values()), retain_graph=True)
        expected = torch.cat([gradient.flatten() for gradient in gradients])
        # what is far away is left out: nearly nothing, but for the normalisation of StyleGAN
        share = float((found[:, 0, y, x] - expected).norm() / expected.norm())
        assert share < (0.02 if family == "stylegan2" else 0.8)


@pytest.mark.slow
def test_a_large_network_is_searched_by_gradients() -> None:
    generator = tiny(img_resolution=128, img_channels=1, channel_base=512)
    w = sample_w(generator, 1, seed=SEED)
    target = target_of(synthesise_image(generator, generator.broadcast(w), "const", 0)[..., 0], 128, 1)
    large = projector(generator, steps=3, restarts=1)
    before = large.bank.w[large.bank.nearest(thumbnail(target.pixels)[0].astype(np.float32), 1)[0]]
    (found,) = explain(large, [target])
    assert explanation(found).iterations <= 3
    assert not np.array_equal(found.w[0], before)
    assert explanation(found).rms < 3


@pytest.mark.slow
def test_a_result_does_not_depend_on_the_images_beside_it(exact: ExactProjector) -> None:
    first, second = (sample(exact.generator, SEED + n) for n in (1, 2))
    together, (alone,) = explain(exact, [first, second]), explain(exact, [second])
    assert np.array_equal(together[1].w, alone.w)
    assert explanation(together[1]) == explanation(alone)


def test_an_image_that_tells_nothing_gets_a_reason(exact: ExactProjector) -> None:
    black = target_of(np.zeros([32, 32], np.uint8), 32, 1)
    (found,) = explain(exact, [black])
    assert explanation(found).stopped == "saturated"
    assert np.isnan(explanation(found).q)
    assert np.isfinite(found.w).all()


def test_a_network_that_gives_no_numbers_has_diverged() -> None:
    generator = tiny()
    broken = projector(generator, steps=2, restarts=1)
    broken.generator.synthesis.get_submodule("b32").torgb.bias.data.fill_(torch.nan)
    noise = np.random.default_rng(0).integers(0, 256, [32, 32, 3], np.uint8)
    (found,) = explain(broken, [target_of(noise, 32, 3)])
    assert explanation(found).stopped == "not-finite"
    assert found.status == "diverged"


def test_whitened_latents_are_normal_and_lead_back_to_w() -> None:
    generator = tiny()
    whitening = measure_whitening(generator, samples=4000)
    w = sample_w(generator, 2000, seed=5)
    u = whitening.u(w)
    assert torch.allclose(u.mean(dim=0), torch.zeros(whitening.size, dtype=torch.float64), atol=0.1)
    assert torch.allclose(torch.cov(u.T), torch.eye(whitening.size, dtype=torch.float64), atol=0.2)
    assert torch.allclose(whitening.w(u), w, atol=1e-4)


def test_derivatives_of_w_in_whitened_latents() -> None:
    whitening = measure_whitening(tiny(), samples=500)
    u = torch.randn(2, whitening.size, dtype=torch.float64)
    carried = whitening.carry(u)
    assert carried.tangents is not None
    for k in range(whitening.size):
        step = torch.zeros(whitening.size, dtype=torch.float64)
        step[k] = 1e-3
        difference = (whitening.w(u + step) - whitening.w(u - step)) / 2e-3
        assert torch.allclose(carried.by_image(carried.tangents)[:, k], difference, atol=1e-2)
