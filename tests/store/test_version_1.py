"""Folders whose index is that of version 1: resumed, converted once, or refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from invert.errors import UsageError
from invert.projection.records import method_digest
from invert.store.folder import known_images, open_folder
from tests.store.store_case import RUN, finished, index_of, method, projection, save, target, visible


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
    shutil.copytree(Path(__file__).parents[1] / "net/fixtures/version-0.1.0/projections", folder)
    before = index_of(folder)
    assert (before.version, len(before.entries)) == (1, 4)
    with open_folder(folder, before.method, before.runs[0]) as store:
        assert all(store.finished(entry.source.encode(), entry.key[1]) for entry in before.entries.values())
    assert index_of(folder).entries == before.entries
    assert "results.json" not in visible(folder)
