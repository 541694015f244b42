"""`invert seed` and `invert attribute --seed-search` as a user runs them."""

import csv
import io
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import invert as package
from tests.cli.conftest import Invert

SETTINGS = ("--steps", 8, "--restarts", 1, "--bank", 50, "--lpips", "alex", "--noise", "fixed", "--processing", "none")
SEED = 37


def generate(network: Path, out: Path, psi: float = 1.0) -> None:
    (image,) = package.generate(network, [SEED], truncation_psi=psi)
    Image.fromarray(image).save(out)


@pytest.fixture
def images(network: Path, tmp_path: Path) -> Path:
    """A folder with an image of the network and one of nobody."""
    folder = tmp_path / "images"
    folder.mkdir()
    generate(network, folder / "own.png", 0.7)
    noise = np.random.default_rng(0).integers(0, 256, [32, 32, 3], np.uint8)
    Image.fromarray(noise).save(folder / "someone.png")
    return folder


@pytest.mark.slow
def test_a_seed_is_named_with_the_command_for_it(
    invert: Invert, network: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = invert("seed", images, "--network", network, "--max", 60, *SETTINGS)
    assert text.code == 0, text.err
    assert "1 of 2 images have a seed in 0..59" in text.out
    assert "no evidence against" in text.out
    assert "60 of 60 seeds" in text.err

    # both ways of a finished projection: its folder, and the .npz of one image
    out = tmp_path / "projections"
    assert invert("project", images, "--network", network, "--out", out, "--preset", "exact", *SETTINGS).code == 0
    told = invert("seed", out, "--network", network, "--max", 60, "--json", "-q").records()
    named, unnamed, summary = sorted(told[:2], key=lambda one: str(one["path"])) + told[2:]
    assert (named["code"], named["seed"], named["truncation_psi"], named["noise"]) == ("named", SEED, 0.7, "fixed")
    assert (unnamed["code"], unnamed["reason"]) == (
        "no-seed",
        "the network does not explain the image to the last level",
    )
    assert (summary["images"], summary["named"], summary["searched"]) == (2, 1, 60)
    (alone,) = invert("seed", out / "own.npz", "--network", network, "--max", 60, "--json", "-q").records()[:-1]
    assert alone == named

    monkeypatch.chdir(tmp_path)
    command = shlex.split(named["command"])
    assert invert(*command[1:]).code == 0
    with Image.open(command[-1]) as again, Image.open(images / "own.png") as own:
        assert np.abs(np.asarray(again).astype(int) - np.asarray(own)).max() <= 1


@pytest.mark.slow
def test_rows_of_a_file_and_python(invert: Invert, network: Path, images: Path, tmp_path: Path) -> None:
    latents = tmp_path / "latents.h5"
    project = ("project", images / "own.png", "--network", network, "--preset", "exact", *SETTINGS)
    assert invert(*project, "--out", latents, "--save-images").code == 0
    found = {answer.name: answer for answer in package.find_seeds(latents, network, maximum=60)}
    assert [answer.named is not None for answer in found.values()] == [True]
    assert invert(*project, "--out", tmp_path / "without.h5").code == 0
    refused = invert("seed", tmp_path / "without.h5", "--network", network, "--max", 60)
    assert refused.code == 2
    assert "keeps no images" in refused.err


@pytest.mark.slow
def test_attribute_searches_for_seeds(invert: Invert, network: Path, images: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    run = ("attribute", images, "--network", network, "--seed-search", 60, "--preset", "exact", *SETTINGS)
    told = invert(*run, "--report", report, "--json", "-q").records()
    seeds = [one for one in told if one["type"] == "seed"]
    assert [one.get("seed") for one in seeds] == [SEED, None]
    page = report.read_text()
    assert f"from seed {SEED}, psi 0.7, fixed noise" in page
    assert f"--seeds {SEED} --psi 0.7" in page
    assert "No seed found is no evidence against a network" in page
    rows = list(csv.DictReader(io.StringIO(invert(run[0], images / "own.png", *run[2:], "--csv").out)))
    assert [row["nvidia_ada: seed"] for row in rows] == [str(SEED)]
    assert [row["nvidia_ada: seeds_searched"] for row in rows] == ["60"]


@pytest.mark.parametrize("count", [0, -1, 2**32 + 1, "many"])
def test_what_is_no_number_of_seeds_is_refused(invert: Invert, network: Path, images: Path, count: object) -> None:
    for command in (("seed", "--max"), ("attribute", "--seed-search")):
        result = invert(command[0], images, "--network", network, command[1], count)
        assert result.code == 2
        assert command[1] in result.err


def test_what_cannot_be_searched_is_refused(invert: Invert, network: Path, tmp_path: Path) -> None:
    assert invert("seed", "--network", network).code == 2
    nothing = invert("seed", tmp_path, "--network", network)
    assert (nothing.code, nothing.out) == (5, "")
    (tmp_path / "photo.npz").write_bytes(b"no projection")
    damaged = invert("seed", tmp_path / "photo.npz", "--network", network, *SETTINGS)
    assert damaged.code == 5
    assert "damaged" in damaged.err
    generate(network, tmp_path / "own.png")
    paper = invert("seed", tmp_path / "own.png", "--network", network, "--preset", "paper", *SETTINGS[6:8])
    assert paper.code == 2
    assert "--preset paper" in paper.err
