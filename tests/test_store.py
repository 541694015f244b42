"""The folder of results: what is written, found again, refused and removed."""

import errno
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import invert.store.folder as folder_module
from invert.errors import BusyError, InvertError, NoInputError, OutputError, UsageError
from invert.images.decoding import to_png_bytes
from invert.images.target import Target, pixel_sha256, safe_name
from invert.projection.config import ProjectConfig
from invert.projection.projector import Projection
from invert.projection.records import method_digest, method_record
from invert.store.folder import FolderStore, known_images, open_folder
from invert.store.index import Index, encode_lines, read_index
from invert.store.npz import read_projection

RUN = {"seed": 0, "batch": 1, "threads": 1}
POLICY = {"version": 1}


def method(**settings: Any) -> dict[str, Any]:
    return method_record(ProjectConfig(**settings), "0" * 64, POLICY)


def target(path: str | bytes = "shirt.png", shade: int = 7, channels: int = 3) -> Target:
    array = np.full([4, 4, channels], shade, np.uint8)
    exact = Path(os.fsdecode(path))
    return Target(
        array=array,
        name=safe_name(exact),
        path=exact,
        file_sha256=hashlib.sha256(bytes([shade])).hexdigest(),
        pixel_sha256=pixel_sha256(array),
        original_size=(4, 4),
        upsampled=False,
        warnings=("a warning",),
        notes=(),
    )


def projection(of: Target, distance: float = 0.25) -> Projection:
    random = np.random.RandomState(0)
    return Projection(
        of,
        w=random.randn(1, 8).astype(np.float32),
        noise={"b4.conv1": random.randn(4, 4).astype(np.float32)},
        distance=distance,
        layer_distances=np.arange(5, dtype=np.float32),
        curve=np.array([0.5, 0.3], np.float32),
        image=np.full_like(of.array, 200),
        status="ok",
        restart=0,
    )


def save(folder: Path, *targets: Target, run: dict[str, Any] = RUN, overwrite: bool = False, **settings: Any) -> None:
    with open_folder(folder, method(**settings), run, overwrite=overwrite) as store:
        for one in targets:
            store.keep(name(one), projection(one))


def name(of: Target) -> bytes:
    return os.fsencode(of.path)


def finished(store: FolderStore, one: Target) -> bool:
    return store.finished(name(one), one.file_sha256) is not None


def index_of(folder: Path) -> Index:
    index = read_index(folder)
    assert index is not None
    return index


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


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


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_image_shows_target_and_reconstruction(tmp_path: Path, channels: int) -> None:
    save(tmp_path, target(channels=channels))
    with Image.open(tmp_path / "shirt.png") as opened:
        image = np.asarray(opened).reshape(4, 8, channels)
    assert (image[:, :4] == 7).all()
    assert (image[:, 4:] == 200).all()


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


def test_same_results_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a", target())
    monkeypatch.setattr(time, "time", lambda: 4e9)
    save(tmp_path / "b", target())
    for file in ("shirt.npz", "shirt.png", "results.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_finished_images_are_known_wherever_they_lie(tmp_path: Path) -> None:
    save(tmp_path, target("first/shirt.png"))
    with open_folder(tmp_path, method(), RUN) as store:
        assert finished(store, target("second/shirt.png"))
        assert not finished(store, target("shoe.png"))
        assert not finished(store, target("shirt.png", shade=8))
        assert store.has_entry(b"first/shirt.png")
        assert not store.has_entry(b"second/shirt.png")


@pytest.mark.parametrize("damage", ["flip", "cut", "npz gone", "png gone"])
def test_damaged_results_are_made_again(tmp_path: Path, damage: str) -> None:
    save(tmp_path, target())
    npz = tmp_path / "shirt.npz"
    data = bytearray(npz.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        npz.write_bytes(data)
    elif damage == "cut":
        npz.write_bytes(data[:-100])
    else:
        (tmp_path / f"shirt.{damage[:3]}").unlink()
    with open_folder(tmp_path, method(), RUN) as store:
        assert not finished(store, target())
        store.keep(b"shirt.png", projection(target()))
        assert finished(store, target())
    assert visible(tmp_path) == ["results.jsonl", "shirt.npz", "shirt.png"]


def test_clashing_names_get_a_hash(tmp_path: Path) -> None:
    images = [target("a/shirt.png"), target("b/shirt.png", 8), target("shirt.jpg", 9), target("SHIRT.png", 10)]
    save(tmp_path, *images)
    stems = {f"shirt-{one.file_sha256[:8]}" for one in images[1:3]} | {
        "shirt",
        f"SHIRT-{images[3].file_sha256[:8]}",
    }
    assert {path.stem for path in tmp_path.glob("*.npz")} == stems
    before = visible(tmp_path)
    with open_folder(tmp_path, method(), RUN) as store:
        assert all(finished(store, one) for one in reversed(images))
    assert visible(tmp_path) == before


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path, target())
    with pytest.raises(UsageError, match=r"steps: 1000, now 500; seed: 0, now 1.*--overwrite"):
        save(tmp_path, run={**RUN, "seed": 1}, steps=500)
    save(tmp_path, target("shoe.png", 9), run={**RUN, "batch": 4})
    assert [run["batch"] for run in index_of(tmp_path).runs] == [1, 4]


def test_overwrite_removes_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, target(), target("shoe.png", 9))
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "mine.npz").write_bytes(b"mine")
    save(tmp_path, target("mine.jpg", 11), overwrite=True, steps=500)
    stem = f"mine-{target(shade=11).file_sha256[:8]}"
    assert visible(tmp_path) == [f"{stem}.npz", f"{stem}.png", "mine.npz", "mine.png", "results.jsonl"]
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


@pytest.mark.parametrize("earlier", [False, True])
def test_overwrite_removes_only_what_has_the_recorded_content(tmp_path: Path, earlier: bool) -> None:
    """An index that somebody else wrote, or a file put in the place of ours, costs nobody a file."""
    save(tmp_path, target(), target("shoe.png", 9))
    listed = lines_of(tmp_path)
    for line in listed[1:] if earlier else ():
        del line["png_sha256"]  # as indexes of version 0.1 are
    forged = [{**line, "name": "holiday", "source": "holiday"} for line in listed if line.get("name") == "shirt"]
    (tmp_path / "results.jsonl").write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in listed + forged))
    mine = to_png_bytes(np.full([16, 32, 3], 7, np.uint8))
    for name in ("holiday.png", "holiday.npz", "shoe.png"):
        (tmp_path / name).write_bytes(mine)
    said: list[str] = []
    with open_folder(tmp_path, method(steps=500), RUN, overwrite=True, on_warning=said.append):
        pass
    assert visible(tmp_path) == ["holiday.npz", "holiday.png", "results.jsonl", "shoe.png"]
    assert len(said) == 3
    assert all("is kept: it is not what this program wrote there" in line for line in said)


@pytest.mark.parametrize("name", [".lock", "results.jsonl", "results.json", "shirt.npz", "shirt.png"])
def test_links_in_a_folder_are_not_followed(tmp_path: Path, name: str) -> None:
    thesis, folder = tmp_path / "thesis.txt", tmp_path / "out"
    thesis.write_text("PRECIOUS")
    folder.mkdir()
    (folder / name).symlink_to("../thesis.txt")
    if name.startswith("shirt"):  # another name is free
        save(folder, target())
    else:
        with pytest.raises(InvertError, match=rf"{name}': it is a link"):
            save(folder, target())
    assert (folder / name).is_symlink()
    assert thesis.read_text() == "PRECIOUS"


def test_foreign_files_are_never_written_over(tmp_path: Path) -> None:
    one = target()
    for stem in ("shirt", f"shirt-{one.file_sha256[:8]}", f"shirt-{one.file_sha256}"):
        (tmp_path / f"{stem}.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="in the way"):
        save(tmp_path, one)
    assert (tmp_path / "shirt.png").read_bytes() == b"mine"


def test_leftovers_of_a_killed_run_are_taken_over(tmp_path: Path) -> None:
    save(tmp_path, target())
    (tmp_path / "results.jsonl").unlink()
    (tmp_path / ".invert-0123.tmp").write_bytes(b"half")
    save(tmp_path, target())
    assert visible(tmp_path) == ["results.jsonl", "shirt.npz", "shirt.png"]
    assert not (tmp_path / ".invert-0123.tmp").exists()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def write_version_1(folder: Path, **changes: Any) -> dict[str, Any]:
    """Put the index of version 1, which says the same, in the place of that of today."""
    index = index_of(folder)
    images = []
    for entry in index.entries.values():
        line = entry.to_line()
        images.append({key: value for key, value in line.items() if key not in ("type", "image")})
    values = {
        "format": "invert projections",
        "version": 1,
        "method_digest": method_digest(index.method),
        "method": index.method,
        "runs": index.runs,
        "images": images,
        "failures": [],
        **changes,
    }
    (folder / "results.json").write_text(json.dumps(values, indent=1))
    (folder / "results.jsonl").unlink()
    return values


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


@pytest.mark.parametrize(
    "change",
    [
        lambda index: b"",
        lambda index: b"[]",
        lambda index: json.dumps({**index, "format": "other"}).encode(),
        lambda index: json.dumps({**index, "runs": []}).encode(),
        lambda index: json.dumps({**index, "runs": [], "images": []}).encode(),
        lambda index: json.dumps({**index, "images": [1]}).encode(),
        lambda index: json.dumps({**index, "images": [{**index["images"][0], "name": "../mine"}]}).encode(),
        lambda index: json.dumps({**index, "images": [{**index["images"][0], "name": 7}]}).encode(),
        lambda index: json.dumps({**index, "version": 99}).encode(),
    ],
    ids=["empty", "list", "foreign", "no runs", "no runs and no entries", "no entry", "climbs out", "no name", "newer"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_damaged_or_hostile_index_of_version_1_is_refused(tmp_path: Path, change: Any, overwrite: bool) -> None:
    folder = tmp_path / "out"
    save(folder, target())
    (tmp_path / "mine.png").write_bytes(b"mine")
    values = write_version_1(folder)
    (folder / "results.json").write_bytes(change(values))
    with pytest.raises(UsageError, match=r"results\.json"):
        save(folder, target(), overwrite=overwrite)
    assert (tmp_path / "mine.png").exists()
    assert (folder / "shirt.npz").exists()


def test_index_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.jsonl")
    with pytest.raises(UsageError, match=r"results\.jsonl"):
        save(tmp_path, target())


# Version 1


def test_folder_of_version_1_is_resumed_and_converted_once(tmp_path: Path) -> None:
    save(tmp_path, target(), target("shoe.png", 9))
    write_version_1(tmp_path, failures=[{"code": "image-truncated", "path": "bad.png", "reason": "is cut off"}])
    assert known_images(tmp_path) == {Path(os.path.realpath(tmp_path)) / name for name in ("shirt.png", "shoe.png")}
    with open_folder(tmp_path, method(), RUN) as store:
        assert finished(store, target())
        assert visible(tmp_path)[0] == "results.jsonl"
        store.fail(b"bad.png", "image-truncated", "is cut off")
        store.keep(b"hat.png", projection(target("hat.png", 11)))
    index = index_of(tmp_path)
    assert [entry.source for entry in index.entries.values()] == ["shirt.png", "shoe.png", "hat.png"]
    assert list(index.failures) == ["bad.png"]
    assert "results.json" not in visible(tmp_path)


def test_conversion_that_was_cut_short(tmp_path: Path) -> None:
    """The new index is there, whole, and the old one too."""
    save(tmp_path, target())
    content = (tmp_path / "results.jsonl").read_bytes()
    write_version_1(tmp_path)
    (tmp_path / "results.jsonl").write_bytes(content)
    with open_folder(tmp_path, method(), RUN) as store:
        assert finished(store, target())
    assert visible(tmp_path) == ["results.jsonl", "shirt.npz", "shirt.png"]
    assert (tmp_path / "results.jsonl").read_bytes() == content


def test_folder_of_version_1_with_other_settings_stays_as_it_is(tmp_path: Path) -> None:
    save(tmp_path, target())
    write_version_1(tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(UsageError, match=r"steps: 1000, now 500"):
        save(tmp_path, steps=500)
    assert visible(tmp_path) == ["results.json", "shirt.npz", "shirt.png"]
    assert (tmp_path / "results.json").read_bytes() == before
    save(tmp_path, target("shoe.png", 9), steps=500, overwrite=True)
    assert visible(tmp_path) == ["results.jsonl", "shoe.npz", "shoe.png"]


def test_somebody_elses_results_json_stays(tmp_path: Path) -> None:
    save(tmp_path, target())
    (tmp_path / "results.json").write_text('{"mine": 1}')
    save(tmp_path, target("shoe.png", 9))
    save(tmp_path, target("hat.png", 11), overwrite=True)
    assert visible(tmp_path) == ["hat.npz", "hat.png", "results.json", "results.jsonl"]


def test_folder_that_version_010_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "projections"
    shutil.copytree(Path(__file__).parent / "net/fixtures/version-0.1.0/projections", folder)
    before = index_of(folder)
    assert (before.version, len(before.entries)) == (1, 4)
    with open_folder(folder, before.method, before.runs[0]) as store:
        assert all(store.finished(entry.source.encode(), entry.key[1]) for entry in before.entries.values())
    assert index_of(folder).entries == before.entries
    assert "results.json" not in visible(folder)


# Line by line


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


def test_folder_belongs_to_one_process(tmp_path: Path) -> None:
    with open_folder(tmp_path, method(), RUN), pytest.raises(BusyError, match="in use"):
        save(tmp_path / "." / ".." / tmp_path.name)
    save(tmp_path, target())


def test_names_that_are_not_text(tmp_path: Path) -> None:
    odd = target(b"a\xff\x1b[2J\n.png")
    save(tmp_path, odd)
    (npz,) = tmp_path.glob("*.npz")
    assert npz.name.isprintable()
    with np.load(npz, allow_pickle=False) as arrays:
        assert arrays["source"].tobytes() == b"a\xff\x1b[2J\n.png"
    with open_folder(tmp_path, method(), RUN) as store:
        assert finished(store, odd)


def test_long_names(tmp_path: Path) -> None:
    images = [target("ü" * 125 + suffix, shade) for shade, suffix in enumerate((".png", ".jpg"))]
    save(tmp_path, *images)
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_own_images_are_known(tmp_path: Path) -> None:
    assert known_images(tmp_path) == set()
    save(tmp_path, target())
    (tmp_path / "other.png").touch()
    assert known_images(tmp_path) == {Path(os.path.realpath(tmp_path)) / "shirt.png"}


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


def test_store_is_only_made_by_open_folder(tmp_path: Path) -> None:
    with open_folder(tmp_path, method(), RUN) as store:
        assert isinstance(store, FolderStore)
        assert store.folder == tmp_path
