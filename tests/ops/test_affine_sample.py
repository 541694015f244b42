"""Sampling on an affine grid: against torch's own where that has a derivative, and differentiable twice."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from generator.ops import affine_sample

SIZE = (5, 7)


def matrices(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([[[0.8, -0.3, 0.4], [0.2, 1.1, -0.7]], [[-1.3, 0.1, 0.0], [0.4, 0.6, 2.2]]], dtype=dtype)


def test_equals_grid_sample_with_other_coordinates() -> None:
    x = torch.randn([2, 3, 6, 8], dtype=torch.float64)
    # theirs are fractions of half the side, of the result and of the source
    target, source = torch.tensor([3.5, 2.5, 1.0]), torch.tensor([4.0, 3.0])
    theta = matrices() * target / source[:, None]
    grid = functional.affine_grid(theta, [2, 3, *SIZE], align_corners=False)
    expected = functional.grid_sample(x, grid, align_corners=False)
    torch.testing.assert_close(affine_sample(x, matrices(), SIZE), expected)


def test_identity_and_whole_pixels() -> None:
    x = torch.randn([1, 2, 6, 6])
    identity = torch.eye(2, 3)[None]
    torch.testing.assert_close(affine_sample(x, identity, (6, 6)), x)
    torch.testing.assert_close(affine_sample(x, identity, (4, 2)), x[:, :, 1:5, 2:4])
    # a pixel of the result is taken from one to the right and two below; beyond the edges there is 0
    moved = affine_sample(x, torch.tensor([[[1.0, 0, 1], [0, 1, 2]]]), (6, 6))
    torch.testing.assert_close(moved[:, :, :4, :5], x[:, :, 2:, 1:])
    assert float(moved[:, :, 4:].abs().max()) < 1e-5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_differentiable_twice(layout: torch.memory_format) -> None:
    x = torch.randn([2, 2, 4, 5], dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()

    def curved(x: Tensor) -> Tensor:
        return affine_sample(x, matrices(), SIZE).square()

    assert affine_sample(x, matrices(), SIZE).is_contiguous(memory_format=layout)
    assert gradcheck(curved, (x,))
    assert gradgradcheck(curved, (x,))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("transposed", [False, True])
def test_opcheck(transposed: bool) -> None:
    x = torch.randn([2, 3, 6, 6], requires_grad=True)
    torch.library.opcheck(torch.ops.invert.affine_sample.default, (x, matrices(torch.float32), 4, 5, transposed))


@pytest.mark.parametrize(
    ("matrix", "size", "message"),
    [
        (torch.zeros(2, 3, 3), SIZE, "are not"),
        (torch.zeros(1, 2, 3), SIZE, "are not"),
        (torch.zeros(2, 2, 3), (0, 4), "has none"),
        (torch.zeros(2, 2, 3, requires_grad=True), SIZE, "no derivative in the matrix"),
    ],
    ids=str,
)
def test_refuses_what_has_no_result(matrix: Tensor, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        affine_sample(torch.zeros(2, 3, 4, 4), matrix, size)
