"""`invert project --start` and `--mask` as a user types them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.hdf5.reading import open_latents
from invert.store.npz import decode_sheet, read_projection
from tests.cli.conftest import ROOT, Invert

OTHER = ROOT / "data" / "networks" / "A.safetensors"
QUICK = ("--steps", 3, "--lpips", "alex", "--quiet", "--threads", 1, "--noise", "fixed")


@pytest.fixture
def project(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", tmp_path / "out", *arguments)


def mask(path: Path, side: int = 32, white: int = 16) -> Path:
    """Write a mask whose left columns count."""
    pixels = np.zeros([side, side], np.uint8)
    pixels[:, :white] = 255
    Image.fromarray(pixels).save(path)
    return path


def test_a_start_goes_on_where_a_projection_ended(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one, before = image("one.png"), tmp_path / "before"
    assert project(one, "--steps", 6, "--out", before).code == 0
    ended = read_projection(before / "one.npz")
    result = project(one, "--steps", 0, "--start", before / "one.npz")
    assert result.code == 0, result.err
    stored = read_projection(tmp_path / "out" / "one.npz")
    np.testing.assert_array_equal(stored.w, ended.w)
    assert stored.distance == pytest.approx(ended.distance, rel=1e-6)
    assert list(stored.method["start"]) == ["sha256"]
    # W+ begins with the same w everywhere
    assert project(one, "--steps", 0, "--start", before / "one.npz", "--space", "w+", "--overwrite").code == 0
    np.testing.assert_array_equal(read_projection(tmp_path / "out" / "one.npz").w, np.repeat(ended.w, 8, axis=0))


def test_rows_of_a_file_are_the_starts_of_their_images(
    project: Invert, image: Callable[..., Path], tmp_path: Path
) -> None:
    file, out = tmp_path / "before.h5", tmp_path / "out"
    one, two, new = image("one.png"), image("two.png"), image("new.png")
    assert project(one, two, "--out", file).code == 0
    with open_latents(file) as latents:
        rows = dict(zip([Path(os.fsdecode(name)).stem for name in latents.names], latents.column("w"), strict=True))
    assert project(two, new, one, "--steps", 0, "--start", file).code == 0
    found = {name: read_projection(out / f"{name}.npz").w for name in ("one", "two", "new")}
    np.testing.assert_array_equal(found["one"], rows["one"])
    np.testing.assert_array_equal(found["two"], rows["two"])
    assert project(new, "--steps", 0, "--overwrite").code == 0
    np.testing.assert_array_equal(read_projection(out / "new.npz").w, found["new"])  # the mean w
    assert project(new, "--steps", 0, "--start", f"{file}:1", "--overwrite").code == 0
    np.testing.assert_array_equal(read_projection(out / "new.npz").w, list(rows.values())[1])


def test_words_say_where_to_start(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one = image("one.png")
    bank = ("--start", "bank", "--bank", 40, "--steps", 0)
    assert project(one, *bank).code == 0
    paper = read_projection(tmp_path / "out" / "one.npz")
    assert (paper.method["start"], paper.method["bank"]["samples"]) == ("bank", 40)
    assert project(one, *bank, "--preset", "verdict", "--overwrite").code == 0
    verdict = read_projection(tmp_path / "out" / "one.npz")
    np.testing.assert_array_equal(verdict.w, paper.w)
    assert "start" not in verdict.method  # it is what the preset says
    assert project(one, "--start", "centre", "--preset", "verdict", "--steps", 0, "--overwrite").code == 0
    centre = read_projection(tmp_path / "out" / "one.npz")
    assert not np.array_equal(centre.w, verdict.w)
    assert "bank" not in centre.method


def test_starts_that_cannot_be_used(
    project: Invert, invert: Invert, image: Callable[..., Path], tmp_path: Path
) -> None:
    one, wide = image("one.png"), tmp_path / "wide"
    assert project(one, "--space", "w+", "--out", wide).code == 0
    result = project(one, "--start", wide / "one.npz")
    assert result.code == 2
    assert "has a w for each layer. Add --space w+." in result.err
    result = project(one, "--start", wide / "one.npz", "--network", OTHER)
    assert result.code == 5
    assert "its w is [8, 24], that of the network [1, 128] or [8, 128]" in result.err
    result = project(one, "--start", tmp_path / "none.npz")
    assert (result.code, "none.npz" in result.err) == (5, True)
    assert project(one, "--start", wide / "one.npz", "--preset", "exact").code == 2
    result = invert("attribute", one, "--network", OTHER, "--preset", "verdict", "--start", wide / "one.npz", "--quiet")
    assert result.code == 2
    assert "is no evidence: a start of one's own choice" in result.err


def test_only_what_the_mask_leaves_counts(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    """Two images that differ where the mask is black have the same start, at the same distance."""
    one, out = image("one.png"), tmp_path / "out"
    with Image.open(one) as opened:
        pixels = np.array(opened)
    pixels[:, 16:] = 255 - pixels[:, 16:]
    Image.fromarray(pixels).save(one.with_name("other.png"))
    bank = ("--start", "bank", "--bank", 40, "--steps", 0)
    left = mask(tmp_path / "left.png")
    result = project(one, one.with_name("other.png"), "--mask", left, *bank)
    assert result.code == 0, result.err
    first, other = (read_projection(out / f"{name}.npz") for name in ("one", "other"))
    assert list(first.method["mask"]) == ["sha256"]
    np.testing.assert_array_equal(first.w, other.w)
    assert first.distance == other.distance
    whole = tmp_path / "whole"
    assert project(one, one.with_name("other.png"), *bank, "--out", whole).code == 0
    unlike = [read_projection(whole / f"{name}.npz").distance for name in ("one", "other")]
    assert unlike[0] != unlike[1]
    sheet = decode_sheet((out / "one.png").read_bytes())
    assert not np.array_equal(sheet[:, 48:64], sheet[:, 16:32])  # the network's own pixels are shown
    assert project(one, *bank, "--mask", mask(tmp_path / "less.png", white=8)).code == 2  # another mask, another method


def test_a_mask_of_everything_changes_no_number(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one = image("one.png")
    assert project(one).code == 0
    plain = read_projection(tmp_path / "out" / "one.npz")
    assert project(one, "--mask", mask(tmp_path / "all.png", white=32), "--overwrite").code == 0
    masked = read_projection(tmp_path / "out" / "one.npz")
    np.testing.assert_allclose(masked.w, plain.w, atol=1e-6)


def test_masks_that_cannot_be_used(
    project: Invert, invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    one = image("one.png")
    small = mask(tmp_path / "small.png", side=16)
    for given, words in (
        (small, "--mask is of 16 x 16 px, the network's images 32 x 32"),
        (mask(tmp_path / "black.png", white=0), "--mask has no white pixel: nothing would count"),
        (tmp_path / "none.png", "--mask cannot be read"),
    ):
        result = project(one, "--mask", given)
        assert result.code == 2
        assert words in result.err
        assert given.name in result.err
    result = invert("attribute", one, "--network", network, "--mask", small, "--quiet")
    assert result.code == 2
    assert "is no evidence: what is left out of an image" in result.err


def test_padding_does_not_count(project: Invert, tmp_path: Path) -> None:
    """A wide image is compared where it is: as a square one whose other pixels a mask leaves out."""
    wide, square, out = tmp_path / "wide.png", tmp_path / "square.png", tmp_path / "out"
    pixels = np.random.RandomState(3).randint(0, 256, [24, 32, 3], np.uint8)
    Image.fromarray(pixels).save(wide)
    whole = np.random.RandomState(4).randint(0, 256, [32, 32, 3], np.uint8)
    whole[4:28] = pixels
    Image.fromarray(whole).save(square)
    rows = np.zeros([32, 32], np.uint8)
    rows[4:28] = 255
    Image.fromarray(rows).save(tmp_path / "mask.png")
    assert project(wide, "--fit", "pad", "--steps", 0).code == 0
    padded = read_projection(out / "wide.npz")
    assert padded.method["image_policy"]["fit"] == "pad"
    assert padded.warnings == ()  # a folder's .npz has none; they were told
    assert project(square, "--mask", tmp_path / "mask.png", "--steps", 0, "--overwrite").code == 0
    assert read_projection(out / "square.npz").distance == padded.distance
    result = project(wide, "--fit", "pad", "--preset", "exact")
    assert (result.code, "--fit pad does not go with --preset exact" in result.err) == (2, True)
    assert project(wide, "--fit", "stretch", "--overwrite").code == 0


@pytest.mark.slow
def test_several_workers_start_where_one_does(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    before, files = tmp_path / "before.h5", [tmp_path / "1.h5", tmp_path / "2.h5"]
    images = [image(name) for name in ("one.png", "two.png", "three.png")]
    assert project(*images[:2], "--out", before).code == 0
    for workers, file in enumerate(files, 1):
        result = project(*images, "--start", before, "--out", file, "--workers", workers)
        assert result.code == 0, result.err
    assert files[0].read_bytes() == files[1].read_bytes()
    # what one process did is known to several, and refused with another start
    assert "were done before" in project(*images, "--start", before, "--out", files[0], "--workers", 2).out
    result = project(*images, "--start", f"{before}:0", "--out", files[0], "--workers", 2)
    assert (result.code, "start.sha256" in result.err) == (2, True)
