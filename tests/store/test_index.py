"""The index of a folder of results: what it lists, line by line, and what of it is refused."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

import invert.store.folder as folder_module
from invert.errors import OutputError, UsageError
from invert.images.target import Target
from invert.projection.records import method_digest
from invert.store.folder import open_folder
from invert.store.index import encode_lines
from tests.store.store_case import RUN, finished, index_of, lines_of, method, name, projection, save, target


def test_index_lists_everything(tmp_path: Path) -> None:
    with open_folder(tmp_path, method(), RUN) as store:
        store.keep(b"a/shirt.png", projection(target("a/shirt.png")))
        store.fail(b"bad\xff.png", "image-truncated", "is cut\noff")
    header, image, failure = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    assert (header["format"], header["version"]) == ("invert projections", 2)
    assert header["method"] == method()
    assert header["method_digest"] == method_digest(method())
    assert header["run"] == RUN
    assert failure == {
        "type": "failure",
        "image": "bad\\xff.png",
        "code": "image-truncated",
        "reason": "is cut\\noff",
    }
    assert (image["type"], image["image"], image["source"]) == ("image", "a/shirt.png", "shirt.png")
    assert image["name"] == "shirt"
    assert image["distance"] == 0.25
    assert image["warnings"] == ["a warning"]
    assert image["run"] == 0
    assert image["npz_sha256"] == hashlib.sha256((tmp_path / "shirt.npz").read_bytes()).hexdigest()


CHANGES: dict[str, Any] = {
    "empty": lambda header, image: b"",
    "list": lambda header, image: b"[]\n",
    "foreign": lambda header, image: encode_lines([{**header, "format": "other"}, image]),
    "no run": lambda header, image: encode_lines([{**header, "run": 1}, image]),
    "of no run": lambda header, image: encode_lines([header, {**image, "run": 1}]),
    "no object": lambda header, image: encode_lines([header]) + b"1\n",
    "no type": lambda header, image: encode_lines([header, {**image, "type": "other"}]),
    "climbs out": lambda header, image: encode_lines([header, {**image, "name": "../mine"}]),
    "no name": lambda header, image: encode_lines([header, {**image, "name": 7}]),
    "no distance": lambda header, image: encode_lines([header, {**image, "distance": "near"}]),
    "endless": lambda header, image: encode_lines([header]) + b'{"type": "image", "distance": Infinity}\n',
    "no hash": lambda header, image: encode_lines([header, {**image, "file_sha256": 7}]),
    "nested": lambda header, image: b"[" * 100_000 + b"\n",
    "torn in the middle": lambda header, image: encode_lines([header])[:-9] + b"\n" + encode_lines([image]),
    "newer": lambda header, image: encode_lines([{**header, "version": 99}, image]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_damaged_or_hostile_index_is_refused(tmp_path: Path, change: str, overwrite: bool) -> None:
    folder = tmp_path / "out"
    save(folder, target())
    (tmp_path / "mine.png").write_bytes(b"mine")
    (folder / "results.jsonl").write_bytes(CHANGES[change](*lines_of(folder)))
    with pytest.raises(UsageError, match=r"results\.jsonl"):
        save(folder, target(), overwrite=overwrite)
    assert (tmp_path / "mine.png").exists()
    assert (folder / "shirt.npz").exists()


def test_index_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.jsonl")
    with pytest.raises(UsageError, match=r"results\.jsonl"):
        save(tmp_path, target())


def test_torn_last_line_is_left_out_and_written_over(tmp_path: Path) -> None:
    save(tmp_path, target(), target("shoe.png", 9))
    path = tmp_path / "results.jsonl"
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in (last + 1, (last + len(whole)) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with open_folder(tmp_path, method(), RUN) as store:
            assert finished(store, target())
            assert not finished(store, target("shoe.png", 9))
            store.keep(b"shoe.png", projection(target("shoe.png", 9)))
        assert path.read_bytes() == whole


def test_what_is_written_grows_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real_append, real_whole = folder_module.append, folder_module.write_atomic
    monkeypatch.setattr(folder_module, "append", lambda p, d, n: (sizes.append(len(d)), real_append(p, d, n)))
    monkeypatch.setattr(folder_module, "write_atomic", lambda p, d: (sizes.append(len(d)), real_whole(p, d)))
    with open_folder(tmp_path, method(), RUN) as store:
        written = []
        for number in range(40):
            one = target(f"{number:02d}.png", number)
            sizes.clear()
            store.keep(name(one), projection(one))
            written.append(sum(sizes))
    assert max(written[1:]) < 1.1 * min(written[1:])


def test_full_disk_leaves_the_index_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, target())
    before = (tmp_path / "results.jsonl").read_bytes()
    with open_folder(tmp_path, method(), RUN) as store:
        fsync = os.fsync

        def full(descriptor: int) -> None:
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith("results.jsonl"):
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="no space left"):
            store.keep(b"shoe.png", projection(target("shoe.png", 9)))
        monkeypatch.undo()
        assert (tmp_path / "results.jsonl").read_bytes() == before
        store.keep(b"shoe.png", projection(target("shoe.png", 9)))
    assert len(index_of(tmp_path).entries) == 2


def test_failures_are_those_of_the_last_command(tmp_path: Path) -> None:
    def run(*bad: bytes, good: Target | None = None, record: dict[str, Any] = RUN) -> list[str]:
        with open_folder(tmp_path, method(), record) as store:
            for one in bad:
                store.fail(one, "image-truncated", "is cut off")
            if good is not None:
                store.keep(name(good), projection(good))
        return list(index_of(tmp_path).failures)

    save(tmp_path, target())
    assert run(b"a.png", b"b.png") == ["a.png", "b.png"]
    before = (tmp_path / "results.jsonl").read_bytes()
    assert run(b"b.png", b"a.png") == ["a.png", "b.png"]
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert run(b"a.png", good=target("b.png", 8)) == ["a.png"]
    assert run(b"a.png", b"c.png", good=target("d.png", 9), record={**RUN, "batch": 4}) == ["a.png", "c.png"]
    assert run() == []


def test_interrupted_command_keeps_the_failures_of_before(tmp_path: Path) -> None:
    with open_folder(tmp_path, method(), RUN) as store:
        store.keep(b"shirt.png", projection(target()))
        store.fail(b"bad.png", "image-truncated", "is cut off")
    with pytest.raises(KeyboardInterrupt), open_folder(tmp_path, method(), RUN):
        raise KeyboardInterrupt
    assert list(index_of(tmp_path).failures) == ["bad.png"]
