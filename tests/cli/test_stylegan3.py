"""The commands on StyleGAN3 networks: images that are moved, and projections that find the motion."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import save_network
from generator.networks import Generator
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from invert.store.npz import read_projection
from tests.cli.batch_case import write_images
from tests.cli.conftest import Invert

QUICK = ("--lpips", "alex", "--quiet", "--threads", 1)
MOTION = (0.05, -0.05, 10.0)


def written(path: Path, **changes: object) -> Path:
    """Write a small random network whose images have contrast, and depend on w."""
    torch.manual_seed(0)
    settings = {"img_resolution": 32, "channel_base": 256, "channel_max": 8, "num_layers": 4, "margin_size": 5}
    synthesis = StyleGAN3SynthesisConfig(w_dim=16, output_scale=0.7, **{**settings, **changes})  # type: ignore[arg-type]
    generator = Generator(GeneratorConfig(MappingConfig(16, 0, 16, 2), synthesis))
    with torch.no_grad():
        generator.mapping.w_avg.copy_(generator.mapping(torch.randn(500, 16)).mean(0))
        for layer in list(generator.synthesis.children())[1:]:
            layer._beta = 0.0  # type: ignore[assignment]
        ws = generator.mapping_ws(torch.randn(16, 16))
        for _ in synthesis.layers:  # the magnitudes of the layers' inputs, each known once those before it are
            generator.synthesis(ws)
            generator.synthesis.follow(generator.synthesis.magnitudes())
    save_network(path, generator)
    return path


@pytest.fixture(scope="module")
def translating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("networks") / "t.safetensors")


@pytest.fixture(scope="module")
def rotating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("networks") / "r.safetensors", conv_kernel=1, use_radial_filters=True)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture
def generated(invert: Invert, tmp_path: Path) -> Callable[..., np.ndarray]:
    def run(network: Path, *arguments: object, seeds: object = 3, name: str = "images") -> np.ndarray:
        result = invert("generate", "--network", network, "--seeds", seeds, "--out", tmp_path / name, *arguments)
        assert result.code == 0, result.err
        return np.stack([pixels(path) for path in sorted((tmp_path / name).iterdir())])

    return run


def test_a_shift_is_to_the_right_and_down(translating: Path, generated: Callable[..., np.ndarray]) -> None:
    """In shares of the side: 4 and 2 pixels of 32; between them the layers' filters leave a few levels."""
    (still,), (moved,) = generated(translating), generated(translating, "--translate", "0.125,0.0625", name="moved")
    found = np.abs(moved[6:-4, 8:-4] - still[4:-6, 4:-8]).mean()
    assert found < 0.1 * np.abs(moved - still).mean()


def test_a_rotation_is_counter_clockwise(rotating: Path, generated: Callable[..., np.ndarray]) -> None:
    (still,), (turned,) = generated(rotating), generated(rotating, "--rotate", 90, name="turned")
    found = np.abs(turned - np.rot90(still))[4:-4, 4:-4].mean()
    assert found < 0.1 * np.abs(turned - still).mean()


def test_other_networks_cannot_be_moved(invert: Invert, network: Path, tmp_path: Path) -> None:
    result = invert("generate", "--network", network, "--seeds", 0, "--out", tmp_path / "a", "--rotate", 10)
    assert result.code == 2
    assert "moves the input of a StyleGAN3 network, and this network is a 'skip' one" in result.err
    write_images(tmp_path / "images", 1, seed=0)
    project = ("project", tmp_path / "images", "--network", network, "--out", tmp_path / "b", *QUICK)
    result = invert(*project, "--transform", "optimise")
    assert result.code == 2
    assert "--transform optimise moves the input of a StyleGAN3 network" in result.err
    result = invert(*project, "--transform", "optimise", "--preset", "exact")
    assert result.code == 2
    assert "--transform optimise does not go with --preset exact" in result.err


@pytest.mark.parametrize("shift", ["1", "a,b", "1,2,3"])
def test_what_is_no_shift(invert: Invert, translating: Path, tmp_path: Path, shift: str) -> None:
    result = invert("generate", "--network", translating, "--seeds", 0, "--out", tmp_path / "a", "--translate", shift)
    assert result.code == 2
    assert f"'{shift}' is not two numbers and a comma, such as 0.1,-0.05" in result.err


@pytest.mark.slow
def test_preset_exact_explains_own_images_to_the_last_level(
    invert: Invert, translating: Path, generated: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    generated(translating, seeds="3-5", name="still")
    method = ("--preset", "exact", "--processing", "none", "--threads", 1, "-q", "--network", translating)
    result = invert("project", tmp_path / "still", "--out", tmp_path / "found", *method)
    assert result.code == 0, result.err
    for name in ("seed0003", "seed0004", "seed0005"):
        found = read_projection(tmp_path / "found" / f"{name}.npz")
        assert found.rms < 1.2 * found.expected_rms < 0.4


@pytest.mark.slow
def test_the_motion_of_moved_images_is_found_and_kept(
    invert: Invert, translating: Path, generated: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """Own images that were shifted by 5 % and turned by 10 degrees end where those that were not moved do."""
    motion = ("--translate", f"{MOTION[0]},{MOTION[1]}", "--rotate", MOTION[2])
    generated(translating, seeds="3-4", name="still")
    moved = generated(translating, *motion, seeds="3-4", name="moved")
    method = ("--preset", "verdict", "--bank", 60, "--steps", 40, "--batch", 2)
    distances = {}
    for name, images, transform in (
        ("still", "still", "fixed"),
        ("at rest", "moved", "fixed"),
        ("found", "moved", "optimise"),
    ):
        out = tmp_path / f"{name}.h5"
        arguments = (
            tmp_path / images,
            "--network",
            translating,
            "--out",
            out,
            "--transform",
            transform,
            "--save-images",
        )
        result = invert("project", *arguments, *method, *QUICK)
        assert result.code == 0, result.err
        with h5py.File(out) as file:
            distances[name] = float(file["distance"][:].mean())
            assert ("transform" in file) is (transform == "optimise")
            kept = file["reconstruction"][:].astype(int)
            found = file["transform"][:] if "transform" in file else None
    assert distances["found"] < 0.5 * distances["at rest"]
    assert found is not None
    # w moves the input too, so that the motion alone is not told apart from it; together they are the image
    assert np.abs(found[:, 2]).max() > 1
    assert np.abs(kept - moved).mean() < 10
    (row, _) = invert("show", tmp_path / "found.h5", "--json").records()[:2]
    assert [row["shift_x"], row["shift_y"], row["rotation"]] == pytest.approx(list(found[0]))
    assert invert("verify", tmp_path / "found.h5").code == 0
    result = invert("render", tmp_path / "found.h5", "--network", translating, "--out", tmp_path / "again")
    assert result.code == 0, result.err
    again = np.stack([pixels(path) for path in sorted((tmp_path / "again").glob("*.png"))])
    np.testing.assert_array_equal(again, kept)
    rows = generated(translating, seeds=f"{tmp_path / 'found.h5'}:0", name="row")
    assert np.abs(rows[0] - kept[0]).max() <= 1


def test_a_projection_in_a_folder_keeps_its_motion(
    invert: Invert, translating: Path, generated: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    generated(translating, "--rotate", 10, name="images")
    arguments = ("--network", translating, "--steps", 3, "--batch", 1, "--transform", "optimise")
    assert invert("project", tmp_path / "images", "--out", tmp_path / "out", *arguments, *QUICK).code == 0
    (path,) = (tmp_path / "out").glob("*.npz")
    stored = read_projection(path)
    assert stored.transform is not None
    assert len(stored.transform) == 3
    assert any(stored.transform)
    assert stored.method["transform"] == "optimise"
    assert stored.noise == {}
    (sheet,) = (tmp_path / "out").glob("*.png")
    (again,) = generated(translating, seeds=path, name="again")
    assert np.abs(again - pixels(sheet)[:, 32:]).max() <= 1
    (unmoved,) = generated(translating, "--rotate", -45, seeds=path, name="turned")
    assert np.abs(unmoved - again).mean() > 1


def test_sheets_and_noise(invert: Invert, translating: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    for command in (
        ("mix", "--rows", "0-1", "--cols", "2", "--styles", "0-2"),
        ("truncate", "--seeds", "0-1"),
        ("interpolate", "--keys", "0,1", "--steps", 3),
    ):
        result = invert(*command, "--network", translating, "--out", out, "--overwrite")
        assert result.code == 0, result.err
    result = invert("noise", "--seed", 0, "--network", translating, "--out", out, "--overwrite")
    assert result.code == 2
    assert "this network has no noise inputs" in result.err


@pytest.mark.slow
def test_calibrate_and_attribute(
    invert: Invert, translating: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "real", 20, seed=1)
    quick = (*QUICK, "--steps", 1, "--bank", 20, "--batch", 20, "--transform", "optimise")
    calibration = tmp_path / "c.json"
    arguments = ("--network", translating, "--real", tmp_path / "real", "--fpr", 0.3, "--count", 20)
    result = invert("calibrate", *arguments, "--out", calibration, "--workers", 1, *quick)
    assert result.code == 0, result.err
    own = ("generate", "--network", translating, "--seeds", "5-6", "--rotate", 10, "--out", tmp_path / "own")
    assert invert(*own).code == 0
    result = invert(
        "attribute", tmp_path / "own", "--network", translating, "--calibration", calibration, "--quiet", "--json"
    )
    assert result.code in (0, 1, 3), result.err
    records = [record for record in result.records() if record["type"] == "image"]
    assert len(records) == 2
    assert "verdict" in records[0]
