"""`invert project --out FILE.h5`, and the commands that read the file, as a user runs them."""

import contextlib
import csv
import io
import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from invert.store.locks import lock_output
from tests import self_signal
from tests.cli.batch_case import QUICK, entries, leftovers, start, write_images
from tests.cli.conftest import ROOT, Invert, Result

KEEP = ("--save-noise", "float32", "--save-images")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 6)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "latents.h5"


@pytest.fixture
def project(invert: Invert, network: Path, out: Path) -> Invert:
    """Run `invert project` with five steps on the small network, into latents.h5; later options win."""
    return lambda *arguments: invert("project", *QUICK, "--network", network, "--out", out, "--quiet", *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A finished file with noise and images, not to be changed; images/bad.png has no result."""
    from invert.cli.main import main

    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images", 6)
    (folder / "images" / "bad.png").write_bytes(b"not an image")
    out = folder / "latents.h5"
    arguments = ["project", *QUICK, "--network", network, "--out", out, "--quiet", *KEEP, folder / "images"]
    assert main([str(argument) for argument in arguments]) == 3
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Callable[..., Path]:
    """Return the file of six images that a run with these settings makes when nothing disturbs it."""
    from invert.cli.main import main

    made: dict[tuple[object, ...], Path] = {}

    def build(*settings: object) -> Path:
        if settings not in made:
            folder = tmp_path_factory.mktemp("whole")
            out = folder / "latents.h5"
            arguments = (*QUICK, "--network", network, "--out", out, "--quiet", write_images(folder / "images", 6))
            threads = torch.get_num_threads()
            with contextlib.redirect_stdout(io.StringIO()):
                assert main(["project", *map(str, (*arguments, *settings))]) == 0
            torch.set_num_threads(threads)
            made[settings] = out
        return made[settings]

    return build


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def rewritten(source: Path, target: Path, **changes: str) -> Path:
    """Project the images of a finished file again, with other things kept."""
    from invert.cli.main import main

    network = str(Path("tests/golden/nvidia_ada.pkl"))
    arguments = [*QUICK, "--network", ROOT / network, "--out", target, "--quiet", source.parent / "images"]
    for name, value in changes.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    assert main(["project", *map(str, arguments)]) == 3
    return target


def test_a_folder_becomes_one_file(project: Invert, images: Path, out: Path) -> None:
    result = project(images, *KEEP)
    assert result.code == 0, result.err
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0] == "6 of 6 images done, 0 of them before; 0 failed"
    assert lines[2].startswith(f"wrote {out}: 6 images, {out.stat().st_size:,} bytes, sha256 ")
    assert leftovers(out) == []
    with h5py.File(out) as file:
        assert file["w"].shape == (6, 1, 24)
        assert file["curve"].shape == (6, 5)
        assert np.isfinite(file["w"][:]).all()
        np.testing.assert_allclose(file["layer_distances"][:].sum(axis=1), file["distance"][:], rtol=1e-5)
        names = [name.decode() for name in file["name"][:]]
        assert names == ["000.png", "001.png", "003.png", "004.png", "sub/002.png", "sub/005.png"]
        assert {values.shape[1] for values in file["noise"].values()} == {4, 8, 16, 32}
        for name, target in zip(names, file["target"][:], strict=True):
            np.testing.assert_array_equal(target, pixels(images / name))
        assert json.loads(file.attrs["method"])["steps"] == 5
        assert json.loads(file.attrs["run"])["batch"] == 4


def test_one_image_has_the_results_that_a_folder_of_results_has(
    project: Invert, invert: Invert, network: Path, images: Path, out: Path, tmp_path: Path
) -> None:
    assert project(images).code == 0
    folder = tmp_path / "projections"
    assert invert("project", *QUICK, "--network", network, "--out", folder, "-q", images / "000.png").code == 0
    with h5py.File(out) as file, np.load(folder / "000.npz") as single:
        np.testing.assert_array_equal(file["w"][0], single["w"])
        assert file["distance"][0] == single["distance"]


@pytest.mark.timeout(300)
def test_workers_shards_and_hash_seeds_change_no_byte(
    project: Invert, invert: Invert, network: Path, images: Path, out: Path, tmp_path: Path
) -> None:
    assert project(images, *KEEP).code == 0
    one = out.read_bytes()
    assert project(images, *KEEP, "--out", tmp_path / "again.h5").code == 0
    assert (tmp_path / "again.h5").read_bytes() == one
    command = (*QUICK, *KEEP, "--network", network, images, "-q", "--out")
    two = start(*command, tmp_path / "two.h5", "--workers", 2, PYTHONHASHSEED="0")
    _, messages = two.communicate(timeout=240)
    assert two.returncode == 0, messages
    assert (tmp_path / "two.h5").read_bytes() == one
    shards = tmp_path / "shards.h5"
    for shard in (2, 3, 1):
        result = project(images, *KEEP, "--out", shards, "--shard", f"{shard}/3")
        assert result.code == 0
        assert not shards.exists()
    assert f"when all shards are done: invert pack {shards}" in result.out
    assert invert("pack", shards).code == 0
    assert shards.read_bytes() == one
    assert invert("pack", shards).code == 0
    assert shards.read_bytes() == one
    seeded = start(*command, tmp_path / "hash.h5", PYTHONHASHSEED="1")
    _, messages = seeded.communicate(timeout=240)
    assert seeded.returncode == 0, messages
    assert (tmp_path / "hash.h5").read_bytes() == one


def test_pack_before_all_shards_are_done(project: Invert, invert: Invert, images: Path, out: Path) -> None:
    assert project(images, "--shard", "1/2").code == 0
    result = invert("pack", out)
    assert result.code == 2
    assert "of its 2 shards these are missing: 2" in result.err
    assert not out.exists()
    result = invert("pack", out, "--partial")
    assert result.code == 0
    with h5py.File(out) as file:
        assert 0 < len(file["w"]) < 6


def test_the_same_command_again(project: Invert, images: Path, out: Path) -> None:
    assert project(images).code == 0
    before = out.read_bytes()
    result = project(images, "--json")
    assert result.code == 0
    assert result.records() == [
        {
            "type": "summary",
            "code": "finished-before",
            "images": 6,
            "projected": 0,
            "reused": 6,
            "failed": 0,
            "out": str(out),
        }
    ]
    assert out.read_bytes() == before


def test_other_settings_are_refused_with_what_differs(project: Invert, images: Path, out: Path) -> None:
    assert project(images, "--shard", "1/2").code == 0
    for arguments, difference in ((("--steps", 6), "steps: 5, now 6"), (("--batch", 2), "batch: 4, now 2")):
        result = project(images, *arguments)
        assert result.code == 2
        assert difference in result.err
        assert len(result.err.splitlines()) == 1
    assert project(images).code == 0
    before = out.read_bytes()
    result = project(images, "--seed", 1)
    assert result.code == 2
    assert "seed: 0, now 1" in result.err
    assert out.read_bytes() == before
    assert project(images, "--seed", 1, "--overwrite").code == 0
    assert out.read_bytes() != before


def test_bad_images_are_listed_and_done_when_mended(project: Invert, images: Path, out: Path) -> None:
    good = (images / "000.png").read_bytes()
    (images / "000.png").write_bytes(b"<html>")
    result = project(images, "--json")
    assert result.code == 3
    assert result.err.startswith(f"invert: error: image '{images / '000.png'}': ")
    assert result.records()[-1]["failed"] == 1
    with h5py.File(out) as file:
        assert len(file["w"]) == 5
        assert file["failures/name"][:].tolist() == [b"000.png"]
        assert file["failures/code"][:].tolist() == [b"image-format"]
    assert project(images).code == 3
    (images / "000.png").write_bytes(good)
    result = project(images, "--json")
    assert result.code == 0
    assert (result.records()[-1]["projected"], result.records()[-1]["reused"]) == (1, 5)
    mended = out.read_bytes()
    assert project(images, "--overwrite").code == 0
    assert out.read_bytes() == mended


def test_new_and_vanished_images(project: Invert, images: Path, out: Path) -> None:
    last = images / "sub" / "005.png"
    content = last.read_bytes()
    last.unlink()
    assert project(images).code == 0
    last.write_bytes(content)
    (images / "001.png").unlink()
    result = project(images)
    assert result.code == 3
    assert "1 finished images are not there any more; their results are kept" in result.err
    with h5py.File(out) as file:
        assert len(file["w"]) == 6


def test_nothing_usable(project: Invert, tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    assert project(folder).code == 5
    (folder / "a.png").write_bytes(b"")
    assert project(folder).code == 5
    assert not out.exists()


def test_options_of_a_file_without_one(invert: Invert, images: Path, tmp_path: Path) -> None:
    for arguments in (("--workers", 2), ("--shard", "1/2"), ("--save-noise", "float16"), ("--save-images",)):
        result = invert("project", images, "--out", tmp_path / "folder", *arguments)
        assert result.code == 2
        assert f"{arguments[0]} goes with one HDF5 file" in result.err
    for value in ("0/2", "3/2", "1", "a/b"):
        result = invert("project", images, "--out", tmp_path / "a.h5", "--shard", value)
        assert result.code == 2


def test_a_second_process_hears_at_once(network: Path, images: Path, out: Path) -> None:
    program = "import sys; from invert.cli.main import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    arguments = ["project", *QUICK, "--network", network, "--out", out, images]
    with lock_output(out):
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=20
        )
    assert done.stdout.split() == ["7", "False"]
    assert done.stderr.startswith(f"invert: error: output '{out}': in use by process ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "number", "code"),
    [
        (1, signal.SIGINT, 130),
        (2, signal.SIGTERM, 143),
        pytest.param(1, signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(2, signal.SIGINT, 130, marks=pytest.mark.long),
    ],
)
def test_interrupted_and_resumed(
    project: Invert,
    network: Path,
    images: Path,
    out: Path,
    whole: Callable[..., Path],
    number: signal.Signals,
    code: int,
    workers: int,
) -> None:
    slow = (*QUICK, "--steps", 20, "--batch", 1, "--network", network, "--json")
    command = ("project", *slow, "--out", out, "--workers", workers, images)
    process = self_signal.start(number, "stdout", "projected", 1, *command, seconds=0.03)
    found, messages = process.communicate(timeout=240)
    assert process.returncode == code, messages
    assert "Traceback" not in messages
    first, *_, summary = map(json.loads, found.splitlines())
    assert (first["code"], summary["code"]) == ("projected", "interrupted")
    assert 1 <= len(entries(out)) < 6
    assert not out.exists()
    result = project("--steps", 20, "--batch", 1, "--json", images)
    assert result.code == 0
    assert result.records()[-1]["reused"] >= summary["projected"]
    assert out.read_bytes() == whole("--steps", 20, "--batch", 1).read_bytes()


def test_a_worker_that_is_killed(network: Path, out: Path, tmp_path: Path) -> None:
    import psutil

    many = write_images(tmp_path / "many", 16)
    slow = (*QUICK, "--steps", 200, "--batch", 1, "--network", network, "--json")
    process = start(*slow, "--out", out, "--workers", 2, many)
    assert process.stdout is not None
    process.stdout.readline()
    children = [one for one in psutil.Process(process.pid).children() if one.status() != psutil.STATUS_ZOMBIE]
    workers = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    _, messages = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "a worker process stopped early: SIGKILL (9) ended it" in messages
    assert len(entries(out)) >= 1


def test_show(invert: Invert, finished: Path) -> None:
    result = invert("show", finished, "--rows", 3)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["row", "distance", "status", "name"]
    assert lines[1].split()[-1] == "000.png"
    assert "3 more" in lines[4]
    assert any(line.startswith("no result: bad.png: ") for line in lines)
    assert any(line.startswith("images    6, 1 without a result") for line in lines)
    assert sum("#" in line for line in lines) >= 2
    *rows, failure, summary = invert("show", finished, "--json").records()
    assert [row["name"] for row in rows][-1] == "sub/005.png"
    assert failure["code"] == "image-unrecognised"
    assert summary["images"] == 6
    distances = [row["distance"] for row in rows]
    assert summary["distance"]["smallest"] == min(distances)
    assert len(distances) % 2 == 0
    assert summary["distance"]["median"] == pytest.approx(statistics.median(distances))
    table = list(csv.DictReader(io.StringIO(invert("show", finished, "--csv").out)))
    assert [float(row["distance"]) for row in table] == [row["distance"] for row in rows]
    worst = invert("show", finished, "--worst", "--rows", 1).out.splitlines()[1]
    assert float(worst.split()[1]) == pytest.approx(summary["distance"]["largest"], abs=1e-4)


def test_csv_cells_are_no_formulas(project: Invert, invert: Invert, images: Path, out: Path) -> None:
    (images / "000.png").rename(images / "=cmd.png")
    assert project(images).code == 0
    names = [row["name"] for row in csv.DictReader(io.StringIO(invert("show", out, "--csv").out))]
    assert "'=cmd.png" in names


def test_verify(invert: Invert, finished: Path, tmp_path: Path) -> None:
    result = invert("verify", finished)
    assert result.code == 0
    assert "is intact: 6 images, 1 without a result" in result.out
    damaged = tmp_path / "damaged.h5"
    content = bytearray(finished.read_bytes())
    with h5py.File(finished) as file:
        place = file["w"].id.get_chunk_info(0)
    content[place.byte_offset + place.size // 2] ^= 1
    damaged.write_bytes(content)
    result = invert("verify", damaged)
    assert result.code == 5
    assert len(result.err.splitlines()) == 1
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"junk"):
        damaged.write_bytes(content)
        for command in ("verify", "show"):
            result = invert(command, damaged)
            assert (result.code, len(result.err.splitlines())) == (5, 1)


def test_render_draws_the_same_images(invert: Invert, network: Path, finished: Path, tmp_path: Path) -> None:
    result = invert("render", finished, "--network", network, "--index", "1-4", "--out", tmp_path / "rendered")
    assert result.code == 0, result.err
    rendered = sorted((tmp_path / "rendered").iterdir())
    assert [path.name for path in rendered] == ["000001-001.png", "000002-003.png", "000003-004.png", "000004-002.png"]
    with h5py.File(finished) as file:
        for row, path in enumerate(rendered, 1):
            np.testing.assert_array_equal(pixels(path), file["reconstruction"][row])
    again = invert("render", finished, "--network", network, "--index", "1", "--out", tmp_path / "rendered")
    assert again.code == 2
    assert "exists already" in again.err


def test_render_from_less(invert: Invert, network: Path, finished: Path, tmp_path: Path) -> None:
    with h5py.File(finished) as file:
        expected = file["reconstruction"][:].astype(int)
    half = rewritten(finished, tmp_path / "half.h5", save_noise="float16")
    assert invert("render", half, "--network", network, "--out", tmp_path / "half", "-q").code == 0
    rendered = np.stack([pixels(path) for path in sorted((tmp_path / "half").iterdir())]).astype(int)
    assert np.abs(rendered - expected).max() <= 1
    bare = rewritten(finished, tmp_path / "bare.h5")
    result = invert("render", bare, "--network", network, "--out", tmp_path / "bare")
    assert result.code == 0
    assert "no noise maps were kept: w is synthesised with fresh noise" in result.err
    rendered = np.stack([pixels(path) for path in sorted((tmp_path / "bare").iterdir())]).astype(int)
    assert 1 < np.abs(rendered - expected).mean() < 60


def test_render_with_another_network(invert: Invert, finished: Path, tmp_path: Path) -> None:
    result = invert("render", finished, "--out", tmp_path / "rendered", "-q")
    assert result.code == 4
    assert "is not the one of these latents" in result.err
    result = invert("render", finished, "--index", "6", "--out", tmp_path / "rendered")
    assert result.code == 2


@pytest.fixture
def uninterrupted(whole: Callable[..., Path]) -> Path:
    return whole(*KEEP)


@pytest.mark.slow
@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.long), 3, 5])
@pytest.mark.timeout(300)
def test_killed_and_resumed(
    project: Invert, network: Path, images: Path, out: Path, uninterrupted: Path, after: int
) -> None:
    """Killed at the first sign that so many images are done; what was done then is not done again."""
    arguments = (*QUICK, *KEEP, "--network", network, "--out", out, images, "--json")
    process = start(*arguments)
    assert process.stdout is not None
    for _ in range(after):
        process.stdout.readline()
    process.kill()
    process.communicate(timeout=240)
    kept = {path.name: path.stat().st_mtime_ns for path in entries(out)}
    result: Result = project(images, *KEEP, "--json")
    assert result.code == 0
    assert result.records()[-1].get("reused", 6) >= after
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert leftovers(out) == []
    assert len(kept) >= after or after > 4  # all were done: the file may have been packed already


@pytest.mark.long
@pytest.mark.timeout(600)
def test_killed_at_any_time(network: Path, images: Path, out: Path, uninterrupted: Path) -> None:
    """30 runs, killed at random times again and again until one ends."""
    rng = np.random.RandomState(0)
    arguments = (*QUICK, *KEEP, "--network", network, "--out", out, images, "-q")
    for _ in range(30):
        process = start(*arguments)
        try:
            process.wait(1.5 + 2 * rng.rand())
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        if out.exists():
            assert out.read_bytes() == uninterrupted.read_bytes()
            out.unlink()
    last = start(*arguments)
    last.communicate(timeout=240)
    assert last.returncode == 0
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert leftovers(out) == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_memory_is_flat_over_2000_images(network: Path, tmp_path: Path) -> None:
    import psutil

    write_images(tmp_path / "images", 2000)
    arguments = ("--steps", 1, "--lpips", "alex", "--threads", 1, "--batch", 8, "--network", network)
    process = start(*arguments, "--out", tmp_path / "a.h5", tmp_path / "images", "--json")
    watched = psutil.Process(process.pid)
    assert process.stdout is not None
    counts, memory, files = [], [], []
    for number, line in enumerate(process.stdout):
        if json.loads(line)["type"] == "image" and number > 200 and number % 20 == 0:
            counts.append(number)
            memory.append(watched.memory_info().rss)
            files.append(watched.num_fds())
    process.communicate(timeout=240)
    assert process.returncode == 0
    slope = float(np.polyfit(counts, memory, 1)[0])
    assert slope < 5000, f"{slope:.0f} bytes per image"
    assert max(files) - min(files) <= 2


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_folder_of_100_000_names(network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    sources = list(write_images(tmp_path / "few", 10).rglob("*.png"))
    for index in range(100_000):
        (folder / f"{index:06d}.png").hardlink_to(sources[index % 10])  # a file has 65 000 links at most
    shard: Any = ("--shard", "7/50000")
    process = start(*QUICK, *shard, "--network", network, "--out", tmp_path / "a.h5", folder, "--json")
    rest, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages
    assert 1 <= json.loads(rest.splitlines()[-1])["projected"] <= 8


def test_json_has_one_event_per_image(project: Invert, images: Path, out: Path) -> None:
    result = project(images, "--json")
    *events, summary = result.records()
    assert [event["code"] for event in events] == ["projected"] * 6
    assert summary["distance"]["mean"] == pytest.approx(np.mean([event["distance"] for event in events]))
    assert (summary["out"], summary["rows"]) == (str(out), 6)


def test_one_line_of_numpy(finished: Path) -> None:
    table = {name: column[:] for name, column in h5py.File(finished).items() if getattr(column, "ndim", 0) == 1}
    assert len({len(values) for name, values in table.items() if name in ("distance", "name", "sha256")}) == 1
