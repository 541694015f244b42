"""Zips that other readers read."""

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from invert.datasets import zip_writer
from invert.datasets.zip_writer import ZipWriter
from invert.images.image_zip import ImageZip

Files = dict[str, bytes]


def write(files: Files) -> tuple[bytes, ZipWriter]:
    stream = io.BytesIO()
    writer = ZipWriter(stream)
    for name, data in files.items():
        writer.add(name, data)
    writer.finish()
    return stream.getvalue(), writer


def check(files: Files, tmp_path: Path) -> None:
    data, _ = write(files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
    (tmp_path / "own.zip").write_bytes(data)
    own = ImageZip(tmp_path / "own.zip")
    assert {member.name: own.read(member) for member in own.images} == files
    own.close()


def test_is_read_by_others(tmp_path: Path) -> None:
    check({"a.png": b"one", "b/é.png": b"", "c.png": os.urandom(10000)}, tmp_path)


def test_beyond_the_old_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 32-bit fields that are full tell readers to look for 64-bit ones; how full does not matter to them.
    monkeypatch.setattr(zip_writer, "_FULL32", 50)
    check({f"{index}.png": bytes([index]) * 30 for index in range(5)}, tmp_path)


def test_many_members(tmp_path: Path) -> None:
    names = {f"{index}.png" for index in range(70_000)}
    (tmp_path / "own.zip").write_bytes(write(dict.fromkeys(names, b""))[0])
    with zipfile.ZipFile(tmp_path / "own.zip") as archive:
        assert set(archive.namelist()) == names
    own = ImageZip(tmp_path / "own.zip")
    assert {member.name for member in own.images} == names
    own.close()


def test_says_what_it_wrote() -> None:
    data, writer = write({"a.png": b"one"})
    assert (writer.size, writer.sha256) == (len(data), hashlib.sha256(data).hexdigest())
