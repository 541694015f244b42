"""HDF5 files that would take much memory: refused before they do."""

import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invert.hdf5.reading import Latents, LatentsError
from tests.batch.batch_case import make_entry, make_manifest, write_batch
from tests.batch.hostile_case import CHECKOUT, ROWS, bomb, replace


def failures_of_a_gigabyte(file: h5py.File) -> None:
    """Seventy thousand names of 16 kB each, all of spaces: 1 MB in the file."""
    group, rows, chunk = file["failures"], 70_000, 16
    replace(group, "index", lambda f, n: f.create_dataset(n, data=np.zeros(rows, "<i8")))
    del group["name"]
    kind = h5py.string_dtype("utf-8", 1 << 14)
    names = group.create_dataset("name", (rows,), kind, chunks=(chunk,), compression="gzip", shuffle=True)
    data = zlib.compress(b" " * (chunk << 14))
    for first in range(0, rows, chunk):
        names.id.write_direct_chunk((first,), data)


def wide_chunk(file: h5py.File) -> None:
    """One chunk for sixteen thousand rows, of which seven are there."""
    options: dict[str, Any] = {
        "chunks": (1 << 14, 1, 8),
        "maxshape": (None, 1, 8),
        "compression": "gzip",
        "shuffle": True,
    }
    replace(file, "w", lambda f, n: f.create_dataset(n, data=np.ones((ROWS, 1, 8), "<f4"), **options))


@pytest.mark.parametrize(
    ("change", "says"),
    [(failures_of_a_gigabyte, "its column name is too large"), (wide_chunk, "its column w is in chunks too large")],
)
def test_more_memory_than_this_program_would_ask_for(
    good: Path, tmp_path: Path, change: Callable[[h5py.File], None], says: str
) -> None:
    path = tmp_path / "large.h5"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(LatentsError, match=says):
        Latents(path)


def test_many_chunks_in_the_same_bytes(tmp_path: Path) -> None:
    """Ten chunks say that they lie where one is: the file would unpack to more than its bytes could."""
    manifest = make_manifest(noise="none", images=False, steps=30_000)
    flat = np.zeros(30_000, np.float32)
    entries = [make_entry(manifest, b"%02d" % i, **({} if i < 2 else {"curve": flat})) for i in range(20)]
    path = tmp_path / "folded.h5"
    write_batch(path, manifest, entries)
    with h5py.File(path, "r") as file:
        assert file["curve"].chunks == (2, 30_000)
        chunks = [file["curve"].id.get_chunk_info(i) for i in range(10)]
    data = bytearray(path.read_bytes())
    assert chunks[0].size > len(data) // 2
    for chunk in chunks[1:]:
        # An entry of the index: size, mask, offset in each dimension and 0, address.
        entry = struct.pack("<IIQQQ", chunk.size, 0, *chunk.chunk_offset, 0)
        place = data.index(entry)
        address = struct.pack("<Q", chunks[0].byte_offset)
        data[place : place + len(entry) + 8] = struct.pack("<I", chunks[0].size) + entry[4:] + address
    path.write_bytes(data)
    with pytest.raises(LatentsError, match="its column curve is not whole"):
        Latents(path)


LIMITED_CHILD = """
import re, resource, sys
from invert.hdf5.reading import Latents, LatentsError
from invert.hdf5.verification import verify
from tests.batch.batch_case import check
def peak():  # not ru_maxrss: that starts at the peak of the process that forked
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
try:
    check(sys.argv[1])
except LatentsError as error:
    print("refused", peak() - before)
"""


@pytest.mark.parametrize("skipped", [0, 1], ids=["", "unshuffled"])
def test_bomb_in_the_place_of_a_large_image(tmp_path: Path, skipped: int) -> None:
    """A chunk of 3 MB may have 3 MB of compressed bytes, which can be 2 GB of zeros."""
    from dataclasses import replace as changed

    small = make_manifest(noise="none")
    manifest = changed(small, network={**small.network, "resolution": 1024})
    path = tmp_path / "large.h5"
    write_batch(path, manifest, [make_entry(manifest, b"x")])
    with h5py.File(path, "r+") as file:
        file["target"].id.write_direct_chunk((0, 0, 0, 0), bomb(128), skipped)
    child = subprocess.run([sys.executable, "-c", LIMITED_CHILD, path], capture_output=True, text=True, cwd=CHECKOUT)
    assert child.stdout.startswith("refused"), child.stderr
    assert int(child.stdout.split()[1]) < 200_000, "kB of memory"
