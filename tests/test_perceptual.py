import socket
import warnings
from pathlib import Path

import lpips
import pytest
import torch

from invert.projection.perceptual import NETS, Perceptual
from tests.golden_data import Arrays

GOLDEN = Arrays("lpips")


@pytest.fixture(scope="module", params=NETS)
def perceptual(request: pytest.FixtureRequest) -> Perceptual:
    return Perceptual(request.param)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_golden(perceptual: Perceptual, size: int) -> None:
    x, y = GOLDEN[f"x{size}"].requires_grad_(), GOLDEN[f"y{size}"]
    distances, shares = perceptual.distance(x, perceptual.prepare(y))
    (gradient,) = torch.autograd.grad(distances.sum(), x)
    torch.testing.assert_close(distances.detach(), GOLDEN[f"{perceptual.net}{size}"], atol=1e-5, rtol=0)
    norms = gradient.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, GOLDEN[f"{perceptual.net}{size}_grad_norm"], atol=1e-5, rtol=0)
    torch.testing.assert_close(shares.sum(dim=1), distances)
    assert shares.shape == (3, 5)


def test_equals_the_package_given_the_same_weights(perceptual: Perceptual) -> None:
    torch.manual_seed(0)
    x, y = torch.rand([2, 2, 3, 48, 40]) * 2 - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package uses torchvision's old spelling of "no weights"
        model = lpips.LPIPS(pretrained=False, net=perceptual.net, pnet_rand=True, verbose=False)
    own = perceptual.model
    model.net.load_state_dict(own.net.state_dict())
    for theirs, head in zip(model.lins, own.lins, strict=True):
        theirs.model[-1].load_state_dict(head.state_dict())
    with torch.no_grad():
        expected = model(x, y).flatten()
    torch.testing.assert_close(perceptual.distance(x, perceptual.prepare(y))[0], expected, atol=1e-6, rtol=1e-5)


def test_weights_are_the_published_ones(perceptual: Perceptual) -> None:
    """Random heads or a random backbone give other orders of magnitude, silently."""
    heads = [layer.weight for layer in perceptual.model.lins]
    assert all(float(head.min()) >= 0 for head in heads), "LPIPS heads are trained to be non-negative"
    identical = GOLDEN["x64"][:1]
    assert float(perceptual.distance(identical, perceptual.prepare(identical))[0]) < 1e-9


def test_black_images_have_a_finite_gradient(perceptual: Perceptual) -> None:
    with torch.no_grad():
        bias = perceptual.model.net.slice1[0].bias.clone()
        perceptual.model.net.slice1[0].bias.fill_(-1e3)  # every feature of the first layer is zero
    try:
        perceptual.to("cpu")  # drops what was laid out from the old weights
        x = torch.zeros([1, 3, 32, 32], requires_grad=True)
        distances, _ = perceptual.distance(x, perceptual.prepare(torch.ones([1, 3, 32, 32])))
        (gradient,) = torch.autograd.grad(distances.sum(), x)
        assert bool(gradient.isfinite().all())
    finally:
        with torch.no_grad():
            perceptual.model.net.slice1[0].bias.copy_(bias)
        perceptual.to("cpu")


def test_grey_is_repeated_and_alpha_left_out(perceptual: Perceptual) -> None:
    torch.manual_seed(0)
    grey, other = torch.rand([2, 1, 1, 32, 32]) * 2 - 1
    expected = perceptual.distance(grey.expand(-1, 3, -1, -1), perceptual.prepare(other.expand(-1, 3, -1, -1)))[0]
    torch.testing.assert_close(perceptual.distance(grey, perceptual.prepare(other))[0], expected)
    four = torch.cat([grey.expand(-1, 3, -1, -1), torch.rand([1, 1, 32, 32])], dim=1)
    torch.testing.assert_close(perceptual.distance(four, perceptual.prepare(other))[0], expected)


def test_large_images_are_averaged_down_to_256(perceptual: Perceptual) -> None:
    torch.manual_seed(0)
    x, y = torch.rand([2, 1, 3, 512, 512]) * 2 - 1
    halves = [torch.nn.functional.avg_pool2d(image, 2) for image in (x, y)]
    expected = perceptual.distance(halves[0], perceptual.prepare(halves[1]))[0]
    torch.testing.assert_close(perceptual.distance(x, perceptual.prepare(y))[0], expected)


def test_builds_without_network_access_or_noise(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for net in NETS:
        Perceptual(net)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_unknown_backbone() -> None:
    with pytest.raises(ValueError, match="vgg, alex"):
        Perceptual("squeeze")
