"""`invert project --space` as a user runs it, and what the other commands make of its results."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from invert.hdf5.reading import open_latents
from invert.images.decoding import decode_image
from invert.store.npz import decode_sheet, read_projection
from tests.cli.conftest import Invert

QUICK = ("--steps", 3, "--lpips", "alex", "--quiet", "--threads", 1)


@pytest.fixture
def project(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", tmp_path / "out", *arguments)


def test_w_plus_in_a_folder(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one = image("one.png")
    assert project(one, "--space", "w+", "--space-weight", 0.5).code == 0
    stored = read_projection(tmp_path / "out" / "one.npz")
    assert stored.w.shape == (8, 24)
    assert (stored.method["space"], stored.method["space_weight"]) == ("w+", 0.5)
    result = project(one)
    assert result.code == 2
    assert "space: w+, now None" in result.err
    assert project(one, "--space", "z", "--overwrite").code == 0
    stored = read_projection(tmp_path / "out" / "one.npz")
    assert stored.w.shape == (1, 24)
    assert "space_weight" not in stored.method


def test_w_plus_in_one_file(
    project: Invert, invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    out = tmp_path / "latents.h5"
    kept = ("--save-noise", "float32", "--save-images")
    assert project(image("a.png"), image("b.png"), "--space", "w+", "--out", out, *kept).code == 0
    with open_latents(out) as latents:
        assert [latents[row].w.shape for row in (0, 1)] == [(8, 24)] * 2
        expected = latents[1].reconstruction
    assert invert("verify", out).code == 0
    assert "3 steps, LPIPS alex, space w+" in invert("show", out).out
    rendered = tmp_path / "rendered"
    assert invert("render", out, "--index", 1, "--out", rendered, "--network", network, "--quiet").code == 0
    (path,) = rendered.glob("*.png")
    np.testing.assert_array_equal(np.asarray(decode_image(path.read_bytes(), 3).image), expected)


def test_sheets_take_w_plus(
    project: Invert, invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    assert project(image("one.png"), "--space", "w+", "--noise", "fixed").code == 0
    out, sheet = tmp_path / "out", tmp_path / "frame.png"
    command = ("truncate", "--seeds", out / "one.npz", "--network", network, "--psi", "1", "--out", sheet, "--scale", 1)
    result = invert(*command, "--quiet")
    assert result.code == 0, result.err
    frame = np.asarray(decode_image(sheet.read_bytes(), 3).image)
    reconstruction = decode_sheet((out / "one.png").read_bytes())[:, 32:]
    windows = [frame[y : y + 32, x : x + 32] for y in range(frame.shape[0] - 31) for x in range(frame.shape[1] - 31)]
    assert min(np.abs(window.astype(int) - reconstruction).max() for window in windows) <= 1


@pytest.mark.parametrize("space", ["w+", "z"])
def test_it_is_no_evidence(invert: Invert, image: Callable[..., Path], network: Path, space: str) -> None:
    one = image("one.png")
    result = invert("attribute", one, "--network", network, "--space", space, "--quiet")
    assert result.code == 2
    assert f"--space {space} is no evidence" in result.err
    result = invert("calibrate", "--network", network, "--real", one.parent, "--space", space, "--quiet")
    assert result.code == 2
    assert f"--space {space} is no evidence" in result.err


def test_finished_projections_into_w_plus_are_no_evidence(
    project: Invert, invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    out = tmp_path / "latents.h5"
    assert project(image("a.png"), "--space", "w+", "--out", out, "--save-images").code == 0
    result = invert("attribute", out, "--network", network, "--threshold", 0.3, "--quiet")
    assert result.code == 2
    assert "--space w+ is no evidence: a w for each layer fits images of any origin" in result.err


def test_fidelity_is_in_every_result(
    project: Invert, invert: Invert, image: Callable[..., Path], tmp_path: Path
) -> None:
    one, out, file = image("one.png"), tmp_path / "out", tmp_path / "latents.h5"
    assert project(one, "--noise", "fixed").code == 0
    stored = read_projection(out / "one.npz")
    sheet = decode_sheet((out / "one.png").read_bytes()).astype(float)
    error = np.square(sheet[:, :32] - sheet[:, 32:]).mean()
    assert stored.psnr == pytest.approx(10 * np.log10(255**2 / error))
    assert -1 < stored.ssim < 1
    assert project(one, "--noise", "fixed", "--out", file).code == 0
    shown = invert("show", file).out
    assert f"psnr      smallest {stored.psnr:.2f}" in shown
    assert f"ssim      smallest {stored.ssim:.4f}" in shown
    row = json.loads(invert("show", file, "--json").out.splitlines()[0])
    assert (row["psnr"], row["ssim"]) == (stored.psnr, stored.ssim)
