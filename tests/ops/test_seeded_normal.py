"""Random numbers of many seeds are those of numpy's RandomState, to the bit."""

import numpy as np
import pytest
import torch

from generator.ops._library import portable
from generator.ops.seeded_normal import seeded_normal

COUNTS = (0, 1, 2, 3, 127, 511, 512, 1025)
SEEDS = torch.cat(
    [
        torch.tensor([2**32 - 1, 0, 1, 2**31]),
        torch.arange(1000),
        torch.randint(2**32, [1000], generator=torch.Generator().manual_seed(0)),
    ]
)


def by_numpy(count: int) -> np.ndarray:
    return np.stack([np.random.RandomState(seed).randn(count) for seed in SEEDS.tolist()])


def test_numbers_of_many_seeds_are_those_of_numpy(isa: str) -> None:
    for count in COUNTS:
        expected = by_numpy(count)
        assert np.array_equal(seeded_normal(SEEDS, count, torch.float64).numpy(), expected)
        assert np.array_equal(seeded_normal(SEEDS, count).numpy(), expected.astype(np.float32))


def test_threads_and_neighbours_do_not_matter(isa: str, threads: None) -> None:
    expected = seeded_normal(SEEDS, 100)
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        assert torch.equal(seeded_normal(SEEDS, 100), expected)
    for seed in (0, 5, 17):
        assert torch.equal(seeded_normal(SEEDS[seed : seed + 1], 100)[0], expected[seed])


def test_the_portable_kernel_gives_the_same() -> None:
    for count in (5, 512):
        expected = by_numpy(count)
        assert np.array_equal(portable("seeded_normal")(SEEDS, count, True).numpy(), expected)
        assert np.array_equal(portable("seeded_normal")(SEEDS, count, False).numpy(), expected.astype(np.float32))


def test_what_is_no_seed_is_refused() -> None:
    for seeds in (torch.tensor([-1]), torch.tensor([2**32]), torch.tensor([1.0]), torch.tensor(3)):
        with pytest.raises(ValueError, match="seed"):
            seeded_normal(seeds, 4)
    assert seeded_normal(torch.tensor([], dtype=torch.int64), 4).shape == (0, 4)
