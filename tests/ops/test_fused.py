"""The fused operators against the plain operations they stand for; on whichever kernels are loaded."""

import pytest
import torch
from torch import Tensor

from generator.ops._library import portable
from generator.ops.bias_act import bias_act
from generator.ops.conv_tail import conv_tail
from generator.ops.lpips_tail import lpips_tail, normalise_features
from generator.ops.modulate import modulate


def leaf(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu", "tanh"])
@pytest.mark.parametrize("clamp", [None, 0.8])
def test_conv_tail_is_scale_noise_bias_activation(act: str, clamp: float | None) -> None:
    x, scale, noise = leaf(2, 5, 4, 3), leaf(2, 5), leaf(2, 1, 4, 3)
    strength, b = torch.tensor(0.4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    y = conv_tail(x, scale, noise, strength, b, act=act, gain=1.3, clamp=clamp)
    plain = bias_act(x * scale[:, :, None, None] + noise * strength, b, act=act, gain=1.3, clamp=clamp)
    torch.testing.assert_close(y, plain)
    dy = torch.randn_like(y)
    for actual, expected in zip(
        torch.autograd.grad(y, [x, scale, noise], dy), torch.autograd.grad(plain, [x, scale, noise], dy), strict=True
    ):
        torch.testing.assert_close(actual, expected)


def test_conv_tail_of_x_alone_is_the_activation() -> None:
    x = leaf(2, 5, 4, 3)
    torch.testing.assert_close(conv_tail(x, act="lrelu"), bias_act(x, act="lrelu"))


def test_noise_shared_by_the_batch_collects_every_image_s_gradient() -> None:
    x, noise = leaf(3, 2, 4, 4), leaf(1, 1, 4, 4)
    (shared,) = torch.autograd.grad(conv_tail(x, None, noise, act="lrelu").sum(), noise)
    own = noise.detach().expand(3, 1, 4, 4).clone().requires_grad_()
    (each,) = torch.autograd.grad(conv_tail(x, None, own, act="lrelu").sum(), own)
    torch.testing.assert_close(shared, each.sum(0, keepdim=True))


def test_conv_tail_refuses_what_it_has_no_gradient_for() -> None:
    x = leaf(1, 2, 3, 3)
    with pytest.raises(RuntimeError, match=r"no gradient for strength and bias.*bias_act"):
        conv_tail(x, b=torch.zeros(2, requires_grad=True))
    with torch.no_grad():  # where nothing is differentiated a parameter is as good as a tensor
        conv_tail(x, b=torch.zeros(2, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("scale", {"scale": torch.ones(2)}),
        ("noise", {"noise": torch.ones(2, 1, 3, 3)}),
        ("bias", {"b": torch.ones(3)}),
        ("strength", {"noise": torch.ones(1, 1, 3, 3), "strength": torch.ones(2)}),
    ],
)
def test_conv_tail_names_the_tensor_that_does_not_fit(name: str, sides: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=name):
        conv_tail(torch.ones(1, 2, 3, 3), **sides)


def test_second_derivative_of_a_first_order_operator_names_the_plain_way() -> None:
    x, scale = leaf(1, 2, 3, 3), leaf(1, 2)
    (dx,) = torch.autograd.grad(conv_tail(x, scale, act="lrelu").square().sum(), x, create_graph=True)
    with pytest.raises(
        RuntimeError, match=r"conv_tail has a first derivative only .* use modulated_conv2d and bias_act"
    ):
        dx.sum().backward()
    (dx,) = torch.autograd.grad(lpips_tail(x, x.detach(), torch.ones(2)).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="lpips_tail has a first derivative only"):
        dx.sum().backward()


def test_modulate_scales_and_keeps_the_layout() -> None:
    x, styles = torch.randn(2, 5, 4, 3).contiguous(memory_format=torch.channels_last), torch.randn(2, 5)
    y = modulate(x, styles)
    torch.testing.assert_close(y, x * styles[:, :, None, None])
    assert y.stride() == x.stride()
    with pytest.raises(ValueError, match="styles"):
        modulate(x, styles[:, :4])


def test_modulate_keeps_float32_styles_beside_bfloat16() -> None:
    x, styles = torch.randn(1, 3, 2, 2).bfloat16(), torch.tensor([[1.001, 1.002, 1.003]])
    y = modulate(x, styles)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, (x.float() * styles[:, :, None, None]).bfloat16())


def _plain_lpips(features: Tensor, target: Tensor, lin: Tensor) -> Tensor:
    unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
    return ((unit - target).square() * lin[:, None, None]).sum(1).mean([1, 2])


@pytest.mark.parametrize("shared", [False, True])
def test_lpips_tail_is_the_distance_of_normalised_features(shared: bool) -> None:
    features, lin = leaf(2, 6, 5, 4), torch.rand(6, dtype=torch.float64)
    target = normalise_features(torch.randn(1 if shared else 2, 6, 5, 4, dtype=torch.float64))
    actual, expected = lpips_tail(features, target, lin), _plain_lpips(features, target, lin)
    torch.testing.assert_close(actual, expected)
    weights = torch.tensor([0.3, 2.0], dtype=torch.float64)
    for a, e in zip(
        torch.autograd.grad(actual, features, weights), torch.autograd.grad(expected, features, weights), strict=True
    ):
        torch.testing.assert_close(a, e)


def test_lpips_tail_of_the_same_features_is_zero_and_so_is_its_gradient() -> None:
    features = torch.randn(1, 8, 6, 6).relu()
    features[:, :, 0, 0] = 0  # after a rectifier a whole vector may be zero
    features.requires_grad_()
    y = lpips_tail(features, normalise_features(features.detach()), torch.rand(8))
    y.sum().backward()
    assert features.grad is not None
    assert y.item() == pytest.approx(0, abs=1e-12)
    assert features.grad.abs().max() < 1e-6


def test_lpips_tail_refuses_what_does_not_fit() -> None:
    features, lin = torch.randn(2, 3, 4, 4), torch.ones(3)
    with pytest.raises(ValueError, match="target"):
        lpips_tail(features, features[:, :2], lin)
    with pytest.raises(ValueError, match="channel weights"):
        lpips_tail(features, features, lin[:2])
    with pytest.raises(RuntimeError, match="no gradient for target and lin"):
        lpips_tail(features, features, lin.clone().requires_grad_())


def test_portable_kernels_can_be_called_whatever_is_loaded() -> None:
    x = torch.randn(1, 2, 3, 3)
    y = portable("bias_act")(x, None, 1, 2, 0.2, 1.0, -1.0)
    torch.testing.assert_close(y, torch.nn.functional.leaky_relu(x, 0.2))
