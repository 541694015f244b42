"""Random numbers by image, the order of the training images, and how a batch is cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from generator.config import GeneratorConfig, MappingConfig
from generator.errors import ConfigError
from generator.layers import minibatch_standard_deviation
from generator.stylegan2.config import DiscriminatorConfig, SynthesisConfig
from generator.stylegan2.discriminator import Discriminator
from generator.training.draws import Draws, RandomSource
from generator.training.images import image_order, stream_seed
from generator.training.processes import micro_batches

SIZES = {"b4.conv1": 4, "b8.conv0": 8, "b8.conv1": 8}


def source(
    seed: int = 0, side: int = 8, mixing: float = 0.9, classes: Sequence[int] | None = None, **changes: Any
) -> RandomSource:
    mapping = MappingConfig(6, 0 if classes is None else 4, 5, 1)
    config = GeneratorConfig(mapping, SynthesisConfig(5, side, channel_base=32, channel_max=4, **changes))
    labels = None if classes is None else np.array(classes, np.int64)
    return RandomSource(seed, config, SIZES, style_mixing=mixing, classes=labels, device=torch.device("cpu"))


def tensors(draws: Draws) -> dict[str, Tensor]:
    found = {"z": draws.z, "crossover": draws.crossover, **draws.noise}
    return found | {name: value for name in ("labels", "y") if (value := getattr(draws, name)) is not None}


def test_shapes_and_spread() -> None:
    draws = source(classes=[0, 3]).draw("G", 0, range(200), path_length=True)
    shapes = {name: tuple(value.shape) for name, value in tensors(draws).items()}
    noise = {name: (200, 1, r, r) for name, r in SIZES.items()}
    assert shapes == {"z": (200, 2, 6), "crossover": (200,), "labels": (200, 4), "y": (200, 3, 8, 8), **noise}
    assert draws.y is not None
    for normal in (draws.z, draws.y, *draws.noise.values()):
        # all deviations from N(0, 1) within four standard errors
        count = normal.numel()
        assert abs(float(normal.mean())) < 4 / count**0.5
        assert abs(float(normal.var()) - 1) < 4 * (2 / count) ** 0.5
        assert abs(float((normal.abs() > 1.959964).float().mean()) - 0.05) < 4 * (0.0475 / count) ** 0.5
    everything = torch.cat(
        [value.flatten(1) for name, value in tensors(draws).items() if name in ("z", "y", *SIZES)], 1
    )
    correlation = torch.corrcoef(everything.t()) - torch.eye(everything.shape[1])
    assert float(correlation.abs().max()) < 0.45, "no number is another one again"
    assert source().draw("G", 0, [0]).y is None
    assert source().draw("G", 0, [0]).labels is None


@pytest.mark.parametrize("cuts", [[range(4), range(4, 8)], [[7], [0, 5], [1, 2, 3, 4, 6]], [[i] for i in range(8)]])
def test_a_images_numbers_do_not_depend_on_the_others(cuts: list[Sequence[int]]) -> None:
    whole = tensors(source(classes=[0, 1, 2]).draw("G", 5, range(8), path_length=True))
    other = source(classes=[0, 1, 2])
    for part in reversed(cuts):
        drawn = tensors(other.draw("G", 5, part, path_length=True))
        assert all(torch.equal(value, whole[name][list(part)]) for name, value in drawn.items())


def test_everything_differs_between_phases_steps_images_and_seeds() -> None:
    keys: list[tuple[int, str, int, int]] = [
        (0, "G", 0, 0),
        (0, "D", 0, 0),
        (0, "path length", 0, 0),
        (0, "G", 1, 0),
        (0, "G", 0, 1),
        (1, "G", 0, 0),
        (0, "G", 11, 0),
        (0, "G", 1, 10),
        (0, "G", 110, 0),
    ]
    drawn = [tensors(source(seed).draw(phase, step, [index])) for seed, phase, step, index in keys]
    for name in ("z", *SIZES):
        first = [float(one[name].flatten()[0]) for one in drawn]
        assert len(set(first)) == len(keys)


def test_streams_are_told_apart_by_the_whole_key() -> None:
    seeds = {stream_seed(*key) for key in [("a", 1, 1), ("a", 11), ("a1", 1), (1, "a", 1), ("a", 1)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 1 << 63 for seed in seeds)


@pytest.mark.parametrize("mixing", [0.0, 0.5, 0.9, 1.0])
def test_crossovers(mixing: float) -> None:
    """With the probability of style mixing one of 1 .. num_ws - 1, each as likely; num_ws stands for none."""
    num_ws, count = 8, 3000  # 32 px
    found = torch.bincount(source(side=32, mixing=mixing).draw("G", 0, range(count)).crossover, minlength=num_ws + 1)
    assert len(found) == num_ws + 1
    assert found[0] == 0
    expected = torch.full([num_ws - 1], count * mixing / (num_ws - 1))
    error = 4.5 * expected.clamp(min=1e-9).sqrt()
    assert bool(((found[1:num_ws] - expected).abs() <= error).all())
    assert abs(float(found[num_ws]) - count * (1 - mixing)) <= 4.5 * (count * mixing * (1 - mixing)) ** 0.5


def test_crossovers_of_a_network_that_grows_lie_among_the_styles_in_use() -> None:
    num_ws, count = 8, 3000  # 32 px; at 8 px the first four have a part in the image
    grows: dict[str, Any] = {"architecture": "orig", "growing": True}
    drawn = source(side=32, mixing=1.0, **grows).draw("G", 0, range(count), resolution=8).crossover
    found = torch.bincount(drawn, minlength=num_ws + 1)
    assert found[[0, *range(4, num_ws + 1)]].tolist() == [0] * 6
    assert bool(((found[1:4] - count / 3).abs() <= 4.5 * (count / 3) ** 0.5).all())
    assert source(side=32, mixing=1.0, **grows).draw("G", 0, range(9), resolution=4).crossover.tolist() == [1] * 9


def test_labels_follow_the_data() -> None:
    classes = [2] * 70 + [0] * 20 + [3] * 10  # none of class 1
    labels = source(classes=classes).draw("G", 0, range(2000)).labels
    assert labels is not None
    assert torch.equal(labels.sum(dim=1), torch.ones(2000))
    shares = labels.mean(dim=0).tolist()
    assert shares[1] == 0
    assert shares == pytest.approx([0.2, 0, 0.7, 0.1], abs=0.045)


def test_each_pass_has_an_order_of_its_own() -> None:
    size = 23
    seen = image_order(size, 7, 0, 4 * size)
    epochs = [seen[i : i + size] for i in range(0, len(seen), size)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert all(epoch != sorted(epoch) for epoch in epochs)
    assert image_order(size, 8, 0, size) != epochs[0]


@pytest.mark.parametrize("batch", [1, 5, 23, 64])
def test_order_does_not_depend_on_where_one_begins(batch: int) -> None:
    whole = image_order(23, 0, 0, 320)
    for first in range(0, 256, batch):
        assert image_order(23, 0, first, batch) == whole[first : first + batch]


CUTS = [(8, 4, 4), (8, 4, 8), (16, 4, 4), (16, 4, 8), (16, 2, 2), (16, 2, 8), (12, 3, 6), (12, 4, 4), (4, 8, 4)]


@pytest.mark.parametrize(("batch", "group", "size"), CUTS)
def test_parts_hold_whole_groups(batch: int, group: int, size: int) -> None:
    parts = micro_batches(batch, group, size)
    assert [len(part) for part in parts] == [size] * (batch // size)
    assert sorted(index for part in parts for index in part) == list(range(batch))
    real = min(group, batch)
    of = {index: index % (batch // real) for index in range(batch)}  # images i, i + n/group ... are a group
    homes = [{number for number, part in enumerate(parts) for i in part if of[i] == g} for g in range(batch // real)]
    assert all(len(home) == 1 for home in homes), "a group lies in one part"


@pytest.mark.parametrize(("batch", "group", "size"), CUTS)
@pytest.mark.parametrize("maps", [1, 3])
def test_deviation_of_the_parts_is_that_of_the_whole(batch: int, group: int, size: int, maps: int) -> None:
    x = torch.randn([batch, 6, 4, 4], generator=torch.Generator().manual_seed(0))
    whole = minibatch_standard_deviation(x, group, maps)
    for part in micro_batches(batch, group, size):
        torch.testing.assert_close(minibatch_standard_deviation(x[part], group, maps), whole[part])


@pytest.mark.parametrize("maps", [1, 0])
def test_scores_of_the_parts_are_those_of_the_whole(maps: int) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(3, 8, 3, 32, 4, mapping_layers=1, mbstd_group_size=4, mbstd_channels=maps)
    discriminator = Discriminator(config)
    images, labels = torch.randn([16, 3, 8, 8]), torch.eye(3)[torch.arange(16) % 3]
    with torch.no_grad():
        whole = discriminator(images, labels)
        for size in (2, 4, 8, 16) if not maps else (4, 8, 16):
            for part in micro_batches(16, 4 if maps else None, size):
                torch.testing.assert_close(discriminator(images[part], labels[part]), whole[part])
        straddling = discriminator(images[:4], labels[:4])
    assert torch.allclose(straddling, whole[:4], rtol=1e-3) is not bool(maps), "other groups give other scores"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((16, 4, 6), "a batch of 16 cannot be cut into parts of 6"),
        ((16, 4, 2), "whole minibatch-deviation groups of 4"),
        ((16, None, 5), "parts of 5"),
        ((16, 4, 32), "parts of 32"),
    ],
)
def test_impossible_cuts_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        micro_batches(*arguments)


def test_without_groups_any_divisor_will_do() -> None:
    assert micro_batches(6, None, 1) == [[0], [1], [2], [3], [4], [5]]
    assert micro_batches(6, None, 6) == [[0, 1, 2, 3, 4, 5]]
