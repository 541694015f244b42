"""Shares of the resolutions: what they are computed from."""

import pytest
import torch

from generator.networks import Generator
from generator.training import resolution_shares as module
from generator.training.resolution_shares import resolution_shares
from tests.training.training_case import tiny

SIZES = (4, 8, 16)


def generator(**changes: object) -> Generator:
    torch.manual_seed(0)
    made = Generator(tiny(**changes).generator_config()).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    return made


def scale(made: Generator, resolution: int, factor: float) -> None:
    layer = made.synthesis.get_submodule(f"b{resolution}.torgb")
    for parameter in (layer.weight, layer.bias):
        assert isinstance(parameter, torch.nn.Parameter)
        parameter.data.mul_(factor)


def shares(made: Generator, samples: int = 70, seed: int = 0) -> dict[int, float]:
    found = resolution_shares(made, samples, seed)
    assert found is not None
    assert tuple(found) == SIZES
    assert sum(found.values()) == pytest.approx(1)
    return found


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_shares_are_those_of_what_the_layers_draw(classes: int, channels: int) -> None:
    made = generator(classes=classes, channels=channels)
    activations: dict[int, list[torch.Tensor]] = {r: [] for r in SIZES}
    for r, into in activations.items():
        layer = made.synthesis.get_submodule(f"b{r}.torgb")
        layer.register_forward_hook(lambda _layer, _inputs, out, into=into: into.append(out))
    found = shares(made)
    whole = {r: torch.cat(parts).double() for r, parts in activations.items()}
    assert {len(values) for values in whole.values()} == {70}
    deviations = {r: float(v.var(dim=[0, 2, 3], correction=0).mean().sqrt()) for r, v in whole.items()}
    total = sum(deviations.values())
    assert found == pytest.approx({r: d / total for r, d in deviations.items()}, rel=1e-4)


@pytest.mark.parametrize("resolution", SIZES)
def test_a_silent_layer_has_no_share(resolution: int) -> None:
    made = generator()
    before = shares(made)
    scale(made, resolution, 0)
    after = shares(made)
    assert after[resolution] == 0
    rest = 1 - before[resolution]
    assert all(after[r] == pytest.approx(before[r] / rest, rel=1e-5) for r in SIZES if r != resolution)


@pytest.mark.parametrize("resolution", SIZES)
def test_a_layer_twice_as_loud_counts_twice(resolution: int) -> None:
    made = generator()
    before = shares(made)
    assert all(share > 0.05 for share in before.values())
    scale(made, resolution, 2)
    total = 1 + before[resolution]
    expected = {r: share * (2 if r == resolution else 1) / total for r, share in before.items()}
    assert shares(made) == pytest.approx(expected, rel=1e-5)


def test_a_constant_colour_is_no_detail() -> None:
    made = generator()
    before = shares(made)
    bias = made.synthesis.get_submodule("b8.torgb").bias
    assert isinstance(bias, torch.nn.Parameter)
    bias.data.copy_(torch.tensor([3.0, -1.0, 0.5]))
    assert shares(made) == pytest.approx(before, rel=1e-5)


def test_silence_everywhere() -> None:
    made = generator()
    for r in SIZES:
        scale(made, r, 0)
    assert resolution_shares(made, 4) == dict.fromkeys(SIZES, 0.0)


def test_samples_are_those_of_the_seed() -> None:
    made = generator()
    assert shares(made) == shares(made)
    assert shares(made, seed=1) != shares(made)
    assert shares(made, seed=1) == pytest.approx(shares(made), rel=0.2)
    z = torch.randn([2, 16])
    before = made(z)
    shares(made)
    assert torch.equal(made(z), before)


@pytest.mark.parametrize("architecture", ["orig", "resnet"])
def test_other_architectures_have_none(architecture: str) -> None:
    assert resolution_shares(generator(generator_architecture=architecture), 4) is None


def test_samples_and_how_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """1024 as in the paper, whatever the size; less at a time where feature maps are large."""
    made = generator()
    counts: list[int] = []
    made.synthesis.get_submodule("b4.torgb").register_forward_hook(lambda _l, _i, out: counts.append(len(out)))
    small = resolution_shares(made)
    assert (sum(counts), max(counts)) == (1024, 32)
    counts.clear()
    monkeypatch.setattr(module, "_BATCH_PIXELS", 11 * 16 * 16)
    large = resolution_shares(made)
    assert (sum(counts), max(counts)) == (1024, 11)
    assert small is not None
    assert large == pytest.approx(small, abs=0.01)
