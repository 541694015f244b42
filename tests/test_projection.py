import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.errors import UsageError
from invert.images.target import Target
from invert.projection import process
from invert.projection.config import ProjectConfig
from invert.projection.latents import LatentStatistics, latent_statistics, random_stream
from invert.projection.noise import NoiseMaps
from invert.projection.optimisers import Adam, Optimisation, Problem, Schedule
from invert.projection.perceptual import Perceptual
from invert.projection.projector import Projection, Projector, StepRecord
from invert.projection.records import differing_keys, method_digest, method_record
from invert.projection.session import default_batch, run_record
from invert.projection.space import W
from tests.golden_data import load_networks


@pytest.fixture(scope="module")
def alex() -> Perceptual:
    return Perceptual("alex")


def target(seed: int, resolution: int = 32, channels: int = 3) -> Target:
    array = np.random.default_rng(seed).integers(0, 256, [resolution, resolution, channels], np.uint8)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return Target(
        array=array,
        name=f"image{seed}",
        path=Path(f"image{seed}.png"),
        file_sha256=digest,
        pixel_sha256=digest,
        original_size=(resolution, resolution),
        upsampled=False,
        warnings=(),
        notes=(),
    )


def tiny(**synthesis: object) -> Generator:
    torch.manual_seed(0)
    settings = {"w_dim": 8, "img_resolution": 32, "channel_base": 64, "channel_max": 8, **synthesis}
    config = SynthesisConfig(**settings)  # type: ignore[arg-type]
    generator = Generator(GeneratorConfig(MappingConfig(4, 0, 8, 2), config))
    for name in generator.synthesis.noise_sizes:
        generator.synthesis.get_submodule(name).noise_strength.data.fill_(0.1)
    return generator


def project(
    generator: Generator, perceptual: Perceptual, targets: Sequence[Target], batch: int, **settings: object
) -> list[Projection]:
    config = ProjectConfig(lpips="alex", **settings)  # type: ignore[arg-type]
    records = Projector(generator, perceptual, config, batch=batch).run(targets)
    return [record for record in records if isinstance(record, Projection)]


def test_bits_never_depend_on_neighbours_slot_or_order(alex: Perceptual) -> None:
    generator = tiny()
    a, b, c, d, e = (target(seed) for seed in range(5))
    groups = ([a, b, c, d], [c, a, d, e], [e, d, b, a], [a])  # the last one is padded
    results = []
    for members in groups:
        found = project(generator, alex, members, 4, steps=12)
        results.append(next(p for p in found if p.target is a))
    for other in results[1:]:
        assert np.array_equal(results[0].w, other.w)
        assert results[0].distance == other.distance
        assert np.array_equal(results[0].curve, other.curve)
        assert np.array_equal(results[0].image, other.image)
        assert all(np.array_equal(results[0].noise[name], other.noise[name]) for name in other.noise)


def test_global_random_state_is_neither_used_nor_changed(alex: Perceptual) -> None:
    generator = tiny()
    torch.manual_seed(1)
    np.random.seed(1)
    first = project(generator, alex, [target(0)], 1, steps=3)[0]
    torch.manual_seed(2)
    np.random.seed(2)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    second = project(generator, alex, [target(0)], 1, steps=3)[0]
    assert np.array_equal(first.w, second.w)
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])


def test_a_generated_image_comes_back(alex: Perceptual) -> None:
    """The whole loop lowers the distance of an image that the network generated from a latent near the centre."""
    generator = tiny()
    with torch.no_grad():
        image = generator(torch.randn([1, 4], generator=torch.Generator().manual_seed(5)))
    array = (image[0].permute(1, 2, 0) * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()
    own = target(0)
    object.__setattr__(own, "array", array)
    start = project(generator, alex, [own], 1, steps=0)[0]
    end = project(generator, alex, [own], 1, steps=120)[0]
    assert start.curve.shape == (0,)
    assert np.array_equal(start.w[0], latent_statistics(generator).centre.numpy())
    assert end.distance < start.distance / 3
    assert end.distance == pytest.approx(float(end.layer_distances.sum()), rel=1e-5)


def test_distance_is_that_of_the_returned_w_and_noise(alex: Perceptual) -> None:
    generator = tiny()
    projection = project(generator, alex, [target(3)], 1, steps=5)[0]
    noise = {name: torch.from_numpy(value)[None, None] for name, value in projection.noise.items()}
    with torch.no_grad():
        image = generator.synthesis(generator.broadcast(torch.from_numpy(projection.w)), noise)
        distance, _ = alex.distance(image, alex.prepare(projection.target.pixels))
    assert float(distance) == pytest.approx(projection.distance, rel=1e-5)
    pixels = (image[0].permute(1, 2, 0) * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()
    assert np.abs(pixels.astype(int) - projection.image.astype(int)).max() <= 1


@pytest.mark.parametrize("mode", ["optimise", "fixed", "zero"])
def test_noise_modes(mode: str, alex: Perceptual) -> None:
    generator = tiny()
    projection = project(generator, alex, [target(0)], 1, steps=3, noise=mode)[0]
    stored = {name: generator.synthesis.get_submodule(name).noise_const.numpy() for name in projection.noise}
    assert set(projection.noise) == set(generator.synthesis.noise_sizes)
    for name, value in projection.noise.items():
        if mode == "fixed":
            assert np.array_equal(value, stored[name])
        elif mode == "zero":
            assert not value.any()
        else:
            assert value.mean() == pytest.approx(0, abs=1e-6)
            assert value.var() == pytest.approx(1, rel=1e-4)


def test_a_network_without_noise_inputs(alex: Perceptual) -> None:
    projection = project(tiny(use_noise=False), alex, [target(0)], 1, steps=3)[0]
    assert projection.noise == {}
    assert np.isfinite(projection.distance)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_networks(channels: int, alex: Perceptual) -> None:
    generator = tiny(img_channels=channels)
    projection = project(generator, alex, [target(0, 32, channels)], 1, steps=2)[0]
    assert projection.image.shape == (32, 32, channels)


def test_best_of_restarts_counts(alex: Perceptual) -> None:
    generator = tiny()
    targets = [target(seed) for seed in range(2)]
    single = [project(generator, alex, targets, 2, steps=4, restarts=1)][0]
    several = project(generator, alex, targets, 2, steps=4, restarts=3)
    for one, best in zip(single, several, strict=True):
        assert best.distance <= one.distance
    assert {projection.restart for projection in several} <= {0, 1, 2}


def test_records_say_what_happens(alex: Perceptual) -> None:
    config = ProjectConfig(steps=2, lpips="alex", restarts=2)
    records = list(Projector(tiny(), alex, config, batch=2).run([target(seed) for seed in range(3)]))
    steps = [record for record in records if isinstance(record, StepRecord)]
    assert [(s.group, s.restart, s.step, len(s.distances)) for s in steps] == [
        *[(0, restart, step, 2) for restart in (0, 1) for step in (0, 1)],
        *[(1, restart, step, 1) for restart in (0, 1) for step in (0, 1)],
    ]
    names = [record.target.name for record in records if isinstance(record, Projection)]
    assert names == ["image0", "image1", "image2"]


class OneStyle:
    """A network of one style."""

    def broadcast(self, w: torch.Tensor) -> torch.Tensor:
        return w


class Exploding:
    """Losses that become infinite for image 1 from a given call on."""

    def __init__(self, at: int) -> None:
        self.calls, self.at = 0, at

    def __call__(self, w: torch.Tensor, noise: NoiseMaps) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        losses = w.square().sum(dim=[1, 2])
        bad = torch.tensor([0.0, torch.inf]) if self.calls > self.at else torch.zeros([2])
        return losses, bad.nan_to_num(posinf=torch.inf)


@pytest.mark.parametrize("at", [0, 3])
def test_a_diverging_image_keeps_its_best_state_and_leaves_the_others_alone(at: int) -> None:
    def run(objective: object) -> tuple[Optimisation, np.ndarray]:
        noise = NoiseMaps({}, 2, torch.device("cpu"))
        statistics = LatentStatistics(torch.zeros([3]), 1.0)
        start = torch.tensor([[[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]]])
        streams = [torch.Generator().manual_seed(i) for i in range(2)]
        schedule = Schedule(8, latent_noise=0.0, ramp_up=1e-9)
        space = W(OneStyle(), statistics)  # type: ignore[arg-type]
        optimisation = Adam(Problem(objective, space, start, noise, streams), schedule)  # type: ignore[arg-type]
        curve = np.array([optimisation.step(step).numpy() for step in range(8)])
        return optimisation, curve

    optimisation, curve = run(Exploding(at))
    healthy, _ = run(Exploding(99))
    assert optimisation.diverged.tolist() == [False, True]
    assert torch.equal(optimisation.w[0], healthy.w[0])
    assert bool(optimisation.w[1].isfinite().all())
    assert np.isnan(curve[at:, 1]).all()
    assert np.isfinite(curve[:, 0]).all()
    if at == 0:
        assert optimisation.w[1, 0].tolist() == [3.0, 2.0, 1.0], "the start, when there is nothing better"


def test_overflowing_weights_are_reported_not_returned(alex: Perceptual) -> None:
    generator = tiny()
    generator.synthesis.get_submodule("b32.conv1").noise_strength.data.fill_(3e38)
    projection = project(generator, alex, [target(0)], 1, steps=2)[0]
    assert projection.status == "diverged"
    assert not np.isfinite(projection.distance)
    assert np.isfinite(projection.w).all()


def test_a_mapping_without_spread(alex: Perceptual) -> None:
    generator = tiny()
    generator.mapping.get_submodule("fc1").weight.data.zero_()
    assert latent_statistics(generator).deviation == 0
    assert project(generator, alex, [target(0)], 1, steps=2)[0].status == "ok"


def test_latent_statistics_by_hand() -> None:
    generator = tiny()
    z = torch.from_numpy(np.random.RandomState(123).randn(10_000, 4).astype(np.float32))
    w = generator.mapping(z).detach().double()
    statistics = latent_statistics(generator)
    torch.testing.assert_close(statistics.centre, w.mean(dim=0).float())
    expected = float(((w - w.mean(dim=0)) ** 2).sum(dim=1).mean().sqrt())
    assert statistics.deviation == pytest.approx(expected, rel=1e-6)


def test_statistics_of_a_conditional_network() -> None:
    _, generator, _ = load_networks("conditional")
    pooled = latent_statistics(generator, samples=2000)
    each = [latent_statistics(generator, samples=2000, class_index=k) for k in range(5)]
    assert not torch.allclose(each[0].centre, each[1].centre, atol=1e-3)
    mean = torch.stack([statistics.centre for statistics in each]).mean(dim=0)
    torch.testing.assert_close(pooled.centre, mean, atol=0.05, rtol=0.1)


def test_a_class_the_network_lacks(alex: Perceptual) -> None:
    for generator, message in ((tiny(), "no classes"), (load_networks("conditional")[1], "network's 5 classes")):
        with pytest.raises(UsageError, match=message):
            Projector(generator, alex, ProjectConfig(class_index=7, lpips="alex"), batch=1)


def test_streams_depend_on_seed_image_and_restart() -> None:
    draws = {
        float(torch.randn([1], generator=random_stream(*key)))
        for key in ((0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1))
    }
    assert len(draws) == 4


def test_default_batch() -> None:
    """How many images there are has no say: see `bench/default_batch.py` for the numbers."""
    assert [default_batch(side, "cpu") for side in (16, 32, 64, 128, 1024)] == [8, 8, 8, 1, 1]
    assert [default_batch(side, "cuda") for side in (32, 1024)] == [8, 8]


def test_threads_are_no_more_than_the_processors(monkeypatch: pytest.MonkeyPatch, threads: None) -> None:
    torch.set_num_threads(4)
    for counted, expected in ((1, (1, 1, 1)), (3, (3, 1, 1)), (16, (4, 8, 4))):
        monkeypatch.setattr(process, "processors", lambda counted=counted: counted)
        assert tuple(process.default_threads(workers) for workers in (1, 2, 4)) == expected
    monkeypatch.setattr(process, "processors", lambda: 2)
    process.prepare_process("cpu", None, print)
    assert torch.get_num_threads() == 2


def test_method_digest_covers_what_changes_distances_only() -> None:
    policy = {"version": 1}
    base = method_record(ProjectConfig(), "aa", policy)
    for same in ({"batch": 4}, {"threads": 1}, {"seed": 3}, {"device": "cpu"}):
        assert method_digest(method_record(ProjectConfig(**same), "aa", policy)) == method_digest(base)
    for other in ({"steps": 5}, {"preset": "official"}, {"lpips": "alex"}, {"noise": "zero"}, {"restarts": 2}):
        record = method_record(ProjectConfig(**other), "aa", policy)
        assert method_digest(record) != method_digest(base)
        assert any(next(iter(other)) in line for line in differing_keys(base, record))
    assert method_digest(method_record(ProjectConfig(), "ab", policy)) != method_digest(base)


def test_run_record_names_what_changes_bits() -> None:
    record = run_record(ProjectConfig(seed=4, batch=8, device="cpu"))
    assert record["batch"] == 8
    assert record["seed"] == 4
    assert {"threads", "torch", "cpu_capability", "kernels", "device"} <= set(record)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": -1},
        {"preset": "quick"},
        {"lpips": "squeeze"},
        {"noise": "loud"},
        {"noise_weight": float("nan")},
        {"restarts": 0},
        {"batch": 0},
        {"class_index": -1},
    ],
)
def test_refuses_wrong_settings(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ProjectConfig(**settings)  # type: ignore[arg-type]


def test_a_network_too_small_to_compare(alex: Perceptual) -> None:
    with pytest.raises(UsageError, match=r"16 px.*32 px up"):
        Projector(tiny(img_resolution=16), alex, ProjectConfig(lpips="alex"), batch=1)


def test_bfloat16_comes_about_as_close(alex: Perceptual) -> None:
    generator = tiny()
    targets = [target(seed) for seed in range(2)]
    exact = project(generator, alex, targets, 2, steps=40)
    short = project(generator, alex, targets, 2, steps=40, precision="bfloat16")
    for a, b in zip(exact, short, strict=True):
        assert b.distance == pytest.approx(a.distance, rel=0.3)
        assert b.w.dtype == np.float32
        assert b.distance != a.distance, "the feature maps were rounded"
