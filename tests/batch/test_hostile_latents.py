"""HDF5 files that were made to do harm: refused, without a crash, a wait or much memory."""

import os
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
from tests.batch.batch_case import check, make_entries, make_entry, make_manifest, write_batch

MANIFEST = make_manifest()
CHECKOUT = Path(__file__).parents[2]
ROWS = 7

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("latents") / "latents.h5"
    write_batch(out, MANIFEST, make_entries(MANIFEST, ROWS))
    return out


def replace(file: h5py.File, name: str, make: Callable[[h5py.Group, str], Any]) -> None:
    """Put something else in the place of a dataset."""
    del file[name]
    make(file, name)


def external_storage(file: h5py.File) -> None:
    secret = os.fspath(Path(file.filename).with_name("secret"))
    replace(
        file, "w", lambda f, n: f.create_dataset(n, (ROWS, 1, 8), "<f4", external=[(secret, 0, h5py.h5f.UNLIMITED)])
    )


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((ROWS, 1, 8), "<f4")
    layout[:] = h5py.VirtualSource(Path(file.filename).with_name("other.h5"), "w", (ROWS, 1, 8))
    replace(file, "w", lambda f, n: f.create_virtual_dataset(n, layout))


def soft_link(file: h5py.File) -> None:
    file["curve2"] = file["curve"]
    file.move("curve2", "w2")
    replace(file, "w", lambda f, n: f.__setitem__(n, h5py.SoftLink("/w2")))
    del file["w2"]


def external_link(file: h5py.File) -> None:
    replace(file, "w", lambda f, n: f.__setitem__(n, h5py.ExternalLink("other.h5", "/w")))


def link_in_noise(file: h5py.File) -> None:
    replace(file, "noise/b4.conv1", lambda f, n: f.__setitem__(n, h5py.ExternalLink("other.h5", "/w")))


def link_in_failures(file: h5py.File) -> None:
    replace(file, "failures/code", lambda f, n: f.__setitem__(n, h5py.SoftLink("/failures/name")))


def groups_as_links(file: h5py.File) -> None:
    replace(file, "failures", lambda f, n: f.__setitem__(n, h5py.ExternalLink("other.h5", "/failures")))


def group_of_itself(file: h5py.File) -> None:
    replace(file, "noise", lambda f, n: f.__setitem__(n, f["/"]))


def many_rows(file: h5py.File) -> None:
    replace(file, "index", lambda f, n: f.create_dataset(n, (10**12,), "<i8", chunks=(1 << 14,)))


def rows_that_are_not_there(file: h5py.File) -> None:
    replace(file, "w", lambda f, n: f.create_dataset(n, (ROWS, 1, 8), "<f4", chunks=(1, 1, 8)))


def all_columns_of_ten_million_rows(file: h5py.File) -> None:
    for name in [name for name in file if isinstance(file[name], h5py.Dataset)]:
        item = file[name]
        shape = (10**7 + name.endswith("offsets"), *item.shape[1:])
        dtype = item.dtype
        del file[name]
        file.create_dataset(name, shape, dtype, chunks=(min(1 << 12, shape[0]), *shape[1:]), compression="gzip")


def huge_chunk(file: h5py.File) -> None:
    replace(
        file, "w", lambda f, n: f.create_dataset(n, (ROWS, 1, 8), "<f4", chunks=(1 << 25, 1, 8), maxshape=(None, 1, 8))
    )


def bomb(times: int) -> bytes:
    """Return a stream that unpacks to so many times 16 MB; its checksum, at the end, is not right."""
    stream = zlib.compressobj(9)
    pieces = [stream.compress(bytes(1 << 24)) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    return pieces[0] + pieces[1] * (times - 1) + stream.flush()


def bomb_in_a_chunk(file: h5py.File) -> None:
    """A chunk of 224 bytes whose stream unpacks to a gigabyte."""
    del file["w"]
    dataset = file.create_dataset("w", (ROWS, 1, 8), "<f4", chunks=(ROWS, 1, 8), compression="gzip", shuffle=True)
    dataset.id.write_direct_chunk((0, 0, 0), bomb(64))


def bomb_in_a_bomb(file: h5py.File) -> None:
    """Two kilobytes that deflate, applied three times, makes a gigabyte of."""
    data = zlib.compress(zlib.compress(bomb(64), 9), 9)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((ROWS, 1, 8))
    for _ in range(3):
        plan.set_deflate(9)
    del file["w"]
    space = h5py.h5s.create_simple((ROWS, 1, 8))
    dataset = h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, plan)
    dataset.write_direct_chunk((0, 0, 0), data)


def other_filter(file: h5py.File) -> None:
    values = file["restart"][:]
    replace(file, "restart", lambda f, n: f.create_dataset(n, data=values, chunks=(ROWS,), scaleoffset=0))


def lzf(file: h5py.File) -> None:
    values = file["w"][:]
    replace(file, "w", lambda f, n: f.create_dataset(n, data=values, chunks=(ROWS, 1, 8), compression="lzf"))


def of_type(name: str, dtype: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape = file[name].shape
        replace(file, name, lambda f, n: f.create_dataset(n, shape, dtype))

    return change


def committed_type(file: h5py.File) -> None:
    replace(file, "w", lambda f, n: f.__setitem__(n, np.dtype("<f4")))


def group_for_a_column(file: h5py.File) -> None:
    replace(file, "w", lambda f, n: f.create_group(n))


def column_for_a_group(file: h5py.File) -> None:
    replace(file, "failures", lambda f, n: f.create_dataset(n, (3,), "<f4"))


def scalar_column(file: h5py.File) -> None:
    replace(file, "w", lambda f, n: f.create_dataset(n, data=np.float32(1)))


def empty_column(file: h5py.File) -> None:
    replace(file, "index", lambda f, n: f.create_dataset(n, data=h5py.Empty("<i8")))


def overlapping_names(file: h5py.File) -> None:
    file["name_offsets"][:] = [0, 40, 8, 8, 8, 8, 8, 56]


def endless_names(file: h5py.File) -> None:
    file["name_offsets"][-1] = 2**62


def attribute(key: str, value: Any, **options: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.create(key, value, **options)


def variable_length_attribute(file: h5py.File) -> None:
    file.attrs.create("method", "{}", dtype=h5py.string_dtype())


def without(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


HOSTILE: dict[str, Callable[[h5py.File], Any]] = {
    "external-storage": external_storage,
    "virtual": virtual,
    "soft-link": soft_link,
    "external-link": external_link,
    "link-in-noise": link_in_noise,
    "link-in-failures": link_in_failures,
    "group-as-link": groups_as_links,
    "group-of-itself": group_of_itself,
    "many-rows": many_rows,
    "rows-not-there": rows_that_are_not_there,
    "ten-million-rows": all_columns_of_ten_million_rows,
    "huge-chunk": huge_chunk,
    "bomb": bomb_in_a_chunk,
    "bomb-in-a-bomb": bomb_in_a_bomb,
    "other-filter": other_filter,
    "lzf": lzf,
    "float64": of_type("w", "<f8"),
    "big-endian": of_type("w", ">f4"),
    "int32": of_type("index", "<i4"),
    "unsigned": of_type("index", "<u8"),
    "variable-text": of_type("name", h5py.string_dtype()),
    "variable-numbers": of_type("w", h5py.vlen_dtype(np.float32)),
    "compound": of_type("w", [("a", "<f4")]),
    "references": of_type("index", h5py.ref_dtype),
    "region-references": of_type("name", h5py.regionref_dtype),
    "enum": of_type("index", h5py.enum_dtype({"a": 1}, basetype="<i8")),
    "huge-texts": of_type("name", h5py.string_dtype("utf-8", 1 << 20)),
    "ascii-texts": of_type("name", h5py.string_dtype("ascii", 10)),
    "committed-type": committed_type,
    "group-for-a-column": group_for_a_column,
    "column-for-a-group": column_for_a_group,
    "scalar": scalar_column,
    "empty": empty_column,
    "overlapping-names": overlapping_names,
    "endless-names": endless_names,
    "w-of-version-1": lambda file: replace(file, "w", lambda f, n: f.create_dataset(n, (ROWS, 8), "<f4")),
    "later-version": attribute("schema_version", np.int64(99)),
    "no-w": without("w"),
    "no-name": without("name"),
    "no-failures": without("failures"),
    "no-reasons": without("failures/reason"),
    "no-index": without("index"),
    "no-target": without("target"),
    "no-layer": without("noise/b4.conv1"),
    "no-noise": without("noise"),
    "more-columns": lambda file: file.create_dataset("extra", (ROWS,), "<f4"),
    "more-groups": lambda file: file.create_group("extra"),
    "more-failures": lambda file: file["failures"].create_dataset("extra", (ROWS,), "<f4"),
    "more-layers": lambda file: file.create_dataset("noise/x", (ROWS, 4, 4), "<f4"),
    "many-groups": lambda file: [file.create_group(f"g{i}") for i in range(500)],
    "no-attribute": lambda file: file.attrs.__delitem__("run"),
    "more-attributes": attribute("extra", 1),
    "variable-attribute": variable_length_attribute,
    "attribute-array": attribute("schema_version", [1, 1]),
    "attribute-float": attribute("schema_version", 1.0),
    "nested-record": attribute("run", np.bytes_(b"[" * 60_000)),
    "record-of-a-list": attribute("run", np.bytes_(b"[1]")),
    "record-of-nan": attribute("method", np.bytes_(b'{"steps": NaN}')),
    "attribute-not-ascii": attribute("network_family", np.bytes_(b"\xff")),
    "steps-without-end": attribute("method", np.bytes_(b'{"steps": 1e999}')),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refused_in_one_line(good: Path, tmp_path: Path, case: str) -> None:
    path = tmp_path / "hostile.h5"
    shutil.copy(good, path)
    shutil.copy(good, tmp_path / "other.h5")
    (tmp_path / "secret").write_bytes(b"secret" * 100)
    with h5py.File(path, "r+") as file:
        HOSTILE[case](file)
    with pytest.raises(LatentsError) as caught:
        check(path)
    assert str(caught.value).startswith(f"latents '{path}': is damaged")
    assert "\n" not in str(caught.value)


def test_refused_before_any_data_is_read(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What leads out of the file, or unpacks without end, must not get as far as being read."""
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda *_: pytest.fail("data was read"))
    shutil.copy(good, tmp_path / "other.h5")
    (tmp_path / "secret").write_bytes(b"secret" * 100)
    for case in ("external-storage", "virtual", "soft-link", "external-link", "huge-chunk", "bomb", "bomb-in-a-bomb"):
        path = tmp_path / f"{case}.h5"
        shutil.copy(good, path)
        monkeypatch.undo() if case == "lzf" else None
        with h5py.File(path, "r+") as file:
            HOSTILE[case](file)
        with pytest.raises(LatentsError):
            Latents(path)


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


def test_truncated_anywhere(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    data = good.read_bytes()
    for length in [0, 4, 8, 9, 47, 95, 96, 97, 800, *range(2000, len(data), len(data) // 25), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(LatentsError):
            check(path)


def test_superblock_elsewhere(good: Path, tmp_path: Path) -> None:
    """HDF5 looks for its own beginning at 512, 1024 ... too: such a file begins with somebody else's bytes."""
    path = tmp_path / "moved.h5"
    path.write_bytes(b"#!/bin/sh\n".ljust(512) + good.read_bytes())
    with pytest.raises(LatentsError, match="is no HDF5 file"):
        check(path)


FLIPPING_CHILD = """
import random, resource, sys
from pathlib import Path
import numpy as np
from invert.hdf5.reading import Latents, LatentsError
from invert.hdf5.verification import verify
from invert.errors import NumericError

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
good, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
with Latents(sys.argv[1]) as latents:
    names, w = latents.names, latents.column("w")
used = [position for position, byte in enumerate(good) if byte]  # most of the others is room for more
for seed in range(int(sys.argv[3]), int(sys.argv[4])):
    source = random.Random(seed)
    data = bytearray(good)
    data[source.choice(used)] ^= 1 << source.randrange(8)
    path.write_bytes(data)
    print(seed, end=" ", flush=True)
    try:
        with Latents(path) as latents:
            verify(latents)
            # What is not noticed must be nothing: bytes that are not used.
            assert latents.names == names
            assert np.array_equal(latents.column("w"), w)
            print("unused", flush=True)
    except (LatentsError, NumericError) as error:
        assert chr(10) not in str(error)
        print("found", flush=True)
import re
# not ru_maxrss: that starts at the peak of the process that forked
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""


def flip(good: Path, path: Path, first: int, last: int) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FLIPPING_CHILD, good, path, str(first), str(last)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=240,
    )
    told = child.stdout.splitlines()
    assert child.returncode == 0, (told[-1:], child.stderr)
    assert len(told) == last - first + 1
    assert sum(line.endswith("found") for line in told) > (last - first) // 3
    assert int(told[-1]) < 400_000, "kB of memory"


def test_flipped_bits(good: Path, tmp_path: Path) -> None:
    flip(good, tmp_path / "flipped.h5", 0, 150)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_many_flipped_bits(good: Path, tmp_path: Path) -> None:
    for first in range(150, 6150, 1000):
        flip(good, tmp_path / "flipped.h5", first, first + 1000)


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
