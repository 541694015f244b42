"""The networks of the first StyleGAN while they grow."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.networks.stylegan_case import critic, made, small


@pytest.mark.parametrize("resolution", [8, 16])
def test_fading_in_a_resolution(resolution: int) -> None:
    """alpha 0 is the network before it grew, alpha 1 the one after, one half their mean: in G and in D."""
    synthesis, discriminator = made(small()).synthesis, critic(mbstd_group_size=2)
    ws = torch.randn([2, 6, 6])
    before = synthesis(ws, resolution=resolution // 2)
    assert before.shape == (2, 3, resolution // 2, resolution // 2)
    repeated = before.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    images = {alpha: synthesis(ws, resolution=resolution, alpha=alpha) for alpha in (0.0, 0.5, 1.0)}
    torch.testing.assert_close(images[0], repeated)
    torch.testing.assert_close(images[0.5], (repeated + images[1]) / 2)
    assert torch.equal(images[1], synthesis(ws, resolution=resolution))
    image = torch.randn([2, 3, resolution, resolution])
    halved = functional.avg_pool2d(image, 2)
    torch.testing.assert_close(discriminator(image, alpha=0.0), discriminator(halved))
    assert not torch.allclose(discriminator(image), discriminator(halved))
    logits = [discriminator(image, alpha=alpha) for alpha in (0.3, 1.0)]
    assert not torch.allclose(logits[0], logits[1])
    assert torch.equal(logits[1], discriminator(image))


def test_grown_to_the_end_is_the_network() -> None:
    synthesis = made(small()).synthesis
    ws = torch.randn([2, 6, 6])
    assert torch.equal(synthesis(ws), synthesis(ws, resolution=16, alpha=1.0))


def test_growing_needs_maps_and_gives_gradients_up_to_its_resolution() -> None:
    synthesis = made(small()).synthesis
    ws = torch.randn([1, 6, 6])
    maps = {name: torch.randn([1, 1, r, r]) for name, r in synthesis.noise_sizes.items() if r <= 8}
    synthesis(ws, maps, resolution=8, alpha=0.5).sum().backward()
    reached = {name for name, parameter in synthesis.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[0] for name in reached} == {"b4", "b8"}
    assert {"b4.torgb.weight", "b8.torgb.weight"} <= reached
    with pytest.raises(ValueError, match="missing or unknown"):
        synthesis(ws, maps)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"resolution": 12}, "no layers at 12 px"),
        ({"resolution": 32}, "no layers at 32 px"),
        ({"alpha": 1.5}, "not in"),
        ({"alpha": math.nan}, "not in"),
        ({"resolution": 4, "alpha": 0.5}, "nothing to fade in from"),
    ],
)
def test_growth_that_there_is_not(arguments: dict[str, Any], says: str) -> None:
    synthesis = made(small()).synthesis
    with pytest.raises(ValueError, match=says):
        synthesis(torch.randn([1, 6, 6]), **arguments)


def test_a_network_that_does_not_grow_says_so() -> None:
    synthesis, discriminator = made(small(growing=False)).synthesis, critic(growing=False)
    with pytest.raises(ValueError, match="colour layers at 16 px only"):
        synthesis(torch.randn([1, 6, 6]), resolution=8)
    with pytest.raises(ValueError, match="colour layers at 16 px only"):
        discriminator(torch.randn([1, 3, 8, 8]))
    with pytest.raises(ValueError, match="colour layers at 16 px only"):
        discriminator(torch.randn([1, 3, 16, 16]), alpha=0.5)
    with pytest.raises(ValueError, match="are not"):
        discriminator(torch.randn([1, 3, 16, 8]))
    with pytest.raises(ValueError, match="styles of shape"):
        synthesis(torch.randn([1, 5, 6]))
