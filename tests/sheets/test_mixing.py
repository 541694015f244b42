"""Style mixing and truncation: what must come out is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from generator.files.reading import LoadedNetwork
from invert.sheets.layout import Grid
from invert.sheets.mixing import mix_styles, mixing_bands, mixing_grid, range_text, style_bands, truncation_grid
from invert.sheets.references import parse_references
from invert.sheets.sources import Source, Synthesise, find_sources, image_maker


@pytest.fixture
def synthesise(loaded: LoadedNetwork) -> Synthesise:
    return image_maker(loaded.generator, "kept")


@pytest.fixture
def found(loaded: LoadedNetwork) -> list[Source]:
    return find_sources(parse_references("0-4"), loaded)


def same(grid: Grid, row: int, column: int, image: object) -> bool:
    return np.array_equal(np.asarray(grid.cells[row][column]), np.asarray(image))


def test_mix_styles_takes_the_named_ones() -> None:
    rest, named = torch.zeros([1, 5, 2]), torch.ones([1, 5, 2])
    assert mix_styles(rest, named, [0, 3])[0, :, 0].tolist() == [1, 0, 0, 1, 0]
    assert not rest.any()


def test_styles_of_one_source_alone_are_its_image(
    loaded: LoadedNetwork, found: list[Source], synthesise: Synthesise
) -> None:
    rows, columns = found[:2], found[2:]
    layers = range(loaded.generator.num_ws)
    all_named = mixing_grid(rows, columns, list(layers), synthesise)
    none_named = mixing_grid(rows, columns, [], synthesise)
    assert [len(row) for row in all_named.cells] == [4] * 3
    assert all_named.cells[0][0] is None
    for i, row in enumerate(rows):
        for k, column in enumerate(columns):
            assert same(all_named, i + 1, k + 1, synthesise(column.ws, column))
            assert same(none_named, i + 1, k + 1, synthesise(row.ws, row))
    some = mixing_grid(rows, columns, [0, 1], synthesise)
    assert not same(some, 1, 1, synthesise(rows[0].ws, rows[0]))
    assert not same(some, 1, 1, synthesise(columns[0].ws, columns[0]))


def test_a_mixed_image_has_the_noise_of_the_left_source(found: list[Source]) -> None:
    labels: list[str] = []

    def synthesise(_ws: Tensor, source: Source) -> "np.typing.NDArray[np.uint8]":
        labels.append(source.label)
        return np.zeros([4, 4, 1], np.uint8)

    mixing_grid(found[:2], found[2:4], [0], synthesise)
    assert labels == [f"seed {i}" for i in (2, 3, 0, 0, 0, 1, 1, 1)]


@pytest.mark.parametrize(
    ("num_ws", "bands"),
    [
        (18, "coarse 0-3, middle 4-7, fine 8-17"),
        (12, "coarse 0-3, middle 4-7, fine 8-11"),
        (10, "coarse 0-1, middle 2-5, fine 6-9"),
        (8, "coarse 0-1, middle 2-3, fine 4-7"),
        (6, "coarse 0-1, middle 2-3, fine 4-5"),
        (4, "coarse 0-1, middle 2-3"),
        (1, "coarse 0"),
    ],
)
def test_bands_are_those_of_the_paper_and_fewer_of_each_in_small_networks(num_ws: int, bands: str) -> None:
    assert ", ".join(f"{word} {range_text(layers)}" for word, layers in style_bands(num_ws)) == bands


def test_a_table_for_each_band(loaded: LoadedNetwork, found: list[Source], synthesise: Synthesise) -> None:
    calls: list[Tensor] = []
    bands = style_bands(loaded.generator.num_ws)
    grids = mixing_bands(found[:1], found[1:3], bands, lambda ws, source: calls.append(ws) or synthesise(ws, source))  # type: ignore[func-returns-value]
    assert len(calls) == 3 + 3 * 2
    for grid, (word, layers) in zip(grids, bands, strict=True):
        assert same(grid, 1, 2, synthesise(mix_styles(found[0].ws, found[2].ws, layers), found[0]))
        assert grid.title.startswith(f"{word.capitalize()} styles (styles {range_text(layers)} of the source above;")


def test_truncation(loaded: LoadedNetwork, found: list[Source], synthesise: Synthesise) -> None:
    generator = loaded.generator
    grid = truncation_grid(generator, found[:2], [1, 0.7, 0, -1], None, synthesise)
    mean = synthesise(generator.broadcast(generator.mapping.w_avg[None]), found[0])
    for i, source in enumerate(found[:2]):
        assert same(grid, i, 0, synthesise(source.ws, source))
        assert source.z is not None
        with torch.inference_mode():
            seven_tenths = generator.mapping_ws(source.z, truncation_psi=0.7)
            opposite = 2 * generator.mapping.w_avg - source.ws
        assert same(grid, i, 1, synthesise(seven_tenths, source))
        assert same(grid, i, 2, mean)
        assert np.abs(np.asarray(grid.cells[i][3], np.int16) - synthesise(opposite, source)).max() <= 1
    assert list(grid.columns) == ["ψ = 1", "ψ = 0.7", "ψ = 0", "ψ = -1"]


def test_cutoff(loaded: LoadedNetwork, found: list[Source], synthesise: Synthesise) -> None:
    grid = truncation_grid(loaded.generator, found[:1], [0], 2, synthesise)
    with torch.inference_mode():
        expected = found[0].ws.clone()
        expected[:, :2] = loaded.generator.mapping.w_avg
    assert same(grid, 0, 0, synthesise(expected, found[0]))
    assert "2 coarsest" in grid.title


@pytest.mark.parametrize(
    ("numbers", "text"), [([0, 1, 2, 3], "0-3"), ([7, 0, 1], "0-1,7"), ([5], "5"), ([], ""), ([3, 1], "1,3")]
)
def test_range_text(numbers: list[int], text: str) -> None:
    assert range_text(numbers) == text
