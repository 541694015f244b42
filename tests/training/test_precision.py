"""Feature maps in bfloat16, and passes whose derivative is taken once."""

import contextlib
from typing import Any

import pytest
import torch

from generator.errors import ConfigError
from generator.training import objectives
from tests.training.training_case import is_same, largest_difference, parameters, tiny, train, trained

HALF: dict[str, Any] = {"precision": "bfloat16"}


def test_the_first_order_passes_compute_what_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's first steps follow a gradient's sign: one that is only rounding would show."""
    for changes in ({}, {"classes": 3, "discriminator_architecture": "skip", "generator_architecture": "resnet"}):
        fused = trained(tiny(**changes), 2)
        with monkeypatch.context() as patch:
            patch.setattr(objectives, "first_order_pass", lambda wanted=True: contextlib.nullcontext())
            plain = trained(tiny(**changes), 2)
        assert not is_same(fused.state(), plain.state()), "these are not the same operators"
        assert largest_difference(parameters(fused), parameters(plain)) < 1e-3
        for name, value in plain.losses().items():
            assert fused.losses()[name] == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_a_run_in_half_precision_is_near_and_resumes_to_the_bit() -> None:
    exact, half = trained(tiny(), 4), trained(tiny(**HALF), 4)
    assert not is_same(exact.state(), half.state())
    for name in ("generator", "discriminator", "r1"):
        assert half.losses()[name] == pytest.approx(exact.losses()[name], rel=0.05), name
    state = {name: value.clone() for name, value in half.state().items()}
    train(half, 3)
    resumed = trained(tiny(**HALF), 0)
    resumed.load_state(state)
    train(resumed, 3)
    assert is_same(resumed.state(), half.state())


def test_only_maps_have_half_the_precision() -> None:
    trainer = trained(tiny(**HALF), 0)
    seen: dict[str, torch.dtype] = {}
    for name, network in (("G", trainer.generator), ("D", trainer.discriminator)):
        for layer, module in network.named_modules():
            module.register_forward_hook(
                lambda _, __, y, name=f"{name}.{layer}": seen.update({name: y.dtype}) if torch.is_tensor(y) else None
            )
    trainer.step = 1  # neither penalty is due
    train(trainer, 1)
    maps = {name for name, dtype in seen.items() if dtype == torch.bfloat16}
    assert {"G.synthesis.b16.conv0", "G.synthesis.b4.conv1", "D.b16.conv1", "D.b16.fromrgb", "D.b4.conv"} <= maps
    assert {"G.mapping.fc0", "G.mapping", "D.b4.fc", "D.b4.out", "D."} <= seen.keys() - maps
    assert not {value.dtype for value in trainer.state().values()} - {torch.float32, torch.float64, torch.int64}
    seen.clear()
    trainer._train_generator("path length", None, 1.0)
    assert seen
    assert torch.bfloat16 not in seen.values()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"generator_architecture": "stylegan", "path_length_weight": 0.0}, "generators of architecture 'stylegan'"),
        ({"discriminator_architecture": "stylegan"}, "discriminators of architecture 'stylegan'"),
        ({"loss": "wgan-gp", "r1_gamma": 0.0}, "WGAN-GP's gradient penalty"),
        ({"lazy": False}, "without lazy regularisation"),
    ],
)
def test_what_needs_float32_says_so(changes: dict[str, Any], says: str) -> None:
    tiny(**changes)
    with pytest.raises(ConfigError, match=f"precision is 'bfloat16', but {says}"):
        tiny(**changes, **HALF)
