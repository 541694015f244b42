"""The functions of `import invert` as a user calls them."""

import contextlib
import io
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import invert
from invert.batch.work import Done
from invert.cli.main import main
from invert.store.npz import read_projection

ROOT = Path(__file__).parents[1]
QUICK: dict[str, Any] = {"steps": 3, "lpips": "alex", "threads": 1, "device": "cpu", "batch": 2}

pytestmark = pytest.mark.usefixtures("threads")

Pixels = npt.NDArray[np.uint8]


def pixels(seed: int) -> Pixels:
    return np.random.RandomState(seed).randint(0, 256, [32, 32, 3], np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for seed in range(3):
        Image.fromarray(pixels(seed)).save(path / f"{seed}.png")
    return path


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


def as_pil(seed: int) -> Image.Image:
    return Image.fromarray(pixels(seed))


def as_float(seed: int) -> torch.Tensor:
    return torch.from_numpy(pixels(seed)).permute(2, 0, 1).float() / 127.5 - 1


def as_bytes(seed: int) -> torch.Tensor:
    return torch.from_numpy(pixels(seed)).permute(2, 0, 1)


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


ATTRIBUTING: dict[str, Any] = {"steps": 3, "lpips": "alex", "bank": 40, "threads": 1, "device": "cpu", "batch": 4}
LOOSE: dict[str, Any] = {"rate": 0.3, "count": 24}
"""A rate of 30 % needs 9 negatives for the threshold, 17 in all: a test of the way, not of the numbers."""


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images that no network made."""
    path = tmp_path_factory.mktemp("others")
    for seed in range(20):
        Image.fromarray(pixels(100 + seed)).save(path / f"{seed:02d}.png")
    return path


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory, network: Path, others: Path) -> Path:
    """A network beside the calibration that the command made of it."""
    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copy(network, folder / "net.pkl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INVERT_CACHE", str(folder / "cache"))
        command("calibrate", "--network", folder / "net.pkl", "--real", others, "--fpr", 0.3, "--count", 24, *flags())
    return folder / "net.pkl"


def flags() -> list[object]:
    named = {name: value for name, value in ATTRIBUTING.items() if name != "device"}
    return [part for name, value in named.items() for part in (f"--{name}", value)] + ["--workers", 1, "--quiet"]


def command(*arguments: object) -> list[dict[str, Any]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.usefixtures("private_cache")
def test_verdicts_are_those_of_the_command(calibrated: Path, folder: Path) -> None:
    *records, _ = command("attribute", folder, "--network", calibrated, "--threads", 1, "--quiet")
    found = list(invert.attribute(folder, calibrated, threads=1))
    assert len(records) == len(found) == 3
    for record, one in zip(records, found, strict=True):
        (answer,), (finding,) = one.answers, record["findings"]
        assert one.name == record["path"]
        assert str(one.outcome) == record["verdict"]
        assert answer.distance == record["distances"]["net"]
        assert answer.p_values == (finding["evidence"]["p0"], finding["evidence"]["p1"])
        assert answer.ratio == finding["evidence"]["likelihood_ratio"]
        assert answer.score == finding["evidence"]["score"]
        assert answer.evidence["lpips"] == finding["measured"]["lpips"]


@pytest.mark.usefixtures("private_cache")
def test_images_from_memory_are_judged_as_files_are(calibrated: Path, folder: Path) -> None:
    expected = [one.answers[0].evidence for one in invert.attribute(folder, calibrated, threads=1, batch=2)]
    steps: list[Any] = []
    images: list[Any] = [as_pil(0), pixels(1), as_float(2)]
    verdicts = invert.attribute(iter(images), invert.load(calibrated), threads=1, batch=2, on_step=steps.append)
    found = list(verdicts)
    assert [one.name for one in found] == ["000000", "000001", "000002"]
    assert [one.answers[0].evidence for one in found] == expected
    assert [(record.group, record.step, len(record.distances)) for record in steps] == [
        *((0, step, 2) for step in range(3)),
        *((1, step, 1) for step in range(3)),
    ]
    assert verdicts.candidates[0].name == "net"


@pytest.mark.usefixtures("private_cache")
def test_two_networks_are_asked_of_a_stream_and_of_bad_images(network: Path, folder: Path) -> None:
    (folder / "1.png").write_bytes(b"not an image")
    settings = {**ATTRIBUTING, "threshold": 50, "batch": 1}
    paths = (folder / f"{number % 3}.png" for number in range(5))
    failures: list[Any] = []
    found = list(invert.attribute(paths, [network, network], on_failure=failures.append, **settings))
    assert [Path(one.name).name for one in found] == ["0.png", "2.png", "0.png"]
    assert [Path(failure.path).name for failure in failures] == ["1.png", "1.png"]
    for one in found:
        first, second = one.answers
        assert first.distance == second.distance
        assert one.threshold_rule.startswith("below 50 for")
    with pytest.raises(invert.ImageError, match=r"1\.png"):
        list(invert.attribute(folder, network, **settings))

    def broken() -> Iterator[Pixels]:
        yield pixels(0)
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="camera"):
        list(invert.attribute(itertools.chain([pixels(1)] * 40, broken()), [network, network], **settings))


@pytest.mark.usefixtures("private_cache")
def test_what_verdicts_refuse(calibrated: Path, folder: Path, network: Path) -> None:
    for settings, message in (
        ({"steps": 7, "calibration": calibrated.with_suffix(".calibration.json")}, "steps: 3, now 7"),
        ({"threshold": 1, "rate": 0.1}, "promises no rate"),
        ({"score": "pixels"}, "pixels"),
        ({"stepz": 3}, "stepz"),
        ({"rate": 2}, "between 0 and 1"),
        ({"threshold": -1}, "no distance"),
        ({"on_failure": "shrug"}, "shrug"),
        ({"preset": "fast"}, "no evidence"),
        ({"preset": "quick"}, "quick"),
    ):
        with pytest.raises(invert.UsageError, match=message):
            invert.attribute(folder, calibrated, **settings)  # type: ignore[arg-type]
    with pytest.raises(invert.UsageError, match="no network"):
        invert.attribute(folder, [])
    with pytest.raises(invert.NoInputError, match="no images"):
        invert.attribute([], calibrated)
    said: list[str] = []
    (one,) = invert.attribute(folder / "0.png", network, on_warning=said.append, **ATTRIBUTING)
    assert one.outcome is None
    assert any("there is no calibration" in line for line in said)


@pytest.mark.usefixtures("private_cache")
def test_a_calibration_is_that_of_the_command(calibrated: Path, others: Path, folder: Path, tmp_path: Path) -> None:
    written = calibrated.with_suffix(".calibration.json").read_bytes()
    out = tmp_path / "mine.json"
    made = invert.calibrate(calibrated, others, out=out, **LOOSE, **ATTRIBUTING)
    assert out.read_bytes() == written
    assert not Path(f"{out}.work").exists()
    with pytest.raises(invert.UsageError, match="exists already"):
        invert.calibrate(calibrated, others, out=out, **LOOSE, **ATTRIBUTING)
    # Images from memory measure the same, and the calibration serves as it is.
    images = [Image.open(path) for path in sorted(others.iterdir())]
    again = invert.calibrate(invert.load(calibrated), images, **LOOSE, **ATTRIBUTING)
    assert [one.evidence for one in again.others[0].measurements] == [
        one.evidence for one in made.others[0].measurements
    ]
    shutil.copy(calibrated, tmp_path / "alone.pkl")
    (one,) = invert.attribute(folder / "0.png", tmp_path / "alone.pkl", calibration=again, threads=1)
    (other,) = invert.attribute(folder / "0.png", calibrated, threads=1)
    assert one.outcome == other.outcome is not None
    assert one.answers[0].p_values == other.answers[0].p_values


@pytest.mark.usefixtures("private_cache")
def test_a_calibration_is_resumed(calibrated: Path, others: Path, tmp_path: Path) -> None:
    written = calibrated.with_suffix(".calibration.json").read_bytes()
    out = tmp_path / "mine.json"

    class StoppedError(Exception):
        pass

    done = []

    def stop(event: Any) -> None:
        if isinstance(event, Done):
            done.append(event.name)
            if len(done) == 30:
                raise StoppedError

    with pytest.raises(StoppedError):
        invert.calibrate(calibrated, others, out=out, on_event=stop, **LOOSE, **ATTRIBUTING)
    assert not out.exists()
    with pytest.raises(invert.UsageError, match="steps: 3, now 4"):
        invert.calibrate(calibrated, others, out=out, **LOOSE, **{**ATTRIBUTING, "steps": 4})
    new: list[bool] = []
    counted: list[int] = []
    invert.calibrate(
        calibrated,
        others,
        out=out,
        on_count=counted.append,
        on_event=lambda event: new.append(event.is_new) if isinstance(event, Done) else None,
        **LOOSE,
        **ATTRIBUTING,
    )
    assert counted == [44]
    assert (new.count(False), new.count(True)) == (30, 14)
    assert out.read_bytes() == written


@pytest.mark.usefixtures("private_cache")
def test_a_named_work_folder_is_kept(calibrated: Path, others: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings: dict[str, Any] = {"work": tmp_path / "work", **LOOSE, **ATTRIBUTING}
    (tmp_path / "real").mkdir()
    for path in others.iterdir():
        shutil.copy(path, tmp_path / "real")
    (tmp_path / "real" / "bad.png").write_bytes(b"no image")
    first = invert.calibrate(calibrated, tmp_path / "real", on_warning=said.append, **settings)
    assert any("bad.png" in line for line in said)
    events: list[Any] = []
    again = invert.calibrate(calibrated, tmp_path / "real", on_event=events.append, **settings)
    assert not any(isinstance(event, Done) and event.is_new for event in events)
    assert [one.evidence for one in again.own.measurements] == [one.evidence for one in first.own.measurements]
    with pytest.raises(invert.UsageError, match=r"real.*needs another name"):
        invert.calibrate(calibrated, others, {"real": others}, **LOOSE, **ATTRIBUTING)
    with pytest.raises(invert.UsageError, match="needs 299 for the threshold"):
        invert.calibrate(calibrated, others, **ATTRIBUTING)
