"""Latents moved along directions."""

from typing import Any

import numpy as np
import pytest
import torch

from generator.files.reading import LoadedNetwork
from invert.editing.amounts import amounts_in, sweep, there_and_back
from invert.editing.directions import Directions
from invert.editing.moves import edit_grid, edit_latent, joined, moved, moves_along, no_move
from invert.errors import UsageError
from invert.sheets.references import Seed
from invert.sheets.sources import find_sources, image_maker
from tests.sheets.conftest import loaded as loaded  # a fixture


@pytest.fixture
def directions() -> Directions:
    vectors = np.eye(2, 24, dtype=np.float32)
    deviations = np.array([2, 0.5], np.float32)
    return Directions("pca", ("first", "second"), vectors, deviations, deviations, (1, 2), {"num_ws": 8})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-3..3", ([-3, 3], True)),
        ("0..-1.5", ([0, -1.5], True)),
        ("2", ([2], False)),
        ("-1, 0,+2.5", ([-1, 0, 2.5], False)),
    ],
)
def test_amounts(text: str, expected: Any) -> None:
    assert amounts_in(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1..", "..3", "1..2..3", "nan", "1,,2", "1e9", "inf..1", "9999999", "٣"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        amounts_in(text)


def test_ranges() -> None:
    assert sweep(-3, 3, 7) == [-3, -2, -1, 0, 1, 2, 3]
    assert sweep(-0.3, 0.3, 7)[3] == 0
    film = there_and_back(-2, 4, 12)
    assert (film[0], max(film), film.index(max(film))) == (-2, 4, 6)
    assert film[1:6] == pytest.approx(film[:6:-1])  # it loops
    assert film[1] - film[0] < film[3] - film[2]


def test_a_move_leaves_other_styles_alone(directions: Directions) -> None:
    first, second = moves_along(directions, None, 8)
    assert (first.name, first.note) == ("first", "styles 1-2")
    ws = torch.zeros([1, 8, 24])
    changed = moved(ws, first, 3)
    assert changed[0, :, 0].tolist() == [0, 6, 6, 0, 0, 0, 0, 0]
    assert int((changed != 0).sum()) == 2
    assert moved(ws, first, 0) is ws
    everywhere = moves_along(directions, range(8), 8)[1]
    assert (everywhere.note, moved(ws, everywhere, -2)[0, :, 1].tolist()) == ("", [-1] * 8)
    both = joined([first, second])
    torch.testing.assert_close(moved(ws, both, 2), moved(moved(ws, first, 2), second, 2))
    assert both.name == "first + second"
    with pytest.raises(UsageError, match="style 8: the network has 8 styles, 0 to 7"):
        moves_along(directions, [0, 8], 8)
    with pytest.raises(UsageError, match="style 2: the network has 2 styles"):
        moves_along(directions, None, 2)


def test_images_are_those_of_the_moved_styles(directions: Directions, loaded: LoadedNetwork) -> None:
    generator = loaded.generator
    (source,) = find_sources([Seed(3)], loaded)
    make = image_maker(generator, "kept")
    moves = moves_along(directions, None, generator.num_ws)
    edits = list(edit_latent(generator, source, moves, [-1, 0, 1], make, truncation_psi=0.5))
    assert [(one.direction, one.amount) for one in edits] == [
        (name, k) for name in ("first", "second") for k in (-1, 0, 1)
    ]
    truncated = generator.truncate(source.ws, 0.5)
    assert (edits[1].image == make(truncated, source)).all()
    assert (edits[2].image == make(moved(truncated, moves[0], 1), source)).all()
    np.testing.assert_array_equal(edits[5].w, moved(truncated, moves[1], 1)[0].numpy())
    grid = edit_grid("seed 3", moves, [-1, 0, 1], [one.image for one in edits])
    assert grid.cells[1][2] is edits[5].image
    assert list(grid.columns) == ["-1", "0", "+1"]
    assert list(grid.rows) == ["first\nstyles 1-2", "second\nstyles 1-2"]
    (unchanged,) = edit_latent(generator, source, [no_move(8, 24)], [0], make)
    assert (unchanged.image == make(source.ws, source)).all()
