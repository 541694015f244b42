import pytest
import torch

from generator.ops import noise_penalty, normalise_noise_
from invert.projection.noise import NoiseMaps

SIZES = {"b4.conv1": 4, "b8.conv0": 8, "b8.conv1": 8, "b32.conv0": 32}


def test_autocorrelation_by_hand() -> None:
    flat = torch.ones([1, 1, 4, 4])
    assert float(noise_penalty(flat, 2.0)) == pytest.approx(2)  # one level, both directions perfectly correlated
    flat = torch.ones([1, 1, 16, 16])
    assert float(noise_penalty(flat, 1.0)) == pytest.approx(4)  # 16 and 8 px
    assert float(noise_penalty(flat, 2.0)) == pytest.approx(2 + 2 * 4**2)  # the 8 px map has become 2
    stripes = torch.ones([1, 1, 4, 4])
    stripes[..., 1::2] = -1
    assert float(noise_penalty(stripes, 2.0)) == pytest.approx(2), "squared before the sum: signs never cancel"


def test_the_papers_pyramid_keeps_the_variance_of_white_noise() -> None:
    maps = torch.randn([1, 1, 512, 512], generator=torch.Generator().manual_seed(0))
    halved = torch.nn.functional.avg_pool2d(maps, 2) * 2
    assert float(halved.var()) == pytest.approx(1, abs=0.02)


def test_images_and_maps_add_up_separately() -> None:
    noise = NoiseMaps(SIZES, 3, torch.device("cpu"))
    noise.draw([torch.Generator().manual_seed(i) for i in range(3)])
    expected = sum(noise_penalty(value, 2.0) for value in noise.by_layer().values())
    torch.testing.assert_close(noise.autocorrelation(2.0), expected)


def test_each_image_draws_from_its_own_stream() -> None:
    noise = NoiseMaps(SIZES, 2, torch.device("cpu"))
    noise.draw([torch.Generator().manual_seed(i) for i in (7, 8)])
    alone = NoiseMaps(SIZES, 1, torch.device("cpu"))
    alone.draw([torch.Generator().manual_seed(8)])
    for name, value in alone.by_layer().items():
        assert torch.equal(noise.by_layer()[name][1:], value)


def test_normalise_and_a_constant_map() -> None:
    noise = NoiseMaps(SIZES, 2, torch.device("cpu"))
    noise.draw([torch.Generator().manual_seed(i) for i in range(2)])
    noise.stacks[8][1, 1] = 3.0
    noise.stacks[32].mul_(5).add_(2)
    noise.normalise()
    flat = noise.by_layer()["b8.conv1"][1]
    assert torch.equal(flat, torch.zeros_like(flat)), "0 / 0 in the reference"
    large = noise.by_layer()["b32.conv0"]
    torch.testing.assert_close(large.mean(dim=[2, 3]), torch.zeros([2, 1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(large.square().mean(dim=[2, 3]), torch.ones([2, 1]))


def test_fill_takes_one_map_or_one_for_each_image() -> None:
    noise = NoiseMaps(SIZES, 2, torch.device("cpu"))
    noise.fill({"b4.conv1": torch.full([4, 4], 2.0), "b8.conv0": torch.arange(2.0)[:, None, None].expand(2, 8, 8)})
    assert float(noise.by_layer()["b4.conv1"].min()) == 2
    assert noise.by_layer()["b8.conv0"].mean(dim=[1, 2, 3]).tolist() == [0, 1]


def test_a_network_without_noise() -> None:
    noise = NoiseMaps({}, 2, torch.device("cpu"))
    assert noise.by_layer() == {}
    assert noise.parameters() == []


def test_penalty_and_its_gradient_are_those_of_rolls_and_means() -> None:
    maps = torch.randn([2, 3, 35, 18], dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    total, level = torch.zeros(2, dtype=torch.float64), maps
    for _ in range(3):  # 35 x 18, 17 x 9, 8 x 4
        for dimension in (2, 3):
            total = total + (level * level.roll(1, dimension)).mean(dim=[2, 3]).square().sum(dim=1)
        level = torch.nn.functional.avg_pool2d(level, 2) * 2
    penalty = noise_penalty(maps, 2.0)
    torch.testing.assert_close(penalty, total)
    weights = torch.tensor([1.0, -3.0], dtype=torch.float64)
    (actual,), (expected,) = (torch.autograd.grad((value * weights).sum(), maps) for value in (penalty, total))
    torch.testing.assert_close(actual, expected)


def test_what_is_no_noise_map_is_refused() -> None:
    for maps in (torch.zeros(3, 4), torch.zeros(1, 1, 4, 4, dtype=torch.float16), torch.zeros(1, 1, 0, 4)):
        with pytest.raises(ValueError, match="noise maps are"):
            noise_penalty(maps, 2.0)
    with pytest.raises(ValueError, match="contiguous"):
        normalise_noise_(torch.zeros(1, 1, 4, 6)[..., ::2])
