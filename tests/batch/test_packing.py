"""The HDF5 file: the same bytes however it came about, and nothing in it that needs this program to be read."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invert.errors import OutputError
from invert.hdf5.pack import pack
from invert.store.journal import begin_journal
from invert.store.locks import lock_output
from invert.store.manifest import Manifest
from invert.store.result import Result
from tests.batch.batch_case import FAILURES, LAYERS, check, make_entries, make_entry, make_manifest, only, write_batch
from tests.batch.journal_child import main

CHECKOUT = Path(__file__).parents[2]


def packed(out: Path, manifest: Manifest, entries: list[Result], failures: Any = FAILURES) -> Path:
    write_batch(out, manifest, entries, failures)
    return out


# Equal bytes


def test_order_of_saving_and_time_leave_no_trace(tmp_path: Path) -> None:
    manifest = make_manifest()
    entries = make_entries(manifest, 9)
    first = packed(tmp_path / "first.h5", manifest, entries)
    time.sleep(1.1)  # HDF5 keeps times in seconds
    for seed in range(3):
        shuffled = random.Random(seed).sample(entries, len(entries))
        other = packed(tmp_path / f"{seed}.h5", manifest, shuffled, reversed(FAILURES))
        assert other.read_bytes() == first.read_bytes()


def test_hash_seed_locale_and_threads_leave_no_trace(tmp_path: Path) -> None:
    outs = []
    for seed, variables in (("0", {"LC_ALL": "C"}), ("1", {"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "2"})):
        out = tmp_path / f"{seed}.h5"
        command = [sys.executable, "-m", "tests.batch.journal_child", out, "8", *(["--reverse"] * int(seed))]
        subprocess.run(command, check=True, cwd=CHECKOUT, env=os.environ | variables | {"PYTHONHASHSEED": seed})
        outs.append(out.read_bytes())
    assert outs[0] == outs[1]


def test_what_is_reported_is_what_is_there(out: Path) -> None:
    manifest = make_manifest()
    entries = make_entries(manifest)
    entries[0] = make_entry(manifest, entries[0].name, status="diverged")
    stages: list[tuple[str, int, int]] = []
    with lock_output(out) as lock:
        journal = begin_journal(lock, manifest)
        for entry in entries:
            journal.save(entry)
        journal.fail(*vars(FAILURES[0]).values())
        journal.complete(len(entries) + 1)
        found = pack(lock, on_progress=lambda *stage: stages.append(stage))
    assert (found.rows, found.failures, found.diverged, found.damaged) == (len(entries), 1, 1, ())
    assert (found.out, found.work_left) == (out, None)
    assert found.size == out.stat().st_size
    assert found.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert list(dict.fromkeys(stage for stage, _, _ in stages)) == ["reading", "writing", "checking"]
    assert only(out.parent) == ["latents.h5"]


def test_permissions_follow_the_umask(out: Path) -> None:
    before = os.umask(0o027)
    try:
        packed(out, make_manifest(), [])
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", [b"caf\xe9.h5", b"new\nline.h5", b"-x"])
def test_outputs_of_all_names(tmp_path: Path, name: bytes) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    assert check(packed(out, make_manifest(), make_entries(make_manifest(), 2))) == 2
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_relative_output_and_modules_shadowed_by_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that packs is started in the user's folder, whose files must not become its modules."""
    for name in ("h5py.py", "json.py", "numpy.py", "invert.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the folder')")
    monkeypatch.chdir(tmp_path)
    assert check(packed(Path("x.h5"), make_manifest(), [])) == 0


# Read by others


def test_plain_h5py_finds_the_documented_columns(out: Path) -> None:
    manifest = make_manifest()
    entries = make_entries(manifest)
    with h5py.File(packed(out, manifest, entries), "r") as file:
        types = {}
        file.visititems(lambda name, item: types.update({name: item} if isinstance(item, h5py.Dataset) else {}))
        assert {name: (item.dtype.str, item.shape[1:]) for name, item in types.items() if item.dtype.kind != "O"} == {
            "w": ("<f4", (1, 8)),
            "distance": ("<f8", ()),
            "layer_distances": ("<f4", (5,)),
            "curve": ("<f4", (3,)),
            "status": ("|S8", ()),
            "restart": ("<i8", ()),
            "sha256": ("|S64", ()),
            "pixel_sha256": ("|S64", ()),
            "original_size": ("<i8", (2,)),
            "psnr": ("<f8", ()),
            "ssim": ("<f8", ()),
            "noise/b4.conv1": ("<f4", (4, 4)),
            "noise/b8.conv0": ("<f4", (8, 8)),
            "reconstruction": ("|u1", (8, 8, 3)),
            "target": ("|u1", (8, 8, 3)),
            "index": ("<i8", ()),
            "name": (f"|S{len('a/00.png')}", ()),
            "name_bytes": ("|u1", ()),
            "name_offsets": ("<i8", ()),
            "warnings": ("|u1", ()),
            "warnings_offsets": ("<i8", ()),
            "row_sha256": ("|S64", ()),
            "failures/index": ("<i8", ()),
            "failures/name": (f"|S{len('a/broken.png')}", ()),
            "failures/code": (f"|S{len('image-truncated')}", ()),
            "failures/reason": (f"|S{len('is cut off')}", ()),
            "failures/name_bytes": ("|u1", ()),
            "failures/name_offsets": ("<i8", ()),
        }
        assert file["name"].asstr()[:].tolist() == [entry.name.decode() for entry in entries]
        np.testing.assert_array_equal(file["w"][:], [entry.w for entry in entries])
        np.testing.assert_array_equal(file["target"][3], entries[3].target)
        offsets = file["name_offsets"][:]
        assert file["name_bytes"][offsets[2] : offsets[3]].tobytes() == entries[2].name
        assert file["failures/reason"].asstr()[:].tolist() == ["is cut off", "is text"]
        assert file["failures/name"].asstr()[1] == "zz\\xff.png"
        # Rows and failures together are numbered in the order of their names.
        order = {int(i): name for i, name in zip(file["index"][:], file["name"].asstr()[:], strict=True)}
        order |= {int(i): n for i, n in zip(file["failures/index"][:], file["failures/name"].asstr()[:], strict=True)}
        assert [order[i] for i in range(len(order))] == sorted(order.values())


def test_attributes_say_what_it_is(out: Path) -> None:
    manifest = make_manifest()
    with h5py.File(packed(out, manifest, []), "r") as file:
        found = {key: value.decode() if isinstance(value, bytes) else value for key, value in file.attrs.items()}
    assert (found["schema"], found["schema_version"], found["noise"]) == ("invert latents", 4, "float32")
    assert json.loads(found["method"]) == manifest.method
    assert json.loads(found["run"]) == manifest.run
    assert json.loads(found["network"]) == manifest.network
    assert found["method_digest"] == manifest.digest
    assert (found["network_sha256"], found["network_family"]) == (manifest.network["sha256"], "stylegan2-ada-pytorch")
    assert re.fullmatch("[0-9a-f]{64}", found["content_sha256"])


def test_row_checksum_as_documented(out: Path) -> None:
    """Somebody who reads the documentation computes a row's checksum without this program."""
    packed(out, make_manifest(), make_entries(make_manifest()))
    with h5py.File(out, "r") as file:
        row, digest = 4, hashlib.sha256()
        for key in ("name", "warnings"):
            path, offsets = ("name_bytes", "name_offsets") if key == "name" else ("warnings", "warnings_offsets")
            first, last = file[offsets][row : row + 2]
            digest.update(f"{path} |u1 {last - first}\n".encode() + file[path][first:last].tobytes())
        plain = ["w", "distance", "layer_distances", "curve", "status", "restart"]
        plain += ["sha256", "pixel_sha256", "original_size", *(f"noise/{layer}" for layer in sorted(LAYERS))]
        for path in [*plain, "reconstruction", "target", "psnr", "ssim"]:
            column = file[path]
            digest.update(f"{path} {column.dtype.str} {'x'.join(map(str, column.shape[1:]))}\n".encode())
            digest.update(column[row].tobytes().ljust(column.dtype.itemsize, b"\0"))
        assert file["row_sha256"][row].decode() == digest.hexdigest()


@pytest.mark.skipif(not shutil.which("h5dump"), reason="there is no h5dump (Debian package hdf5-tools)")
def test_h5dump_reads_it(out: Path) -> None:
    packed(out, make_manifest(), make_entries(make_manifest()))
    result = subprocess.run(["h5dump", out], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for text in ('"a/00.png"', 'DATASET "w"', 'GROUP "failures"', "zz\\xff.png", "stylegan2-ada-pytorch"):
        assert text in result.stdout, text


# What may be left out


@pytest.mark.parametrize("noise", ["none", "float32", "float16"])
@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_kept_is_what_the_manifest_says(out: Path, noise: str, images: bool, channels: int) -> None:
    manifest = make_manifest(noise=noise, images=images, channels=channels)
    packed(out, manifest, make_entries(manifest, 3))
    assert check(out) == 3
    with h5py.File(out, "r") as file:
        assert ("noise" in file) == (noise != "none")
        assert ("target" in file) == ("reconstruction" in file) == images
        if noise != "none":
            assert file["noise/b8.conv0"].dtype == noise
        if images:
            assert file["target"].shape == (3, 8, 8, channels)


@pytest.mark.parametrize("failures", [(), FAILURES])
@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_is_a_batch_too(out: Path, rows: int, failures: Any) -> None:
    for images in (True, False):
        manifest = make_manifest(images=images)
        packed(out, manifest, make_entries(manifest, rows), failures)
        assert check(out) == rows
        out.unlink()


def test_network_without_noise_and_run_without_steps(out: Path) -> None:
    manifest = make_manifest(steps=0)
    entry = make_entry(manifest, b"x", layers={})
    assert check(packed(out, manifest, [entry])) == 1
    with h5py.File(out, "r") as file:
        assert "noise" not in file
        assert file["curve"].shape == (1, 0)


def test_more_rows_than_a_chunk_holds(out: Path) -> None:
    """Two whole chunks of the column curve and one that is not full."""
    manifest = make_manifest(images=False, noise="none", steps=1000)
    entries = [make_entry(manifest, b"%03d" % number, layers={}) for number in range(150)]
    packed(out, manifest, entries)
    assert check(out) == len(entries)
    with h5py.File(out, "r") as file:
        assert file["curve"].chunks == (65, 1000)
        np.testing.assert_array_equal(file["curve"][:], [entry.curve for entry in entries])


# When it cannot be written


def test_earlier_output_stays_until_the_next_is_whole(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The process that packs may write 20 kB to a file: HDF5 ends it, or it reports; the file of before stays."""
    assert main([str(out), "3"]) == 0
    before = out.read_bytes()
    code = "import sys; from tests.batch.journal_child import main; sys.exit(main(sys.argv[1:]))"
    for limit in ("0", "2000", "20000"):
        command = [sys.executable, "-c", code, out, "9", "--overwrite", "--file-limit", limit]
        result = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT)
        assert result.returncode == 6, result.stderr
        assert result.stderr.startswith(f"output '{out}': ")
        assert result.stderr.count("\n") == 1
        assert out.read_bytes() == before
        assert only(out.parent) == ["latents.h5", "latents.h5.work"]
        assert not list(out.with_name("latents.h5.work").rglob(".invert-*"))
    assert main([str(out), "9"]) == 0
    assert main([str(out.with_name("other.h5")), "9"]) == 0
    assert out.read_bytes() == out.with_name("other.h5").read_bytes()


def test_too_little_space_is_said_before_anything_is_written(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock_output(out) as lock:
        journal = begin_journal(lock, make_manifest())
        journal.complete(0)
        status = os.statvfs(out.parent)
        full = os.statvfs_result([*status[:3], 3, 3, *status[5:]])
        monkeypatch.setattr(os, "statvfs", lambda _: full)
        with pytest.raises(OutputError, match=r"no space left, \d+ bytes needed, \d+ bytes free\. Free some") as caught:
            pack(lock)
        assert caught.value.code == "output-no-space"
    assert only(out.parent) == ["latents.h5.work"]


def test_process_that_packs_ends_with_the_one_that_started_it(out: Path) -> None:
    with lock_output(out) as lock:
        begin_journal(lock, make_manifest())
        command = [sys.executable, "-m", "invert.hdf5.pack", out]
        child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=CHECKOUT, timeout=240)
    assert child.returncode == 1


REPORT = json.dumps({"error": "RuntimeError", "reason": "two\nlines", "errno": None})


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("kill -SEGV $$", r"the process was ended by SIGSEGV\. Look"),
        (f"cat <<'END'\n{REPORT}\nEND\nexit 1", r"it could not be packed: two\\nlines\. Look"),
        ("exit 3", r"it could not be packed: it ended with 3\. Look"),
    ],
)
def test_process_that_fails_is_told_of_in_one_line(
    out: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    shell = out.with_name("python")
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(0o755)
    with lock_output(out) as lock:
        begin_journal(lock, make_manifest()).complete(0)
        monkeypatch.setattr(sys, "executable", str(shell))
        with pytest.raises(OutputError, match=says) as caught:
            pack(lock)
        assert caught.value.code == "output-packing"
        monkeypatch.undo()
        assert pack(lock).rows == 0
