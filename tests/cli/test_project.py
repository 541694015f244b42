"""`invert project` as a user runs it."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from generator.files.invert_format import save_network
from generator.networks import Generator
from invert.cli import options
from invert.locking import exclusive_lock
from invert.store.npz import read_projection
from tests import self_signal
from tests.cli.conftest import Invert
from tests.golden_data import load_networks

QUICK = ("--steps", 5, "--lpips", "alex", "--quiet", "--threads", 1)


@pytest.fixture
def project(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    """Run `invert project` with five steps on the small network, into tmp_path/out; later options win."""
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", tmp_path / "out", *arguments)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in visible(folder)}


def test_files_and_folders(project: Invert, image: Callable[..., Path], out: Path) -> None:
    one, other = image("one.png"), image("folder/deep/other.png")
    result = project(one, other.parent.parent)
    assert result.code == 0, result.err
    assert result.err == ""
    assert visible(out) == ["one.npz", "one.png", "other.npz", "other.png", "results.jsonl"]
    lines = result.out.splitlines()
    assert "2 of 2 images done, 0 of them before; 0 failed" in lines
    stored = read_projection(out / "one.npz")
    assert f"{stored.distance:.4f}  {one} -> {out / 'one.png'}" in lines
    assert stored.w.shape == (1, 24)
    assert sorted(len(values) for values in stored.noise.values()) == [4, 8, 8, 16, 16, 32, 32]
    assert stored.curve.shape == (5,)
    assert np.isclose(stored.distance, stored.layer_distances.sum(), rtol=1e-5)
    both = pixels(out / "one.png")
    assert both.shape == (32, 64, 3)
    np.testing.assert_array_equal(both[:, :32], pixels(one))


def test_json_lines(project: Invert, image: Callable[..., Path], out: Path) -> None:
    result = project(image("one.png"), image("two.png"), "--json")
    *images, summary = result.records()
    assert [record["code"] for record in images] == ["projected", "projected"]
    assert {record["type"] for record in images} == {"image"}
    distances = [read_projection(Path(record["npz"])).distance for record in images]
    assert [record["distance"] for record in images] == distances
    assert summary["type"] == "summary"
    assert summary["code"] == "done"
    assert (summary["images"], summary["projected"], summary["reused"], summary["failed"]) == (2, 2, 0, 0)
    assert summary["distance"]["median"] == pytest.approx(np.median(distances))
    assert json.loads(Path(summary["results"]).read_text().splitlines()[2])["distance"] == distances[1]


def test_the_same_command_skips_what_is_finished(project: Invert, image: Callable[..., Path], out: Path) -> None:
    one = image("one.png")
    assert project(one).code == 0
    before = contents(out)
    result = project(one, "--json")
    assert [record["code"] for record in result.records()] == ["finished-before", "done"]
    assert contents(out) == before
    result = project(image("two.png"), one, "--json")
    assert [record["code"] for record in result.records()] == ["finished-before", "projected", "done"]
    assert result.code == 0


def test_other_settings_are_refused_with_the_keys(project: Invert, image: Callable[..., Path], out: Path) -> None:
    one = image("one.png")
    assert project(one).code == 0
    before = contents(out)
    result = project(one, "--preset", "official", "--seed", 3)
    assert result.code == 2
    assert "preset: paper, now official" in result.err
    assert "pyramid_scale: 2.0, now 1.0" in result.err
    assert "seed: 0, now 3" in result.err
    assert result.err.startswith(f"invert: error: output '{out}': ")
    assert contents(out) == before


def test_overwrite_starts_afresh(project: Invert, image: Callable[..., Path], out: Path) -> None:
    one, two = image("one.png"), image("two.png")
    assert project(one, two).code == 0
    (out / "notes.txt").write_text("mine")
    result = project(two, "--noise", "fixed", "--overwrite")
    assert result.code == 0, result.err
    assert visible(out) == ["notes.txt", "results.jsonl", "two.npz", "two.png"]


def test_clashing_names(project: Invert, image: Callable[..., Path], out: Path) -> None:
    first, second = image("a/same.png"), image("b/same.png")
    assert project(first, second).code == 0
    names = [path.stem for path in sorted(out.glob("*.npz"))]
    assert len(names) == 2
    assert "same" in names
    assert {read_projection(out / f"{name}.npz").name for name in names} == {b"same.png"}
    result = project(second, first, "--json")
    assert [record["code"] for record in result.records()] == ["finished-before", "finished-before", "done"]


def test_the_same_image_twice_is_done_once(project: Invert, image: Callable[..., Path], out: Path) -> None:
    first, second = image("a/same.png", 1), image("b/same.png", 1)
    result = project(first, second, "--json")
    assert sorted(record["code"] for record in result.records()) == ["done", "duplicate", "projected"]
    assert (result.records()[-1]["images"], result.records()[-1]["reused"]) == (2, 1)
    assert visible(out) == ["results.jsonl", "same.npz", "same.png"]


def test_results_are_no_input(project: Invert, image: Callable[..., Path]) -> None:
    one = image("one.png")
    original = one.read_bytes()
    for code in ("projected", "finished-before"):
        result = project(one.parent, "--out", one.parent, "--json")
        assert [record["code"] for record in result.records()] == [code, "done"]
    # The image's own name was taken, by the image.
    assert one.read_bytes() == original
    assert len(list(one.parent.glob("one-????????.png"))) == 1


def test_bad_images_are_skipped_and_told(project: Invert, image: Callable[..., Path], out: Path) -> None:
    good, cut = image("good.png"), image("cut.png")
    cut.write_bytes(cut.read_bytes()[:300])
    empty = cut.with_name("empty.png")
    empty.touch()
    result = project(cut, good, empty, cut.with_name("nowhere.png"), "--json")
    assert result.code == 3
    codes = [record["code"] for record in result.records()]
    assert sorted(codes) == sorted(["image-truncated", "projected", "image-empty", "image-missing", "some-failed"])
    assert codes[-1] == "some-failed"
    lines = result.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("invert: error: image '") for line in lines)
    listed = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    assert {line["code"] for line in listed if line.get("type") == "failure"} == {
        "image-truncated",
        "image-empty",
        "image-missing",
    }
    assert visible(out) == ["good.npz", "good.png", "results.jsonl"]


def test_nothing_usable(project: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    bad = image()
    bad.write_text("<html>")
    assert project(bad).code == 5
    (tmp_path / "empty").mkdir()
    result = project(tmp_path / "empty")
    assert result.code == 5
    assert result.err.startswith(f"invert: error: input '{tmp_path / 'empty'}': there are no images.")
    assert project(tmp_path / "nowhere.png").code == 5


def test_odd_names_are_shown_escaped(project: Invert, image: Callable[..., Path], out: Path) -> None:
    names = [b"a\x1b[2J.png", b"new\nline.png", b"not-utf8-\xff.png", b"-dash.png", "été\u202e.png".encode()]
    paths = [image(name) for name in names]
    bad = image(b"bad\x1b]52;c;x\x07\n.png")
    bad.write_bytes(b"")
    result = project(paths[0].parent)
    assert result.code == 3
    assert "5 of 6 images done" in result.out
    for text in (result.out, result.err):
        assert not [c for c in text if c != "\n" and not c.isprintable()]
    assert len(result.err.splitlines()) == 1
    sources = set()
    for path in out.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            sources.add(arrays["source"].tobytes())
    assert sources == set(names)


def test_repeated_warnings_are_summed_up(project: Invert, image: Callable[..., Path]) -> None:
    paths = [image(f"{i}.png") for i in range(3)]
    for path in paths:
        Image.fromarray(np.pad(pixels(path), [(4, 4), (0, 0), (0, 0)])).save(path)
    result = project(*paths)
    assert result.code == 0
    assert len(result.err.splitlines()) == 2
    assert f"invert: warning: image '{paths[0]}': 32 x 40 is not square" in result.err
    assert "invert: warning: 2 more: 32 x 40 is not square" in result.err


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", b"cos\nsystem\n(S'true'\ntR."],
    ids=["empty", "html", "lfs", "hostile"],
)
def test_refused_networks(invert: Invert, image: Callable[..., Path], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    for arguments in (["project", image()], ["generate", "--seeds", "0"]):
        result = invert(*arguments, "--network", path, "--out", tmp_path / "out")
        assert result.code == 4
        assert result.err.startswith(f"invert: error: network '{path}': ")
        assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_a_network(
    invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("project", image(), "--out", tmp_path / "out", *QUICK)
    monkeypatch.setattr(options, "default_network", lambda: None)
    result = invert(*arguments)
    assert result.code == 2
    assert "--network FILE" in result.err
    monkeypatch.setattr(options, "default_network", lambda: network)
    result = invert(*arguments)
    assert result.code == 0
    assert "invert: warning: no --network was named: this is the project's demonstration network" in result.err
    assert "garments of 32 x 32 pixels" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "many"], "--steps"),
        (["--steps", -1], "'--steps': -1 is not in 0..10000000"),
        (["--lpips", "squeeze"], "--lpips"),
        (["--noise-weight", "nan"], "--noise-weight"),
        (["--class", 0], "has no classes"),
        (["--batch", 0], "--batch"),
        (["--device", "tpu"], "--device"),
        (["--max-pixels", 0], "--max-pixels"),
        (["--what"], "--what"),
    ],
    ids=str,
)
def test_wrong_usage(
    project: Invert, image: Callable[..., Path], out: Path, arguments: list[Any], message: str
) -> None:
    result = project(image(), *arguments)
    assert result.code == 2
    assert result.err.startswith("invert: error: ")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not out.exists()


def test_classes(invert: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    generator: Generator = load_networks("conditional")[1]
    path = tmp_path / "conditional.safetensors"
    save_network(path, generator)
    one = image()
    arguments = ("--network", path, *QUICK, "--json")
    first = invert("project", one, *arguments, "--out", tmp_path / "any")
    second = invert("project", one, *arguments, "--out", tmp_path / "one", "--class", 1)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.records()[0]["distance"] != second.records()[0]["distance"]
    result = invert("project", one, *arguments, "--out", tmp_path / "none", "--class", 99)
    assert result.code == 2
    assert "--class 99" in result.err


def test_max_pixels(project: Invert, image: Callable[..., Path]) -> None:
    result = project(image(), "--max-pixels", 1000, "--json")
    assert result.code == 5
    assert result.records()[0]["code"] == "image-too-large"


def test_folder_in_use(project: Invert, image: Callable[..., Path], out: Path) -> None:
    one = image()
    assert project(one).code == 0
    with exclusive_lock(out / ".lock"):
        result = project(one)
    assert result.code == 7
    assert f"invert: error: output '{out}': in use by process {os.getpid()}" in result.err


def test_output_that_cannot_be_written(
    project: Invert, image: Callable[..., Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = image()
    out.write_text("a file")
    result = project(one)
    assert result.code == 6
    assert "a file is in the place of a folder" in result.err
    out.unlink()

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    result = project(one)
    assert result.code == 6
    assert "the file system is read-only" in result.err
    assert visible(out) == []


def test_diverging_network(
    invert: Invert, image: Callable[..., Path], tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator: Generator = load_networks("skip_resnet")[1]
    state = {name: value * 1e18 for name, value in generator.state_dict().items()}
    generator.load_state_dict(state)
    path = tmp_path / "huge.safetensors"
    save_network(path, generator)
    result = invert("project", image(), "--network", path, "--out", tmp_path / "out", *QUICK, "--json")
    assert result.code == 8, result.err
    assert result.records()[-1]["diverged"] == 1
    assert "nan" not in (tmp_path / "out" / "results.jsonl").read_text().lower()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_keeps_finished_images_and_resumes(
    project: Invert,
    network: Path,
    image: Callable[..., Path],
    tmp_path: Path,
    out: Path,
    number: signal.Signals,
    code: int,
) -> None:
    paths = [image(f"{i}.png") for i in range(3)]
    common = ["--network", network, "--lpips", "alex", "--batch", 1, "--threads", 1, "--json", "--steps", 15]
    command = ("project", *paths, "--out", out, *common)
    process = self_signal.start(number, "stdout", "projected", 1, *command, seconds=0.03)
    found, messages = process.communicate(timeout=240)
    assert process.returncode == code
    assert "Traceback" not in messages
    assert messages.splitlines()[-1].startswith("invert: error: ")
    first, *_, summary = map(json.loads, found.splitlines())
    assert (summary["type"], summary["code"]) == ("summary", "interrupted")
    assert 1 <= summary["projected"] < 3
    kept = (out / "0.npz").read_bytes()
    assert first["npz"] == str(out / "0.npz")
    assert not list(out.glob(".invert-*"))

    same = ("--batch", 1, "--json", "--steps", 15)
    resumed = project(*paths, *same)
    assert resumed.code == 0
    assert resumed.records()[-1]["reused"] == summary["projected"]
    assert (out / "0.npz").read_bytes() == kept
    # What was interrupted and resumed equals, to the last bit, what never was.
    assert project(*paths, *same, "--out", tmp_path / "whole").code == 0
    assert contents(tmp_path / "whole") == contents(out)
