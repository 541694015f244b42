"""Projections and images by the functions of `import invert`, as a user calls them."""

import ast
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import invert
from invert.store.npz import read_projection
from tests.api.api_case import QUICK, Pixels, as_bytes, as_float, as_pil, pixels

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("threads")


def test_importing_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, invert\n"
        "assert invert.ProjectConfig(steps=3).steps == 3 and issubclass(invert.ImageError, invert.InvertError)\n"
        "names = {'project', 'attribute', 'calibrate', 'load', 'generate', 'open_latents', 'Projector'}\n"
        "assert names <= set(dir(invert))\n"
        "heavy = {'torch', 'lpips', 'scipy', 'h5py', 'matplotlib', 'click'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_every_name_that_is_promised_is_there() -> None:
    assert all(getattr(invert, name) is not None for name in invert.__all__)
    assert dir(invert) == invert.__all__
    # Type checkers read imports in place of the table.
    tree = ast.parse(Path(invert.__file__).read_text())
    told = {
        name.asname: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert told == {name: home for name, (home, _) in invert._PUBLIC.items()}
    with pytest.raises(AttributeError, match="unheard_of"):
        _ = invert.unheard_of  # type: ignore[attr-defined]


def test_a_file_becomes_a_result(folder: Path, network: Path) -> None:
    steps = []
    (result,) = invert.project(folder / "1.png", network, on_step=steps.append, **QUICK)
    assert (result.name, result.status, result.is_new) == (str(folder / "1.png"), "ok", True)
    assert (result.w.dtype, result.w.shape, result.curve.shape) == (np.float32, (1, 24), (3,))
    assert result.distance == pytest.approx(float(result.layer_distances.sum()), rel=1e-5)
    assert {values.shape[0] for values in result.noise.values()} == {4, 8, 16, 32}
    assert result.image is not None
    assert result.target is not None
    assert result.image.shape == (32, 32, 3)
    np.testing.assert_array_equal(result.target.array, pixels(1))
    assert [(record.step, record.steps) for record in steps] == [(0, 3), (1, 3), (2, 3)]


def loader() -> "DataLoader[tuple[torch.Tensor, ...]]":
    images = torch.stack([as_float(seed) for seed in range(3)])
    return DataLoader(TensorDataset(images, torch.arange(3)), batch_size=2)


def one_by_one() -> Iterator[Pixels]:
    yield from (pixels(seed) for seed in range(3))


@pytest.mark.parametrize(
    "images",
    [
        [as_pil(seed) for seed in range(3)],
        [pixels(0), as_pil(1), as_bytes(2)],
        np.stack([pixels(seed) for seed in range(3)]),
        torch.stack([as_float(seed) for seed in range(3)]),
        torch.stack([as_bytes(seed) for seed in range(3)]),
        one_by_one(),
        loader(),
    ],
    ids=["PIL", "mixed", "array", "floats", "bytes", "generator", "DataLoader"],
)
def test_images_from_memory_are_projected_as_files_are(images: Any, folder: Path, network: Path) -> None:
    found = list(invert.project(images, network, **QUICK))
    expected = list(invert.project(folder, network, **QUICK))
    assert [result.name for result in found] == ["000000", "000001", "000002"]
    assert [result.name for result in expected] == ["0.png", "1.png", "2.png"]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.w, other.w)
        assert one.distance == other.distance


def test_grey_arrays_and_single_tensors(network: Path) -> None:
    (grey,) = invert.project(pixels(0)[:, :, 0], network, **QUICK)
    assert grey.target is not None
    np.testing.assert_array_equal(grey.target.array, pixels(0)[:, :, :1].repeat(3, axis=2))
    (single,) = invert.project(as_float(1), network, **QUICK)
    assert single.target is not None
    np.testing.assert_array_equal(single.target.array, pixels(1))


def test_results_come_as_they_are_found(network: Path) -> None:
    """The first ones are there before the last image has been asked for."""
    asked = 0

    def endless() -> Iterator[Pixels]:
        nonlocal asked
        while True:
            asked += 1
            yield pixels(asked)

    results = invert.project(endless(), network, **QUICK)
    assert next(results).status == "ok"
    assert asked < 100
    results.close()  # type: ignore[attr-defined]


def test_a_loaded_network_is_used_as_it_is(folder: Path, network: Path) -> None:
    loaded = invert.load(network)
    first = list(invert.project(folder / "0.png", loaded, **QUICK))
    second = list(invert.project(folder / "0.png", network, **QUICK))
    np.testing.assert_array_equal(first[0].w, second[0].w)
    with pytest.raises(invert.NetworkError, match=r"0\.png"):
        invert.load(folder / "0.png")


def test_out_is_the_folder_of_the_command_and_is_resumed(folder: Path, network: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (first,) = invert.project(folder / "0.png", network, out=out, **QUICK)
    assert read_projection(out / "0.npz").distance == first.distance
    results = list(invert.project(folder, network, out=out, **QUICK))
    assert [(result.name, result.is_new) for result in results] == [("0.png", False), ("1.png", True), ("2.png", True)]
    again = results[0]
    np.testing.assert_array_equal(again.w, first.w)
    np.testing.assert_array_equal(again.curve, first.curve)
    assert again.image is not None
    assert first.image is not None
    np.testing.assert_array_equal(again.image, first.image)
    assert set(again.noise) == set(first.noise)
    with pytest.raises(invert.UsageError, match="steps: 3, now 4"):
        list(invert.project(folder, network, out=out, **{**QUICK, "steps": 4}))


def test_out_is_one_file_and_is_resumed(folder: Path, network: Path, tmp_path: Path) -> None:
    out = tmp_path / "latents.h5"
    first = list(invert.project(folder, network, out=out, save_images=True, save_noise="float32", **QUICK))
    with invert.open_latents(out) as latents:
        assert latents.names == [b"0.png", b"1.png", b"2.png"]
        assert latents.column("distance").tolist() == [result.distance for result in first]
    again = list(invert.project(folder, network, out=out, save_images=True, save_noise="float32", **QUICK))
    assert [result.is_new for result in again] == [False] * 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.w, other.w)
        np.testing.assert_array_equal(one.image, other.image)  # type: ignore[arg-type]
    Image.fromarray(pixels(9)).save(folder / "9.png")
    more = list(invert.project(folder, network, out=out, save_images=True, save_noise="float32", **QUICK))
    assert [(result.name, result.is_new) for result in more] == [
        *[(f"{seed}.png", False) for seed in range(3)],
        ("9.png", True),
    ]


def test_a_stream_goes_into_one_file(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "latents.h5"
    assert len(list(invert.project((pixels(seed) for seed in range(40)), network, out=out, **QUICK))) == 40
    again = list(invert.project((pixels(seed) for seed in range(41)), network, out=out, **QUICK))
    assert [result.is_new for result in again] == [*[False] * 40, True]
    with invert.open_latents(out) as latents:
        assert len(latents) == 41


def test_images_that_cannot_be_used(folder: Path, network: Path) -> None:
    (folder / "1.png").write_bytes(b"not an image")
    results = invert.project(folder, network, **{**QUICK, "batch": 1})
    with pytest.raises(invert.ImageError, match=r"1\.png"):
        list(results)
    assert [result.name for result in invert.project(folder, network, on_failure="skip", **QUICK)] == ["0.png", "2.png"]
    failures: list[Any] = []
    assert len(list(invert.project(folder, network, on_failure=failures.append, **QUICK))) == 2
    assert [(failure.name, failure.code) for failure in failures] == [(b"1.png", "image-unrecognised")]
    with pytest.raises(invert.ImageError, match=r"-1\.\.1"):
        list(invert.project(torch.full([3, 32, 32], 200.0), network, **QUICK))


def test_what_is_no_image_at_all(network: Path, folder: Path, tmp_path: Path) -> None:
    for nothing in ([], iter([])):
        with pytest.raises(invert.NoInputError, match="no images"):
            list(invert.project(nothing, network, **QUICK))
    (tmp_path / "empty").mkdir()
    with pytest.raises(invert.NoInputError, match="no images"):
        list(invert.project(tmp_path / "empty", network, **QUICK))
    for thing in (3, [3], {"image": pixels(0)}, [(1, 2)]):
        with pytest.raises(invert.UsageError):
            list(invert.project(thing, network, **QUICK))


def test_settings_are_checked_before_anything_is_done(folder: Path, network: Path) -> None:
    for settings, message in (
        ({"stepz": 3}, "stepz"),
        ({"steps": -1}, "steps"),
        ({"preset": "quick"}, "preset"),
        ({"save_images": True}, "save_images"),
        ({"on_failure": "shrug"}, "shrug"),
    ):
        with pytest.raises(invert.UsageError, match=message):
            invert.project(folder, network, **settings)  # type: ignore[arg-type]


def test_generate_gives_the_images_of_the_network(network: Path) -> None:
    loaded = invert.load(network)
    one, other = invert.generate(loaded, [3, 0])
    assert (one.dtype, one.shape) == (np.uint8, (32, 32, 3))
    z = torch.from_numpy(np.random.RandomState(3).randn(1, 16)).float()
    with torch.no_grad():
        expected = loaded.generator(z)[0].permute(1, 2, 0).numpy() * 127.5 + 128
    assert np.abs(one - np.clip(np.floor(expected), 0, 255)).max() <= 1
    assert not np.array_equal(one, other)
    mean, same = invert.generate(network, [0, 1], truncation_psi=0)
    np.testing.assert_array_equal(mean, same)
    for wrong in ({"class_index": 1}, {"truncation_cutoff": 99}, {"noise": "loud"}, {"truncation_psi": float("nan")}):
        with pytest.raises(invert.UsageError):
            invert.generate(network, [0], **wrong)  # type: ignore[arg-type]


def test_a_generated_image_can_be_projected_at_once(network: Path) -> None:
    loaded = invert.load(network)
    image = next(iter(invert.generate(loaded, [0])))
    (result,) = invert.project(image, loaded, **QUICK)
    assert np.isfinite(result.distance)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    (as_file,) = invert.project(Image.open(stream), loaded, **QUICK)
    assert as_file.distance == result.distance


def test_the_loop_itself(folder: Path, network: Path) -> None:
    from invert.images.target import read_target
    from invert.projection.perceptual import Perceptual

    loaded = invert.load(network)
    config = invert.ProjectConfig(steps=3, lpips="alex")
    projector = invert.Projector(loaded.generator, Perceptual("alex"), config, batch=2)
    events = list(projector.run([read_target(folder / "0.png", 32, 3)]))
    assert len(events) == 4
