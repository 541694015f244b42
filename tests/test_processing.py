"""What happened to an image, as a model: it expects what really happens to images, and knows how far it may err."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from generator.ops.dual import Dual
from invert.attribution.perturbations import apply, parse_perturbations
from invert.errors import UsageError
from invert.images.target import read_target, target_of
from invert.projection.detection import candidates, sharpness
from invert.projection.processing import KINDS, Processing, parse_processing

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
SAMPLE = sorted((SAMPLES / "real").glob("*.png"))[0]

Pixels = npt.NDArray[np.uint8]


def scene(channels: int, side: int = 32) -> Pixels:
    """Return an image with edges, black and white, and fine detail."""
    y, x = np.mgrid[:side, :side] / side
    waves = [200 * np.sin(9 * x + c) * np.cos(7 * y * (c + 1)) + 60 * np.sin(80 * x * y) + 100 for c in range(channels)]
    waves[3:] = [np.full([side, side], 255.0)] * (channels - 3)  # opaque: Pillow weighs colours by opacity, we do not
    return np.clip(np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def residual(before: Pixels, after: Pixels, processing: Processing) -> torch.Tensor:
    levels = torch.from_numpy(before.transpose(2, 0, 1).copy())[None].float()
    return torch.from_numpy(after.transpose(2, 0, 1).copy())[None].double() - processing.carry(Dual(levels)).value


def whitened(processing: Processing, difference: torch.Tensor) -> torch.Tensor:
    numbers = processing.numbers(difference)
    return numbers * processing.scale(*difference.shape[1:3])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("text", ["blur:1", "blur:0.5", "resize:0.5", "crop:0.05", "shift:2", "shift:-1", "gamma:0.9"])
def test_what_is_expected_is_what_happens_to_the_level(text: str, channels: int) -> None:
    if text.startswith("gamma") and channels == 4:
        pytest.skip("the perturbation leaves opacity as it is")
    before, processing = scene(channels), parse_processing(text)
    found = residual(before, apply(before, parse_perturbations(text)[0]), processing)
    assert found.abs().max() < 3
    assert whitened(processing, found).square().mean() < 1.5


@pytest.mark.parametrize(
    ("kind", "kernel"),
    [
        ("resize", Image.Resampling.LANCZOS),
        ("resize-bicubic", Image.Resampling.BICUBIC),
        ("resize-bilinear", Image.Resampling.BILINEAR),
    ],
)
def test_each_kernel_of_resize_is_that_of_pillow(kind: str, kernel: Image.Resampling) -> None:
    before = scene(1)
    small = Image.fromarray(before[..., 0]).resize((24, 24), kernel)
    after = np.asarray(small.resize((32, 32), kernel))[..., None]
    assert residual(before, after, parse_processing(f"{kind}:0.75")).abs().max() < 3


def test_rotation_is_that_of_pillow() -> None:
    before = scene(1)
    after = np.asarray(Image.fromarray(before[..., 0]).rotate(1.5, Image.Resampling.BILINEAR))[..., None]
    assert residual(before, after, parse_processing("rotate:1.5")).abs().max() < 1.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_compressed_image_is_within_the_steps_of_its_tables(quality: int, channels: int) -> None:
    before = scene(channels, 48)
    stream = io.BytesIO()
    Image.fromarray(before.squeeze()).save(stream, "JPEG", quality=quality)
    opened = Image.open(stream)
    after = np.asarray(opened).reshape(before.shape)
    standard = parse_processing(f"jpeg:{quality}")
    tables = tuple(tuple(table) for table in opened.quantization.values())  # type: ignore[attr-defined]
    of_file = parse_processing("jpeg", tables)
    found = residual(before, after, standard)
    of_standard = whitened(standard, found)
    assert torch.equal(of_standard, whitened(of_file, found))
    assert 0.05 < of_standard.square().mean() < 1.5
    assert whitened(processing_of_a_better_quality(quality), found).square().mean() > of_standard.square().mean()


def processing_of_a_better_quality(quality: int) -> Processing:
    return parse_processing(f"jpeg:{min(100, quality + 20)}")


def test_noise_is_nothing_but_variance() -> None:
    before = scene(1)
    after = apply(before, parse_perturbations("noise:5")[0])
    found = whitened(parse_processing("noise:5"), residual(before, after, parse_processing("noise:5")))
    assert found.square().mean() == pytest.approx(1, abs=0.4)  # black and white cut some of it off


def test_steps_follow_each_other_in_order() -> None:
    before = scene(1)
    after = before
    for step in parse_perturbations("crop:0.02 resize:0.75 jpeg:75"):
        after = apply(after, step)
    right, wrong = (parse_processing(text) for text in ("crop:0.02+resize:0.75+jpeg:75", "resize:0.75+jpeg:75"))
    found = [float(whitened(one, residual(before, after, one)).square().mean()) for one in (right, wrong)]
    assert found[0] < 1.5
    assert found[1] > 2 * found[0]


def likeliest(after: Pixels) -> list[str]:
    return candidates(target_of(after[..., 0] if after.shape[2] == 1 else after, 32, after.shape[2]))


def test_facts_of_an_image_lead_to_what_happened_to_it() -> None:
    before = np.asarray(Image.open(SAMPLE))[..., None]
    assert likeliest(before)[0] == "none"
    for text in ("blur:1", "resize:0.5"):
        found = likeliest(apply(before, parse_perturbations(text)[0]))
        assert text in found[:2]
    assert "noise:5" in likeliest(apply(before, parse_perturbations("noise:5")[0]))
    assert likeliest(apply(before, parse_perturbations("jpeg:95")[0]))[0] == "jpeg:95"


def samples(network: str) -> Pixels:
    """Return images of a network, `[N, C, H, W]`."""
    images = [np.asarray(Image.open(path)) for path in sorted((SAMPLES / network).glob("*.png"))]
    return np.stack([one[None] if one.ndim == 2 else one.transpose(2, 0, 1) for one in images])


def test_sharpness_is_a_power_of_two_beside_the_usual() -> None:
    assert sharpness(samples("A")) == sharpness(samples("B")) == 1
    assert sharpness(samples("faces")) == sharpness(samples("faces-b")) == 1 / 32
    # half the contrast is a quarter of the mean square, but for what rounding adds
    assert sharpness(samples("A") // 2) == 1 / 4
    assert sharpness(np.full([3, 1, 32, 32], 128, np.uint8)) == 2.0**-12
    board = np.indices([32, 32]).sum(axis=0) % 2 * 255
    assert sharpness(board[None, None].astype(np.uint8)) == 2.0**12  # 32^2 * 127.5^2 in 9^2 places is 3211 times 64


@pytest.mark.parametrize("text", ["none", "crop:0.05", "blur:1", "resize:0.5"])
def test_what_happened_to_smooth_images_is_asked_beside_images_as_smooth(text: str) -> None:
    kind = text.partition(":")[0]
    images = samples("faces").transpose(0, 2, 3, 1)
    before = sharpness(samples("faces"))
    asked = [candidates(target_of(_after(one, text), 64, 3), before) for one in images]
    assert all(any(one.startswith(kind) for one in found) for found in asked)
    # by the bounds of sharp images all of them were blurred
    unasked = [candidates(target_of(_after(one, text), 64, 3)) for one in images]
    assert text != "crop:0.05" or sum("crop:0.03" in found for found in unasked) < len(images) / 2


def _after(image: Pixels, text: str) -> Pixels:
    return image if text == "none" else apply(image, parse_perturbations(text)[0])


def test_a_file_tells_its_tables_and_its_size(tmp_path: Path) -> None:
    image = Image.open(SAMPLE)
    image.save(tmp_path / "compressed.jpg", quality=60)
    image.resize((16, 16)).save(tmp_path / "small.png")
    image.resize((64, 64)).save(tmp_path / "large.jpg", quality=60)
    compressed = read_target(tmp_path / "compressed.jpg", 32, 1)
    assert candidates(compressed)[0] == "jpeg"
    of_file, standard = parse_processing("jpeg", compressed.tables), parse_processing("jpeg:60")
    difference = torch.randn(1, 1, 32, 32, dtype=torch.float64)
    assert torch.equal(whitened(of_file, difference), whitened(standard, difference))
    assert candidates(read_target(tmp_path / "small.png", 32, 1))[:2] == ["resize:0.5", "resize-bicubic:0.5"]
    assert read_target(tmp_path / "large.jpg", 32, 1).tables is None


@pytest.mark.parametrize("name", KINDS)
def test_derivatives_are_differences(name: str) -> None:
    value = {"shift": 2, "rotate": 2, "noise": 5, "jpeg": 75, "gamma": 0.8}.get(name, 0.3)
    processing = parse_processing(f"{name}:{value}")
    levels = torch.from_numpy(scene(3).transpose(2, 0, 1).copy())[None].double() * 0.5 + 60
    tangents = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    carried = processing.carry(Dual(levels, tangents))
    assert carried.tangents is not None
    step = 1e-4
    for tangent, found in zip(tangents, carried.tangents, strict=True):
        sides = [processing.carry(Dual(levels + sign * step * tangent)).value for sign in (1, -1)]
        difference = ((sides[0] - sides[1]) / (2 * step))[0]
        # at a kink, where levels are cut off, the two sides differ
        assert ((difference - found).abs() < 1e-3).double().mean() > 0.97


def test_a_value_that_is_searched_stays_within_what_its_kind_allows() -> None:
    processing = parse_processing("crop:0.03+resize:0.75+jpeg:75", estimated=True)
    assert [one.kind for one in processing.estimated] == ["crop"]
    assert processing.at([0.5]).text == "crop:0.04+resize:0.75+jpeg:75"
    assert processing.at([0.5]).steps == parse_processing("crop:0.04+resize:0.75+jpeg:75").steps
    assert processing.at([-9.0]).text == "crop:0+resize:0.75+jpeg:75"
    # however near to nothing a value was found, what one sees at a glance is a processing
    assert parse_processing("blur:0.4+jpeg:75", estimated=True).at([-1.8]).coarse().text == "blur:0.01"
    assert parse_processing("blur:1").estimated == ()
    assert parse_processing("crop:0.0312+noise:2+jpeg:75").coarse().text == "crop:0.03"
    assert parse_processing("jpeg:75").coarse() == Processing()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("sepia:1", "is none of none, resize:VALUE"), ("blur", "is none of"), ("blur:99", "is not in 0.01..10")],
)
def test_what_is_no_processing_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        parse_processing(text)


def test_compression_comes_last() -> None:
    with pytest.raises(UsageError, match="jpeg comes last"):
        parse_processing("jpeg:75+blur:1")
