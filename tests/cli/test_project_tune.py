"""`invert project --tune` as a user types it, and what the other commands make of a network that was tuned."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from invert.images.decoding import decode_image
from invert.projection import tuning
from invert.store.npz import decode_sheet, read_projection
from tests.cli.batch_case import write_images
from tests.cli.conftest import Invert

QUICK = ("--steps", 2, "--tune", 4, "--lpips", "alex", "--quiet", "--threads", 1, "--noise", "fixed")


@pytest.fixture(autouse=True)
def rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take larger steps: these networks are not trained, and the tests are short."""
    monkeypatch.setattr(tuning, "_RATE", 1e-3)


@pytest.fixture
def project(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", tmp_path / "out", *arguments)


def test_the_network_is_fitted_and_written(
    project: Invert, invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    one, out, before = image("one.png"), tmp_path / "out", tmp_path / "before"
    assert project(one, "--tune", 0, "--out", before).code == 0
    result = project(one, image("two.png"), "--json")
    assert result.code == 0, result.err
    first = result.records()[0]
    assert first["safetensors"] == str(out / "one.safetensors")
    tuned, plain = (read_projection(folder / "one.npz") for folder in (out, before))
    np.testing.assert_array_equal(tuned.w, plain.w)
    assert tuned.distance < plain.distance
    assert tuned.method["tune"] == 4
    assert "tune" not in plain.method
    assert (out / "one.safetensors").read_bytes() != (out / "two.safetensors").read_bytes()
    # what it says of itself
    shown = invert("info", out / "one.safetensors")
    assert f"tuned from {tuned.method['network_sha256'][:12]}... for one.png" in shown.out
    # it generates the reconstruction, and no warning is given of latents of another network
    sheet = tmp_path / "frame.png"
    command = ("truncate", "--seeds", out / "one.npz", "--network", out / "one.safetensors", "--psi", "1")
    result = invert(*command, "--out", sheet, "--scale", 1, "--quiet")
    assert (result.code, result.err) == (0, "")
    frame = np.asarray(decode_image(sheet.read_bytes(), 3).image).astype(int)
    reconstruction = decode_sheet((out / "one.png").read_bytes())[:, 32:]
    rows, columns = (size - 31 for size in frame.shape[:2])
    windows = [frame[y : y + 32, x : x + 32] for y in range(rows) for x in range(columns)]
    assert min(np.abs(window - reconstruction).max() for window in windows) <= 1
    # projections go on with it
    again = tmp_path / "again"
    given = ("--network", out / "one.safetensors", "--start", out / "one.npz", "--steps", 0, "--tune", 0)
    result = project(one, *given, "--out", again)
    assert (result.code, result.err) == (0, "")
    assert read_projection(again / "one.npz").distance == pytest.approx(tuned.distance, rel=1e-3)


def test_it_is_the_same_each_time_and_goes_with_its_result(
    project: Invert, image: Callable[..., Path], tmp_path: Path
) -> None:
    one, out = image("one.png"), tmp_path / "out"
    assert project(one).code == 0
    path = out / "one.safetensors"
    content = path.read_bytes()
    path.unlink()
    assert [record["code"] for record in project(one, "--json").records()] == ["projected", "done"]
    assert path.read_bytes() == content
    assert [record["code"] for record in project(one, "--json").records()] == ["finished-before", "done"]
    assert project(one, "--tune", 0).code == 2
    assert project(one, "--tune", 0, "--overwrite").code == 0
    assert not path.exists()


def test_a_file_of_the_users_own_is_left_alone(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "one.safetensors").write_text("mine")
    assert project(image("one.png")).code == 0
    assert (out / "one.safetensors").read_text() == "mine"
    assert len(list(out.glob("one-*.safetensors"))) == 1


def test_what_it_does_not_go_with(
    project: Invert, invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    one = image("one.png")
    result = project(one, "--out", tmp_path / "latents.h5")
    assert result.code == 2
    assert "--tune writes a network for each image, for which one HDF5 file is no place" in result.err
    assert project(one, "--preset", "exact").code == 2
    result = invert("attribute", one, "--network", network, "--tune", 3, "--quiet")
    assert result.code == 2
    assert "--tune 3 is no evidence: a network that is fitted to an image generates any" in result.err


def test_a_tuned_network_is_no_evidence(
    project: Invert, invert: Invert, image: Callable[..., Path], tmp_path: Path
) -> None:
    one = image("one.png")
    assert project(one).code == 0
    tuned, converted = tmp_path / "out" / "one.safetensors", tmp_path / "converted.safetensors"
    assert invert("convert", tuned, converted, "--quiet").code == 0
    real = tmp_path / "real"
    write_images(real, 20, seed=1)
    moved = shutil.copy(tuned, tmp_path / "other name.safetensors")
    for path in (converted, moved):
        for command in (("attribute", one), ("calibrate", "--real", real, "--fpr", 0.3, "--count", 24)):
            result = invert(*command, "--network", path, "--quiet")
            assert result.code == 2
            assert "for one.png: that it generates the image says nothing of where the image is from" in result.err
