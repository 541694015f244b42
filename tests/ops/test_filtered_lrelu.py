"""The filtered activation: what it is made of, its derivatives, and its native kernel against the portable one."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from generator.ops._library import portable
from generator.ops.filtered_lrelu import filtered_lrelu
from generator.ops.upfirdn2d import upfirdn2d
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from generator.stylegan3.filters import down_filter, up_filter
from tests.ops.native_case import DTYPES, Case, compare

pytestmark = pytest.mark.usefixtures("isa")

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "last"])
SETTINGS: dict[str, dict[str, Any]] = {
    "rate kept": {"up": 2, "down": 2, "padding": (9, 8, 9, 8)},
    "rate doubled": {"up": 4, "down": 2, "padding": (-6, -9, -6, -9)},
    "no clamp": {"up": 2, "down": 1, "padding": (3, 4, 2, 5), "clamp": None},
    "colours": {"slope": 1.0, "gain": 1.0},
}


def taps(size: int, radial: bool = False) -> Tensor:
    f = torch.rand([size, size] if radial else [size], generator=torch.Generator().manual_seed(size)) + 0.1
    return f / f.sum()


def filters(up: int = 1, down: int = 1, *, radial: bool = False, **_: Any) -> tuple[Tensor | None, Tensor | None]:
    return None if up == 1 else taps(6 * up), None if down == 1 else taps(6 * down, radial)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
@LAYOUTS
def test_it_is_what_its_name_says(name: str, radial: bool, layout: torch.memory_format) -> None:
    settings = {"clamp": 0.8, **SETTINGS[name]}
    x, b = torch.randn(2, 3, 16, 15).contiguous(memory_format=layout), torch.randn(3)
    f1, f2 = filters(**settings, radial=radial)
    up, padding, clamp = settings.get("up", 1), settings.get("padding", (0, 0, 0, 0)), settings["clamp"]
    u = upfirdn2d(x + b[:, None, None], f1, up=up, padding=padding, gain=up**2)
    v = functional.leaky_relu(u, settings.get("slope", 0.2)) * settings.get("gain", 2**0.5)
    expected = upfirdn2d(v if clamp is None else v.clamp(-clamp, clamp), f2, down=settings.get("down", 1))
    found = filtered_lrelu(x, f1, f2, b, **settings)
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
@LAYOUTS
def test_it_is_differentiable_twice(name: str, radial: bool, layout: torch.memory_format) -> None:
    settings = {"clamp": 0.8, **SETTINGS[name]}
    x = torch.randn(1, 2, 16, 15, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)
    f1, f2 = filters(**settings, radial=radial)

    def call(x: Tensor, b: Tensor) -> Tensor:
        return filtered_lrelu(x, f1, f2, b, **settings)

    assert gradcheck(call, (x, b), fast_mode=True)
    assert gradgradcheck(call, (x, b), fast_mode=True)


# opcheck itself reads .grad of a non-leaf tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("radial", [False, True])
def test_what_torch_checks_of_an_operator(radial: bool) -> None:
    f1, f2 = filters(2, 2, radial=radial)
    x = torch.randn(2, 3, 8, 9, requires_grad=True)
    rest = (2, 2, 9, 8, 9, 8, 0, 0, 0, 0, False, 4.0, 1.4, 0.2, 0.8)
    torch.library.opcheck(torch.ops.invert.filtered_lrelu.default, (x, None, f1, f2, torch.randn(3), *rest, True))
    mask = torch.randint(0, 3, [2, 3, 8 * 2 + 17 - 11, 9 * 2 + 17 - 11]).to(torch.uint8)
    torch.library.opcheck(torch.ops.invert.filtered_lrelu.default, (x, mask, f1, f2, None, *rest, False))


@every_dtype
@pytest.mark.parametrize("seed", range(16))
def test_the_kernel_is_the_portable_one(seed: int, dtype: torch.dtype) -> None:
    case = Case(seed, dtype)
    x = case.normal(*case.choose((2, 3, 5, 7), (1, 5, 16, 33), (1, 2, 1, 1), (1, 1, 40, 9), (0, 3, 4, 4), (2, 0, 3, 3)))
    b = case.perhaps(case.side(x.shape[1]).to(dtype))
    up, down = case.choose(1, 2, 2, 3, 4), case.choose(1, 2, 2, 3)
    f1, f2 = (taps(case.choose(1, 2, 5, 12), case.choose(True, False)) for _ in range(2))
    pads = [case.random.randrange(-2, 9) for _ in range(8)]
    for axis, first in ((3, 0), (2, 2)):
        middle = x.shape[axis] * up + pads[first] + pads[first + 1] - (f1.shape[-1] - 1)
        pads[first + 1] += max(1 - middle, 0)
        result = max(middle, 1) + pads[first + 4] + pads[first + 5] - f2.shape[-1]
        pads[first + 5] += max(-result, 0)
    flip, clamp = case.choose(True, False), case.choose(-1.0, 0.7)
    rest = (up, down, *pads, flip, 2.5, 1.25, 0.2, clamp)
    compare("filtered_lrelu", x, None, f1, f2, b, *rest, True, tolerance=4)
    _, mask = portable("filtered_lrelu")(x.double(), None, f1, f2, None, *rest, True)
    compare("filtered_lrelu", x, mask, f1, f2, None, *rest, False, tolerance=4)


@pytest.mark.parametrize("radial", [False, True])
def test_the_filters_of_the_networks(radial: bool) -> None:
    kind: dict[str, Any] = {"conv_kernel": 1, "use_radial_filters": True} if radial else {}
    config = StyleGAN3SynthesisConfig(img_resolution=32, channel_base=64, channel_max=4, **kind)
    for layer in (config.layers[0], config.layers[5], config.layers[13]):
        size = layer.entering.size + layer.kernel - 1
        x = Case(0, torch.float32).normal(1, 2, size, size)
        f1, f2 = up_filter(layer), down_filter(layer)
        assert f1 is not None
        assert f2 is not None
        both = torch.from_numpy(f1).float(), torch.from_numpy(f2).float()
        rest = (layer.up, layer.down, *layer.padding, 0, 0, 0, 0, False, layer.up**2, 1.4, 0.2, 256.0, True)
        compare("filtered_lrelu", x, None, *both, torch.randn(2), *rest, tolerance=4)
        assert torch.ops.invert.filtered_lrelu(x, None, *both, None, *rest)[0].shape[2] == layer.leaving.size


@pytest.mark.parametrize("radial", [False, True])
def test_neighbours_and_threads_do_not_matter(radial: bool) -> None:
    f1, f2 = filters(2, 2, radial=radial)
    x = torch.randn(5, 7, 20, 21)

    def run(x: Tensor) -> list[Tensor]:
        x = x.detach().requires_grad_()
        y = filtered_lrelu(x, f1, f2, torch.arange(7.0), up=2, down=2, padding=(9, 8, 9, 8), clamp=2.0)
        return [y.detach(), *torch.autograd.grad(y, x, y)]

    together, threads = run(x), torch.get_num_threads()
    for other in (1, 2, 3):
        torch.set_num_threads(other)
        alone = [torch.cat(parts) for parts in zip(*(run(one[None]) for one in x), strict=True)]
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        ((torch.ones(2, 3, 4),), {}, "four dimensions"),
        ((torch.ones(1, 3, 4, 4), None, None, torch.ones(2)), {}, "bias of shape"),
        ((torch.ones(1, 3, 4, 4), taps(12)), {}, "smaller than its filters"),
        ((torch.ones(1, 3, 4, 4),), {"up": 0}, "out of range"),
        ((torch.ones(1, 3, 4, 4),), {"gain": 0.0}, "out of range"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        filtered_lrelu(*arguments, **settings)
