"""Derivatives in forward mode are those of the networks."""

from typing import Any

import pytest
import torch

from generator.config import GeneratorConfig, MappingConfig
from generator.layers import freeze
from generator.networks import Generator
from generator.ops.dual import Dual
from generator.stylegan2.config import SynthesisConfig
from tests.networks import test_stylegan3
from tests.networks.stylegan_case import made, small


def stylegan2(**changes: Any) -> Generator:
    torch.manual_seed(0)
    settings = {"w_dim": 6, "img_resolution": 16, "channel_base": 64, "channel_max": 6, **changes}
    generator = Generator(GeneratorConfig(MappingConfig(6, 0, 6, 2), SynthesisConfig(**settings)))
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise_strength", "bias")) and "affine" not in name:
            parameter.data.normal_().mul_(0.5)
    return generator


NETWORKS = {
    "skip": lambda: stylegan2(),
    "resnet": lambda: stylegan2(architecture="resnet", img_channels=1),
    "orig": lambda: stylegan2(architecture="orig", growing=True, alpha=0.3, img_channels=4),
    "clamped": lambda: stylegan2(conv_clamp=0.7),
    "swish": lambda: stylegan2(activation="swish", demodulate=False),
    "noiseless": lambda: stylegan2(use_noise=False),
    "stylegan": lambda: made(small()),
    "stylegan, fading in": lambda: made(small(alpha=0.4, img_channels=1)),
    "traditional": lambda: made(small(input="latent", use_styles=False, normalisation="pixel")),
    "stylegan3-t": lambda: test_stylegan3.made(test_stylegan3.small(conv_clamp=1.2)),
    "stylegan3-r": lambda: test_stylegan3.made(test_stylegan3.small(**test_stylegan3.ROTATION)),
}


# Of values up to 5. StyleGAN's normalisation of a map that is nearly constant makes 7e-5 of float32's rounding, as
# measured against float64, and the two ways round apart.
_ROUNDING = 2e-4


@pytest.fixture(params=NETWORKS, scope="module")
def network(request: pytest.FixtureRequest) -> Generator:
    generator = NETWORKS[request.param]()
    freeze(generator)
    return generator


def test_tangents_of_styles_and_noise_are_the_gradients_of_reverse_mode(network: Generator) -> None:
    synthesis, images, tangents = network.synthesis, 2, 3
    ws = torch.randn(images, synthesis.num_ws, 6, requires_grad=True)
    d_ws = torch.randn(images * tangents, synthesis.num_ws, 6)
    maps = {name: torch.randn(images, 1, r, r, requires_grad=True) for name, r in synthesis.noise_sizes.items()}
    d_maps = {name: torch.randn(images * tangents, 1, r, r) for name, r in synthesis.noise_sizes.items()}
    expected = synthesis(ws, maps)
    weights = torch.randn_like(expected)
    inputs = [ws, *maps.values()]
    gradients = torch.autograd.grad((expected * weights).sum(), inputs, allow_unused=True)
    pairs = [(g, d) for g, d in zip(gradients, [d_ws, *d_maps.values()], strict=True) if g is not None]
    by_reverse = sum((g[:, None] * d.unflatten(0, (images, tangents))).flatten(2).sum(2) for g, d in pairs)
    with torch.no_grad():
        found = synthesis.carry(Dual(ws, d_ws), {name: Dual(maps[name], d_maps[name]) for name in maps})
        assert found.tangents is not None
        by_forward = (found.by_image(found.tangents) * weights[:, None]).flatten(2).sum(2)
    assert torch.allclose(found.value, expected, atol=_ROUNDING)
    assert torch.allclose(by_forward, by_reverse, rtol=1e-3, atol=1e-3)  # type: ignore[arg-type]


def test_tangents_are_differences_of_images() -> None:
    generator = stylegan2().double()
    freeze(generator)
    synthesis, step = generator.synthesis, 1e-4
    ws, d_ws = torch.randn(2, 1, synthesis.num_ws, 6, dtype=torch.float64)
    maps = synthesis.noise_maps("const", 1)
    sides = [synthesis(ws + sign * step * d_ws, "const", dtype=torch.float64).double() for sign in (1, -1)]
    with torch.no_grad():
        found = synthesis.carry(Dual(ws, d_ws), {name: None if m is None else Dual(m) for name, m in maps.items()})
    assert found.tangents is not None
    # the image is float32: differences of such a step have four digits
    assert torch.allclose(found.tangents.double(), (sides[0] - sides[1]) / (2 * step), atol=5e-3)


def test_a_network_without_tangents_gives_its_image_alone(network: Generator) -> None:
    ws = torch.randn(1, network.synthesis.num_ws, 6)
    maps = network.synthesis.noise_maps("const", 1)
    with torch.no_grad():
        found = network.synthesis.carry(Dual(ws), {name: None if m is None else Dual(m) for name, m in maps.items()})
        assert torch.allclose(found.value, network.synthesis(ws), atol=_ROUNDING)
    assert found.tangents is None or not found.tangents.any()
