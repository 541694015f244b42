"""`invert noise --maps`: the noise maps of projections as images, as a user asks for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invert.sheets.noise_maps import map_image, structure
from invert.store.npz import read_projection
from tests.cli.conftest import Invert
from tests.cli.test_sheets import pixels
from tests.sheets.test_layout import places


@pytest.fixture
def maps(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    common = ("noise", "--network", network, "--out", tmp_path / "maps.png", "--scale", 1, "--overwrite")
    return lambda *arguments: invert(*common, *arguments)


def test_each_map_is_an_image(maps: Invert, tmp_path: Path, projected: list[tuple[Path, Any]]) -> None:
    first, second = (path for path, _ in projected)
    result = maps("--maps", f"{first},{second}")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "correlation of neighbours in the noise maps of found0/000000.npz, found1/000000.npz"
    stored = [read_projection(path).noise for path in (first, second)]
    assert len(lines) == len(stored[0]) + 2
    sheet = pixels(tmp_path / "maps.png")
    for noise in stored:
        for values in noise.values():
            assert len(places(sheet, map_image(values, 32).repeat(3, axis=2))) >= 1
    (summary,) = maps("--maps", f"{first},{first}", "--json").records()
    assert [one["latent"] for one in summary["maps"]] == [f"found0/{first.name}"] * 2
    assert summary["maps"][0]["correlations"].keys() == stored[0].keys()
    # a few steps leave no structure behind, and noise of 4 x 4 has some by chance
    assert abs(summary["maps"][0]["correlations"]["b32.conv1"]) < 0.15


def test_structure_is_told_from_noise() -> None:
    noise = np.random.RandomState(0).randn(64, 64)
    smooth = noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)
    assert abs(structure(noise)) < 0.03
    assert structure(smooth) == pytest.approx(1 / 3, abs=0.03)
    assert structure(np.ones([8, 8])) == 0
    assert map_image(np.array([[-9.0, -3.0], [0.0, 3.0]]), 2)[..., 0].tolist() == [[0, 0], [128, 255]]


def test_maps_that_are_not_there(
    maps: Invert, invert: Invert, network: Path, tmp_path: Path, projected: list[tuple[Path, Any]]
) -> None:
    (first, _), _ = projected
    np.savez(tmp_path / "w.npz", w=np.zeros([1, 8, 24], np.float32))
    for given, words in (
        (("--maps", "3"), "--maps 3: a seed has no noise maps of its own"),
        (("--maps", tmp_path / "w.npz"), "w.npz was kept without noise maps of its own"),
        ((), "a latent is shown with --seed, or maps with --maps. Give one of the two."),
        (("--maps", first, "--seed", 1), "a latent is shown with --seed, or maps with --maps"),
    ):
        result = maps(*given)
        assert (result.code, words in result.err, len(result.err.splitlines())) == (2, True, 1), result.err
