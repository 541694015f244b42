"""Perturbed images."""

import numpy as np
import numpy.typing as npt
import pytest

from invert.attribution.perturbations import KINDS, Perturbation, Step, apply, parse_perturbations
from invert.errors import UsageError

EACH = "jpeg:75 resize:0.5 blur:1 noise:5 crop:0.05 shift:2 gamma:1.1 flip rotate:2 sharpen:80 webp:80"
SIZES = "reduce:0.5 enlarge:2"


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
    for text in (
        "jpeg",
        "jpeg:",
        "jpeg:0",
        "jpeg:high",
        "noise:-1",
        "melt:3",
        "flip:1",
        "resize:nan",
        "none+flip",
        "flip+",
    ):
        with pytest.raises(UsageError):
            parse_perturbations(text)


def test_every_kind_is_listed_where_one_is_not_known() -> None:
    assert {step.kind for one in parse_perturbations(f"{EACH} {SIZES}") for step in one.steps} == set(KINDS)
    with pytest.raises(UsageError) as caught:
        parse_perturbations("melt:3")
    assert all(name in str(caught.value) for name in KINDS)


def test_an_unknown_kind_is_no_flip(image: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(KeyError, match="melt"):
        apply(image, Perturbation((Step("melt", 3),)))


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


def test_chains_do_one_thing_after_the_other(image: npt.NDArray[np.uint8]) -> None:
    chains = parse_perturbations("none crop:0.02+jpeg:90,75")
    assert [one.key for one in chains] == ["none", "crop:0.02+jpeg:90", "crop:0.02+jpeg:75"]
    np.testing.assert_array_equal(apply(image, chains[0]), image)
    crop, jpeg = parse_perturbations("crop:0.02 jpeg:75")
    np.testing.assert_array_equal(apply(image, chains[2], "a"), apply(apply(image, crop, "a"), jpeg, "a"))
    assert chains[2].help == f"{KINDS['crop'].help}, then {KINDS['jpeg'].help}"
    # Two steps of noise are not the same noise twice.
    once, twice = (
        apply(np.full([99, 99, 1], 128, np.uint8), *parse_perturbations(t)) for t in ("noise:4", "noise:4+noise:4")
    )
    assert twice.std() == pytest.approx(once.std() * 2**0.5, rel=0.05)


def test_what_leaves_another_size_says_so(image: npt.NDArray[np.uint8]) -> None:
    shapes = {
        one.key: apply(image, one).shape[:2] for one in parse_perturbations("reduce:0.5 enlarge:2 reduce:0.5+jpeg:75")
    }
    assert shapes == {"reduce:0.5": (12, 16), "enlarge:2": (48, 64), "reduce:0.5+jpeg:75": (12, 16)}
    assert [one.leaves_small for one in parse_perturbations("reduce:0.5+jpeg:75 resize:0.5 none")] == [
        True,
        False,
        False,
    ]
