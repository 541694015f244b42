"""A finished image as a file: whole, of this batch, or an error."""

import hashlib
import io
import random
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from invert.store.entry import EntryError, decode, encode
from invert.store.manifest import Manifest
from invert.store.result import FIELDS, VERSION, Result
from tests.batch.batch_case import assert_same_entry, make_entry, make_manifest


@pytest.mark.parametrize("noise", ["none", "float32", "float16"])
@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip(noise: str, images: bool, channels: int) -> None:
    manifest = make_manifest(noise=noise, images=images, channels=channels)
    entry = make_entry(manifest, b"a/caf\xe9\n\\.png", warnings=("grey \u6f22", "two\nlines"), status="diverged")
    assert_same_entry(decode(encode(entry, manifest), manifest), entry, manifest)


def test_equal_entries_are_equal_bytes() -> None:
    manifest = make_manifest()
    one, other = make_entry(manifest, b"x"), make_entry(manifest, b"x")
    reordered = make_entry(manifest, b"x", noise=dict(reversed(one.noise.items())))
    strided = make_entry(manifest, b"x", w=np.repeat(one.w, 2, axis=1)[:, ::2])
    assert len({encode(entry, manifest) for entry in (one, other, reordered, strided)}) == 1
    assert encode(make_entry(manifest, b"y"), manifest) != encode(one, manifest)


def test_no_bit_can_change_unnoticed() -> None:
    manifest = make_manifest()
    data = encode(make_entry(manifest, b"x"), manifest)
    source = random.Random(0)
    for position in [*range(100), *(source.randrange(len(data)) for _ in range(200)), len(data) - 1]:
        flipped = bytearray(data)
        flipped[position] ^= 1 << source.randrange(8)
        with pytest.raises(EntryError, match="is damaged"):
            decode(bytes(flipped), manifest)


def test_cut_off_anywhere() -> None:
    manifest = make_manifest()
    data = encode(make_entry(manifest, b"x"), manifest)
    for length in (0, 1, 14, 15, 79, 80, 81, len(data) // 2, len(data) - 1):
        with pytest.raises(EntryError, match="is damaged"):
            decode(data[:length], manifest)
    with pytest.raises(EntryError):
        decode(data + b"\0", manifest)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"w": np.zeros((1, 9), np.float32)}, r"w is not float32 \[1, 8\]"),
        ({"w": np.zeros((1, 8), np.float64)}, r"w is not float32 \[1, 8\]"),
        ({"w": np.zeros((2, 8), np.float32)}, r"w is not float32 \[1, 8\]"),
        ({"w": np.full((1, 8), np.nan, np.float32)}, "w is not finite"),
        ({"distance": float("inf")}, "distance is inf"),
        ({"status": "fine"}, "status is 'fine'"),
        ({"curve": np.zeros(4, np.float32)}, r"curve is not float32 \[3\]"),
        ({"layer_distances": np.zeros(4, np.float32)}, r"layer_distances is not float32 \[5\]"),
        ({"reconstruction": None}, "reconstruction is not uint8"),
        ({"target": np.zeros((8, 8, 1), np.uint8)}, r"target is not uint8 \[8, 8, 3\]"),
        ({"target": np.zeros((8, 8, 3), np.float32)}, r"target is not uint8"),
        ({"noise": {"b4/conv": np.zeros((4, 4), np.float32)}}, "noise 'b4/conv'"),
        ({"noise": {"b4": np.zeros((4, 8), np.float32)}}, "noise 'b4'"),
        ({"noise": {"b16": np.zeros((16, 16), np.float32)}}, "noise 'b16'"),
        ({"file_sha256": "X" * 64}, "file_sha256 is no sha256"),
        ({"original_size": (0, 5)}, r"original_size is \(0, 5\)"),
        ({"restart": -1}, "restart is -1"),
    ],
)
def test_what_does_not_go_with_the_manifest_is_not_written(changes: dict[str, Any], says: str) -> None:
    manifest = make_manifest()
    with pytest.raises(EntryError, match=says):
        encode(make_entry(manifest, b"x", **changes), manifest)


@pytest.mark.parametrize("name", [b"", b"a\0b"])
def test_names_that_no_file_has(name: bytes) -> None:
    manifest = make_manifest()
    with pytest.raises(ValueError, match="cannot be the name"):
        encode(replace(make_entry(manifest, b"x"), name=name), manifest)


@pytest.mark.parametrize(
    "other",
    [make_manifest(steps=4), make_manifest(channels=1), make_manifest(images=False), make_manifest(noise="float16")],
)
def test_entry_of_another_batch(other: Manifest) -> None:
    manifest = make_manifest()
    data = encode(make_entry(manifest, b"x"), manifest)
    with pytest.raises(EntryError, match=r"^it"):
        decode(data, other)


def signed(body: bytes, version: int = VERSION) -> bytes:
    """Return an entry's file with a checksum that fits."""
    return b"invert-entry %d " % version + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def archive(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def array(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, name=np.array([{"a": 1}], object))
    return buffer.getvalue()


def compressed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w.npy", array(np.zeros(10**7)))
    return buffer.getvalue()


def boundless() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for key in ("name", "w", "original_size"):
            file.writestr(f"{key}.npy", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "body",
    [b"", b"text", archive(), archive(name=np.zeros(3)), array(np.zeros(3)), pickled(), compressed(), boundless()],
    ids=["empty", "text", "no-arrays", "other-arrays", "one-array", "pickled", "compressed", "boundless"],
)
def test_checksum_alone_makes_no_entry(body: bytes) -> None:
    for version in (1, VERSION):
        with pytest.raises(EntryError):
            decode(signed(body, version), make_manifest())


def test_entry_is_not_changed_by_encoding() -> None:
    manifest = make_manifest(noise="none", images=False)
    entry: Result = make_entry(manifest, b"x")
    encode(entry, manifest)
    assert entry.noise
    assert entry.target is not None


def arrays_of(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data[data.index(b"\n") + 1 :])) as arrays:
        return dict(arrays)


def test_version_1_had_w_without_styles() -> None:
    manifest = make_manifest()
    entry = make_entry(manifest, b"x")
    arrays = arrays_of(encode(entry, manifest))
    before = signed(archive(**{**arrays, "w": arrays["w"][0]}), 1)
    assert_same_entry(decode(before, manifest), entry, manifest)


def test_a_later_version_is_told_apart_from_damage() -> None:
    manifest = make_manifest()
    arrays = arrays_of(encode(make_entry(manifest, b"x"), manifest))
    with pytest.raises(EntryError, match="is in version 99 of its format"):
        decode(signed(archive(**arrays), 99), manifest)


def test_a_field_of_a_later_version_has_its_default_in_an_earlier_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make_manifest()
    entry = make_entry(manifest, b"x", warnings=("grey",))
    data = encode(entry, manifest)
    later = tuple(replace(field, since=VERSION + 1) if field.name == "warnings" else field for field in FIELDS)
    monkeypatch.setattr("invert.store.entry.FIELDS", later)
    assert decode(data, manifest).warnings == ()
