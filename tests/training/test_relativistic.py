"""The relativistic loss, subsets of the images, and mirroring along both axes."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import ConfigError
from generator.training.images import RealImages, Subset
from generator.training.losses import relativistic_loss
from generator.training.trainer import Trainer
from tests.training.training_case import ArrayImages, largest_difference, parameters, tiny, train, trained

PAIRS: dict[str, Any] = {"loss": "relativistic", "r1_interval": 2}


def test_a_pair_alike_costs_ln_2_and_the_winner_gains() -> None:
    loser, winner = torch.tensor([[1.0], [0.0], [3.0]]), torch.tensor([[1.0], [4.0], [0.0]])
    expected = torch.tensor([[math.log(2)], [math.log1p(math.exp(-4))], [math.log1p(math.exp(3))]])
    torch.testing.assert_close(relativistic_loss(loser, winner), expected)


@pytest.mark.parametrize("changes", [{}, {"classes": 3, "lazy": False, "augment": "fixed:0.5"}], ids=str)
def test_both_penalties_belong_to_it(changes: dict[str, Any]) -> None:
    config = tiny(**{**PAIRS, **changes})
    whole, parts = trained(config, 2), trained(config, 2, micro_batch=4)
    losses = whole.losses()
    assert losses["r1"] is not None
    assert losses["r2"] is not None
    assert (losses["generator"] or 0) > 0
    assert largest_difference(parameters(parts), parameters(whole)) < 1e-3
    # without their weight the penalties move nothing
    other = trained(tiny(**{**PAIRS, **changes, "r1_gamma": 0.0}), 2)
    assert other.losses()["r2"] is None
    assert largest_difference(parameters(other), parameters(whole)) > 1e-3


def test_subsets() -> None:
    images = ArrayImages(40, classes=4)
    few, more, other = (Subset(images, count, seed) for count, seed in ((10, 0), (20, 0), (10, 1)))
    assert (len(few), few.resolution, few.channels, few.classes) == (10, 16, 3, 4)

    def content(subset: Subset) -> set[bytes]:
        return {image.tobytes() for image in subset.read(range(len(subset)))}

    assert content(few) < content(more)
    assert content(few) != content(other)
    assert len({few.fingerprint, more.fingerprint, other.fingerprint, images.fingerprint}) == 4
    assert few.labels is not None
    for index, label in enumerate(few.labels):
        (place,) = np.flatnonzero((images.array == few.read([index])).all(axis=(1, 2, 3)))
        assert images.labels is not None
        assert label == images.labels[place]
    trainer = Trainer(tiny(subset=10), images)
    train(trainer, 3)
    assert len({index for batch in images.asked[-3:] for index in batch}) <= 10
    assert len(trainer.data) == 10
    with pytest.raises(ConfigError, match="subset is 41, but there are 40 images"):
        Trainer(tiny(subset=41), images)


def test_mirrored_along_both_axes() -> None:
    images = ArrayImages(40)

    def seen(**changes: bool) -> "torch.Tensor":
        reals = RealImages(tiny(**changes), images, torch.device("cpu"))
        return reals.read(0, 40, list(range(40)))

    plain, x, y, both = seen(), seen(mirror=True), seen(mirror_y=True), seen(mirror=True, mirror_y=True)
    counts = set()
    for i in range(40):
        in_x, in_y = bool((x[i] != plain[i]).any()), bool((y[i] != plain[i]).any())
        axes = [axis for axis, turned in ((1, in_y), (2, in_x)) if turned]
        assert torch.equal(both[i], plain[i].flip(axes))
        counts.add((in_x, in_y))
    assert len(counts) == 4, "each by itself"
