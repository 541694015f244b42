import numpy as np
import torch

from invert.images.arrays import to_uint8


def test_every_level_comes_back_and_the_ends_are_clamped() -> None:
    levels = torch.arange(256, dtype=torch.float32) / 127.5 - 1
    assert np.array_equal(to_uint8(levels.reshape(1, 1, 16, 16)).ravel(), np.arange(256))
    ends = torch.tensor([-3.0, 3.0, torch.inf, torch.nan]).reshape(1, 1, 2, 2)
    assert to_uint8(ends).ravel().tolist() == [0, 255, 255, 128]
