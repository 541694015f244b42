"""`invert demo` as a user runs it."""

from pathlib import Path
from typing import Any

import pytest

from invert.commands.attribute import attribute
from tests.cli.conftest import Invert


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what each call of `invert attribute` was given, which ends at once."""
    given: list[dict[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(attribute, "callback", lambda **settings: given.append(settings) or 0)
    return given


def test_it_attributes_the_sample_images_of_each_kind(
    invert: Invert, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert invert("demo", "--images", 3).code == 0
    garments, faces = asked
    assert [f"{path.parent.name}/{path.name}" for path in garments["paths"][2::3]] == [
        "real/02.png",
        "A/seed0002.png",
        "B/seed0002.png",
        "processed/blurred-real.png",
    ]
    assert [f"{path.parent.name}/{path.name}" for path in faces["paths"]] == [
        "faces-real/00000.png",
        "faces/seed0000.png",
        "faces-b/seed0000.png",
        "faces-processed/blurred-faces-b.png",
    ]
    for given, network in ((garments, "A"), (faces, "faces")):
        assert [path.stem for path in given["network_paths"]] == [network]
        assert all(path.is_file() for path in [*given["paths"], *given["network_paths"]])
        assert given["overwrite"]
    reports = [given["report"] for given in asked]
    assert reports == [Path("projections/attribution.html"), Path("projections/attribution-faces.html")]
    assert (tmp_path / "projections").is_dir()


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (["--kind", "B"], [["B"]]),
        (["--kind", "faces", "--kind", "real"], [["real"], ["faces"]]),
        (["--network", "mine.pt"], [["real", "A", "B", "processed"]]),
        (["--network", "mine.pt", "--kind", "faces-b"], [["faces-b"]]),
    ],
)
def test_kinds_and_networks_are_chosen(
    invert: Invert, asked: list[dict[str, Any]], options: list[str], kinds: list[list[str]], tmp_path: Path
) -> None:
    (tmp_path / "mine.pt").touch()
    assert invert("demo", "--images", 1, *options).code == 0
    assert [[path.parent.name for path in given["paths"]] for given in asked] == kinds
    assert asked[0]["report"] == Path("projections/attribution.html")
    if "--network" in options:
        assert [path.name for given in asked for path in given["network_paths"]] == ["mine.pt"]


@pytest.mark.long
def test_it_writes_the_report_and_says_where(invert: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invert("demo", "--images", 1, "--kind", "A", "-q")
    assert result.code == 0, result.err
    assert "attributed to A" in result.out
    assert result.out.endswith("report: projections/attribution.html\n")
    assert (tmp_path / "projections" / "attribution.html").read_text().startswith("<!doctype html>")
