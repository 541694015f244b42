"""Data sets and networks with transparency: `invert dataset --channels 4`, `invert train`, and what comes of it."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Invert
from tests.cli.train_case import SMALL, write_images
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture

SHORT = (*SMALL, "--kimg", 0.016, "-q")


def write_shapes(folder: Path, count: int = 24, side: int = 16) -> Path:
    """Write coloured discs on a transparent ground, in whose pixels another colour hides."""
    folder.mkdir(parents=True)
    rng = np.random.RandomState(0)
    y, x = np.mgrid[:side, :side]
    for index in range(count):
        pixels = np.empty([side, side, 4], np.uint8)
        pixels[...] = [0, 255, 0, 0]
        centre, radius = rng.uniform(0.3, 0.7, 2) * side, rng.uniform(0.2, 0.35) * side
        inside = np.hypot(x - centre[0], y - centre[1]) < radius
        pixels[inside] = [rng.randint(60, 256), 100, 200, 255]
        pixels[inside & (x > centre[0]), 3] = 128
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return folder


def contents(path: Path) -> tuple[list[np.ndarray], dict[str, object]]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
        return pixels, json.loads(archive.read("dataset.json"))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture
def data(invert: Invert, shapes: Path, tmp_path: Path) -> Path:
    """A set of RGBA images."""
    path = tmp_path / "shapes.zip"
    result = invert("dataset", shapes, path, "--channels", 4)
    assert result.code == 0, result.err
    assert "24 images, 16 x 16, 4 channels, no classes; 0 skipped" in result.out
    assert "laid on" not in result.err
    return path


def test_a_data_set_keeps_alpha_and_hides_nothing(invert: Invert, shapes: Path, data: Path, tmp_path: Path) -> None:
    pixels, about = contents(data)
    assert about["channels"] == 4
    source = np.asarray(Image.open(shapes / "00.png"))
    seen = source[..., 3] > 0
    assert (pixels[0][seen] == source[seen]).all()
    assert (pixels[0][~seen] == 0).all()
    again = tmp_path / "again.zip"
    assert "4 channels" in invert("dataset", data, again).out, "without the option it stays what it was made to be"
    for one, other in zip(pixels, contents(again)[0], strict=True):
        assert np.array_equal(one, other)
    black = invert("dataset", data, tmp_path / "black.zip", "--channels", 3)
    assert "3 channels" in black.out
    assert "its transparent parts are laid on black" in black.err
    padded = tmp_path / "padded.zip"
    assert invert("dataset", data, padded, "--resolution", 32, "--pad", "-q").code == 0
    assert contents(padded)[0][0][0, 0].tolist() == [0, 0, 0, 0]
    resized = tmp_path / "resized.zip"
    assert invert("dataset", shapes, resized, "--resolution", 8, "--channels", 4, "-q").code == 0
    greens = [image[image[..., 3] > 30, 1] for image in contents(resized)[0]]
    assert all(abs(green.astype(int) - 100).max() < 25 for green in greens), "no hidden colour (of 255) at the edges"


def test_images_of_files_without_such_a_word_are_laid_on_black(
    invert: Invert, shapes: Path, run: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.zip"
    assert "3 channels" in invert("dataset", shapes, plain).out
    result = invert("dataset", shapes, tmp_path / "two.zip", "--channels", 2)
    assert result.code == 2
    assert "'2' is not one of '1', '3', '4'" in result.err


def test_a_network_learns_alpha(invert: Invert, data: Path, run: Path, tmp_path: Path) -> None:
    every = ("--augment", "fixed:0.8", "--augment-groups", "blit,geom,color,filter,noise,cutout")
    result = invert("train", "--data", data, "--out", run, *SHORT, *every)
    assert result.code == 0, result.err
    for name in ("reals.png", "fakes-000000016.png"):
        with Image.open(run / name) as sheet:
            assert sheet.mode == "RGB", "laid on white"
            if name == "reals.png":
                assert sheet.getpixel((0, 0)) == (255, 255, 255)
    network = run / "network.safetensors"
    assert "16 x 16, 4 channels" in invert("info", network).out
    generate = ("generate", "--network", network, "--seeds", 0, "--out", tmp_path / "samples")
    assert invert(*generate).code == 0
    (sample,) = (tmp_path / "samples").glob("*.png")
    with Image.open(sample) as image:
        assert image.mode == "RGBA"
        assert len(image.getchannel("A").getcolors()) > 1
    # the same command goes on
    assert invert("train", "--data", data, "--out", run, *SHORT, *every, "--kimg", 0.024).code == 0


def test_from_a_network_without_alpha(invert: Invert, images: Path, data: Path, run: Path, tmp_path: Path) -> None:
    assert invert("train", "--data", images, "--out", tmp_path / "colour", *SHORT, "--kimg", 0.008).code == 0
    network = tmp_path / "colour" / "network.safetensors"
    loud = [one for one in SHORT if one != "-q"]
    result = invert("train", "--data", data, "--out", run, *loud, "--from", network)
    assert result.code == 0, result.err
    fresh = (
        "layers that start afresh: G synthesis.b4.torgb, G synthesis.b8.torgb, G synthesis.b16.torgb, D b16.fromrgb,"
    )
    assert fresh in result.err
    other = invert("train", "--data", images, "--out", run, *loud, "--from", network)
    assert other.code == 2
    assert "channels: 4, now 3" in other.err


def test_features_see_images_on_black(data: Path) -> None:
    """As images with transparency are read where three channels are wanted."""
    import torch

    from invert.images.decoding import decode_image, to_png_bytes
    from invert.metrics.sampling import _three_channels

    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 256, [32, 32, 4], np.uint8)
    expected = np.asarray(decode_image(to_png_bytes(pixels), 3).image)
    found = _three_channels(torch.from_numpy(pixels.transpose(2, 0, 1)[None]))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, expected)


def test_written_images_stay_a_folder_of_images(invert: Invert, run: Path, tmp_path: Path) -> None:
    """A dataset.json with an odd word for channels is taken for one without."""
    folder = write_images(tmp_path / "odd", 4)
    (folder / "dataset.json").write_text(json.dumps({"labels": None, "channels": "4"}))
    assert "3 channels" in invert("dataset", folder, tmp_path / "odd.zip").out
