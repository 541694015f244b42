"""`invert project --start` with latents of other programs, as a user types it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from invert.hdf5.reading import open_latents
from invert.store.npz import read_projection
from tests.cli.conftest import Invert

QUICK = ("--steps", 0, "--lpips", "alex", "--threads", 1, "--noise", "fixed")
WIDE = np.random.RandomState(5).randn(3, 8, 24).astype(np.float32)
"""Latents in W+ of the network of the tests."""


@pytest.fixture
def project(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    common = ("project", *QUICK, "--network", network, "--out", tmp_path / "out", "--overwrite")
    return lambda *arguments: invert(*common, *arguments)


def found(tmp_path: Path, name: str) -> np.ndarray:
    return read_projection(tmp_path / "out" / f"{name}.npz").w


def test_projected_w_of_another_program(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one, file, same = image("one.png"), tmp_path / "projected_w.npz", tmp_path / "same.npz"
    np.savez(file, w=WIDE[:1])
    np.savez(same, w=WIDE[:1, :1].repeat(8, axis=1))
    result = project(one, "--start", file, "--space", "w+")
    assert result.code == 0, result.err
    assert "projected_w.npz': taken as a w for each layer" in result.err
    np.testing.assert_array_equal(found(tmp_path, "one"), WIDE[0])
    result = project(one, "--start", file)
    assert "a w for each layer, of which the mean is taken; --space w+ takes each as it is" in result.err
    np.testing.assert_allclose(found(tmp_path, "one"), WIDE[0].mean(axis=0, keepdims=True), atol=1e-6)
    result = project(one, "--start", same)
    assert "same.npz': taken as one w, which is the same for all layers" in result.err
    np.testing.assert_array_equal(found(tmp_path, "one"), WIDE[0, :1])


def test_several_latents_by_position(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    file, folder = tmp_path / "latents.pt", image("a.png").parent
    image("b.png"), image("c.png")
    torch.save(torch.from_numpy(WIDE), file)
    result = project(folder, "--start", file, "--space", "w+")
    assert result.code == 0, result.err
    assert "latents.pt': its 3 latents are those of the images in their order" in result.err
    for number, name in enumerate("abc"):
        np.testing.assert_array_equal(found(tmp_path, name), WIDE[number])
    assert project(folder / "a.png", "--start", f"{file}:2", "--space", "w+").code == 0
    np.testing.assert_array_equal(found(tmp_path, "a"), WIDE[2])


def test_a_share_of_the_images_has_its_own_latents(
    invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    folder, file, out = image("a.png").parent, tmp_path / "latents.pt", tmp_path / "all.h5"
    image("b.png"), image("c.png")
    torch.save(torch.from_numpy(WIDE), file)
    for shard in ("1/2", "2/2"):
        common = ("project", folder, *QUICK, "--network", network, "--out", out, "--shard", shard)
        result = invert(*common, "--start", file, "--space", "w+", "--quiet")
        assert result.code == 0, result.err
    assert invert("pack", out, "--quiet").code == 0
    with open_latents(out) as latents:
        rows = {name[:1]: w for name, w in zip(latents.names, latents.column("w"), strict=True)}
    for number, name in enumerate((b"a", b"b", b"c")):
        np.testing.assert_array_equal(rows[name], WIDE[number])


def test_several_latents_by_name(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    images = [image("a.png"), image("b.png"), image("new.png")]
    by_name = {"photos/b.png": {"latent": torch.from_numpy(WIDE[0])}, "a.jpg": {"latent": torch.from_numpy(WIDE[1])}}
    torch.save(by_name, tmp_path / "found.pt")
    np.savez(tmp_path / "found.npz", b=WIDE[0], a=WIDE[1])
    assert project(images[2]).code == 0
    centre = found(tmp_path, "new")
    for file in ("found.pt", "found.npz"):
        result = project(*images, "--start", tmp_path / file, "--space", "w+")
        assert result.code == 0, result.err
        assert f"{file}': 2 of 3 images start at those of their name" in result.err
        np.testing.assert_array_equal(found(tmp_path, "b"), WIDE[0])
        np.testing.assert_array_equal(found(tmp_path, "a"), WIDE[1])
        np.testing.assert_array_equal(found(tmp_path, "new"), centre.repeat(8, axis=0))


def test_latents_that_do_not_fit(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one, two = image("one.png"), image("two.png")
    torch.save(torch.from_numpy(WIDE), tmp_path / "three.pt")
    np.savez(tmp_path / "named.npz", x=WIDE[0], y=WIDE[1])
    np.save(tmp_path / "narrow.npy", WIDE[..., :9])
    np.save(tmp_path / "wild.npy", WIDE * np.inf)
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "rubbish.pt").write_bytes(b"rubbish")
    for file, code, words in (
        ("three.pt", 2, "holds 3 latents, for 2 images. Give as many images in the same order, or name one, such as"),
        ("three.pt:3", 2, "row 3: there are 3 latents, counted from 0"),
        ("named.npz", 2, "no image is called as its latents are (x, y ...)"),
        ("narrow.npy", 5, "its w is [8, 9], that of the network [1, 24] or [8, 24]"),
        ("wild.npy", 5, "its w is damaged: not finite"),
        ("pickled.npy", 5, "it is a pickled object"),
        ("rubbish.pt", 5, "holds no latents that can be read"),
        ("none.pt", 5, "none.pt"),
    ):
        result = project(one, two, "--start", tmp_path / file, "--quiet")
        assert (result.code, words in result.err) == (code, True), result.err
        assert len(result.err.splitlines()) == 1
