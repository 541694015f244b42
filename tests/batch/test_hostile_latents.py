"""HDF5 files that were made to do harm: refused, without a crash or a wait."""

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invert.hdf5.reading import Latents, LatentsError
from tests.batch.batch_case import check
from tests.batch.hostile_case import ROWS, bomb, replace

pytestmark = pytest.mark.timeout(300)


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
