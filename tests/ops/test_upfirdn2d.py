import numpy as np
import pytest
import scipy.signal
import torch

from generator.ops.upfirdn2d import setup_filter, upfirdn2d
from tests.golden_data import Arrays

GOLDEN = Arrays("upfirdn2d")
CASES = GOLDEN.json("cases")


@pytest.mark.parametrize("i", range(len(CASES)))
def test_golden(i: int) -> None:
    case = CASES[i]
    x = GOLDEN[f"{i}.x"].requires_grad_()
    y = upfirdn2d(
        x,
        GOLDEN.optional(f"{i}.f"),
        up=case["up"],
        down=case["down"],
        padding=case["padding"],
        flip_filter=case["flip_filter"],
        gain=case["gain"],
    )
    (dx,) = torch.autograd.grad(y, x, GOLDEN[f"{i}.dy"])
    torch.testing.assert_close(y, GOLDEN[f"{i}.y"], atol=1e-6, rtol=0)
    torch.testing.assert_close(dx, GOLDEN[f"{i}.dx"], atol=1e-6, rtol=0)


def test_plain_filtering_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    x, f = rng.standard_normal([9, 7]), rng.standard_normal([3, 4]).astype(np.float32)
    y = upfirdn2d(torch.from_numpy(x)[None, None], torch.from_numpy(f), padding=[3, 3, 2, 2])
    np.testing.assert_allclose(y[0, 0].numpy(), scipy.signal.convolve2d(x, f), atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("up", "down", "padding"), [(1, 1, 0), (2, 1, 1), (1, 2, [2, 1, -1, 0]), (3, 2, 4)])
def test_gradients(layout: torch.memory_format, up: int, down: int, padding: int | list[int]) -> None:
    x = torch.randn([2, 2, 5, 6], dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    for taps in ([1, 3, 3, 1], torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])):

        def op(x: torch.Tensor, taps: torch.Tensor = taps) -> torch.Tensor:
            return upfirdn2d(x, setup_filter(taps), up=up, down=down, padding=padding, gain=1.7)

        assert torch.autograd.gradcheck(op, x)
        assert torch.autograd.gradgradcheck(op, x)


# opcheck itself reads .grad of a non-leaf tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_opcheck() -> None:
    x = torch.randn([1, 2, 6, 5], requires_grad=True)
    arguments = (x, setup_filter([1, 3, 3, 1]), 2, 2, 1, 1, 2, 1, 2, 1, False, 4.0)
    torch.library.opcheck(torch.ops.invert.upfirdn2d.default, arguments)


def test_separable_filter_equals_its_outer_product() -> None:
    x = torch.randn([2, 3, 8, 9], dtype=torch.float64)
    for settings in ({"up": 2, "padding": 3, "gain": 4.0}, {"down": 2, "padding": 1, "flip_filter": True}):
        one = upfirdn2d(x, setup_filter([1, 2, 3, 1], separable=True), **settings)
        two = upfirdn2d(x, setup_filter([1, 2, 3, 1], separable=False), **settings)
        torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-6)


def test_keeps_the_layout() -> None:
    x = torch.randn([2, 3, 8, 8]).contiguous(memory_format=torch.channels_last)
    y = upfirdn2d(x, setup_filter([1, 3, 3, 1]), up=2, padding=[2, 1, 2, 1])
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_long_filters_are_kept_separable() -> None:
    assert setup_filter([1, 3, 3, 1]).shape == (4, 4)
    assert setup_filter([1.0] * 8).shape == (8,)
    assert float(setup_filter([1, 3, 3, 1]).sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "settings"),
    [
        (torch.zeros([1, 1, 2, 2]), {"padding": -1}),
        (torch.zeros([1, 1, 4, 4]), {"up": 0}),
        (torch.zeros([4, 4]), {}),
    ],
)
def test_refuses_what_has_no_result(x: torch.Tensor, settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"smaller than its filter|at least one|four dimensions"):
        upfirdn2d(x, setup_filter([1, 3, 3, 1]), **settings)
