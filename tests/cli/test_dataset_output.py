"""`invert dataset`: the file that is written, and what is left of a run that fails."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from invert.datasets import writer as dataset_writer
from tests.cli.conftest import Invert
from tests.cli.dataset_case import Pixels, contents, grey
from tests.cli.dataset_case import out as out  # a fixture
from tests.cli.dataset_case import source as source  # a fixture
from tests.image_factory import encode


class TestOutput:
    """What is written, and what is not."""

    def test_is_not_written_over_unasked(self, invert: Invert, source: Callable[..., Path], out: Path) -> None:
        folder = source(a_png=grey())
        out.write_text("precious")
        result = invert("dataset", folder, out)
        assert result.code == 2
        assert "exists already" in result.err
        assert out.read_text() == "precious"
        assert invert("dataset", folder, out, "--overwrite").code == 0
        assert len(contents(out)[0]) == 1

    def test_is_no_folder(self, invert: Invert, source: Callable[..., Path], tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        result = invert("dataset", source(a_png=grey()), tmp_path / "there")
        assert result.code == 2
        assert "it is a folder, and the images go into one zip. Name a file in it, such as" in result.err
        assert not list((tmp_path / "there").iterdir())

    def test_is_not_the_source(self, invert: Invert, source: Callable[..., Path], out: Path) -> None:
        assert invert("dataset", source(a_png=grey()), out).code == 0
        before = out.read_bytes()
        result = invert("dataset", out, out, "--overwrite")
        assert result.code == 2
        assert "both source and output" in result.err
        assert out.read_bytes() == before

    def test_needs_its_folder(self, invert: Invert, source: Callable[..., Path], tmp_path: Path) -> None:
        result = invert("dataset", source(a_png=grey()), tmp_path / "no" / "out.zip")
        assert result.code == 6
        assert "its folder does not exist" in result.err

    @pytest.mark.usefixtures("default_signals")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupted_run_leaves_nothing(
        self,
        invert: Invert,
        source: Callable[..., Path],
        out: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: signal.Signals,
    ) -> None:
        folder = source(a_png=grey(), b_png=grey(), c_png=grey())
        out.write_text("precious")
        count = 0

        def interrupted(array: Pixels) -> bytes:
            nonlocal count
            count += 1
            if count == 2:
                os.kill(os.getpid(), number)
            return encode(array[:, :, 0])

        monkeypatch.setattr(dataset_writer, "to_png_bytes", interrupted)
        result = invert("dataset", folder, out, "--overwrite")
        assert result.code == 128 + number
        assert out.read_text() == "precious"
        assert sorted(os.listdir(out.parent)) == ["out.zip", "source"]

    def test_a_full_disk(
        self, invert: Invert, source: Callable[..., Path], out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(dataset_writer.ZipWriter, "finish", full)
        result = invert("dataset", source(a_png=grey()), out)
        assert result.code == 6
        assert "no space left" in result.err
        assert not out.exists()
