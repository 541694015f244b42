"""The training loop: accumulation, resuming, labels, mirroring, and what each setting changes."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from generator.errors import ConfigError, NetworkFileError
from generator.stylegan2.config import ARCHITECTURES
from generator.stylegan2.discriminator import Discriminator
from generator.training.state import state_bytes, state_from_bytes
from generator.training.trainer import RECORDED, Trainer
from tests.training.training_case import ArrayImages, is_same, largest_difference, parameters, tiny, train, trained

LABELLED: dict[str, Any] = {"classes": 3}


@pytest.mark.parametrize(
    ("changes", "micro_batch"),
    [({}, 4), ({"lazy": False}, 4), (LABELLED, 4), ({"mbstd_group_size": 2}, 2), ({"mbstd_channels": 0}, 1)],
    ids=str,
)
def test_parts_of_a_batch_train_as_the_whole(changes: dict[str, Any], micro_batch: int) -> None:
    config = tiny(**changes)
    whole, parts = trained(config, 6), trained(config, 6, micro_batch=micro_batch)
    assert largest_difference(parameters(parts), parameters(whole)) < 1e-4
    torch.testing.assert_close(parts.path_length_average, whole.path_length_average, rtol=1e-4, atol=0)
    expected = whole.losses()
    assert expected["r1"] is not None
    assert expected["path_length"] is not None
    assert parts.losses() == {name: pytest.approx(expected[name], rel=1e-4, abs=1e-6) for name in RECORDED}
    assert largest_difference(parameters(whole), parameters(trained(config, 0))) > 0.01


@pytest.mark.parametrize("changes", [{}, {"spectral_norm": "gd"}, {**LABELLED, "mirror": True}], ids=str)
def test_a_saved_state_goes_on_to_the_bit(changes: dict[str, Any]) -> None:
    """Saved between two regularisation steps, with losses of an unfinished tick."""
    config = tiny(adam_beta1=0.2, **changes)
    whole, first = trained(config, 9), trained(config, 5)
    saved = state_bytes(first.state())
    train(first, 3)  # what comes after saving is not in it
    resumed = trained(config, 0)
    resumed.load_state(state_from_bytes(saved))
    assert (resumed.images, resumed.step) == (40, 5)
    assert resumed.losses()["generator"] is not None
    assert state_bytes(resumed.state()) == saved
    train(resumed, 4)
    assert is_same(resumed.state(), whole.state())
    assert resumed.losses() == whole.losses()


def test_runs_repeat_and_seeds_differ() -> None:
    one, again, other = (trained(tiny(seed=seed), 2).state() for seed in (0, 0, 1))
    assert is_same(one, again)
    assert not is_same(one, other)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert is_same(trained(tiny(), 2).state(), one), "the global stream has no say in it"
    assert torch.equal(torch.get_rng_state(), before)


def test_states_of_other_settings_are_refused() -> None:
    state = trained(tiny(), 1).state()
    for changes in ({"channel_max": 8}, {"mapping_layers": 3}, {"spectral_norm": "g"}, LABELLED):
        with pytest.raises(NetworkFileError, match="it is not a state of this run, '"):
            trained(tiny(**changes), 0).load_state(state)
    with pytest.raises(NetworkFileError, match="'step' is missing"):
        trained(tiny(), 0).load_state({name: value for name, value in state.items() if name != "step"})


MOMENT = "adam.D.b4.fc.weight:exp_avg"
HOSTILE_STATES = {
    "a moment of another shape": ({MOMENT: torch.zeros(1)}, rf"'{MOMENT}' is float32 \[1\], not float32 \["),
    "a moment of another type": ({MOMENT: torch.zeros(1, dtype=torch.float64)}, "is float64"),
    "no moment": ({MOMENT: None}, f"'{MOMENT}' is missing, and others of"),
    "an unknown moment": ({"adam.D.nowhere:exp_avg": torch.zeros(1)}, "is unknown"),
    "an unknown key": ({"adam.D.b4.fc.weight:max_exp_avg_sq": torch.zeros(1)}, "is unknown"),
    "a negative count": ({"images": torch.tensor(-1)}, "'images' is not a count"),
    "a count of steps that is none": ({"adam.D.b4.fc.weight:step": torch.tensor(-2.0)}, "is not a count"),
    "a fraction of a step": ({"adam.D.b4.fc.weight:step": torch.tensor(1.5)}, "is not a count"),
    "an absurd count": ({"step": torch.tensor(1 << 62)}, "'step' is not a count"),
    "a weight that is no number": ({"path_length_average": torch.tensor(float("nan"))}, "is not finite"),
    "a count of another type": ({"images": torch.tensor(1.0)}, "'images' is float32"),
    "a weight of another shape": ({"EMA.mapping.w_avg": torch.zeros(3)}, "'EMA.mapping.w_avg' is"),
}


def test_hostile_states_never_reach_the_optimiser() -> None:
    """Its kernel walks over a parameter and its moments side by side: one that is shorter corrupts the heap."""
    good = trained(tiny(), 1).state()
    trainer = trained(tiny(), 0)
    before = {name: value.clone() for name, value in trainer.state().items()}
    for changes, says in HOSTILE_STATES.values():
        state = {name: value for name, value in (good | changes).items() if value is not None}
        with pytest.raises(NetworkFileError, match=says):
            trainer.load_state(state)
        assert is_same(trainer.state(), before)
    trainer.load_state(good)
    train(trainer, 1)


def test_losses_are_means_over_a_tick() -> None:
    trainer = trained(tiny(), 0)
    assert trainer.losses() == dict.fromkeys(RECORDED)
    train(trainer, 1)
    each = [trainer.losses()]
    for _ in range(3):
        trainer.reset_losses()
        train(trainer, 1)
        each.append(trainer.losses())
    # R1 in step 0 of four, path length in steps 0 and 2
    assert [one["r1"] is not None for one in each] == [True, False, False, False]
    assert [one["path_length"] is not None for one in each] == [True, False, True, False]
    together = trained(tiny(), 4).losses()
    for name in RECORDED:
        values = [value for one in each if (value := one[name]) is not None]
        assert together[name] == pytest.approx(sum(values) / len(values), rel=1e-6)


def test_it_stops_at_or_just_after_the_length() -> None:
    trainer = trained(tiny(), 0)
    assert list(trainer.run(20)) == [8, 16, 24]
    assert list(trainer.run(20)) == []
    assert list(trainer.run(25)) == [32]
    assert (trainer.images, trainer.step) == (32, 4)


def test_images_come_in_the_order_of_their_epochs() -> None:
    trainer = trained(tiny(), 10)
    asked = [index for batch in trainer.data.asked for index in batch]  # type: ignore[attr-defined]
    assert sorted(asked[:40]) == list(range(40))
    assert sorted(asked[40:80]) == list(range(40))
    assert asked[:40] != asked[40:80]


def seen_by_the_discriminator(trainer: Trainer, steps: int) -> Tensor:
    """Return the training images in the order in which the discriminator saw them for its logistic loss."""
    batches: list[Tensor] = []

    def note(_module: object, inputs: tuple[Tensor, ...]) -> None:
        batches.append(inputs[0].detach())

    handle = trainer.discriminator.register_forward_pre_hook(note)
    train(trainer, steps)
    handle.remove()
    return torch.cat([of_training_images(both, trainer) for both in batches[1::2]])


def of_training_images(both: Tensor, trainer: Trainer) -> Tensor:
    """Return the rows of the training images, where those of generated ones take turns with them."""
    return both.unflatten(0, (trainer.config.mbstd_group_size, 2, -1))[:, 0].flatten(0, 1)


def test_mirroring_turns_half_of_the_images() -> None:
    config = tiny(mirror=True, r1_gamma=0.0, path_length_weight=0.0, resolution=8, channel_base=32)
    trainer = trained(config, 0)
    images = torch.from_numpy(trainer.data.array).float() / 127.5 - 1  # type: ignore[attr-defined]
    seen = seen_by_the_discriminator(trainer, 15)
    turned = []
    orders = trainer.data.asked  # type: ignore[attr-defined]
    for image, index in zip(seen, itertools.chain(*orders), strict=False):
        straight, mirrored = torch.equal(image, images[index]), torch.equal(image, images[index].flip(2))
        assert straight is not mirrored
        turned.append(mirrored)
    assert len(turned) == 120
    assert 40 <= sum(turned) <= 80
    assert turned[:40] != turned[40:80], "an image is not turned for ever"
    plain = trained(dataclasses.replace(config, mirror=False), 0)
    seen = seen_by_the_discriminator(plain, 3)
    assert torch.equal(seen, images[[index for batch in plain.data.asked[:3] for index in batch]])  # type: ignore[attr-defined]


def test_a_conditional_network_is_told_the_labels() -> None:
    config = tiny(classes=3, r1_gamma=0.0, path_length_weight=0.0)
    trainer = trained(config, 0)
    told: list[tuple[Tensor, Tensor]] = []

    def note(_module: Discriminator, inputs: tuple[Tensor, Tensor]) -> None:
        told.append(inputs)

    trainer.discriminator.register_forward_pre_hook(note)  # type: ignore[arg-type]
    train(trainer, 3)
    images = ArrayImages(40, classes=3)
    assert images.labels is not None
    for both in told[1::2]:  # of each step: generated images for G, both kinds for D
        batch, labels = (of_training_images(part, trainer) for part in both)
        pixels = ((batch + 1) * 127.5).round().to(torch.uint8).numpy()
        for image, label in zip(pixels, labels, strict=True):
            (index,) = np.flatnonzero((images.array == image).all(axis=(1, 2, 3)))
            assert label.tolist() == np.eye(3)[images.labels[index]].tolist()
    assert trainer.average.config.mapping.c_dim == 3
    z = torch.randn([1, 16])
    one, other = (trainer.average(z, torch.eye(3)[[i]]) for i in (0, 1))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("discriminator", ARCHITECTURES)
@pytest.mark.parametrize("generator", ARCHITECTURES)
def test_architectures(generator: str, discriminator: str) -> None:
    config = tiny(generator_architecture=generator, discriminator_architecture=discriminator, channels=1)
    trainer = trained(config, 0)
    begun = parameters(trainer)
    train(trainer, 2)
    losses = trainer.losses()
    assert all(value is not None and math.isfinite(value) for value in losses.values()), losses
    assert trainer.is_finite()
    now = parameters(trainer)
    # all of it learns; the networks' last biases and unlit noise included
    assert [name for name in now if torch.equal(now[name], begun[name])] == []
    names = set(now)
    assert ("G.synthesis.b8.torgb.weight" in names) is (generator == "skip")
    assert ("G.synthesis.b8.skip.weight" in names) is (generator == "resnet")
    assert ("D.b8.fromrgb.weight" in names) is (discriminator == "skip")
    assert ("D.b8.skip.weight" in names) is (discriminator == "resnet")


def test_without_lazy_regularisation_it_is_in_every_step() -> None:
    trainer = trained(tiny(lazy=False), 1)
    trainer.reset_losses()
    train(trainer, 1)  # a step in which the lazy scheme regularises nothing
    losses = trainer.losses()
    assert losses["r1"] is not None
    assert losses["path_length"] is not None
    assert not is_same(trainer.state(), trained(tiny(), 2).state())


def test_without_path_length_regularisation() -> None:
    trainer = trained(tiny(path_length_weight=0.0), 2)
    assert trainer.losses()["path_length"] is None
    assert trainer.losses()["r1"] is not None
    assert float(trainer.path_length_average) == 0
    # Adam is not slowed down for regularisation steps that never come: the first step is the whole rate
    config = tiny(path_length_weight=0.0, r1_gamma=0.0, adam_epsilon=0.0)
    begun = parameters(trained(config, 0))["D.b4.out.weight"]
    moved = parameters(trained(config, 1))["D.b4.out.weight"] - begun
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.002), rtol=1e-3, atol=1e-6)


def test_without_demodulation() -> None:
    plain, without = trained(tiny(), 2), trained(tiny(demodulate=False), 2)
    assert without.is_finite()
    z = torch.randn([2, 16], generator=torch.Generator().manual_seed(0))
    assert without.average.config.synthesis.demodulate is False
    with torch.no_grad():
        for trainer, scaled in ((plain, False), (without, True)):
            before = trainer.average(z)
            trainer.average.synthesis.get_submodule("b16.conv0").weight.mul_(3)
            assert torch.allclose(trainer.average(z), before, atol=1e-4) is not scaled


def test_settings_that_do_not_fit_are_refused() -> None:
    for images, message in (
        (ArrayImages(resolution=8), "the images have 8 px and 3 channels"),
        (ArrayImages(channels=1), "16 px and 1 channels"),
        (ArrayImages(size=0), "no images"),
    ):
        with pytest.raises(ConfigError, match=message):
            Trainer(tiny(), images)
    for classes in (0, 2):
        with pytest.raises(ConfigError, match=f"the network has 3 classes, the images {classes}"):
            Trainer(tiny(classes=3), ArrayImages(classes=classes))
    with pytest.raises(ConfigError, match="cannot be cut into parts of 3"):
        Trainer(tiny(), ArrayImages(), micro_batch=3)


@pytest.mark.parametrize("place", ["generator", "discriminator", "average"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_seen(place: str, value: float) -> None:
    trainer = trained(tiny(), 0)
    assert trainer.is_finite()
    with torch.no_grad():
        next(getattr(trainer, place).parameters()).view(-1)[1] = value
    assert not trainer.is_finite()


def test_losses_that_are_no_numbers_are_seen() -> None:
    trainer = trained(tiny(learning_rate=1e30), 1)
    assert not trainer.is_finite()
