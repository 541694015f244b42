"""Whatever is changed in a file is found."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invert.errors import NumericError
from invert.hdf5.reading import Latents, LatentsError
from invert.hdf5.schema import attributes, content_digest, row_digest
from invert.hdf5.verification import verify
from invert.store.result import VERSION
from tests.batch.batch_case import MANIFEST, check, make_entries, make_manifest, write_batch

Change = Callable[[h5py.File], None]


@pytest.fixture
def tampered(good: Path, tmp_path: Path) -> Callable[[Change], Path]:
    def build(change: Change) -> Path:
        path = tmp_path / "tampered.h5"
        shutil.copy(good, path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return build


def datasets(path: Path) -> list[str]:
    found: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def test_good_file_is_good_and_says_how_far_it_is(good: Path) -> None:
    told: list[tuple[int, int]] = []
    with Latents(good) as latents:
        verify(latents, lambda done, total: told.append((done, total)))
    assert told == [(0, 7)]


def test_one_bit_of_any_column(good: Path, tampered: Callable[[Change], Path]) -> None:
    columns = datasets(good)
    assert len(columns) == 28
    for name in columns:
        for row in (0, -1):

            def flip(file: h5py.File, name: str = name, row: int = row) -> None:
                values = file[name][:]
                raw = values.view(np.uint8).reshape(len(values), -1)
                raw[row, 0] ^= 1
                file[name][:] = values

            with pytest.raises((LatentsError, NumericError)) as caught:
                check(tampered(flip))
            assert "damaged" in str(caught.value), name


def test_swapped_rows(good: Path, tampered: Callable[[Change], Path]) -> None:
    """Every column in another order, consistently: the rows' own checksums all fit."""

    def swap(file: h5py.File) -> None:
        for name in datasets(good):
            if not name.startswith("failures/") and not name.endswith(("_offsets", "_bytes", "warnings")):
                values = file[name][:]
                values[[0, 1]] = values[[1, 0]]
                file[name][:] = values
        names = file["name_bytes"][:]
        names[:16] = np.roll(names[:16], 8)
        file["name_bytes"][:] = names

    with pytest.raises(LatentsError, match="damaged"):
        check(tampered(swap))


def resign(path: Path) -> Path:
    """Compute all checksums anew, as somebody who wants to deceive would."""
    with Latents(path) as latents:
        columns = latents.structure.columns
        values = {name: latents.column(name) for name in columns}
        digests = [
            row_digest(name, latents.warnings[i], {key: column[i] for key, column in values.items()}, columns)
            for i, name in enumerate(latents.names)
        ]
        shown = [text.decode() for text in latents.column("name")]
        rows = zip(latents.column("index").tolist(), shown, digests, strict=True)
        failures = [(index, failure.name, failure.code, failure.reason) for index, failure in latents.failures]
    digest = content_digest(attributes(MANIFEST), rows, failures)
    with h5py.File(path, "r+") as file:
        file["row_sha256"][:] = [digest.encode() for digest in digests]
        file.attrs.modify("content_sha256", np.bytes_(digest.encode()))
    return path


def test_order_is_held_even_where_all_checksums_fit(tampered: Callable[[Change], Path]) -> None:
    def reorder(file: h5py.File) -> None:
        file["index"][:2] = file["index"][:2][::-1]

    with pytest.raises(LatentsError, match="the rows are in another order"):
        check(resign(tampered(reorder)))


def test_signing_anew_is_done_as_the_file_does_it(tampered: Callable[[Change], Path]) -> None:
    """So what the tests around this one find is not a checksum."""

    def change(file: h5py.File) -> None:
        file["w"][2] = 0

    assert check(resign(tampered(change))) == 7


@pytest.mark.parametrize(
    ("column", "value", "says", "kind"),
    [
        ("w", np.float32("nan"), "row 2 has numbers that are not finite", NumericError),
        ("distance", np.inf, "row 2 has numbers that are not finite", NumericError),
        ("status", b"fine", "row 2 has an unknown status", LatentsError),
        ("name", b"other", "row 2 is shown under another name", LatentsError),
    ],
)
def test_values_that_cannot_be_where_all_checksums_fit(
    tampered: Callable[[Change], Path], column: str, value: Any, says: str, kind: type[Exception]
) -> None:
    def change(file: h5py.File) -> None:
        file[column][2] = value

    with pytest.raises(kind, match=says):
        check(resign(tampered(change)))


@pytest.mark.parametrize(
    "value",
    [
        ("run", b'{"batch":4,"seed":0,"threads":1}'),
        ("method", b'{"steps":3}'),
        ("method_digest", b"0" * 64),
        ("network_sha256", b"0" * 64),
        ("network_family", b"rosinality"),
        ("noise", b"float16"),
        ("noise", b"none"),
        ("schema", b"other schema"),
        ("schema_version", np.int64(VERSION + 1)),
        ("schema_version", np.int64(1)),
        ("schema_version", np.int64(0)),
        ("content_sha256", b"0" * 64),
        ("network", b"{}"),
    ],
    ids=lambda value: value[0],
)
def test_changed_attribute(tampered: Callable[[Change], Path], value: tuple[str, Any]) -> None:
    key, content = value

    def change(file: h5py.File) -> None:
        file.attrs.create(key, np.bytes_(content) if isinstance(content, bytes) else content)

    with pytest.raises(LatentsError):
        check(tampered(change))


def test_noise_maps_that_the_file_does_not_speak_of(tmp_path: Path) -> None:
    """No checksum would cover them."""
    path = tmp_path / "latents.h5"
    manifest = make_manifest(noise="none")
    write_batch(path, manifest, make_entries(manifest))
    with h5py.File(path, "r+") as file:
        file.create_dataset("noise/b4.conv1", (7, 4, 4), "<f4")
    with pytest.raises(LatentsError, match="noise maps that it does not speak of"):
        check(path)


def test_failure_taken_out(tampered: Callable[[Change], Path]) -> None:
    def take_out(file: h5py.File) -> None:
        group = file["failures"]
        kept = {name: group[name][:] for name in group}
        length = int(kept["name_offsets"][1])
        for name, values in kept.items():
            del group[name]
            end = {"name_bytes": length, "name_offsets": 2}.get(name, 1)
            dtype = h5py.string_dtype("utf-8", values.dtype.itemsize) if values.dtype.kind in "SO" else values.dtype
            group.create_dataset(name, data=values[:end], dtype=dtype)

    with pytest.raises(LatentsError, match="differ"):
        check(tampered(take_out))


def test_half_of_the_file(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.h5"
    data = good.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(LatentsError, match="is damaged"):
        check(path)
