"""`invert edit --paste PHOTO`: the face of a photo is edited in the photo."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import invert as library
from invert.errors import UsageError
from invert.images.alignment import square_of
from invert.store.npz import read_projection
from tests.cli.conftest import Invert
from tests.face_case import FACE, photo, write_photo
from tests.face_case import stand_in as stand_in  # a fixture

QUICK = ("--steps", 2, "--lpips", "alex", "--quiet", "--threads", 1, "--noise", "fixed")
ODD = {"width": 121, "height": 111}


@pytest.fixture
def case(invert: Invert, network: Path, stand_in: Path, tmp_path: Path) -> Path:
    """Project a photo, and find a direction; return the photo."""
    path = write_photo(tmp_path / "photo.png", FACE, **ODD)
    common = ("project", path, "--network", network, *QUICK, "--align", "face")
    assert invert(*common, "--paste", "--out", tmp_path / "out").code == 0
    found = ("--method", "sefa", "--count", 1, "--samples", 200, "--out", tmp_path / "d.safetensors")
    assert invert("directions", network, *found).code == 0
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_frames_films_and_sheets_show_the_whole_photo(
    invert: Invert, case: Path, network: Path, tmp_path: Path
) -> None:
    latent, frames, film, sheet = tmp_path / "out" / "photo.npz", tmp_path / "f", tmp_path / "e.mp4", tmp_path / "e.png"
    common = ("edit", latent, "--network", network, "--direction", tmp_path / "d.safetensors", "--paste", case)
    result = invert(*common, "--amount", "0,2", "--frames", frames, "--out", film)
    assert result.code == 0, result.err
    first, second = pixels(frames / "edit00000.png"), pixels(frames / "edit00001.png")
    # at amount 0 the photo that the projection itself was pasted into
    np.testing.assert_array_equal(first, pixels(tmp_path / "out" / "photo-pasted.png"))
    corners = square_of(read_projection(latent).quad or ())
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    changed = (first != second).any(axis=2)
    assert changed.any()
    changed[max(low[1], 0) : high[1], max(low[0], 0) : high[0]] = False
    assert not changed.any()
    with av.open(film) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in shown] == [(110, 120, 3)] * 2
    assert np.abs(shown[0].astype(int) - first[:110, :120]).mean() < 6
    assert invert(*common, "--amount", "0,2", "--out", sheet).code == 0
    assert max(pixels(sheet).shape) > 2 * 121


def test_photos_that_do_not_go_with_a_latent(invert: Invert, case: Path, network: Path, tmp_path: Path) -> None:
    file, frames = tmp_path / "all.h5", tmp_path / "f"
    assert invert("project", case, "--network", network, *QUICK, "--align", "face", "--out", file).code == 0
    edit = ("edit", "--network", network, "--frames", frames, "--overwrite")
    assert invert(*edit, f"{file}:0", "--paste", case).code == 0
    first = pixels(frames / "edit00000.png")
    np.testing.assert_array_equal(first, pixels(tmp_path / "out" / "photo-pasted.png"))
    other = tmp_path / "other.png"
    Image.new("RGB", (121, 111)).save(other)
    result = invert(*edit, f"{file}:0", "--paste", other)
    assert (result.code, "other.png' is another file than the photo that" in result.err) == (0, True)
    Image.new("RGB", (60, 50)).save(other)
    result = invert(*edit, f"{file}:0", "--paste", other)
    assert (result.code, "has 60 x 50 px, and the photo that was aligned 121 x 111" in result.err) == (2, True)
    result = invert(*edit, 5, "--paste", case)
    assert (result.code, "seed 5 is of no photo that was aligned" in result.err) == (2, True)
    result = invert(*edit, f"{file}:0", "--paste", tmp_path / "missing.png")
    assert result.code == 5
    assert result.err.count("\n") == 1


def test_the_same_from_python(case: Path, network: Path, tmp_path: Path) -> None:
    latent = tmp_path / "out" / "photo.npz"
    expected = pixels(tmp_path / "out" / "photo-pasted.png")
    direction = tmp_path / "d.safetensors"
    plain, whole = (next(library.edit(network, latent, direction, [0], paste=one)) for one in (None, case))
    np.testing.assert_array_equal(whole.image, expected)
    quad = read_projection(latent).quad
    assert quad is not None
    np.testing.assert_array_equal(library.paste(photo(FACE, **ODD), quad, plain.image), expected)
    with pytest.raises(UsageError, match="quad is no square"):
        library.paste(case, quad[:4], plain.image)
    with pytest.raises(UsageError, match=r"the image is uint8 \[5, 6, 3\]"):
        library.paste(case, quad, np.zeros([5, 6, 3], np.uint8))
