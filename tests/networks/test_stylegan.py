"""The networks of the first StyleGAN."""

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from generator.config import GeneratorConfig, MappingConfig, to_dict
from generator.errors import ConfigError
from generator.families import discriminator_from_dict, generator_from_dict
from generator.layers import freeze
from generator.networks import Generator, make_discriminator
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.stylegan.layers import StyleLayer, instance_norm
from generator.stylegan.synthesis import StyleGANSynthesisNetwork
from generator.stylegan2.config import SynthesisConfig
from generator.training.losses import r1_penalty
from tests.networks.stylegan_case import critic, made, small, table_1_row


def test_the_papers_networks() -> None:
    """18 layers at 1024 px, and the published code's own numbers of parameters."""
    config = table_1_row("f", StyleGANSynthesisConfig())
    with torch.device("meta"):
        generator = Generator(config)
        discriminator = make_discriminator(StyleGANDiscriminatorConfig())
    sizes = generator.synthesis.noise_sizes
    assert list(sizes.values()) == [r for r in (4 << i for i in range(9)) for _ in range(2)]
    assert list(sizes)[:4] == ["b4.input", "b4.conv1", "b8.conv0", "b8.conv1"]
    assert generator.num_ws == config.synthesis.num_ws == len(sizes) == 18
    assert sum(parameter.numel() for parameter in generator.parameters()) == 26_219_627
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 23_087_249
    assert [config.synthesis.widths[r] for r in (4, 32, 64, 128, 256, 512, 1024)] == [512, 512, 256, 128, 64, 32, 16]


@pytest.mark.parametrize("resolution", [4, 8, 32])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("growing", [False, True])
def test_any_size_and_any_channels(resolution: int, channels: int, growing: bool) -> None:
    image = {"img_resolution": resolution, "img_channels": channels, "growing": growing}
    result = made(small(**image))(torch.randn([2, 6]))
    assert result.shape == (2, channels, resolution, resolution)
    assert critic(**image, mbstd_group_size=2)(result).shape == (2, 1)


def test_adaptive_instance_normalisation_in_closed_form() -> None:
    """Equation 1: whatever comes in leaves with mean y_b and deviation y_s, map by map."""
    layer = StyleLayer(small(channels=(6, 6, 6)), None, 4)
    x, w = torch.randn([3, 6, 4, 4]) * 5 + 2, torch.randn([3, 6])
    assert layer.affine is not None
    style = w @ layer.affine.weight.t() / math.sqrt(6)  # biases start at zero
    scale, shift = style.chunk(2, dim=1)
    y = layer(x, w)
    torch.testing.assert_close(y.mean(dim=[2, 3]), shift, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(y.std(dim=[2, 3], correction=0), (scale + 1).abs(), atol=1e-5, rtol=1e-4)
    expected = functional.instance_norm(functional.leaky_relu(x, 0.2), eps=1e-8)
    torch.testing.assert_close(y, expected * (scale + 1)[:, :, None, None] + shift[:, :, None, None])
    flat = instance_norm(torch.full([1, 1, 4, 4], 3.0))
    assert not flat.any()


def test_one_layer_by_its_definition() -> None:
    """Convolution with gain sqrt(2) in its weights, blur, noise by channel, bias, leaky ReLU, normalisation, style."""
    synthesis = made(small()).synthesis
    layer = synthesis.get_submodule("b8.conv0")
    x, w, noise = torch.randn([2, 6, 4, 4]), torch.randn([2, 6]), torch.randn([2, 1, 8, 8])
    y = functional.interpolate(x, scale_factor=2)
    y = functional.conv2d(y, layer.weight * math.sqrt(2 / (6 * 9)), padding=1)
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    y = functional.conv2d(y, torch.outer(row, row).expand(6, 1, 3, 3), padding=1, groups=6)
    y = y + noise * layer.noise_strength[:, None, None] + layer.bias[:, None, None]
    y = functional.instance_norm(functional.leaky_relu(y, 0.2), eps=1e-8)
    scale, shift = layer.affine(w)[:, :, None, None].chunk(2, dim=1)
    torch.testing.assert_close(layer(x, w, noise), y * (scale + 1) + shift, atol=1e-5, rtol=1e-4)


def test_the_discriminator_by_its_definition() -> None:
    discriminator = critic(img_resolution=8, mbstd_group_size=2)
    for name, parameter in discriminator.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    state = discriminator.state_dict()
    image = torch.randn([4, 3, 8, 8])

    def layer(x: Tensor, name: str) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        weight = weight * math.sqrt(2 / weight[0].numel())
        if weight.ndim == 2:
            return functional.leaky_relu(x.flatten(1) @ weight.t() + bias, 0.2)
        y = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        y = functional.avg_pool2d(y, 2) if name.endswith("conv1") else y
        return functional.leaky_relu(y + bias[:, None, None], 0.2)

    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    x = layer(layer(image, "b8.fromrgb"), "b8.conv0")
    x = layer(functional.conv2d(x, torch.outer(row, row).expand(6, 1, 3, 3), padding=1, groups=6), "b8.conv1")
    deviation = torch.stack([x[i::2].std(dim=0, correction=0).mean() for i in range(2)]).repeat(2)
    x = torch.cat([x, deviation[:, None, None, None].expand(-1, 1, 4, 4)], dim=1)
    x = layer(layer(x, "b4.conv"), "b4.fc")
    expected = x @ state["b4.out.weight"].t() / math.sqrt(6) + state["b4.out.bias"]
    torch.testing.assert_close(discriminator(image), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("normalisation", ["instance", "pixel", "none"])
def test_gradients_of_a_layer(normalisation: str) -> None:
    config = small(img_resolution=8, channels=(2, 2), normalisation=normalisation)
    layer = StyleLayer(config, 2, 8, up=True).double()
    layer.noise_strength.data.fill_(0.3)
    generator = torch.Generator().manual_seed(1)
    shapes = ([2, 2, 4, 4], [2, 6], [1, 1, 8, 8])
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    torch.autograd.gradcheck(layer, inputs)
    torch.autograd.gradgradcheck(layer, inputs[:2])


def test_r1_and_path_length_reach_every_weight() -> None:
    """Both differentiate gradients."""
    generator = made(small(growing=False))
    ws = generator.mapping_ws(torch.randn([2, 6]))
    image = generator.synthesis(ws, "random")
    (gradient,) = torch.autograd.grad((image * torch.randn_like(image)).sum(), ws, create_graph=True)
    gradient.square().sum(dim=2).mean(dim=1).sqrt().mean().backward()
    weights = {name: p.grad for name, p in generator.named_parameters() if name.endswith(("weight", "noise_strength"))}
    assert all(g is not None and bool(g.isfinite().all()) and float(g.abs().sum()) > 0 for g in weights.values())
    discriminator = critic(growing=False)
    real = torch.randn([4, 3, 16, 16], requires_grad=True)
    r1_penalty(discriminator(real), real).sum().backward()
    weights = {name: p.grad for name, p in discriminator.named_parameters() if name.endswith("weight")}
    assert all(g is not None and bool(g.isfinite().all()) and float(g.abs().sum()) > 0 for g in weights.values())


def test_second_derivatives_of_the_discriminator() -> None:
    """The gradient of R1 against finite differences of R1."""
    discriminator = critic(img_resolution=8, channels=(2, 2), mbstd_group_size=2).double()
    image = torch.randn([2, 3, 8, 8], dtype=torch.float64, requires_grad=True)

    def penalty(weight: Tensor) -> Tensor:
        state = {"b8.conv1.weight": weight}
        return r1_penalty(torch.func.functional_call(discriminator, state, (image,)), image)

    torch.autograd.gradcheck(penalty, (discriminator.get_parameter("b8.conv1.weight"),))


def test_noise_inputs() -> None:
    synthesis = made(small()).synthesis
    ws = torch.randn([1, synthesis.num_ws, 6]).repeat(2, 1, 1)
    assert list(synthesis.noise_sizes.values()) == [4, 4, 8, 8, 16, 16]
    maps = {name: torch.randn([2, 1, r, r]) for name, r in synthesis.noise_sizes.items()}
    images = synthesis(ws, maps)
    torch.testing.assert_close(synthesis(ws[:1], {name: value[1:] for name, value in maps.items()}), images[1:])
    for name, r in synthesis.noise_sizes.items():
        other = synthesis(ws, {**maps, name: torch.randn([2, 1, r, r])})
        assert not torch.allclose(other, images), name
    seeded = [synthesis(ws, "random", torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.allclose(seeded[0][0], seeded[0][1])
    stored = {name: synthesis.get_submodule(name).noise_const[None, None] for name in maps}
    assert torch.equal(synthesis(ws, "const"), synthesis(ws, stored))
    zeros = {name: torch.zeros_like(value) for name, value in maps.items()}
    torch.testing.assert_close(synthesis(ws, "none"), synthesis(ws, zeros))
    with pytest.raises(ValueError, match="missing or unknown"):
        synthesis(ws, {"b4.conv1": torch.zeros([1, 1, 4, 4])})
    with pytest.raises(ValueError, match="has shape"):
        synthesis(ws, {**maps, "b8.conv0": torch.zeros([2, 1, 4, 4])})
    with pytest.raises(ValueError, match="not const"):
        synthesis(ws, "loud")


@pytest.mark.parametrize("layer", range(6))
def test_each_style_enters_at_its_own_layer(layer: int) -> None:
    """A change of style k is seen at the resolution of layer k and not below."""
    synthesis = made(small()).synthesis
    ws = torch.randn([1, 6, 6])
    other = ws.clone()
    other[:, layer] += 1
    for r in (4, 8, 16):
        same = torch.equal(synthesis(ws, resolution=r), synthesis(other, resolution=r))
        assert same == (r < 4 << layer // 2)


def test_labels_select_an_output() -> None:
    discriminator = critic(c_dim=3, mbstd_channels=0)
    image = torch.randn([3, 3, 16, 16])
    logits = discriminator(image, torch.eye(3))
    assert logits.shape == (3, 1)
    other = discriminator(image, torch.eye(3).roll(1, 0))
    assert not torch.allclose(logits, other)
    with pytest.raises(ValueError, match="labels"):
        discriminator(image)


@pytest.mark.parametrize("row", "abcdef")
def test_the_rows_of_table_1(row: str) -> None:
    narrow = StyleGANSynthesisConfig(w_dim=6, img_resolution=16, channel_base=64, channel_max=6)
    torch.manual_seed(0)
    generator = Generator(table_1_row(row, narrow))
    assert generator.num_ws == (1 if row < "c" else 6)
    assert bool(generator.synthesis.noise_sizes) == (row >= "e")
    names = generator.state_dict()
    assert ("synthesis.b4.dense.weight" in names) == (row < "d")
    assert ("mapping.fc7.weight" in names) == (row >= "c")
    z = torch.randn([2, 6])
    image = generator(z, noise="random")
    assert not torch.allclose(image[0], image[1])
    image.square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in generator.parameters() if p.grad is not None)


@pytest.mark.parametrize("layers", [0, 1, 2, 8])
def test_depth_of_the_mapping_network(layers: int) -> None:
    generator = made(small(), layers)
    z = torch.randn([2, 6])
    w = generator.mapping(z)
    expected = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    for i in range(layers):
        layer = generator.mapping.get_submodule(f"fc{i}")
        expected = functional.leaky_relu(expected @ layer.weight.t() * 0.01 * math.sqrt(2 / 6) + layer.bias * 0.01, 0.2)
    torch.testing.assert_close(w, expected)


@pytest.mark.parametrize("changes", [{}, {"input": "latent", "use_styles": False}, {"blur_filter": (1.0,)}])
def test_a_frozen_network_draws_the_same_and_forgets_when_moved(changes: dict[str, Any]) -> None:
    generator = made(small(**changes))
    ws = torch.randn([2, generator.num_ws, 6], requires_grad=True)
    maps = {name: torch.randn([2, 1, r, r]).requires_grad_() for name, r in generator.synthesis.noise_sizes.items()}
    target = torch.randn([2, 3, 16, 16])

    def drawn() -> tuple[Tensor, ...]:
        image = generator.synthesis(ws, maps)
        return image, *torch.autograd.grad((image * target).sum(), [ws, *maps.values()])

    before = drawn()
    freeze(generator)
    for found, expected in zip(drawn(), before, strict=True):
        torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=1e-4)
    other = made(small(**changes))
    with torch.no_grad():
        other.synthesis.get_submodule("b8.conv1").weight.mul_(-1)
    generator.load_state_dict(other.state_dict())
    torch.testing.assert_close(generator.synthesis(ws, maps).detach(), other.synthesis(ws, maps).detach())


def test_feature_maps_in_bfloat16() -> None:
    generator = made(small())
    freeze(generator)
    ws = torch.randn([2, 6, 6])
    exact, rough = (generator.synthesis(ws, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().mean() < 0.03 * exact.abs().mean()


def test_settings_survive_json() -> None:
    config = GeneratorConfig(MappingConfig(c_dim=3), StyleGANSynthesisConfig(channels=(8,) * 9, input="latent"))
    assert generator_from_dict(json.loads(json.dumps(to_dict(config)))) == config
    critics = StyleGANDiscriminatorConfig(c_dim=2, growing=False)
    assert discriminator_from_dict(json.loads(json.dumps(to_dict(critics)))) == critics


def test_settings_of_stylegan2_are_written_as_ever() -> None:
    """Files of earlier versions name no family; nor do those of StyleGAN2 now."""
    values = to_dict(GeneratorConfig(MappingConfig(), SynthesisConfig()))
    assert "family" not in values["synthesis"]
    assert isinstance(generator_from_dict(values).synthesis, SynthesisConfig)
    with pytest.raises(ConfigError, match="no network family 'stylegan9'"):
        generator_from_dict({"synthesis": {"family": "stylegan9"}})
    with pytest.raises(ConfigError, match="no setting 'demodulate'"):
        generator_from_dict({"synthesis": {"family": "stylegan", "demodulate": True}})


@pytest.mark.parametrize(
    "changes",
    [
        {"img_resolution": 48},
        {"img_channels": 2},
        {"channel_max": 1 << 30},
        {"blur_filter": ()},
        {"blur_filter": (1.0, -1.0)},
        {"channels": (8, 8)},
        {"activation": "swish"},
        {"input": "noise"},
        {"normalisation": "batch"},
        {"use_styles": 1},
        {"use_styles": False},
        {"family": "stylegan2"},
        {"w_dim": 0},
    ],
)
def test_refuses_impossible_settings(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(StyleGANSynthesisConfig(), **changes)


def test_refuses_impossible_discriminators() -> None:
    for changes in ({"mbstd_group_size": 0}, {"c_dim": -1}, {"growing": "yes"}, {"activation": "tanh"}):
        with pytest.raises(ConfigError):
            StyleGANDiscriminatorConfig(**changes)  # type: ignore[arg-type]


def test_synthesis_is_of_its_own_class() -> None:
    assert isinstance(made(small()).synthesis, StyleGANSynthesisNetwork)
