"""`invert project --out FILE.h5`, and the commands that read the file, as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from invert.store.locks import lock_output
from tests.cli.batch_case import KEEP, QUICK, leftovers, pixels, start
from tests.cli.batch_case import images as images  # a fixture
from tests.cli.batch_case import out as out  # a fixture
from tests.cli.batch_case import project as project  # a fixture
from tests.cli.conftest import ROOT, Invert


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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_shards_and_hash_seeds_change_no_byte(
    project: Invert, invert: Invert, network: Path, images: Path, out: Path, tmp_path: Path
) -> None:
    assert project(images, *KEEP).code == 0
    one = out.read_bytes()
    assert project(images, *KEEP, "--out", tmp_path / "again.h5").code == 0
    assert (tmp_path / "again.h5").read_bytes() == one
    command = (*QUICK, *KEEP, "--network", network, images, "-q", "--out")
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"  # another than this process has
    two = start(*command, tmp_path / "two.h5", "--workers", 2, PYTHONHASHSEED=seed)
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


def test_json_has_one_event_per_image(project: Invert, images: Path, out: Path) -> None:
    result = project(images, "--json")
    *events, summary = result.records()
    assert [event["code"] for event in events] == ["projected"] * 6
    assert summary["distance"]["mean"] == pytest.approx(np.mean([event["distance"] for event in events]))
    assert (summary["out"], summary["rows"]) == (str(out), 6)
