"""`invert demo` as a user runs it."""

from pathlib import Path
from typing import Any

import pytest

from invert.commands.attribute import attribute
from tests.cli.conftest import Invert


def test_it_attributes_the_sample_images_of_each_kind(
    invert: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(attribute, "callback", lambda **settings: given.update(settings) or 0)
    assert invert("demo", "--images", 2).code == 0
    found = [f"{path.parent.name}/{path.name}" for path in given["paths"]]
    assert found == [
        "real/00.png",
        "real/01.png",
        "A/seed0000.png",
        "A/seed0001.png",
        "B/seed0000.png",
        "B/seed0001.png",
        "processed/blurred-A.png",
        "processed/blurred-B.png",
    ]
    assert all(path.is_file() for path in [*given["paths"], *given["network_paths"]])
    assert (given["report"], given["overwrite"]) == (Path("projections/attribution.html"), True)
    assert (tmp_path / "projections").is_dir()
    assert invert("demo", "--kind", "B", "--images", 1).code == 0
    assert [path.name for path in given["paths"]] == ["seed0000.png"]


@pytest.mark.long
def test_it_writes_the_report_and_says_where(invert: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invert("demo", "--images", 1, "--kind", "A", "-q")
    assert result.code == 0, result.err
    assert "attributed to A" in result.out
    assert result.out.endswith("report: projections/attribution.html\n")
    assert (tmp_path / "projections" / "attribution.html").read_text().startswith("<!doctype html>")
