"""Images of other proportions: cut, padded or distorted."""

import numpy as np
import pytest
from PIL import Image

from invert.attribution.settings import check_evidence
from invert.errors import UsageError
from invert.images.decoding import ImagePolicy
from invert.images.fitting import fit_whole, inside_of
from invert.images.target import Target, target_of
from invert.projection.config import ProjectConfig
from invert.projection.records import method_digest, method_record


def wide(width: int = 32, height: int = 24) -> Image.Image:
    pixels = np.full([height, width, 3], 200, np.uint8)
    pixels[:, :4] = (255, 0, 0)
    pixels[:, -4:] = (0, 0, 255)
    return Image.fromarray(pixels)


def fitted(image: Image.Image, fit: str, size: int | tuple[int, int] = 32) -> Target:
    return target_of(image, size, 3, policy=ImagePolicy(fit=fit))


def test_padding_keeps_every_pixel_and_says_where() -> None:
    target = fitted(wide(), "pad")
    assert target.array.shape == (32, 32, 3)
    np.testing.assert_array_equal(target.array[4:28], np.asarray(wide()))
    assert not target.array[:4].any()
    assert not target.array[28:].any()
    assert target.mask is not None
    assert target.mask[4:28].all()
    assert not target.mask[:4].any()
    assert not target.mask[28:].any()
    assert target.warnings == ("32 x 24 is not square: it is put on black, as 32 x 24",)
    assert not target.upsampled


def test_stretching_distorts_and_cropping_cuts() -> None:
    stretched, cropped = fitted(wide(), "stretch"), fitted(wide(), "crop")
    assert stretched.mask is None
    assert cropped.mask is None
    assert (stretched.array[:, 0] == (255, 0, 0)).all()
    assert (stretched.array[:, -1] == (0, 0, 255)).all()
    assert (cropped.array == 200).all()
    assert cropped.upsampled
    assert stretched.warnings[0] == "32 x 24 is not square: it is distorted"


def test_images_of_the_networks_proportions_are_the_same_in_all() -> None:
    square = wide(40, 40)
    arrays = [fitted(square, fit) for fit in ("crop", "pad", "stretch")]
    assert len({target.pixel_sha256 for target in arrays}) == 1
    assert [target.mask for target in arrays] == [None] * 3


def test_a_network_that_is_not_square() -> None:
    target = fitted(wide(20, 20), "pad", (24, 40))
    assert target.array.shape == (24, 40, 3)
    assert target.mask is not None
    assert target.mask.sum() == 24 * 24
    assert inside_of((1000, 1), 32) == (32, 1)
    assert fit_whole(Image.new("L", (7, 90)), 32)[1].sum() == 32 * 2


def test_the_policy_is_part_of_the_method_unless_it_crops() -> None:
    records = {fit: ImagePolicy(fit=fit).record() for fit in ("crop", "pad", "stretch")}
    assert "fit" not in records["crop"]
    assert records["crop"]["crop"] == "centre"
    assert (records["pad"]["fit"], records["pad"]["crop"]) == ("pad", "none")
    digests = {method_digest(method_record(ProjectConfig(), "aa", record)) for record in records.values()}
    assert len(digests) == 3


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="fit is 'squeeze', not one of auto, crop, pad, stretch"):
        ImagePolicy(fit="squeeze")
    with pytest.raises(UsageError, match="fitted by 'pad' are no evidence"):
        check_evidence(ProjectConfig(), ImagePolicy(fit="pad"))


def barred(top: int, bottom: int, left: int = 0, right: int = 0, size: int = 64) -> Image.Image:
    """Return an image with black bars."""
    pixels = np.random.RandomState(0).randint(17, 256, [size, size, 3], np.uint8)
    pixels[:top] = pixels[size - bottom :] = 0
    pixels[:, :left] = pixels[:, size - right :] = 9  # as compression leaves them
    return Image.fromarray(pixels)


def test_black_bars_of_an_image_do_not_count() -> None:
    target = fitted(barred(8, 8), "pad", 64)
    assert target.mask is not None
    assert (target.mask.all(axis=1) == [False] * 8 + [True] * 48 + [False] * 8).all()
    assert target.warnings == ("its black bars above and below do not count",)
    assert target.pixel_sha256 == fitted(barred(8, 8), "crop", 64).pixel_sha256
    sides = fitted(barred(0, 0, 6, 7), "pad", 64)
    assert sides.mask is not None
    assert sides.mask.sum() == 64 * (64 - 13)
    # bars of its own in an image that is put on black as well
    both = fitted(barred(8, 8).resize((128, 64), Image.Resampling.NEAREST), "pad", 64)
    assert both.mask is not None
    assert 64 * 24 <= both.mask.sum() <= 64 * 26  # the resampling leaves traces of the edge


def test_what_are_no_bars() -> None:
    for image in (
        barred(0, 0),
        barred(8, 8, 8, 8),  # a background
        barred(10, 2),
        barred(8, 0),
        barred(1, 1),
        Image.new("RGB", (64, 64)),
    ):
        target = fitted(image, "pad", 64)
        assert target.mask is None
        assert target.warnings == ()
    assert fitted(barred(8, 8), "crop", 64).mask is None
