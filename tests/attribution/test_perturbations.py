"""Perturbed images."""

import numpy as np
import numpy.typing as npt
import pytest

from invert.attribution.perturbations import KINDS, Perturbation, apply, parse_perturbations
from invert.errors import UsageError

EACH = "jpeg:75 resize:0.5 blur:1 noise:5 crop:0.05 shift:2 gamma:1.1 flip"


@pytest.fixture(params=[1, 3])
def image(request: pytest.FixtureRequest) -> npt.NDArray[np.uint8]:
    return np.random.RandomState(0).randint(0, 256, [24, 32, request.param], np.uint8)


def test_lists_are_read() -> None:
    assert [one.key for one in parse_perturbations("jpeg:90,75 blur:0.5 flip")] == [
        "jpeg:90",
        "jpeg:75",
        "blur:0.5",
        "flip",
    ]
    for text in ("jpeg", "jpeg:", "jpeg:0", "jpeg:high", "noise:-1", "melt:3", "flip:1", "resize:nan"):
        with pytest.raises(UsageError):
            parse_perturbations(text)


def test_every_kind_is_listed_where_one_is_not_known() -> None:
    assert {one.kind for one in parse_perturbations(EACH)} == set(KINDS)
    with pytest.raises(UsageError) as caught:
        parse_perturbations("melt:3")
    assert all(name in str(caught.value) for name in KINDS)


def test_an_unknown_kind_is_no_flip(image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(KeyError, match="melt"):
        apply(image, Perturbation("melt", 3))


def test_opacity_is_not_perturbed_as_a_colour() -> None:
    image = np.random.RandomState(1).randint(0, 256, [16, 16, 4], np.uint8)
    for one in parse_perturbations("jpeg:50 noise:20 gamma:2"):
        found = apply(image, one, "a")
        np.testing.assert_array_equal(found[..., 3], image[..., 3])
        np.testing.assert_array_equal(found[..., :3], apply(image[..., :3], one, "a"))
    for one in parse_perturbations("resize:0.5 blur:1 crop:0.1 shift:2 flip"):
        assert (apply(image, one, "a")[..., 3] != image[..., 3]).any()


@pytest.mark.parametrize("one", parse_perturbations(EACH), ids=lambda one: one.key)
def test_shape_stays_and_the_same_again_is_the_same(image: npt.NDArray[np.uint8], one: Perturbation) -> None:
    found = apply(image, one, "a")
    assert (found.shape, found.dtype) == (image.shape, np.uint8)
    assert (found != image).any()
    np.testing.assert_array_equal(apply(image, one, "a"), found)


def test_each_does_what_it_says(image: npt.NDArray[np.uint8]) -> None:
    flat = np.full_like(image, 128)
    for text in ("resize:0.5", "blur:2", "crop:0.1", "shift:3", "flip", "jpeg:90"):
        np.testing.assert_allclose(apply(flat, *parse_perturbations(text)), flat, atol=1)
    (flip,) = parse_perturbations("flip")
    np.testing.assert_array_equal(apply(apply(image, flip), flip), image)
    large = np.full([200, 200, 1], 128, np.uint8)
    (noise,) = parse_perturbations("noise:5")
    assert apply(large, noise, "a").std() == pytest.approx(5, rel=0.03)
    assert (apply(large, noise, "a") != apply(large, noise, "b")).any()
    (shift,) = parse_perturbations("shift:2")
    np.testing.assert_array_equal(apply(image, shift)[:, 2:], image[:, :-2])
    (gamma,) = parse_perturbations("gamma:2")
    np.testing.assert_array_equal(apply(large, gamma), np.full_like(large, 64))
    coarse, fine = (apply(image, one) for one in parse_perturbations("jpeg:20,95"))
    assert np.abs(coarse.astype(int) - image).mean() > np.abs(fine.astype(int) - image).mean()
