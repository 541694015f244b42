"""`invert mix`, `truncate`, `noise` and `interpolate` of what was projected: images are those that were found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Invert
from tests.cli.test_sheets import COMMANDS, LATENT_OPTION, Synthesise, pixels
from tests.cli.test_sheets import generated as generated  # a fixture
from tests.cli.test_sheets import sheet as sheet  # a fixture
from tests.sheets.test_layout import places


def close(one: Any, other: Any) -> bool:
    return int(np.abs(one.astype(int) - other).max()) <= 1


@pytest.mark.usefixtures("threads")
def test_sheets_show_a_projection_as_it_was_found(
    invert: Invert, network: Path, tmp_path: Path, projected: list[tuple[Path, Any]]
) -> None:
    (first, image), (last, other) = projected
    frames, stored = tmp_path / "frames", tmp_path / "stored"
    common = ("--network", network, "--from", first, "--to", last, "--steps", 3)
    assert invert("interpolate", *common, "--frames", frames, "--easing", "smooth").code == 0
    shown = [pixels(frames / f"frame0000{i}.png") for i in range(3)]
    assert close(shown[0], image)
    assert close(shown[2], other)
    assert invert("interpolate", *common, "--frames", stored, "--noise", "const").code == 0
    assert not close(pixels(stored / "frame00000.png"), image)
    own = pixels(frames / "frame00000.png")
    for command in ("mix", "truncate"):
        out, option = tmp_path / f"{command}.png", LATENT_OPTION[command]
        arguments = ("--network", network, *COMMANDS[command], option, first, "--scale", 1, "--overwrite", "--out", out)
        assert invert(command, *arguments).code == 0
        assert len(places(pixels(out), own)) == 1
        assert invert(command, *arguments, "--noise", "none").code == 0
        assert len(places(pixels(out), own)) == 0


def test_a_projection_is_shown_with_its_own_noise(
    sheet: Invert, tmp_path: Path, projected: list[tuple[Path, Any]], generated: Synthesise
) -> None:
    path, _ = projected[0]
    own = generated(path)
    for word, count in (("own", 2), ("random", 0)):
        assert sheet("noise", "--seed", path, "--noise", word, "--overwrite").code == 0
        assert len(places(pixels(tmp_path / "sheet.png"), own)) == count
