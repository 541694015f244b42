"""What was packed comes back, whole or in pieces."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from invert.errors import ExitCode, UsageError
from invert.hdf5.reading import Latents, LatentsError, open_latents
from tests.batch.batch_case import FAILURES, MANIFEST, assert_same_entry, make_entries, make_manifest, write_batch

ENTRIES = make_entries(MANIFEST)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("latents") / "latents.h5"
    write_batch(out, MANIFEST, ENTRIES)
    return out


@pytest.mark.parametrize("noise", ["none", "float32", "float16"])
@pytest.mark.parametrize("images", [True, False])
def test_rows_are_what_was_saved(tmp_path: Path, noise: str, images: bool) -> None:
    manifest = make_manifest(noise=noise, images=images, channels=1)
    entries = make_entries(manifest)
    write_batch(tmp_path / "x.h5", manifest, entries)
    with open_latents(tmp_path / "x.h5") as latents:
        assert latents.manifest == manifest
        assert len(latents) == len(entries)
        for found, expected in zip(latents, entries, strict=True):
            assert_same_entry(found, expected, manifest)


def test_any_row_and_any_range(path: Path) -> None:
    with Latents(path) as latents:
        assert_same_entry(latents[5], ENTRIES[5], MANIFEST)
        assert_same_entry(latents[-2], ENTRIES[5], MANIFEST)
        for piece in (slice(2, 4), slice(5, 100), slice(3, 3), slice(None, None, -2), slice(5, 1, -1), slice(-3, None)):
            rows = latents[piece]
            assert [result.name for result in rows] == rows.names == [entry.name for entry in ENTRIES[piece]]
            assert len(rows) == len(ENTRIES[piece])
            np.testing.assert_array_equal(rows.column("distance"), [entry.distance for entry in ENTRIES[piece]])
        assert_same_entry(latents[2:6][1:][0], ENTRIES[3], MANIFEST)
        assert latents[1:].column("w", 2, 4).shape == (2, 1, 8)
        for number in (-len(ENTRIES) - 1, len(ENTRIES)):
            with pytest.raises(IndexError):
                latents[number]


def test_without_a_with(path: Path) -> None:
    """The file is open until it is closed, or nobody has it any more."""
    rows = open_latents(path)[2:]
    assert rows[0].name == ENTRIES[2].name
    descriptors = len(os.listdir("/proc/self/fd"))
    del rows
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1


def test_arrays(path: Path) -> None:
    with open_latents(path) as latents:
        arrays = latents.to_numpy()
        assert set(arrays) == {"name", *latents.structure.columns}
        assert arrays["w"].shape == (7, 1, 8)
        np.testing.assert_array_equal(arrays["w"], [entry.w for entry in ENTRIES])
        np.testing.assert_array_equal(arrays["target"], [entry.target for entry in ENTRIES])
        assert arrays["status"].tolist() == ["ok"] * 7
        assert arrays["sha256"].tolist() == [entry.file_sha256 for entry in ENTRIES]
        assert arrays["name"].tolist() == [entry.name.decode() for entry in ENTRIES]
        some = latents[1:3].to_numpy(["w", "restart"])
        assert list(some) == ["w", "restart"]
        np.testing.assert_array_equal(some["restart"], [entry.restart for entry in ENTRIES[1:3]])
        with pytest.raises(KeyError):
            latents.to_numpy(["z"])


def test_a_table_of_pandas(path: Path) -> None:
    with open_latents(path) as latents:
        frame = latents[1:4].to_pandas()
    assert list(frame.index) == [1, 2, 3]
    assert list(frame.columns)[:4] == ["index", "name", "distance", "status"]
    assert list(frame.distance) == [entry.distance for entry in ENTRIES[1:4]]
    assert list(zip(frame.width, frame.height, strict=True)) == [entry.original_size for entry in ENTRIES[1:4]]
    np.testing.assert_allclose(frame.layer5, [entry.layer_distances[4] for entry in ENTRIES[1:4]])


def test_no_pandas(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with open_latents(path) as latents, pytest.raises(UsageError, match=r"pip install 'invert\[pandas\]'"):
        latents.to_pandas()


def test_columns(path: Path) -> None:
    with Latents(path) as latents:
        np.testing.assert_array_equal(latents.distances, [entry.distance for entry in ENTRIES])
        np.testing.assert_array_equal(latents.column("w", 2, 4), [entry.w for entry in ENTRIES[2:4]])
        np.testing.assert_array_equal(latents.column("noise/b4.conv1", 6)[0], ENTRIES[6].noise["b4.conv1"])
        assert [json.loads(text) for text in latents.warnings] == [list(entry.warnings) for entry in ENTRIES]
        for name in ("z", "failures", "name_bytes", "noise", "noise/b16.conv1", "../w", ""):
            with pytest.raises(KeyError):
                latents.column(name)


def test_blocks_cover_all_rows_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invert.hdf5.reading._MAX_BLOCK", 3)
    with Latents(path) as latents:
        blocks = list(latents.blocks())
        assert [(first, len(values["w"])) for first, values in blocks] == [(0, 3), (3, 3), (6, 1)]
        np.testing.assert_array_equal(np.concatenate([values["w"] for _, values in blocks]), latents.column("w"))
        assert [first for first, _ in latents.blocks(4)] == [4]


def test_failures_with_their_place_among_all(path: Path) -> None:
    with Latents(path) as latents:
        assert latents.failure_count == 2
        assert [failure for _, failure in latents.failures] == list(FAILURES)
        # a/00 a/02 a/04 a/06 a/broken b/01 ... zz: the first one comes after the four others of its folder.
        assert [index for index, _ in latents.failures] == [4, 8]
        assert latents.column("index").tolist() == [0, 1, 2, 3, 5, 6, 7]


def test_large_images_are_read_with_a_limit_and_are_the_same(tmp_path: Path) -> None:
    """An image of 300 px is a chunk of its own of 270 kB."""
    from dataclasses import replace

    from tests.batch.batch_case import make_entry

    small = make_manifest(noise="none")
    manifest = replace(small, network={**small.network, "resolution": 300})
    flat = np.zeros((300, 300, 3), np.uint8)
    entries = [make_entry(manifest, b"a"), make_entry(manifest, b"b", target=flat)]
    write_batch(tmp_path / "x.h5", manifest, entries)
    with Latents(tmp_path / "x.h5") as latents:
        for found, expected in zip(latents, entries, strict=True):
            assert_same_entry(found, expected, manifest)


@pytest.mark.parametrize("name", ["missing.h5", "folder", "pipe", "text", "empty", "/dev/zero", "/dev/null", "n" * 300])
@pytest.mark.timeout(60)
def test_what_holds_no_latents(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("no latents here")
    (tmp_path / "empty").touch()
    with pytest.raises(LatentsError) as caught:
        Latents(tmp_path / name)
    assert caught.value.exit_code == ExitCode.NO_INPUT == 5
    assert str(caught.value).startswith("latents '")
    assert "\n" not in str(caught.value)
    assert caught.value.code == ("latents-unrecognised" if name in ("text", "empty") else "latents-unreadable")
