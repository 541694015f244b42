"""Seeds are named where the network gives the image from them, and nowhere else."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from generator.config import GeneratorConfig, MappingConfig
from generator.layers import freeze
from generator.networks import Generator
from generator.ops.dual import Dual
from generator.stylegan2.config import SynthesisConfig
from invert.errors import UsageError
from invert.projection.latents import class_label, sample_w, seed_latent
from invert.projection.processing import parse_processing
from invert.projection.synthesis import random_maps, stream_maps, synthesise_image
from invert.seeds.hypotheses import Hypothesis, round_psi
from invert.seeds.recovered import Recovered, View
from invert.seeds.search import SeedAnswer, classes_of, search
from invert.seeds.sweep import map_seeds, sweep

SEEDS = 2000
IMAGE = NDArray[np.uint8]


def network(c_dim: int = 0, shift: int = 0) -> Generator:
    torch.manual_seed(shift)
    synthesis = SynthesisConfig(w_dim=16, img_resolution=16, img_channels=1, channel_base=128, channel_max=16)
    generator = Generator(GeneratorConfig(MappingConfig(16, c_dim, 16, 2), synthesis))
    for name in generator.synthesis.noise_sizes:
        generator.synthesis.get_submodule(name).noise_strength.data.fill_(0.1)
    generator.mapping.w_avg.copy_(sample_w(generator, 1000, seed=5).mean(dim=0))
    freeze(generator)
    return generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return network()


def recovered(generator: Generator, image: IMAGE, w: torch.Tensor, maps: object = None, **more: object) -> Recovered:
    """What a projection may have found: w a little off."""
    off = w + 0.01 * torch.randn(w.shape, generator=torch.Generator().manual_seed(0))
    noise = {} if maps is None else {name: values[0, 0].numpy() for name, values in maps.items()}  # type: ignore[attr-defined]
    facts = {"processing": parse_processing("none"), "rms": 0.3, "expected_rms": 0.3, **more}
    return Recovered(Path("image.png"), image, off.numpy(), noise, **facts)  # type: ignore[arg-type]


def of_seed(
    generator: Generator,
    seed: int,
    psi: float = 1.0,
    noise: str = "fixed",
    cutoff: int | None = None,
    class_index: int | None = None,
) -> Recovered:
    """The image of a seed, and what a projection may have found of it."""
    label = class_label(class_index, generator.config.mapping.c_dim)
    with torch.inference_mode():
        ws = generator.mapping_ws(seed_latent(seed, 16), label, psi, cutoff)
        image = synthesise_image(generator, ws, noise, seed)
    draw = {"stream": stream_maps, "random": random_maps}.get(noise)
    maps = None if draw is None else draw(generator, seed)
    return recovered(generator, image, ws.mean(dim=1).clone(), maps)


def found(generator: Generator, *images: Recovered, **more: int) -> list[SeedAnswer]:
    return list(search(generator, images, SEEDS, **more))


@pytest.mark.slow
def test_seed_truncation_and_noise_are_named(generator: Generator) -> None:
    asked = [
        (1234, 1.0, "fixed", None),
        (77, 0.7, "fixed", None),
        (1999, 1.0, "stream", None),
        (0, 0.7, "stream", None),
        (888, 0.85, "random", None),
        (5, -0.5, "zero", None),
        (641, 0.5, "fixed", 3),
    ]
    answers = found(generator, *(of_seed(generator, *one) for one in asked))
    for (seed, psi, noise, cutoff), answer in zip(asked, answers, strict=True):
        named = answer.named
        assert named is not None, (seed, answer.reason)
        assert (named.seed, named.truncation_psi, named.noise, named.truncation_cutoff) == (seed, psi, noise, cutoff)
        assert np.abs(named.image.astype(int) - answer.target).max() == named.largest <= 1
        assert named.rms < 0.3


@pytest.mark.slow
def test_no_seed_is_named_for_being_near(generator: Generator) -> None:
    own = of_seed(generator, 300)
    changed = np.random.default_rng(0).integers(-2, 3, own.image.shape)  # 1.4 levels rms
    near = np.clip(own.image.astype(int) + changed, 0, 255).astype(np.uint8)
    other = of_seed(network(shift=1), 300)
    beyond = of_seed(generator, SEEDS)
    mean = of_seed(generator, 0, 0.0)
    wrong_w = recovered(generator, other.image, torch.from_numpy(own.w), rms=12.0)
    answers = found(generator, recovered(generator, near, torch.from_numpy(own.w)), wrong_w, beyond, mean)
    assert [answer.named for answer in answers] == [None] * 4
    assert "does not explain" in answers[1].reason
    assert "none of these seeds" in answers[2].reason


def test_what_happened_to_the_image_is_allowed_for(generator: Generator) -> None:
    own = of_seed(generator, 1500, 0.7)
    noise = np.random.default_rng(1).normal(0, 5, own.image.shape)
    noisy = np.clip(np.rint(own.image + noise), 0, 255).astype(np.uint8)
    facts = {"processing": parse_processing("noise:5"), "rms": 5.0, "expected_rms": 5.0}
    (answer,) = found(generator, recovered(generator, noisy, torch.from_numpy(own.w), **facts))
    assert answer.named is not None
    assert (answer.named.seed, answer.named.truncation_psi) == (1500, 0.7)
    assert answer.named.rms == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("processing", ["blur:0.4", "crop:0.004", "noise:2"])
def test_a_processing_that_was_found_by_chance_is_found_out(generator: Generator, processing: str) -> None:
    """A search that misses the noise may explain an image with a slight change that never happened."""
    own = of_seed(generator, 321, 0.7, "stream")
    facts = {"processing": parse_processing(processing), "rms": 1.5, "expected_rms": 0.4}
    (answer,) = found(generator, dataclasses.replace(own, **facts))
    assert answer.named is not None
    assert (answer.named.seed, answer.named.truncation_psi, answer.named.noise) == (321, 0.7, "stream")
    assert answer.processing == "none"
    assert answer.named.rms < 0.3


def test_a_processing_that_happened_stays(generator: Generator) -> None:
    own = of_seed(generator, 321, 0.7)
    blurred = parse_processing("blur:0.6+jpeg:60")
    with torch.no_grad():
        levels = torch.from_numpy(own.image.transpose(2, 0, 1).copy()).float()[None]
        seen = parse_processing("blur:0.6").carry(Dual(levels)).value[0].permute(1, 2, 0)
    image = seen.round().numpy().astype(np.uint8)
    (answer,) = found(generator, dataclasses.replace(own, image=image, processing=parse_processing("blur:0.6")))
    assert answer.named is not None
    assert (answer.named.seed, answer.processing) == (321, "blur:0.6")
    plainer = View(generator, dataclasses.replace(own, processing=blurred)).plainer()
    assert plainer is not None
    assert plainer.processing.text == "jpeg:60"
    assert plainer.recovered.expected_rms == pytest.approx(plainer.processing.variance(1, 16) ** 0.5)
    assert plainer.plainer() is None
    assert View(generator, own).plainer() is None


@pytest.mark.parametrize(("best", "told"), [(0.7, 0.7), (0.701, 0.7), (0.702, 0.702), (0.705, 0.705)])
def test_psi_has_as_few_digits_as_explain_the_image(generator: Generator, best: float, told: float) -> None:
    """A crop that was found a little off moves the best psi by a thousandth, and nobody writes that."""
    view = View(generator, of_seed(generator, 55, best))
    assert round_psi(view, Hypothesis(55, None, best, None, "fixed")).psi == told


@pytest.mark.slow
def test_classes_are_searched() -> None:
    conditional = network(c_dim=3)
    image = of_seed(conditional, 400, 0.7, class_index=2)
    (answer,) = found(conditional, image)
    assert answer.named is not None
    assert (answer.named.seed, answer.named.class_index) == (400, 2)
    assert "--class 2" in answer.named.command("n.pkl")
    (told,) = found(conditional, image, class_index=2)
    assert told.named is not None
    (other,) = found(conditional, image, class_index=1)
    assert other.named is None


def test_an_image_that_tells_nothing_has_a_reason(generator: Generator) -> None:
    black = recovered(generator, np.zeros([16, 16, 1], np.uint8), torch.zeros(1, 16), rms=float("nan"))
    (answer,) = found(generator, black)
    assert answer.named is None
    assert "black and white" in answer.reason
    assert answer.to_record("n.pkl")["projection_rms"] is None


@pytest.mark.slow
def test_a_large_image_is_searched_by_gradients(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invert.seeds.recovered._DENSE_SIDE", 8)
    monkeypatch.setattr("invert.seeds.hypotheses._SMALL", 8)
    image = of_seed(generator, 1111, 0.7)
    view = View(generator, image)
    rows, left = view.response()
    assert rows.shape == (64, 16)
    step = torch.randn(16, generator=torch.Generator().manual_seed(3)) * 0.01
    with torch.no_grad():
        moved = view.difference(generator.synthesis(generator.broadcast((view.w + step)[None]), view.maps))[0]
        before = view.difference(generator.synthesis(generator.broadcast(view.w[None]), view.maps))[0]
    assert float((rows @ step).norm()) == pytest.approx(float((moved - before).norm()), rel=0.5)
    assert float(left.norm()) == pytest.approx(float(before.norm()), rel=0.5)
    (answer,) = found(generator, image)
    assert answer.named is not None
    assert (answer.named.seed, answer.named.truncation_psi) == (1111, 0.7)


def test_the_sweep_counts_seeds_and_maps_as_numpy_draws(generator: Generator) -> None:
    counted: list[int] = []
    views = [View(generator, of_seed(generator, seed)) for seed in (3, 4500)]
    shortlists = sweep(generator, views, 5000, [None], counted.append)
    assert sum(counted) == 5000
    assert [int(one.seeds[0]) for one in shortlists] == [3, 4500]
    z = np.stack([np.random.RandomState(seed).randn(16) for seed in range(9)]).astype(np.float32)
    with torch.no_grad():
        assert torch.equal(map_seeds(generator, torch.arange(9), None), generator.mapping(torch.from_numpy(z)))


def test_what_cannot_be_searched_is_refused(generator: Generator) -> None:
    for maximum in (0, -1, 2**32 + 1):
        with pytest.raises(UsageError, match="seeds"):
            list(search(generator, [], maximum))
    mapping = MappingConfig(0, 3, 16, 2)
    labels = Generator(GeneratorConfig(mapping, SynthesisConfig(w_dim=16, img_resolution=32, channel_base=64)))
    with pytest.raises(UsageError, match="no seeds"):
        classes_of(labels, None)


def test_the_command_names_what_differs_from_its_defaults(generator: Generator) -> None:
    plain, cut = found(generator, of_seed(generator, 12), of_seed(generator, 13, 0.5, cutoff=3))
    assert plain.named is not None
    assert cut.named is not None
    assert plain.named.command("a b.pkl") == (
        "invert generate --network 'a b.pkl' --seeds 12 --noise fixed --out seed12.png"
    )
    assert "--psi 0.5 --cutoff 3" in cut.named.command("n.pkl")
