"""Noise in some layers, and how far pixels spread."""

from typing import Any

import numpy as np
import pytest
import torch

from generator.config import GeneratorConfig, MappingConfig
from generator.files.reading import LoadedNetwork
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.errors import UsageError
from invert.sheets.noise_inputs import (
    NoiseStudy,
    Spread,
    Zoom,
    effect_grid,
    pixel_deviation,
    realisation_grid,
    split_layers,
    synthesise_with_noise,
)


def sizes(resolution: int) -> dict[str, int]:
    found = {"b4.conv1": 4}
    side = 8
    while side <= resolution:
        found |= {f"b{side}.conv0": side, f"b{side}.conv1": side}
        side *= 2
    return found


@pytest.mark.parametrize(
    ("resolution", "limit", "coarse", "fine"),
    [
        (1024, None, (4, 8, 16, 32), (64, 128, 256, 512, 1024)),  # the paper's
        (32, None, (4, 8), (16, 32)),
        (4, None, (), (4,)),
        (32, 4, (4,), (8, 16, 32)),
        (32, 0, (), (4, 8, 16, 32)),
        (32, 99, (4, 8, 16, 32), ()),
    ],
)
def test_coarse_and_fine(resolution: int, limit: int | None, coarse: tuple[int, ...], fine: tuple[int, ...]) -> None:
    layers = split_layers(sizes(resolution), limit)
    assert (layers.coarse_sizes, layers.fine_sizes) == (coarse, fine)
    assert set(layers.coarse) | set(layers.fine) == set(sizes(resolution))
    assert all(sizes(resolution)[name] in coarse for name in layers.coarse)


def test_layers_of_another_layout() -> None:
    # As StyleGAN has them: two inputs at 4 px.
    layers = split_layers({"b4.a": 4, "b4.b": 4, "b8.a": 8, "b8.b": 8})
    assert layers.choices == {
        "all": ("b4.a", "b4.b", "b8.a", "b8.b"),
        "none": (),
        "fine only": ("b8.a", "b8.b"),
        "coarse only": ("b4.a", "b4.b"),
    }


@pytest.fixture
def ws(loaded: LoadedNetwork) -> Any:
    z = torch.from_numpy(np.random.RandomState(0).randn(1, 16)).float()
    with torch.no_grad():
        return loaded.generator.mapping_ws(z)


def test_all_none_and_some_layers(loaded: LoadedNetwork, ws: Any) -> None:
    generator = loaded.generator
    names = list(generator.synthesis.noise_sizes)
    maps = generator.synthesis.noise_maps("random", 1, torch.Generator().manual_seed(7))

    def expected(chosen: list[str]) -> torch.Tensor:
        given = {name: value if name in chosen else 0 * value for name, value in maps.items() if value is not None}
        return generator.synthesis(ws, given)

    with torch.no_grad():
        random = generator.synthesis(ws, "random", torch.Generator().manual_seed(7))
        none = generator.synthesis(ws, "none")
        assert torch.equal(synthesise_with_noise(generator, ws, names, 7), random)
        assert torch.equal(synthesise_with_noise(generator, ws, (), 7), none)
        for name in names:
            alone = synthesise_with_noise(generator, ws, [name], 7)
            assert torch.equal(alone, expected([name]))
            assert not torch.equal(alone, none), name


def test_deviation_is_that_of_numpy() -> None:
    images = torch.rand([9, 3, 4, 4], generator=torch.Generator().manual_seed(0)) * 2 - 1
    levels = images.double().numpy() * 127.5
    expected = np.sqrt(levels.var(axis=0).mean(axis=0))
    np.testing.assert_allclose(pixel_deviation(images[:, None]), expected, rtol=1e-12)


def test_deviation_of_known_images() -> None:
    dark, light = torch.full([1, 1, 2, 2], -1.0), torch.full([1, 1, 2, 2], 1.0)
    assert pixel_deviation([dark, light]).tolist() == [[127.5] * 2] * 2
    assert pixel_deviation([dark, 5 * dark, dark]).tolist() == [[0] * 2] * 2  # all are black
    assert not pixel_deviation([light]).any()
    with pytest.raises(ValueError, match="no images"):
        pixel_deviation([])


def test_without_noise_inputs_nothing_spreads() -> None:
    synthesis = SynthesisConfig(8, 16, img_channels=1, channel_base=64, channel_max=8, use_noise=False)
    generator = Generator(GeneratorConfig(MappingConfig(8, 0, 8, 1), synthesis)).eval()
    with torch.no_grad():
        ws = generator.mapping_ws(torch.ones([1, 8]))
    images = [synthesise_with_noise(generator, ws, (), seed) for seed in range(3)]
    assert images[0].std() > 0
    assert not pixel_deviation(images).any()


def test_zoom() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    zoom = Zoom(2, 4, 4)
    zoom.check(8)
    shown = zoom.of(image)
    assert shown.shape == image.shape
    assert (shown[::2, ::2] == image[4:8, 2:6]).all()
    for wrong in (Zoom(5, 0, 4), Zoom(0, 0, 3), Zoom(0, 0, 16)):
        with pytest.raises(UsageError, match=r"images have 8 px. Name a part inside"):
            wrong.check(8)
    grid = realisation_grid("seed 0", [torch.zeros([1, 1, 8, 8])] * 2, torch.ones([1, 1, 8, 8]), zoom)
    assert [len(row) for row in grid.cells] == [3, 3]
    assert list(grid.columns) == ["own noise", "noise 0", "noise 1"]


def test_own_noise_is_in_the_images_that_are_shown(loaded: LoadedNetwork, ws: Any) -> None:
    sizes = loaded.generator.synthesis.noise_sizes
    own = {name: np.full([r, r], 2, np.float32) for name, r in sizes.items()}
    study = NoiseStudy(loaded.generator, ws, 2, lambda: None, own)
    with torch.no_grad():
        maps = {name: torch.full([1, 1, r, r], 2.0) for name, r in sizes.items()}
        assert torch.equal(study.shown(list(sizes)), loaded.generator.synthesis(ws, maps))
        assert torch.equal(study.shown([]), loaded.generator.synthesis(ws, "none"))


def test_grids(loaded: LoadedNetwork, ws: Any) -> None:
    layers = split_layers(loaded.generator.synthesis.noise_sizes)
    images = [synthesise_with_noise(loaded.generator, ws, layers.choices["all"], seed) for seed in range(3)]
    assert "3 realisations" in realisation_grid("seed 0", images).title
    image, deviation = np.zeros([32, 32, 3], np.uint8), np.zeros([32, 32])
    deviation[0, 0] = 12.345
    spreads = {"all": Spread(image, deviation), "none": Spread(image, 0 * deviation)}
    grid = effect_grid(spreads, layers, 100)
    top, bottom = grid.cells
    assert (len(top), len(bottom)) == (2, 3)
    light, dark = np.asarray(bottom[0]), np.asarray(bottom[1])
    assert light[0, 0].sum() > 600  # the largest deviation is the lightest colour
    assert (light[1:] == dark[1:]).all()
    assert bottom[2].high == "12.3"  # type: ignore[union-attr]
    assert "16 to 32 px" in grid.title
    assert "4 to 8 px" in grid.title
