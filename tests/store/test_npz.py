"""The file of one projection: what is saved is read back, and what is none is refused."""

from pathlib import Path

import numpy as np
import pytest

from invert.errors import NoInputError
from invert.store.folder import open_folder
from invert.store.npz import read_projection
from tests.store.store_case import RUN, method, name, projection, save, target


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    made = projection(target())
    with open_folder(tmp_path / "a" / "b", method(), RUN) as store:
        entry = store.keep(name(made.target), made)
    stored = read_projection(tmp_path / "a" / "b" / "shirt.npz")
    np.testing.assert_array_equal(stored.w, made.w)
    np.testing.assert_array_equal(stored.noise["b4.conv1"], made.noise["b4.conv1"])
    np.testing.assert_array_equal(stored.curve, made.curve)
    np.testing.assert_array_equal(stored.layer_distances, made.layer_distances)
    assert (stored.distance, stored.status, stored.restart, stored.name) == (0.25, "ok", 0, b"shirt.png")
    assert (stored.file_sha256, stored.pixel_sha256) == (made.target.file_sha256, made.target.pixel_sha256)
    assert (stored.method, stored.run) == (method(), RUN)
    assert entry.distance == 0.25


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY", b"hello"])
def test_no_projection(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with pytest.raises(NoInputError, match=r"x\.npz"):
        read_projection(path)


def test_cut_at_every_length(tmp_path: Path) -> None:
    save(tmp_path, target())
    data = (tmp_path / "shirt.npz").read_bytes()
    path = tmp_path / "x.npz"
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(NoInputError):
            read_projection(path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, w=np.array([{}], object))
    with pytest.raises(NoInputError, match="no projection"):
        read_projection(path)
