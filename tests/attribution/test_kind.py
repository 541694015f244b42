"""Images that are unlike those of a calibration in kind are told, and those that are like them are not."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.attribution.kind import ImageKind, PopulationKind, caveats
from invert.images.jpeg_traces import jpeg_quality
from invert.images.target import Target, read_target, target_of

SAMPLES = Path(__file__).parent.parent.parent / "data" / "samples"


def texture(size: int, seed: int = 0) -> Image.Image:
    """Return an image with structure of all sizes."""
    noise = np.fft.fft2(np.random.RandomState(seed).randn(size, size, 3), axes=(0, 1))
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    pixels = np.fft.ifft2(noise / (frequencies[..., None] + 0.5 / size), axes=(0, 1)).real
    low, high = pixels.min(), pixels.max()
    return Image.fromarray((20 + 215 * (pixels - low) / (high - low)).astype(np.uint8))


def stored(image: Image.Image, path: Path, **options: object) -> Target:
    image.save(path, **options)  # type: ignore[arg-type]
    return read_target(path, 32, 3)


def said(target: Target, *populations: PopulationKind) -> list[str]:
    named = dict(zip(("own", "real"), populations or (PopulationKind.assumed(32),), strict=False))
    return caveats(ImageKind.of(target), named, target.original_size)


def test_images_of_no_jpeg_show_no_trace() -> None:
    for path in sorted(SAMPLES.glob("*/*.png")):
        with Image.open(path) as image:
            assert jpeg_quality(np.asarray(image.convert("L"))) is None, path
    assert jpeg_quality(np.asarray(texture(64).convert("L"))) is None
    assert jpeg_quality(np.zeros([7, 40], np.uint8)) is None


@pytest.mark.parametrize("quality", [50, 75, 90])
@pytest.mark.parametrize("size", [32, 200])
def test_jpeg_shows_in_a_png(quality: int, size: int, tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    texture(size).save(jpeg, "JPEG", quality=quality)
    with Image.open(jpeg) as image:
        found = jpeg_quality(np.asarray(image.convert("L")))
    assert found is not None
    assert abs(found - quality) <= 2


def test_a_jpeg_is_unlike_a_png(tmp_path: Path) -> None:
    assert said(stored(texture(32), tmp_path / "a.png")) == []
    jpeg = stored(texture(32), tmp_path / "a.jpg", quality=75)
    assert said(jpeg) == ["it is a JPEG image of quality 75 or so, the images it is compared with are not"]
    with Image.open(tmp_path / "a.jpg") as image:
        again = stored(image.copy(), tmp_path / "b.png")
    traces = "it bears traces of JPEG compression of quality 75 or so, the images it is compared with do not"
    assert said(again) == [traces]
    real = PopulationKind.of([ImageKind("JPEG", 74, 32, ())])
    assert said(jpeg, real) == said(again, real) == []
    assert said(jpeg, PopulationKind.assumed(32), real) == [
        "it is a JPEG image of quality 75 or so, those of own are not"
    ]


def test_size_and_changes_are_told(tmp_path: Path) -> None:
    large = stored(texture(64), tmp_path / "large.png")
    assert said(large) == ["it was reduced from 64 x 64, the images it is compared with have 32 px at most"]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = stored(texture(32), tmp_path / "turned.png", exif=exif)
    assert said(turned) == ["EXIF orientation 6 applied before cropping, unlike the images it is compared with"]
    transparent = texture(32)
    transparent.putalpha(100)
    assert "laid on black, unlike" in said(stored(transparent, tmp_path / "alpha.png"))[0]
    grey = stored(texture(32).convert("L"), tmp_path / "grey.png")
    assert "repeated into three channels, unlike" in said(grey)[0]
    # A population whose images were changed so too is no other kind, whatever the numbers.
    wide = Image.new("RGB", (40, 32))
    wide.paste(texture(32))
    (cut,) = said(stored(wide, tmp_path / "wide.png"))
    assert "40 x 32 is not square" in cut
    wider = ImageKind("", None, 32, ("50 x 32 is not square: the 32 x 32 in the centre are kept",))
    assert said(read_target(tmp_path / "wide.png", 32, 3), PopulationKind.of([wider])) == []


def test_kinds_are_kept_in_files() -> None:
    kind = PopulationKind.of([ImageKind("JPEG", 80, 50, ("turned by 90",)), ImageKind("", None, 32, ())])
    assert PopulationKind.from_record(kind.to_record()) == kind
    assert kind.text == "lossless and JPEG, 32 to 50 px, traces of JPEG quality 80 to 80; 1: turned by N"
    assert PopulationKind.assumed(32).text == "not recorded, taken for lossless, 32 px"
    one = ImageKind.of(target_of(np.asarray(texture(32)), 32, 3))
    assert ImageKind.from_record(one.to_record()) == one
    for wrong in ({"jpeg_quality": "80"}, {"side": -1}, {"side": True}):
        with pytest.raises(ValueError, match="no number"):
            ImageKind.from_record({**one.to_record(), **wrong})
