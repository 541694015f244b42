"""`invert project --preset exact` as a user runs it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Invert


def test_what_is_found_is_kept_and_shown(invert: Invert, network: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, [32, 32, 3], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    settings = ("--preset", "exact", "--steps", 2, "--restarts", 1, "--bank", 20, "--lpips", "alex", "--quiet")
    for out in ("folder", "latents.h5"):
        assert (
            invert("project", tmp_path / "image.png", "--network", network, "--out", tmp_path / out, *settings).code
            == 0
        )
    with np.load(tmp_path / "folder" / "image.npz") as arrays:
        assert arrays["q"] == pytest.approx(arrays["misfit"] + arrays["latent_norm"])
        assert str(arrays["stopped"]) == "stalled"
    with Image.open(tmp_path / "folder" / "image.png") as picture:
        assert picture.width == 3 * 32
        assert picture.height > 32
    lines = invert("show", tmp_path / "latents.h5", "--json").records()
    assert lines[0]["rms"] > 1
    assert lines[0]["noise_kind"] == "stored"
    table = invert("show", tmp_path / "latents.h5").out
    assert "rms" in table
    assert "exact, at most 2 steps" in table
    verified = invert("verify", tmp_path / "latents.h5")
    assert verified.code == 0
