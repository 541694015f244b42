"""Augmentation: whom it happens to, what the numbers belong to, how p moves, and that training with it stays exact."""

from typing import Any

import pytest
import torch
from torch import Tensor

from generator.errors import ConfigError, NetworkFileError
from generator.training.augmentation import AdaptiveAugmentation, AdaptiveProbability, Augmentation, Augmenter
from generator.training.state import state_bytes, state_from_bytes
from tests.training.training_case import is_same, largest_difference, parameters, tiny, train, trained

ALL = "blit,geom,color,filter,noise,cutout"
QUICK: dict[str, Any] = {
    "seed": 1,
    "augment": "ada",
    "augment_kimg": 0.1,
    "augment_target": -1.0,
    "augment_interval": 2,
}
"""A p that goes up with every second step of 8 images: to 0.16, 0.32 ... 1."""


def drawn(indices: list[int], probability: float = 0.5, step: int = 0, **changes: Any) -> Augmentation:
    found = Augmenter(tiny(augment="ada", **changes)).draw("D real", step, indices, probability)
    assert found is not None
    return found


def images(count: int, channels: int = 3, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand([count, channels, side, side], generator=generator) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("augment", ["ada", "diff"])
def test_an_image_is_augmented_alike_whatever_is_beside_it(augment: str, channels: int) -> None:
    x = images(6, channels)
    augmenter = Augmenter(tiny(augment=augment, augment_groups=ALL))

    def seen(indices: list[int], step: int = 3) -> Tensor:
        found = augmenter.draw("D real", step, indices, 0.7)
        return x[indices] if found is None else found(x[indices])

    together = seen([0, 1, 2, 3, 4, 5])
    assert together.shape == x.shape
    torch.testing.assert_close(torch.cat([seen([4, 1]), seen([5])]), together[[4, 1, 5]], rtol=0, atol=2e-5)
    assert float((seen([0, 1, 2, 3, 4, 5], step=4) - together).abs().amax(dim=[1, 2, 3]).min()) > 0.01
    if channels == 4 and augment == "ada":  # noise changes all; without, alpha is only moved
        plain = drawn([0, 1], 1.0, augment_groups="color")(x[:2])
        assert torch.equal(plain[:, 3], x[:2, 3])
        assert not torch.equal(plain[:, :3], x[:2, :3])


def test_each_transform_happens_as_often_as_asked() -> None:
    groups = {"blit": 3, "geom": 5, "color": 5, "filter": 4, "noise": 1, "cutout": 1}
    found = drawn(list(range(2000)), 0.5, augment_groups="blit,color,noise")
    assert isinstance(found, AdaptiveAugmentation)
    shares = found.happens.double().mean(dim=0).split(list(groups.values()))
    for group, share in zip(groups, shares, strict=True):
        expected = 0.5 if group in ("blit", "color", "noise") else 0.0
        torch.testing.assert_close(share, torch.full_like(share, expected), rtol=0, atol=0.06)
    geometry = drawn(list(range(2000)), 0.5, augment_groups="geom")
    assert isinstance(geometry, AdaptiveAugmentation)
    before, after = geometry.happens[:, 4], geometry.happens[:, 6]
    assert float(before.double().mean()) == pytest.approx(1 - 0.5**0.5, abs=0.04)
    assert float((before | after).double().mean()) == pytest.approx(0.5, abs=0.04)


def test_spread_of_what_is_drawn() -> None:
    found = drawn(list(range(4000)), 1.0, augment_groups="blit")
    assert isinstance(found, AdaptiveAugmentation)
    maps = found.inverse_map(64, 64)
    assert {tuple(row) for row in maps[:, 0, :2].round().int().tolist()} == {(1, 0), (-1, 0), (0, 1), (0, -1)}
    moved = maps[:, :2, 2]
    torch.testing.assert_close(moved, moved.round(), rtol=0, atol=1e-9, msg="whole pixels")
    assert float(moved.abs().max()) == pytest.approx(8)
    determinant = torch.linalg.det(maps)
    assert float((determinant < 0).double().mean()) == pytest.approx(0.5, abs=0.04), "mirrored half of the time"
    geometry = drawn(list(range(4000)), 1.0, augment_groups="geom")
    assert isinstance(geometry, AdaptiveAugmentation)
    scales = -torch.linalg.det(geometry.inverse_map(64, 64)).log2() / 2
    assert float(scales.mean()) == pytest.approx(0, abs=0.02)
    assert float(scales.std()) == pytest.approx(0.2, abs=0.02)
    gains = drawn(list(range(500)), 1.0, augment_groups="filter")
    assert isinstance(gains, AdaptiveAugmentation)
    power = torch.tensor([10, 1, 1, 1], dtype=torch.float64) / 13
    assert float(gains.band_gains().std()) > 0.3
    # of one band alone the power is kept
    gains.happens[:, :] = False
    gains.happens[:, 15] = True
    torch.testing.assert_close(gains.band_gains().square() @ power, torch.ones(500, dtype=torch.float64))


def test_images_to_which_nothing_happens_keep_their_bits() -> None:
    x = images(64).contiguous(memory_format=torch.channels_last)
    found = drawn(list(range(64)), 0.02)
    assert isinstance(found, AdaptiveAugmentation)
    spared = ~found.happens.any(dim=1)
    assert 0 < int(spared.sum()) < 64
    seen = found(x)
    assert torch.equal(seen[spared], x[spared])
    assert float((seen - x)[~spared].abs().max()) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["ada", "fixed:0"])
def test_without_probability_the_bits_are_those_of_none(augment: str) -> None:
    plain = trained(tiny(), 3)
    # with a target of 1 p never rises
    other = trained(tiny(augment=augment, augment_target=1.0, augment_groups=ALL), 3)
    assert other.augment_probability == 0
    state = {name: value for name, value in other.state().items() if not name.startswith("augment.")}
    state["losses"] = state["losses"][: len(plain.state()["losses"])]
    assert is_same(state, plain.state())


def test_p_follows_the_signs() -> None:
    p = AdaptiveProbability(tiny(augment="ada", augment_kimg=1.0), torch.device("cpu"))
    seen = []
    for step, sign in enumerate([1.0, 1, 1, 1, 0.2, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, -1, -1, -1, -1], 1):
        p.update(torch.tensor(sign), 8, step)
        seen.append(p.value)
    # 32 images of 1000: up while the mean is above 0.6, down below it, never under 0
    assert seen[3::4] == pytest.approx([0.032, 0.064, 0.032, 0, 0])
    assert seen[:3] == [0, 0, 0]
    fixed = AdaptiveProbability(tiny(augment="fixed:0.3"), torch.device("cpu"))
    fixed.update(torch.tensor(1.0), 8, 4)
    assert fixed.value == 0.3
    assert fixed.state() == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [QUICK, {**QUICK, "seed": 0, "augment_groups": ALL, "lazy": False, "classes": 3}],
    ids=("plain", "all"),
)
def test_a_saved_state_goes_on_to_the_bit_while_p_moves(changes: dict[str, Any]) -> None:
    config = tiny(**changes)
    whole, first = trained(config, 7), trained(config, 3)
    saved = state_bytes(first.state())
    resumed = trained(config, 0)
    resumed.load_state(state_from_bytes(saved))
    assert resumed.augment_probability == first.augment_probability
    assert 0 < (first.augment_probability or 0) < (whole.augment_probability or 0) < 1
    train(resumed, 4)
    assert is_same(resumed.state(), whole.state())
    assert resumed.losses() == whole.losses()
    assert (
        largest_difference(parameters(whole), parameters(trained(tiny(seed=config.seed, classes=config.classes), 7)))
        > 0.01
    )


@pytest.mark.slow
def test_parts_of_a_batch_are_augmented_as_the_whole() -> None:
    config = tiny(augment="fixed:0.8", augment_groups=ALL)
    whole, parts = trained(config, 3), trained(config, 3, micro_batch=4)
    assert largest_difference(parameters(parts), parameters(whole)) < 1e-3


@pytest.mark.parametrize("loss", [{"loss": "wgan-gp", "r1_gamma": 0.0}, {"channels": 1, "augment": "diff"}], ids=str)
def test_other_losses_and_grey_images(loss: dict[str, Any]) -> None:
    trainer = trained(tiny(**{"augment": "fixed:0.9", **loss}), 1)
    assert trainer.is_finite()
    plain = trained(tiny(**{**loss, "augment": "none"}), 1)
    assert largest_difference(parameters(trainer), parameters(plain)) > 0.01


def test_settings_and_states_that_do_not_fit() -> None:
    for wrong in ("fixed", "fixed:1.5", "fixed:-0.1", "adaptive", "fixed:nan"):
        with pytest.raises(ConfigError, match="not none, ada, diff or fixed:P with P in"):
            tiny(augment=wrong)
    with pytest.raises(ConfigError, match="not some of blit,geom,color"):
        tiny(augment_groups="blit,hue")
    with pytest.raises(ConfigError, match="the sign of a WGAN-GP critic says nothing"):
        tiny(augment="ada", loss="wgan-gp", r1_gamma=0.0)
    state = trained(tiny(), 1).state()
    with pytest.raises(NetworkFileError, match="it is not a state of this run"):
        trained(tiny(augment="ada"), 0).load_state(state)


@pytest.mark.parametrize("group", ["color", "geom", "blit", "cutout"])
def test_colours_leave_alpha_alone_and_the_others_take_it_along(group: str) -> None:
    images = torch.rand([8, 4, 16, 16]) * 2 - 1
    change = Augmenter(tiny(augment="fixed:1", augment_groups=group)).draw("D", 0, range(8), 1.0)
    assert change is not None
    changed = change(images)
    assert torch.equal(changed[:, 3:], images[:, 3:]) is (group == "color")
    if group != "color":
        # a copy of a colour as alpha stays a copy
        images[:, 3] = images[:, 0]
        both = change(images)
        assert torch.equal(both[:, 3], both[:, 0])
