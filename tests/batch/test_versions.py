"""Files that version 0.1.0 wrote, with schema 1, are read, resumed and refused as those of today."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from invert.batch.resume import restore
from invert.hdf5.pack import pack
from invert.hdf5.reading import Latents, LatentsError, open_latents
from invert.store.journal import begin_journal
from invert.store.locks import lock_output, read_manifest
from invert.store.npz import read_projection
from tests.batch.batch_case import check

WRITTEN = Path(__file__).parents[1] / "net/fixtures/version-0.1.0"


def test_the_file_is_whole_and_its_w_has_the_shape_of_today() -> None:
    path = WRITTEN / "latents.h5"
    assert check(path) == 8
    with h5py.File(path, locking=False) as file, open_latents(path) as latents:
        assert file.attrs["schema_version"] == 1
        raw = file["w"][:]
        assert raw.shape == (8, 128)
        assert latents.column("w").shape == (8, 1, 128)
        np.testing.assert_array_equal(latents.column("w")[:, 0], raw)
        np.testing.assert_array_equal(latents[3].w[0], raw[3])
        np.testing.assert_array_equal(latents[2:5].column("w", 1)[:, 0], raw[3:5])
        np.testing.assert_array_equal(latents.to_numpy()["w"][:, 0], raw)
        assert latents.table()["distance"] == file["distance"][:].tolist()


def test_the_file_resumed_becomes_one_of_today(tmp_path: Path) -> None:
    out = tmp_path / "latents.h5"
    shutil.copy(WRITTEN / "latents.h5", out)
    with lock_output(out) as lock:
        with open_latents(out) as before:
            journal = begin_journal(lock, before.manifest, overwrite=True)
        restore(journal, out)
        journal.complete(8)
        assert pack(lock).rows == 8
    assert check(out) == 8
    with h5py.File(WRITTEN / "latents.h5") as before, h5py.File(out) as after:
        assert after.attrs["schema_version"] == 2
        assert after["w"].shape == (8, 1, 128)
        for name in ("w", "distance", "curve", "name_bytes", "noise/b8.conv1", "reconstruction", "target"):
            np.testing.assert_array_equal(before[name][:].ravel(), after[name][:].ravel())


def test_an_unfinished_output_is_resumed(tmp_path: Path) -> None:
    out = tmp_path / "unfinished.h5"
    shutil.copytree(WRITTEN / "unfinished.h5.work", tmp_path / "unfinished.h5.work")
    with lock_output(out) as lock:
        manifest = read_manifest(lock.work)
        assert manifest is not None
        journal = begin_journal(lock, manifest)
        assert journal.counts().finished == 3
        found = pack(lock, partial=True)
        assert (found.rows, found.damaged) == (3, ())
        with Latents(out) as latents:
            results = list(latents)
        for result in results:
            assert result.w.shape == (1, 128)
            known = journal.finished(result.name, result.file_sha256)
            assert known is not None
            assert known.distance == result.distance
    assert check(out) == 3


@pytest.mark.parametrize(("version", "shape"), [(1, (8, 1, 128)), (2, (8, 128))])
def test_the_shape_of_another_version_is_refused(tmp_path: Path, version: int, shape: tuple[int, ...]) -> None:
    path = tmp_path / "latents.h5"
    shutil.copy(WRITTEN / "latents.h5", path)
    with h5py.File(path, "r+") as file:
        values = file["w"][:]
        del file["w"]
        file.create_dataset("w", data=values.reshape(shape))
        file.attrs.modify("schema_version", np.int64(version))
    with pytest.raises(LatentsError, match="its column w is of another type or shape"):
        Latents(path)


def test_an_npz() -> None:
    stored = read_projection(WRITTEN / "projections/01.npz")
    assert (stored.name, stored.w.shape, stored.curve.shape, stored.status) == (b"01.png", (1, 128), (6,), "ok")
    assert stored.run["seed"] == 7
    assert len(stored.noise) == 7
