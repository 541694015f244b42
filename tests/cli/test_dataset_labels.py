"""`invert dataset`: where labels come from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from invert.datasets.training_images import open_images
from tests.cli.conftest import Invert
from tests.cli.dataset_case import contents, grey
from tests.cli.dataset_case import out as out  # a fixture
from tests.cli.dataset_case import source as source  # a fixture


class TestLabels:
    """Classes of the images."""

    def labels(self, path: Path) -> dict[str, int]:
        info = contents(path)[1]
        return {source: label for source, (_, label) in zip(info["sources"], info["labels"], strict=True)}

    def test_from_dataset_json(self, invert: Invert, source: Callable[..., Path], out: Path) -> None:
        labels = {"labels": [["x/a.png", 3], ["x/b.png", 0], ["gone.png", 1]]}
        folder = source(x__a_png=grey(), x__b_png=grey(), x__c_png=grey(), dataset_json=json.dumps(labels).encode())
        result = invert("dataset", folder, out)
        assert result.code == 3
        assert "x/c.png': it has no label" in result.err
        assert "2 images, 16 x 16, 1 channel, 4 classes; 1 skipped" in result.out
        assert self.labels(out) == {"x/a.png": 3, "x/b.png": 0}
        assert invert("dataset", folder, out, "--labels", "none", "--overwrite").code == 0
        assert contents(out)[1]["labels"] is None

    def test_from_folders(self, invert: Invert, source: Callable[..., Path], out: Path, tmp_path: Path) -> None:
        folder = source(shoe__a_png=grey(), shirt__new__b_png=grey(), Zebra__c_png=grey())
        result = invert("dataset", folder, out, "--labels", "folders")
        assert result.code == 0
        assert self.labels(out) == {"Zebra/c.png": 0, "shirt/new/b.png": 1, "shoe/a.png": 2}
        assert contents(out)[1]["classes"] == ["Zebra", "shirt", "shoe"]
        assert open_images(out).class_names == ("Zebra", "shirt", "shoe")
        # Names of classes are carried on.
        assert invert("dataset", out, tmp_path / "again.zip").code == 0
        assert contents(tmp_path / "again.zip")[1]["classes"] == ["Zebra", "shirt", "shoe"]
        source(root_png=grey())
        result = invert("dataset", folder, out, "--labels", "folders", "--overwrite")
        assert result.code == 3
        assert "root.png': it has no label" in result.err

    def test_from_folders_there_are_not(self, invert: Invert, source: Callable[..., Path], out: Path) -> None:
        result = invert("dataset", source(a_png=grey()), out, "--labels", "folders")
        assert result.code == 2
        assert "0 subfolders hold images" in result.err

    @pytest.mark.parametrize("packed", [False, True])
    def test_from_a_dataset_json_one_folder_down(
        self, invert: Invert, source: Callable[..., Path], out: Path, tmp_path: Path, packed: bool
    ) -> None:
        labels = {"labels": [["00000/a.png", 2], ["00001\\b.png", 1]]}
        folder = source(
            data__00000__a_png=grey(), data__00001__b_png=grey(), data__dataset_json=json.dumps(labels).encode()
        )
        given = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder)) if packed else folder
        result = invert("dataset", given, out)
        assert result.code == 0
        assert self.labels(out) == {"data/00000/a.png": 2, "data/00001/b.png": 1}

    def test_that_folders_could_give_are_offered(
        self, invert: Invert, source: Callable[..., Path], out: Path, tmp_path: Path
    ) -> None:
        folder = source(shoe__a_png=grey(), shirt__b_png=grey())
        result = invert("dataset", folder, out)
        assert "note: images lie in the folders shirt, shoe; --labels folders makes each a class" in result.err
        assert "--labels folders" not in invert("dataset", folder, out, "--labels", "none", "--overwrite").err
        # Pieces of a large set are no classes.
        (folder / "shoe").rename(folder / "00000")
        (folder / "shirt").rename(folder / "00001")
        assert "--labels folders" not in invert("dataset", folder, out, "--overwrite").err

    def test_that_are_broken(self, invert: Invert, source: Callable[..., Path], out: Path) -> None:
        folder = source(a_png=grey(), dataset_json=b'{"labels": [["a.png", -1]]}')
        result = invert("dataset", folder, out)
        assert result.code == 5
        assert "label 0 is not [name, class]" in result.err
        assert invert("dataset", folder, out, "--labels", "none").code == 0
