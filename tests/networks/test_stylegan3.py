"""StyleGAN3: the published images, settings, filters, derivatives."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal, special
from torch import Tensor

from generator.config import GeneratorConfig, MappingConfig, to_dict
from generator.errors import ConfigError
from generator.families import generator_from_dict
from generator.files.reading import load
from generator.layers import freeze
from generator.networks import Generator
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from generator.stylegan3.filters import down_filter, up_filter
from tests.golden_data import GOLDEN, relative_error

TOLERANCE = 1e-4
ROTATION: dict[str, Any] = {"conv_kernel": 1, "use_radial_filters": True}


def small(**changes: Any) -> StyleGAN3SynthesisConfig:
    """Return the settings of a network of 16 px and five layers."""
    settings = {"w_dim": 6, "img_resolution": 16, "channel_base": 64, "channel_max": 6, "num_layers": 4}
    return StyleGAN3SynthesisConfig(**{**settings, "num_critical": 1, "margin_size": 3, **changes})


def made(config: StyleGAN3SynthesisConfig, c_dim: int = 0) -> Generator:
    """Return a network in which nothing has its start value."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(MappingConfig(6, c_dim, 6, 2, w_avg_beta=0.998), config)).eval()
    for name, parameter in generator.synthesis.named_parameters():
        if "bias" in name or name == "input.affine.weight":
            parameter.data += 0.3 * torch.randn_like(parameter)
    for name, buffer in generator.synthesis.named_buffers():
        if name.endswith("magnitude_ema"):
            buffer.fill_(0.5 + float(torch.rand([])))
    return generator


@pytest.fixture(scope="module", params=["t", "r"])
def golden(request: pytest.FixtureRequest) -> tuple[Generator, dict[str, Tensor]]:
    name = f"nvidia_stylegan3_{request.param}"
    with np.load(GOLDEN / f"{name}.expect.npz", allow_pickle=False) as file:
        return load(GOLDEN / f"{name}.pkl").generator, {key: torch.from_numpy(file[key]) for key in file}


def test_a_moved_input_and_truncation_are_the_published_ones(golden: tuple[Generator, dict[str, Tensor]]) -> None:
    generator, expected = golden
    with torch.no_grad():
        truncated = generator.mapping_ws(expected["z"], truncation_psi=0.7)
        moved = generator.synthesis(expected["ws"], transform=expected["transform"])
    assert relative_error(truncated, expected["ws_psi07"]) < TOLERANCE
    assert relative_error(moved, expected["img_transform"]) < TOLERANCE
    assert relative_error(expected["img"], expected["img_transform"]) > 0.1


@pytest.mark.parametrize("frozen", [False, True])
def test_the_gradient_is_the_published_one(golden: tuple[Generator, dict[str, Tensor]], frozen: bool) -> None:
    generator, expected = golden
    if frozen:
        freeze(generator)
    ws = expected["ws"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(generator.synthesis(ws), ws, expected["dimg"])
    assert relative_error(gradient, expected["dws"]) < TOLERANCE


@pytest.mark.parametrize("changes", [{}, ROTATION], ids="tr")
def test_a_network_can_be_trained_and_differentiated_twice(changes: dict[str, Any]) -> None:
    generator = made(small(**changes, channel_max=3, margin_size=1, filter_size=3)).double()
    ws = torch.randn(1, generator.num_ws, 6, dtype=torch.float64, requires_grad=True)
    transform = torch.eye(3, dtype=torch.float64, requires_grad=True)

    def image(ws: Tensor, transform: Tensor) -> Tensor:
        made: Tensor = generator.synthesis(ws, transform=transform, dtype=torch.float64)
        return made.mean(dim=(2, 3))

    assert torch.autograd.gradcheck(image, (ws, transform), fast_mode=True)
    assert torch.autograd.gradgradcheck(image, (ws, transform), fast_mode=True)
    image(ws, transform).square().sum().backward()
    moved = [
        name for name, value in generator.synthesis.named_parameters() if value.grad is None or not value.grad.any()
    ]
    assert moved == []


def test_images_of_a_batch_do_not_depend_on_one_another() -> None:
    generator = made(small())
    ws = torch.randn(3, generator.num_ws, 6) * torch.tensor([1.0, 5.0, 0.2])[:, None, None]
    with torch.no_grad():
        together = generator.synthesis(ws)
        assert torch.allclose(together, torch.cat([generator.synthesis(w[None]) for w in ws]), atol=1e-6)


def test_the_magnitude_follows_the_inputs_in_training_alone() -> None:
    generator = made(small(magnitude_ema_beta=0.5))
    ws = torch.randn(2, generator.num_ws, 6)
    layer = generator.synthesis.get_submodule("L1_22_6")
    before = float(layer.magnitude_ema)  # type: ignore[arg-type]
    generator.synthesis(ws)
    assert generator.synthesis.magnitudes() is None
    generator.train()
    seen: list[float] = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0].detach().square().mean())))
    generator.synthesis(ws)
    assert float(layer.magnitude_ema) == before, "of a part of the batch, as likely as not"  # type: ignore[arg-type]
    magnitudes = generator.synthesis.magnitudes()
    assert magnitudes is not None
    generator.synthesis.follow(magnitudes)
    assert float(layer.magnitude_ema) == pytest.approx(0.5 * before + 0.5 * seen[0])  # type: ignore[arg-type]


def test_turning_the_transform_by_a_quarter_turns_the_image_of_a_symmetric_network() -> None:
    """The centre of the rotation is the image's, to the pixel; R's layers commute with a quarter turn."""
    generator = made(small(**ROTATION)).double()
    ws = torch.randn(1, generator.num_ws, 6, dtype=torch.float64)
    generator.synthesis.input.affine.weight.data.zero_()  # type: ignore[union-attr,operator]
    generator.synthesis.input.affine.bias.data[2:] = 0  # type: ignore[union-attr,index]
    quarter = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    with torch.no_grad():
        plain = generator.synthesis(ws, dtype=torch.float64)
        turned = generator.synthesis(ws, dtype=torch.float64, transform=quarter)
    assert torch.allclose(turned, plain.rot90(1, (2, 3)), atol=1e-6) or torch.allclose(
        turned, plain.rot90(-1, (2, 3)), atol=1e-6
    )


def test_filters_are_those_of_scipy() -> None:
    config = StyleGAN3SynthesisConfig(img_resolution=256, **ROTATION)
    for layer in config.layers[:-1]:
        entering, leaving = layer.entering, layer.leaving
        taps = signal.firwin(layer.up_taps, entering.cutoff, width=2 * entering.half_width, fs=layer.rate)
        assert np.allclose(up_filter(layer), taps, atol=1e-12)
        if not layer.radial:
            continue
        x = (np.arange(layer.down_taps) - (layer.down_taps - 1) / 2) / layer.rate
        r = np.hypot(x, x[:, None])
        beta = signal.kaiser_beta(signal.kaiser_atten(layer.down_taps, 4 * leaving.half_width / layer.rate))
        disc = special.j1(2 * np.pi * leaving.cutoff * r) / r * np.outer(*[np.kaiser(layer.down_taps, beta)] * 2)
        assert np.allclose(down_filter(layer), disc / disc.sum(), atol=1e-12)


def test_the_published_configurations_have_their_sizes_and_channels() -> None:
    t = StyleGAN3SynthesisConfig()
    assert [layer.name for layer in t.layers] == [
        "L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512", "L5_148_512", "L6_148_512", "L7_276_323",
        "L8_276_203", "L9_532_128", "L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3",
    ]  # fmt: skip
    assert (t.num_ws, t.architecture) == (16, "stylegan3-t")
    r = StyleGAN3SynthesisConfig(img_resolution=512, channel_base=65536, channel_max=1024, **ROTATION)
    assert r.architecture == "stylegan3-r"
    assert [layer.kernel for layer in r.layers] == [1] * 15
    assert [layer.radial for layer in r.layers] == [True] * 12 + [False] * 3


def test_settings_survive_a_file() -> None:
    generator = made(small(channels=(5, 4, 3, 2), first_stopband=4.5, conv_clamp=None), c_dim=3)
    assert generator_from_dict(to_dict(generator.config)) == generator.config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"img_resolution": 48}, "not a power of two"),
        ({"num_critical": 4}, "num_critical is 4"),
        ({"first_cutoff": 5.0}, "not above first_cutoff"),
        (
            {"first_stopband": 1.5, "first_cutoff": 1.0, "img_resolution": 4096, "channels": (3,) * 4},
            "taps of a filter",
        ),
        ({"lrelu_upsampling": 3}, "lrelu_upsampling is 3"),
        ({"lrelu_upsampling": 1}, "lrelu_upsampling is too low"),
        ({"channels": (3, 3)}, "channels has 2 entries, not 4"),
        ({"output_scale": 0.0}, "output_scale"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        small(**changes)
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(small(), **changes)


def test_labels_and_a_mean_of_w() -> None:
    generator = made(small(), c_dim=3)
    z = torch.randn(2, 6)
    with torch.no_grad():
        images = [generator(z, torch.eye(3)[[i, i]]) for i in (0, 1)]
    assert not torch.allclose(images[0], images[1], atol=1e-3)
    with pytest.raises(ValueError, match="takes labels"):
        generator(z)
