"""`invert project --video` and `--snapshots`: how an optimisation went, as a user asks for it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import invert as library
from invert.store.npz import decode_sheet
from tests.cli.conftest import ROOT, Invert

OTHER = ROOT / "data" / "networks" / "A.safetensors"
QUICK = ("--steps", 3, "--lpips", "alex", "--threads", 1, "--quiet")


@pytest.fixture
def project(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", tmp_path / "out", *arguments)


def frames(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def cells(path: Path, side: int = 128) -> list[np.ndarray]:
    """Return the images of a strip at the network's size."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    return [pixels[2:side:4, x + 2 : x + side : 4] for x in range(0, pixels.shape[1], side + 4)]


@pytest.mark.slow
def test_films_and_strips_change_no_bit(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one, two, film = image("one.png"), image("two.png"), tmp_path / "films" / "way.mp4"
    more = ("--restarts", 2, "--tune", 2)
    assert project(one, two, *more).code == 0
    names = [f"{name}{suffix}" for name in ("one", "two") for suffix in (".npz", ".png", ".safetensors")]
    plain = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    result = project(one, two, *more, "--video", film, "--snapshots", 4, "--out", tmp_path / "shown")
    assert result.code == 0, result.err
    for name, data in plain.items():
        assert (tmp_path / "shown" / name).read_bytes() == data, name
    assert f"one.png, {tmp_path / 'shown' / 'one-steps.png'}, {film.with_name('way-one.mp4')}" in result.out
    assert sorted(path.name for path in film.parent.iterdir()) == ["way-one.mp4", "way-two.mp4"]
    for name in ("one", "two"):
        target, found = np.split(decode_sheet(plain[f"{name}.png"]), 2, axis=1)
        strip = cells(tmp_path / "shown" / f"{name}-steps.png")
        assert len(strip) == 5  # the target, three on the way, the result
        np.testing.assert_array_equal(strip[0], target)
        np.testing.assert_array_equal(strip[-1], found)
        assert not np.array_equal(strip[1], found)
        # each step and the start, then a second of the result; all of one restart
        shown = frames(film.with_name(f"way-{name}.mp4"))
        assert len(shown) == 6 + 30
        middle = shown[-1][2:128:4, 2::4].astype(int)
        assert np.abs(middle[:, :32] - target).mean() < 12  # colours have half the resolution
        assert np.abs(middle[:, 32:] - found).mean() < 12


@pytest.mark.slow
def test_the_way_of_preset_exact(invert: Invert, tmp_path: Path) -> None:
    sample, film = ROOT / "data" / "samples" / "A" / "seed0005.png", tmp_path / "exact.mp4"
    common = ("project", sample, "--network", OTHER, "--preset", "exact", "--bank", 100, "--quiet", "--threads", 1)
    assert invert(*common, "--steps", 2, "--out", tmp_path / "plain").code == 0
    result = invert(*common, "--steps", 2, "--out", tmp_path / "out", "--video", film, "--snapshots", 3)
    assert result.code == 0, result.err
    data = [(tmp_path / folder / "seed0005.npz").read_bytes() for folder in ("plain", "out")]
    assert data[0] == data[1]
    seen = np.split(decode_sheet((tmp_path / "out" / "seed0005.png").read_bytes())[:32], 3, axis=1)[1]
    strip = cells(tmp_path / "out" / "seed0005-steps.png")
    np.testing.assert_array_equal(strip[-1], seen.repeat(3, axis=2))
    with Image.open(sample) as target:
        levels = np.asarray(target).astype(int)
    errors = [np.abs(one[..., 0] - levels).mean() for one in strip[1:]]
    assert errors == sorted(errors, reverse=True)  # nearer with each step
    assert len(frames(film)) == 3 + 30


def test_what_is_done_is_not_filmed(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one, two, film = image("one.png"), image("two.png"), tmp_path / "way.mp4"
    assert project(one, "--snapshots", 2).code == 0
    assert (tmp_path / "out" / "one-steps.png").exists()
    result = project(one, two, "--video", film, "--json")
    first, second = result.records()[:2]
    assert (first["code"], "film" in first, first["snapshots"]) == (
        "finished-before",
        False,
        str(tmp_path / "out" / "one-steps.png"),
    )
    assert (second["code"], second["film"]) == ("projected", str(tmp_path / "way-two.mp4"))
    result = project(one, two, "--video", film)
    assert "one.png (finished before and not filmed)" in result.out.replace("one-steps.png (", "one.png (")
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["way-two.mp4"]
    # a folder of results is still no folder of images, and what is made anew leaves nothing of before
    assert project(tmp_path / "out").code == 5
    assert project(one, "--overwrite").code == 0
    assert not (tmp_path / "out" / "one-steps.png").exists()


def test_a_film_that_is_there_is_kept(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one, film = image("one.png"), tmp_path / "way.mp4"
    film.write_bytes(b"mine")
    result = project(one, "--video", film)
    assert result.code == 2
    assert "way.mp4': exists already. Add --overwrite, or choose another name." in result.err
    assert not list((tmp_path / "out").glob("*.npz"))
    assert film.read_bytes() == b"mine"
    assert project(one, "--video", film, "--overwrite").code == 0
    assert len(frames(film)) == 4 + 30


def test_films_that_cannot_be_made(
    project: Invert, image: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = image("one.png")
    for given, words in (
        (("--video", "way.avi"), "'way.avi': does not end in .mp4. Name a .mp4 file."),
        (("--video", "way.mp4", "--out", tmp_path / "a.h5"), "--video shows how each image is searched, and goes with"),
        (("--snapshots", 3, "--out", tmp_path / "a.h5"), "--snapshots shows how each image is searched, and goes with"),
        (("--snapshots", 1), "--snapshots 1 is not in 2 to 50"),
        (("--snapshots", 51), "51 is not in the range 0<=x<=50"),
    ):
        result = project(one, *given)
        assert result.code == 2
        assert words in result.err
        assert len(result.err.splitlines()) == 1
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "av" else real(name, *rest))
    result = project(one, "--video", tmp_path / "way.mp4")
    assert (result.code, "Install it with: pip install 'invert[video]'." in result.err) == (2, True)
    assert project(one, "--snapshots", 2).code == 0


def test_films_from_python(network: Path, image: Callable[..., Path], tmp_path: Path, threads: None) -> None:
    settings = {"steps": 2, "lpips": "alex", "device": "cpu", "threads": 1}
    film = tmp_path / "way.mp4"
    list(library.project(image("a.png"), network, out=tmp_path / "out", video=str(film), snapshots=2, **settings))
    assert film.exists()
    assert len(cells(tmp_path / "out" / "a-steps.png")) == 3
    with pytest.raises(library.InvertError, match="goes with a folder of results"):
        list(library.project(image("b.png"), network, video=film, **settings))
