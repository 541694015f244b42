"""The folder of results: what is written, found again, refused and removed."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.errors import BusyError, InvertError, OutputError, UsageError
from invert.images.decoding import to_png_bytes
from invert.store.folder import FolderStore, known_images, open_folder
from tests.store.store_case import RUN, finished, index_of, lines_of, method, projection, save, target, visible


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_image_shows_target_and_reconstruction(tmp_path: Path, channels: int) -> None:
    save(tmp_path, target(channels=channels))
    with Image.open(tmp_path / "shirt.png") as opened:
        image = np.asarray(opened).reshape(4, 8, channels)
    assert (image[:, :4] == 7).all()
    assert (image[:, 4:] == 200).all()


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


def test_store_is_only_made_by_open_folder(tmp_path: Path) -> None:
    with open_folder(tmp_path, method(), RUN) as store:
        assert isinstance(store, FolderStore)
        assert store.folder == tmp_path
