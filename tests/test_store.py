"""The folder of results: what is written, found again, refused and removed."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from invert.errors import BusyError, NoInputError, OutputError, UsageError
from invert.images.target import Target, pixel_sha256, safe_name
from invert.projection.config import ProjectConfig, method_digest, method_record
from invert.projection.projector import Projection
from invert.store.folder import FolderStore, known_images, open_folder
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
            store.save(projection(one))


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    made = projection(target())
    with open_folder(tmp_path / "a" / "b", method(), RUN) as store:
        entry = store.save(made)
    stored = read_projection(tmp_path / "a" / "b" / "shirt.npz")
    np.testing.assert_array_equal(stored.w, made.w)
    np.testing.assert_array_equal(stored.noise["b4.conv1"], made.noise["b4.conv1"])
    np.testing.assert_array_equal(stored.step_loss, made.curve)
    np.testing.assert_array_equal(stored.layer_distances, made.layer_distances)
    assert (stored.distance, stored.status, stored.restart, stored.source) == (0.25, "ok", 0, "shirt.png")
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
        store.save(projection(target()))
        store.fail({"code": "image-truncated", "path": "bad.png"})
        store.write_index()
    index = json.loads((tmp_path / "results.json").read_text())
    assert index["method"] == method()
    assert index["method_digest"] == method_digest(method())
    assert index["runs"] == [RUN]
    assert index["failures"] == [{"code": "image-truncated", "path": "bad.png"}]
    (image,) = index["images"]
    assert image["name"] == "shirt"
    assert image["distance"] == 0.25
    assert image["warnings"] == ["a warning"]
    assert image["run"] == 0
    assert image["npz_sha256"] == hashlib.sha256((tmp_path / "shirt.npz").read_bytes()).hexdigest()


def test_same_results_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a", target())
    monkeypatch.setattr(time, "time", lambda: 4e9)
    save(tmp_path / "b", target())
    for name in ("shirt.npz", "shirt.png", "results.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_finished_images_are_known_wherever_they_lie(tmp_path: Path) -> None:
    save(tmp_path, target("first/shirt.png"))
    with open_folder(tmp_path, method(), RUN) as store:
        assert store.finished(target("second/shirt.png")) is not None
        assert store.finished(target("shoe.png")) is None
        assert store.finished(target("shirt.png", shade=8)) is None


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
        assert store.finished(target()) is None
        store.save(projection(target()))
        assert store.finished(target()) is not None
    assert visible(tmp_path) == ["results.json", "shirt.npz", "shirt.png"]


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
        assert all(store.finished(one) for one in reversed(images))
    assert visible(tmp_path) == before


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path, target())
    with pytest.raises(UsageError, match=r"steps: 1000, now 500; seed: 0, now 1.*--overwrite"):
        save(tmp_path, run={**RUN, "seed": 1}, steps=500)
    save(tmp_path, target("shoe.png", 9), run={**RUN, "batch": 4})
    assert len(json.loads((tmp_path / "results.json").read_text())["runs"]) == 2


def test_overwrite_removes_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, target(), target("shoe.png", 9))
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "mine.npz").write_bytes(b"mine")
    save(tmp_path, target("mine.jpg", 11), overwrite=True, steps=500)
    name = f"mine-{target(shade=11).file_sha256[:8]}"
    assert visible(tmp_path) == [f"{name}.npz", f"{name}.png", "mine.npz", "mine.png", "results.json"]
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


def test_foreign_files_are_never_written_over(tmp_path: Path) -> None:
    one = target()
    for name in ("shirt", f"shirt-{one.file_sha256[:8]}", f"shirt-{one.file_sha256}"):
        (tmp_path / f"{name}.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="in the way"):
        save(tmp_path, one)
    assert (tmp_path / "shirt.png").read_bytes() == b"mine"


def test_leftovers_of_a_killed_run_are_taken_over(tmp_path: Path) -> None:
    save(tmp_path, target())
    (tmp_path / "results.json").unlink()
    (tmp_path / ".invert-0123.tmp").write_bytes(b"half")
    save(tmp_path, target())
    assert visible(tmp_path) == ["results.json", "shirt.npz", "shirt.png"]
    assert not (tmp_path / ".invert-0123.tmp").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda index: b"",
        lambda index: b"[]",
        lambda index: json.dumps({**index, "format": "other"}).encode(),
        lambda index: json.dumps({**index, "runs": []}).encode(),
        lambda index: json.dumps({**index, "images": [1]}).encode(),
        lambda index: json.dumps({**index, "images": [{**index["images"][0], "name": "../mine"}]}).encode(),
        lambda index: json.dumps({**index, "images": [{**index["images"][0], "name": 7}]}).encode(),
        lambda index: json.dumps({**index, "version": 99}).encode(),
    ],
    ids=["empty", "list", "foreign", "no runs", "no entry", "climbs out", "no name", "newer"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_damaged_or_hostile_index_is_refused(tmp_path: Path, change: Any, overwrite: bool) -> None:
    folder = tmp_path / "out"
    save(folder, target())
    (tmp_path / "mine.png").write_bytes(b"mine")
    index = folder / "results.json"
    index.write_bytes(change(json.loads(index.read_text())))
    with pytest.raises(UsageError, match=r"results\.json"):
        save(folder, target(), overwrite=overwrite)
    assert (tmp_path / "mine.png").exists()
    assert (folder / "shirt.npz").exists()


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
        assert store.finished(odd) is not None


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
