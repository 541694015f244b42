"""Networks whose constant is not 4 x 4, such as StyleGAN-Human's: read and used, or refused in words."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from generator.errors import NetworkFileError
from generator.files.reading import load
from invert.cli.main import main
from tests.loaders import layouts, writers
from tests.loaders.writers import Arrays

START = {"tall": (4, 2), "wide": (3, 4), "16:10": (5, 8), "large": (8, 8)}


def resized(generator: Arrays, discriminator: Arrays, start: tuple[int, int]) -> None:
    """Give a network another constant, with all that depends on its size."""
    height, width = start
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    for name, value in generator.items():
        if name.endswith("b4.const"):
            generator[name] = normal(len(value), height, width)
        if name.endswith("noise_const"):
            generator[name] = normal(len(value) * height // 4, len(value) * width // 4)
    if discriminator:
        out = len(discriminator["b4.fc.weight"])
        discriminator["b4.fc.weight"] = normal(out, discriminator["b4.conv.weight"].shape[0] * height * width)


@pytest.mark.parametrize("name", START)
def test_pytorch(name: str, tmp_path: Path) -> None:
    start = START[name]
    path = tmp_path / "network.pkl"
    path.write_bytes(writers.ada(change=lambda g, d: resized(g, d, start)))
    network = load(path)
    image = network.generator(torch.randn(2, 16), noise="random")
    assert image.shape == (2, 3, 8 * start[0], 8 * start[1])
    assert network.discriminator is not None
    assert network.discriminator(image).shape == (2, 1)
    with pytest.raises(ValueError, match="images of shape"):
        network.discriminator(image[:, :, :, :-8])
    square = {name: torch.zeros(1, 1, r, r) for name, r in network.generator.synthesis.noise_sizes.items()}
    with pytest.raises(ValueError, match=r"noise b4\.conv1 has shape"):
        network.generator(torch.randn(2, 16), noise=square)


def test_tensorflow_names_layers_by_both_sides(tmp_path: Path) -> None:
    """As forks for pictures of 3 x 4 do: 3x4, 6x8, ... in the generator and the discriminator."""

    def named(variables: Arrays) -> Arrays:
        def size(match: re.Match[str]) -> str:
            return f"{int(match[1]) * 3 // 4}x{match[1]}/"

        return {re.sub(r"^(\d+)x\d+/", size, name): value for name, value in variables.items()}

    def change(generator: Arrays, discriminator: Arrays) -> None:
        resized(generator, discriminator, (3, 4))

    path, other = tmp_path / "network.pkl", tmp_path / "other.pkl"
    path.write_bytes(writers.tf(change=change, rename=named, kwargs={"resolution": 24}, d_kwargs={"resolution": 24}))
    other.write_bytes(writers.ada(change=change))
    first, second = load(path), load(other)
    z = torch.randn(1, 16)
    with torch.no_grad():
        torch.testing.assert_close(first.generator(z), second.generator(z), atol=1e-4, rtol=0)
    assert first.discriminator is not None


def test_the_middle_does_not_know_how_wide_the_image_is(tmp_path: Path) -> None:
    """From a constant without structure and without noise, two widths give the same pixels far from their borders."""
    images = []
    for width in (12, 16):

        def change(generator: Arrays, discriminator: Arrays, width: int = width) -> None:
            resized(generator, discriminator, (8, width))
            generator["synthesis.b4.const"] = np.ones_like(generator["synthesis.b4.const"])

        (tmp_path / "network.pkl").write_bytes(writers.ada(change=change))
        with torch.no_grad():
            z = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
            images.append(load(tmp_path / "network.pkl").generator(z, noise="none"))
    torch.testing.assert_close(images[0][..., 44:52], images[1][..., 60:68], atol=1e-5, rtol=0)
    assert images[0].std() > 0


def test_rosinality(tmp_path: Path) -> None:
    def change(state: Arrays) -> Arrays:
        resized(state, {}, (4, 2))
        return state

    state = layouts.tensors(writers.rosinality_generator(change(layouts.square())))
    torch.save({"g_ema": state}, tmp_path / "network.pt")
    assert load(tmp_path / "network.pt").generator(torch.randn(1, 24)).shape == (1, 3, 32, 16)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("synthesis.b4.const", (16, 4, 0), "start is 0"),
        ("synthesis.b4.const", (16, 17, 4), "start is 17"),
        ("synthesis.b4.const", (16, 4, 2), r"noise_const' has shape \(16, 16\).*needs \(16, 8\)"),
        ("synthesis.b16.conv0.noise_const", (16, 8), r"has shape \(16, 8\).*needs \(16, 16\)"),
    ],
)
def test_sizes_that_do_not_fit(name: str, shape: tuple[int, ...], says: str, tmp_path: Path) -> None:
    def change(generator: Arrays, _: Arrays) -> None:
        generator[name] = np.zeros(shape, np.float32)

    (tmp_path / "network.pkl").write_bytes(writers.ada(change=change))
    with pytest.raises(NetworkFileError, match=says):
        load(tmp_path / "network.pkl")


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They say the size, convert, generate, and refuse where a square network is needed."""
    path, converted = tmp_path / "network.pkl", tmp_path / "network.safetensors"
    path.write_bytes(writers.ada(change=lambda g, d: resized(g, d, (4, 2))))
    assert main(["convert", str(path), str(converted)]) == 0
    for one in (path, converted):
        assert main(["info", str(one)]) == 0
        assert "images         16 x 32, 3 channels" in capsys.readouterr().out
        for noise in ("fixed", "random", "zero"):
            arguments = [
                "generate",
                "--network",
                str(one),
                "--seeds",
                "1-2",
                "--out",
                str(tmp_path / "images" / one.name / noise),
            ]
            assert main([*arguments, "--noise", noise]) == 0
            with Image.open(tmp_path / "images" / one.name / noise / "seed0001.png") as image:
                assert image.size == (16, 32)
    capsys.readouterr()
    image = str(tmp_path / "images" / path.name / "fixed" / "seed0001.png")
    out = tmp_path / "out"
    for command, what in (
        (["project", image, "--preset", "verdict", "--out", str(out)], "preset verdict"),
        (["project", image, "--preset", "exact", "--out", str(out)], "preset exact"),
        (["project", image, "--steps", "1", "--out", str(tmp_path / "out.h5")], "an HDF5 file"),
        (["truncate", "--seeds", "1", "--out", str(tmp_path / "sheet.png")], "this"),
    ):
        assert main([*command, "--network", str(converted)]) == 2
        said = capsys.readouterr().err
        assert f"generates 16 x 32 px from a constant that is not 4 x 4; {what} needs a square one" in said


@pytest.mark.slow
def test_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a folder, and again from it: w and noise maps of the network's shapes, an image beside the target."""
    path, out = tmp_path / "network.pkl", tmp_path / "out"
    path.write_bytes(writers.ada(change=lambda g, d: resized(g, d, (4, 2))))
    picture = np.random.default_rng(0).integers(0, 256, [80, 50, 3], np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    arguments = ["project", str(tmp_path / "a.png"), "--network", str(path), "--steps", "2", "--out", str(out)]
    assert main(arguments) == 0
    assert "50 x 80 is not of the network's 16 : 32: the 40 x 80 in the centre are kept" in capsys.readouterr().err
    with Image.open(out / "a.png") as both, np.load(out / "a.npz", allow_pickle=False) as arrays:
        assert both.size == (32, 32)
        assert arrays["w"].shape == (1, 24)
        assert arrays["noise/b32.conv1"].shape == (32, 16)
        assert np.isfinite(arrays["distance"])
        target = np.asarray(both)[:, :16]
    cropped = Image.fromarray(picture[:, 5:45]).resize((16, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(target, np.asarray(cropped))
    before = (out / "a.npz").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (out / "a.npz").stat().st_mtime_ns == before
    again = ["generate", "--network", str(path), "--seeds", str(out / "a.npz"), "--out", str(tmp_path / "images")]
    assert main(again) == 0
    with Image.open(tmp_path / "images" / "a.png") as image:
        assert image.size == (16, 32)
