import dataclasses
import json

import pytest
import torch

from generator.config import GeneratorConfig, MappingConfig, from_dict, to_dict
from generator.errors import ConfigError
from generator.families import generator_from_dict
from generator.layers import freeze, minibatch_standard_deviation
from generator.mapping import MappingNetwork
from generator.networks import Generator
from generator.stylegan2.config import ARCHITECTURES, DiscriminatorConfig, SynthesisConfig
from generator.stylegan2.discriminator import Discriminator
from generator.stylegan2.layers import ModulatedConv2d
from tests.golden_data import NETWORKS, load_networks, relative_error

TOLERANCE = 1e-4


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("form", ["shared", "per_sample"])
@pytest.mark.parametrize("name", NETWORKS)
def test_golden(name: str, form: str, frozen: bool) -> None:
    arrays, generator, discriminator = load_networks(name)
    for module in generator.modules():
        if isinstance(module, ModulatedConv2d):
            module.form = form
    if frozen:
        freeze(generator)
    z, c = arrays["z"], arrays.optional("c")
    ws = generator.mapping_ws(z, c)
    assert relative_error(ws, arrays["ws"]) < TOLERANCE
    assert relative_error(generator.mapping_ws(z, c, 0.7, 4), arrays["ws_psi07_cutoff4"]) < TOLERANCE
    ws = ws.detach().clone().requires_grad_()
    image = generator.synthesis(ws, "const")
    assert relative_error(image, arrays["img_noise_const"]) < TOLERANCE
    assert relative_error(generator.synthesis(ws, "none"), arrays["img_noise_none"]) < TOLERANCE
    (dws,) = torch.autograd.grad(image, ws, arrays["dimg"])
    assert relative_error(dws, arrays["dws"]) < TOLERANCE
    image = arrays["img_noise_const"].requires_grad_()
    logits = discriminator(image, c)
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    assert relative_error(logits, arrays["logits"]) < TOLERANCE
    assert relative_error(gradient, arrays["dlogits_dimg"]) < TOLERANCE


def small(architecture: str = "skip", **changes: object) -> SynthesisConfig:
    settings = {"w_dim": 6, "img_resolution": 16, "channel_base": 64, "channel_max": 6, **changes}
    return SynthesisConfig(architecture=architecture, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_any_size_and_any_channels(architecture: str, channels: int, resolution: int) -> None:
    synthesis = small(architecture, img_channels=channels, img_resolution=resolution)
    generator = Generator(GeneratorConfig(MappingConfig(5, 0, 6, 1), synthesis))
    image = generator(torch.randn([2, 5]))
    assert image.shape == (2, channels, resolution, resolution)
    discriminator = Discriminator(
        DiscriminatorConfig(0, resolution, channels, 64, 6, architecture=architecture, mbstd_group_size=2)
    )
    assert discriminator(image).shape == (2, 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_trainable_twice(architecture: str) -> None:
    """R1 and path length differentiate gradients: every parameter that should move gets a finite one."""
    synthesis = small(architecture, img_resolution=8)
    generator = Generator(GeneratorConfig(MappingConfig(5, 0, 6, 2), synthesis))
    discriminator = Discriminator(DiscriminatorConfig(0, 8, 3, 64, 6, architecture=architecture))
    ws = generator.mapping_ws(torch.randn([2, 5]))
    image = generator.synthesis(ws, "random")
    (gradient,) = torch.autograd.grad((image * torch.randn_like(image)).sum(), ws, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    lengths.mean().backward()  # type: ignore[no-untyped-call]
    moved = {name for name, p in generator.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "synthesis.b4.conv1.weight" in moved
    assert "mapping.fc0.weight" in moved
    real = torch.randn([4, 3, 8, 8], requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    gradient.square().sum().backward()  # type: ignore[no-untyped-call]
    weights = {name: p.grad for name, p in discriminator.named_parameters() if name.endswith("weight")}
    assert all(g is not None and bool(g.isfinite().all()) and float(g.abs().sum()) > 0 for g in weights.values())


def test_noise_inputs() -> None:
    generator = Generator(GeneratorConfig(MappingConfig(5, 0, 6, 1), small()))
    for name in generator.synthesis.noise_sizes:
        generator.synthesis.get_submodule(name).noise_strength.data.fill_(0.5)
    ws = generator.mapping_ws(torch.randn([1, 5])).repeat(2, 1, 1)
    assert list(generator.synthesis.noise_sizes.values()) == [4, 8, 8, 16, 16]
    maps = {name: torch.randn([2, 1, r, r]) for name, r in generator.synthesis.noise_sizes.items()}
    images = generator.synthesis(ws, maps)
    assert not torch.allclose(images[0], images[1]), "each image has its own maps"
    one = generator.synthesis(ws[:1], {name: value[1:] for name, value in maps.items()})
    torch.testing.assert_close(images[1:], one)
    seeded = [generator.synthesis(ws, "random", torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(seeded[0], seeded[1])
    with pytest.raises(ValueError, match="missing or unknown"):
        generator.synthesis(ws, {"b4.conv1": torch.zeros([1, 1, 4, 4])})
    with pytest.raises(ValueError, match="has shape"):
        generator.synthesis(ws, {**maps, "b8.conv0": torch.zeros([2, 1, 4, 4])})
    with pytest.raises(ValueError, match="not const"):
        generator.synthesis(ws, "loud")


def test_without_noise_inputs() -> None:
    generator = Generator(GeneratorConfig(MappingConfig(5, 0, 6, 1), small(use_noise=False)))
    ws = generator.mapping_ws(torch.randn([2, 5]))
    torch.testing.assert_close(generator.synthesis(ws, "const"), generator.synthesis(ws, "none"))


def test_truncation_moves_towards_the_average() -> None:
    generator = Generator(GeneratorConfig(MappingConfig(5, 0, 6, 1), small()))
    generator.mapping.w_avg.normal_()
    z = torch.randn([3, 5])
    average = generator.mapping.w_avg.expand(3, generator.num_ws, -1)
    torch.testing.assert_close(generator.mapping_ws(z, truncation_psi=0), average)
    cut = generator.mapping_ws(z, truncation_psi=0, truncation_cutoff=2)
    torch.testing.assert_close(cut[:, :2], average[:, :2])
    torch.testing.assert_close(cut[:, 2:], generator.mapping_ws(z)[:, 2:])


def test_mapping_tracks_the_average() -> None:
    mapping = MappingNetwork(MappingConfig(5, 0, 6, 1, w_avg_beta=0.9))
    w = mapping(torch.randn([8, 5]))
    mapping.update_average(w.mean(dim=0))
    torch.testing.assert_close(mapping.w_avg, 0.1 * w.detach().mean(dim=0))


@pytest.mark.parametrize("mode", ["embed", "concat"])
def test_labels(mode: str) -> None:
    mapping = MappingNetwork(MappingConfig(5, 3, 6, 1, label_mode=mode))
    z = torch.randn([2, 5])
    labels = torch.eye(3)[:2]
    assert not torch.allclose(mapping(z, labels), mapping(z, labels.flip(0)))
    with pytest.raises(ValueError, match="takes labels of shape"):
        mapping(z)
    with pytest.raises(ValueError, match="z has shape"):
        mapping(z[:, :4], labels)


@pytest.mark.parametrize("mode", ["project", "select"])
def test_discriminator_labels(mode: str) -> None:
    discriminator = Discriminator(DiscriminatorConfig(3, 8, 3, 64, 6, label_mode=mode, mapping_layers=1))
    images = torch.randn([2, 3, 8, 8])
    logits = discriminator(images, torch.eye(3)[:2])
    assert logits.shape == (2, 1)
    assert not torch.allclose(logits, discriminator(images, torch.eye(3)[1:]))
    with pytest.raises(ValueError, match="labels"):
        discriminator(images)


def test_minibatch_deviation_by_hand() -> None:
    x = torch.zeros([4, 2, 1, 1])
    x[:, 0, 0, 0] = torch.tensor([1.0, 5.0, 3.0, 5.0])  # groups are (0, 2) and (1, 3)
    y = minibatch_standard_deviation(x, 2, 1)
    assert y.shape == (4, 3, 1, 1)
    torch.testing.assert_close(y[:, 2, 0, 0], torch.tensor([0.5, 5e-5, 0.5, 5e-5]), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="whole number"):
        minibatch_standard_deviation(x[:3], 2, 1)


def test_a_frozen_network_draws_the_same_and_forgets_when_moved() -> None:
    generator = Generator(GeneratorConfig(MappingConfig(5, 0, 6, 2), small("resnet")))
    z = torch.randn([2, 5])
    before = generator(z).detach()
    freeze(generator)
    torch.testing.assert_close(generator(z), before)
    other = Generator(generator.config)
    generator.load_state_dict(other.state_dict())
    torch.testing.assert_close(generator(z), other(z).detach())


def test_presets_have_the_papers_widths() -> None:
    f, e = SynthesisConfig(), SynthesisConfig(channel_base=16384)
    assert [f.widths[r] for r in (4, 64, 128, 256, 512, 1024)] == [512, 512, 256, 128, 64, 32]
    assert [e.widths[r] for r in (4, 64, 128, 256, 512, 1024)] == [512, 256, 128, 64, 32, 16]
    assert f.num_ws == 18


def test_settings_survive_json() -> None:
    config = GeneratorConfig(MappingConfig(c_dim=3), SynthesisConfig(channels=(8,) * 9, conv_clamp=256.0))
    assert generator_from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"img_resolution": 48},
        {"img_resolution": 1 << 20},
        {"img_channels": 2},
        {"channel_max": 1 << 30},
        {"architecture": "unet"},
        {"resample_filter": (1.0, -1.0)},
        {"resample_filter": ()},
        {"channels": (8, 8)},
        {"activation": "gelu"},
        {"conv_clamp": float("nan")},
        {"w_dim": 0},
    ],
)
def test_refuses_impossible_settings(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(SynthesisConfig(), **changes)  # type: ignore[arg-type]


def test_refuses_unknown_settings() -> None:
    with pytest.raises(ConfigError, match="no setting 'wdim'"):
        from_dict(SynthesisConfig, {"wdim": 3})
    with pytest.raises(ConfigError, match="gives w of 512"):
        GeneratorConfig(MappingConfig(), SynthesisConfig(w_dim=8))
