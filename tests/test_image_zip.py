"""Zips of images: ordinary ones from several writers, and zips that only a trap looks like."""

import contextlib
import io
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from invert.errors import ImageError, NoInputError
from invert.images import image_zip
from invert.images.image_zip import ImageZip

Build = Callable[..., bytes]


def pack(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, **options: Any) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method, **options) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def forge(*members: dict[str, Any], gap: bytes = b"", comment: bytes = b"", count: int | None = None) -> bytes:
    """Assemble a zip by hand; a member's keys replace what an honest writer would put there."""
    body, directory = b"", b""
    for given in members:
        data = given.get("data", b"x")
        packed = given.get("packed", data)
        name = given.get("name", b"a.png")
        offset = given.get("offset", len(body))
        crc, size, stored = given.get("crc", zlib.crc32(data)), given.get("size", len(data)), len(packed)
        stored = given.get("stored", stored)
        fields = struct.pack("<HHIIII", given.get("flags", 0), given.get("method", 0), 33, crc, stored, size)
        local_extra = given.get("local_extra", b"")
        body += b"PK\3\4\x14\0" + fields + struct.pack("<HH", len(name), len(local_extra))
        body += given.get("local_name", name) + local_extra + packed + gap
        directory += b"PK\1\2" + struct.pack("<BB", 20, given.get("system", 3)) + b"\x14\0" + fields
        directory += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, given.get("mode", 0) << 16, offset) + name
    count = len(members) if count is None else count
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), len(comment))
    return body + directory + b"PK\5\6" + end + comment


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[bytes], ImageZip]]:
    archives = []

    def open_bytes(data: bytes) -> ImageZip:
        (tmp_path / "x.zip").write_bytes(data)
        archives.append(ImageZip(tmp_path / "x.zip"))
        return archives[-1]

    yield open_bytes
    for archive in archives:
        archive.close()


def code(tmp_path: Path, data: bytes) -> str:
    """Return the code of the error that opening this ends with; no descriptor may stay open."""
    path = tmp_path / "bad.zip"
    path.write_bytes(data)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NoInputError) as caught:
        ImageZip(path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert str(caught.value).startswith("input '")
    assert str(caught.value).isprintable()
    return caught.value.code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_images_come_back(opened: Callable[[bytes], ImageZip], method: int) -> None:
    files = {"b/é.png": os.urandom(5000), "a.JPG": bytes(3000), "B.webp": b"w", "dataset.json": b"{}"}
    archive = opened(pack(files, method))
    assert [member.name for member in archive.images] == ["B.webp", "a.JPG", "b/é.png"]
    assert {member.name: archive.read(member) for member in archive.images} == {
        name: data for name, data in files.items() if name != "dataset.json"
    }
    assert [(member.name, archive.read(member)) for member in archive.others] == [("dataset.json", b"{}")]
    assert archive.read(archive.images[1], 10) == bytes(10)


def test_what_is_no_image_is_ignored(opened: Callable[[bytes], ImageZip]) -> None:
    names = ["x/", ".a.png", "x/._b.png", "__MACOSX/c.png", ".git/d.png", "notes.txt", "Thumbs.db", "x/e.png", "f"]
    archive = opened(pack(dict.fromkeys(names, b"")))
    assert [member.name for member in archive.images] == ["x/e.png"]
    assert {member.name for member in archive.others} == set(names) - {"x/e.png"}


def test_images_that_are_not_read_are_told_of(opened: Callable[[bytes], ImageZip], tmp_path: Path) -> None:
    archive = opened(pack({"a.png": b"", "x/b.jp2": b"", "c.txt": b""}))
    assert [member.name for member in archive.images] == ["a.png"]
    (error,) = archive.skipped
    assert str(error).startswith(f"image '{tmp_path}/x.zip/x/b.jp2': it is JPEG 2000")


def test_a_comment_and_gaps_are_harmless(opened: Callable[[bytes], ImageZip]) -> None:
    data = forge({"name": b"a.png"}, {"name": b"b.png", "data": b"two"}, gap=b"....", comment=b"PK\5\6" + bytes(40))
    archive = opened(data)
    assert [archive.read(member) for member in archive.images] == [b"x", b"two"]


def test_written_to_a_pipe(opened: Callable[[bytes], ImageZip]) -> None:
    class Pipe(io.RawIOBase):
        """Cannot go back, so sizes follow the data."""

        written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.written += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"abc" * 100)
        with archive.open("b.png", "w", force_zip64=True) as file:
            file.write(b"def" * 100)
    found = opened(pipe.written)
    assert [found.read(member) for member in found.images] == [b"abc" * 100, b"def" * 100]


def test_threads_may_read_at_once(opened: Callable[[bytes], ImageZip]) -> None:
    files = {f"{index:03}.png": os.urandom(2000) for index in range(100)}
    archive = opened(pack(files))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(archive.read, archive.images)) == list(files.values())


@pytest.mark.parametrize(
    "name",
    [b"../a.png", b"x/../../a.png", b"..", b"/etc/a.png", b"C:/a.png", b"c:a.png", b"x\\a.png", b"a\0.png", b""],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: bytes) -> None:
    assert code(tmp_path, forge({}, {"name": name})) == "zip-name"


TRAPS: dict[str, tuple[str, bytes]] = {
    "name not UTF-8": ("zip-name", forge({"name": b"\xff.png", "flags": 0x800})),
    "the same name twice": ("zip-duplicate", forge({}, {"data": b"other"})),
    "a name in two encodings": (
        "zip-duplicate",
        forge({"name": b"\x82.png"}, {"name": "é.png".encode(), "flags": 0x800}),
    ),
    "encrypted": ("zip-encrypted", forge({"flags": 1})),
    "strongly encrypted": ("zip-encrypted", forge({"flags": 0x41})),
    "a link": ("zip-link", forge({"mode": stat.S_IFLNK | 0o777, "data": b"/etc/passwd"})),
    "a pipe": ("zip-link", forge({"mode": stat.S_IFIFO | 0o644})),
    "bzip2": ("zip-method", forge({"method": 12})),
    "AES": ("zip-method", forge({"method": 99})),
    "too large": ("zip-too-large", forge({"method": 8, "size": (256 << 20) + 1, "packed": bytes(1 << 20)})),
    "a ratio of 2000": ("zip-bomb", forge({"method": 8, "size": 2 << 20, "packed": bytes(1 << 10)})),
    "stored, of two sizes": ("zip-damaged", forge({"size": 100})),
    "two names for the same bytes": ("zip-overlap", forge({"name": b"a.png"}, {"name": b"b.png", "offset": 0})),
    "a member around another": (
        "zip-overlap",
        forge({"name": b"a.png", "method": 8, "stored": 40}, {"name": b"b.png"}),
    ),
    "a member in the directory": ("zip-overlap", forge({"method": 8, "stored": 1000})),
    "a member behind the end": ("zip-overlap", forge({"offset": 1 << 31})),
    "more members promised": ("zip-damaged", forge({}, count=2)),
    "fewer members promised": ("zip-damaged", forge({}, {"name": b"b.png"}, count=1)),
    "several parts": ("zip-multipart", forge({})[:-18] + struct.pack("<HHHHIIH", 1, 1, 1, 2, 51, 36, 0)),
    "something in front": ("zip-damaged", b"#!/bin/sh\n" + forge({})),
    "empty": ("zip-unrecognised", b""),
    "no zip": ("zip-unrecognised", b"GIF89a" + bytes(1000)),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps(tmp_path: Path, name: str) -> None:
    expected, data = TRAPS[name]
    assert code(tmp_path, data) == expected


def test_the_numbers_of_members_and_bytes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 3_000_000, 3_000_000, 0, 0)
    end64 += b"PK\6\7" + struct.pack("<IQI", 0, 0, 1)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert code(tmp_path, end64 + end) == "zip-too-many"
    monkeypatch.setattr(image_zip, "MAX_TOTAL_BYTES", 5)
    assert code(tmp_path, forge({"data": b"abc"}, {"name": b"b.png", "data": b"abc"})) == "zip-too-large"


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    data = pack({"a.png": b"abc", "b.png": b"def" * 50})
    for length in range(1, len(data)):
        expected = "zip-truncated" if length >= 4 else "zip-unrecognised"
        assert code(tmp_path, data[:length]) == expected, length


def test_damage_anywhere_raises_nothing_else(tmp_path: Path) -> None:
    data = pack({"a.png": b"abc" * 20, "b/c.png": b"def" * 50})
    path = tmp_path / "x.zip"
    for position in range(len(data)):
        for value in {0x00, 0xFF, data[position] ^ 1}:
            path.write_bytes(data[:position] + bytes([value]) + data[position + 1 :])
            try:
                archive = ImageZip(path)
            except NoInputError:
                continue
            for member in archive.images:
                with contextlib.suppress(ImageError, NoInputError):
                    assert archive.read(member) in (b"abc" * 20, b"def" * 50)
            archive.close()


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


def test_a_member_that_unpacks_to_more_condemns_the_zip(opened: Callable[[bytes], ImageZip]) -> None:
    archive = opened(forge({"method": 8, "size": 100, "packed": deflated(bytes(50 << 20))}))
    with pytest.raises(NoInputError, match=r"'a.png' unpacks to more than the 100 bytes it declares") as caught:
        archive.read(archive.images[0])
    assert caught.value.code == "zip-bomb"


def test_an_overlap_that_only_the_local_header_shows(opened: Callable[[bytes], ImageZip]) -> None:
    # What is packed would start in the next member.
    data = bytearray(forge({"name": b"a.png", "data": b"1234"}, {"name": b"b.png", "data": b"5678"}))
    struct.pack_into("<H", data, 28, 30)
    archive = opened(bytes(data))
    with pytest.raises(NoInputError) as caught:
        archive.read(archive.images[0])
    assert caught.value.code == "zip-overlap"


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ({"crc": 1}, "checksum"),
        ({"method": 8, "size": 10, "packed": deflated(b"12345")}, "cut off"),
        ({"method": 8, "size": 10, "packed": deflated(b"1234567890")[:-3]}, "cut off"),
        ({"method": 8, "packed": b"\xff\xff\xff"}, "compression in the zip is damaged"),
        ({"local_name": b"b.png"}, "damaged where it should start"),
    ],
)
def test_one_damaged_member_leaves_the_others(
    opened: Callable[[bytes], ImageZip], member: dict[str, Any], reason: str
) -> None:
    archive = opened(forge(member, {"name": b"c.png", "data": b"good"}))
    with pytest.raises(ImageError, match=reason):
        archive.read(archive.images[0])
    assert archive.read(archive.images[1]) == b"good"


def test_pipes_and_missing_files_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing", "."):
        with pytest.raises(NoInputError):
            ImageZip(tmp_path / name)
