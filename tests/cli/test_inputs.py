"""What users commonly type as inputs is done, or explained in a line."""

import csv
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generator.files.invert_format import save_network
from invert.cli.inputs import expand
from invert.errors import NoInputError
from invert.images.profiles import colour_of_codes
from tests.cli.conftest import Invert
from tests.golden_data import load_networks

QUICK = ("--steps", 1, "--lpips", "alex", "--threads", 1, "-q")

Write = Callable[..., Path]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_among_the_images(invert: Invert, image: Write, network: Path, tmp_path: Path) -> None:
    for command in ("project", "attribute"):
        result = invert(command, image(), network)
        assert result.code == 2
        assert f"'{network}': it is a network, not an image. Name it with --network {network}." in result.err
    text = tmp_path / "x.txt"
    text.write_text("no network either")
    assert list(expand([text])) == [text]


@pytest.mark.parametrize(
    "arguments",
    [
        ("project", "https://example.org/a.png"),
        ("info", "https://example.org/a.pkl"),
        ("convert", "https://example.org/a.pkl", "x.safetensors"),
        ("generate", "--network", "http://example.org/a.pkl", "--seeds", "1", "--out", "x"),
        ("attribute", "x.png", "--network", "hf://example/a.pkl"),
    ],
    ids=" ".join,
)
def test_urls_are_to_be_downloaded_first(invert: Invert, here: Path, arguments: tuple[str, ...]) -> None:
    result = invert(*arguments)
    assert result.code == 2
    assert "a URL" in result.err
    assert "Download it first" in result.err
    if arguments[0] != "project":
        assert "sha256" in result.err
    assert os.listdir(here) == []


def test_patterns_in_quotes(here: Path, image: Write, invert: Invert) -> None:
    for name in ("b.png", "a.png", "c[1].png"):
        image(name)
    found = list(expand([Path("images/*.png")]))
    assert found == [Path("images/a.png"), Path("images/b.png"), Path("images/c[1].png")]
    assert list(expand([Path("images/c[1].png")])) == [Path("images/c[1].png")]
    result = invert("project", "images/*.tiff")
    assert result.code == 2
    assert "'images/*.tiff': no file fits this pattern" in result.err


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (b"a.png\nb c.png\n", ["a.png", "b c.png"]),
        (b"a.png\r\n\r\nb.png", ["a.png", "b.png"]),
        (b"a\n1.png\0b.png\0", ["a\n1.png", "b.png"]),
        (b"caf\xe9.png\n", ["caf\udce9.png"]),
    ],
)
def test_a_list_on_standard_input(monkeypatch: pytest.MonkeyPatch, typed: bytes, names: list[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))
    assert list(expand([Path("-")])) == [Path(name) for name in names]


def test_an_empty_list_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(NoInputError, match="standard input names no images"):
        list(expand([Path("-")]))


def test_underscores_and_options_of_other_programs(invert: Invert, image: Write, network: Path, here: Path) -> None:
    result = invert("project", image(), "--network", network, "--max_pixels", 10, *QUICK)
    assert "over the 1e-05 Mpx limit" in result.err
    assert invert("train_report", "nowhere").code == 2
    for option, hint in (("--target", "named by itself"), ("--outdir", "--out"), ("--num_steps", "--steps")):
        result = invert("project", option, "x", "--network", network)
        assert result.code == 2
        assert hint in result.err
    assert invert("generate", "--network", network, "--seeds", 1, "--trunc", 0.5, "--out", "a").code == 0
    assert invert("generate", "--network", network, "--seeds", 1, "--psi", 0.5, "--out", "b").code == 0
    assert (here / "a/seed0001.png").read_bytes() == (here / "b/seed0001.png").read_bytes()


def test_a_report_is_html(invert: Invert, image: Write, here: Path) -> None:
    result = invert("attribute", image(), "--report", "x.pdf")
    assert result.code == 2
    assert "a report is written as one HTML page. Name a .html file" in result.err
    (here / "run").mkdir()
    assert "one HTML page" in invert("train-report", "run", "--out", "x.pdf").err


# Zips


@pytest.fixture
def archive(image: Write, tmp_path: Path) -> Path:
    """A zip of two images in a folder, one of which is broken, one of another format, and what systems strew."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(image("a.png"), "x/a.png")
        file.write(image("b.png"), "x/b.png")
        for name in ("x/c.png", "x/d.jp2", "x/readme.txt", "__MACOSX/._a.png"):
            file.writestr(name, b"text")
    return path


@pytest.mark.slow
def test_a_zip_is_projected_like_a_folder(invert: Invert, archive: Path, network: Path, tmp_path: Path) -> None:
    command = ("project", archive, "--network", network, *QUICK, "--batch", 2)
    result = invert(*command, "--out", tmp_path / "zip.h5")
    assert result.code == 3
    assert f"'{archive}/x/c.png': it is not a PNG" in result.err
    assert f"'{archive}/x/d.jp2': it is JPEG 2000" in result.err
    rows = [row for row in invert("show", tmp_path / "zip.h5", "--json").records() if row["type"] == "image"]
    assert [row["name"] for row in rows] == ["x/a.png", "x/b.png"]
    shutil.copytree(tmp_path / "images", tmp_path / "folder/x")
    invert("project", tmp_path / "folder", "--network", network, *QUICK, "--batch", 2, "--out", tmp_path / "folder.h5")
    same = [row for row in invert("show", tmp_path / "folder.h5", "--json").records() if row["type"] == "image"]
    assert [(row["name"], row["distance"], row["sha256"]) for row in rows] == [
        (row["name"], row["distance"], row["sha256"]) for row in same
    ]
    again = invert(*command, "--out", tmp_path / "zip.h5")
    assert "2 of 4 images were done before" in again.out


def test_a_broken_zip_is_one_failure(invert: Invert, archive: Path, network: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-30])
    result = invert("project", archive, "--network", network, *QUICK, "--out", tmp_path / "o")
    assert result.code == 5
    assert f"'{archive}': the zip is cut off" in result.err


# Sheets


@pytest.mark.slow
def test_own_sheets_are_left_out_and_said_once(invert: Invert, here: Path, image: Write, network: Path) -> None:
    image("a.png")
    image("b.png")
    os.chdir("images")
    assert invert("project", ".", "--network", network, *QUICK, "--out", ".").code == 0
    assert invert("generate", "--network", network, "--seeds", "1-2", "--out", ".", "--grid").code == 0
    os.rename("a.png", "first.png")  # projected as a-....png; its index goes by that
    for index in ("kept", "lost"):
        if index == "lost":
            os.remove("results.jsonl")
        result = invert("project", ".", "--network", network, *QUICK[:-1], "--out", f"../{index}", "--json")
        assert result.err.count("sheets that invert made of images are left out") == 1
        assert "note: 3 sheets" in result.err
        names = {Path(row["path"]).name for row in result.records() if row["type"] == "image"}
        assert names == {"first.png", "b.png", "seed0001.png", "seed0002.png"}
    dataset = invert("dataset", ".", "../all.zip")
    assert "4 images" in dataset.out
    assert dataset.err.count("left out") == 1
    assert dataset.code == 0


def test_a_sheet_named_by_itself_is_read_with_a_word(invert: Invert, network: Path, here: Path) -> None:
    assert invert("generate", "--network", network, "--seeds", "1-4", "--out", ".", "--grid").code == 0
    result = invert("project", "grid.png", "--network", network, *QUICK, "--out", "o")
    assert result.code == 0
    assert "'grid.png': it is a sheet of several images that this program made" in result.err


def test_sheets_of_before_are_known_by_the_index(invert: Invert, image: Write, network: Path, here: Path) -> None:
    image("a.png")
    os.chdir("images")
    assert invert("project", ".", "--network", network, *QUICK, "--out", ".").code == 0
    sheet = next(path for path in Path().glob("a-*.png"))
    Image.open(sheet).save(sheet)  # loses the mark
    result = invert("project", ".", "--network", network, *QUICK, "--out", "../o", "--json")
    assert [row["path"] for row in result.records() if row["type"] == "image"] == ["a.png"]


# What reading gives rise to


@pytest.mark.slow
def test_remarks_reach_every_output(invert: Invert, network: Path, here: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save("p3.jpg", "PNG", icc_profile=colour_of_codes(12, 13).profile)
    said = ["its colour profile (unnamed) is converted to sRGB", "it is called .jpg but is PNG"]
    result = invert("project", "p3.jpg", "--network", network, *QUICK, "--out", "o", "--json")
    assert all(f"warning: image 'p3.jpg': {text}" in result.err for text in said)
    assert result.records()[0]["warnings"] == said
    assert json.loads(Path("o/results.jsonl").read_text().splitlines()[1])["warnings"] == said
    command = (
        "attribute",
        "p3.jpg",
        "--network",
        network,
        "--threads",
        1,
        "--steps",
        1,
        "--bank",
        64,
        "--lpips",
        "alex",
    )
    (found,) = csv.DictReader(io.StringIO(invert(*command, "--csv", "--report", "r.html").out))
    assert found["warnings"] == "; ".join(said)
    assert all(text in Path("r.html").read_text() for text in said)
    assert invert(*command, "--json").records()[0]["warnings"][:2] == said


def test_a_projection_without_class_says_which_are_used(invert: Invert, image: Write, here: Path) -> None:
    save_network(here / "c.safetensors", load_networks("conditional")[1])
    classes = load_networks("conditional")[1].config.mapping.c_dim
    command = ("project", image(), "--network", "c.safetensors", "--steps", 1, "--lpips", "alex", "--threads", 1)
    result = invert(*command, "--out", "a", "-q")
    assert f"no --class was given: the network's latents of all its {classes} classes" in result.err
    assert "no --class" not in invert(*command, "--out", "b", "--class", 0).err
