"""`invert directions` and `invert edit` as a user runs them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generator.files.invert_format import save_network
from generator.files.reading import LoadedNetwork
from tests.cli.conftest import Invert
from tests.cli.test_sheets import pixels
from tests.cli.test_sheets_projected import close
from tests.golden_data import load_networks
from tests.sheets.conftest import loaded as loaded  # a fixture
from tests.sheets.sheet_case import write_h5, write_npz
from tests.sheets.test_layout import places


@pytest.fixture
def found(invert: Invert, network: Path, tmp_path: Path) -> Path:
    out = tmp_path / "sefa.safetensors"
    result = invert("directions", network, "--count", 3, "--samples", 200, "--scale", 1, "--out", out)
    assert result.code == 0, result.err
    return out


@pytest.fixture
def edit(invert: Invert, network: Path, found: Path) -> Invert:
    return lambda latent, *arguments: invert("edit", latent, "--network", network, *arguments)


def test_directions_are_found_and_shown(invert: Invert, network: Path, found: Path, tmp_path: Path) -> None:
    assert found.exists()
    with Image.open(tmp_path / "sefa.png") as sheet:
        assert "invert" in str(sheet.info)
    common = ("directions", network, "--method", "pca", "--samples", 200, "--count", 2)
    result = invert(*common, "--out", tmp_path / "pca.safetensors", "--sheet", tmp_path / "shown.png", "--json")
    assert result.code == 0, result.err
    (summary,) = result.records()
    assert (summary["directions"], summary["method"]) == (["pca 0", "pca 1"], "pca")
    assert 1 >= sum(summary["strengths"]) > 0
    assert (tmp_path / "shown.png").exists()
    assert not (tmp_path / "pca.png").exists()
    text = invert(*common, "--out", tmp_path / "again.safetensors").out
    assert text.splitlines()[1].endswith("% of W's variance")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "pca.safetensors").read_bytes()
    result = invert(*common, "--out", tmp_path / "pca.safetensors")
    assert (result.code, "exists already" in result.err) == (2, True)


def test_directions_from_labels(invert: Invert, network: Path, tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    z = random.randn(100, 16).astype(np.float32)
    np.savez(tmp_path / "labels.npz", z=z, probabilities=(z[:, :1] > 0).astype(np.float32), names=["first"])
    common = ("directions", network, "--samples", 200, "--out", tmp_path / "labels.safetensors")
    result = invert(*common, "--method", "labels", "--labels", tmp_path / "labels.npz")
    assert result.code == 0, result.err
    assert result.out.splitlines()[0].startswith("  0  first  accuracy ")
    assert "--method labels needs --labels" in invert(*common, "--method", "labels").err
    labels = ("--method", "labels", "--labels", tmp_path / "labels.npz", "--overwrite")
    assert invert(*common, *labels, "--attributes", "first").code == 0
    assert "has no attribute 'second'" in invert(*common, *labels, "--attributes", "first,second").err
    assert "--attributes are those of --labels" in invert(*common, "--attributes", "first").err
    assert "--method sefa takes no --labels" in invert(*common, "--labels", tmp_path / "labels.npz").err


def test_amount_0_of_a_projection_is_its_reconstruction(
    edit: Invert, found: Path, tmp_path: Path, projected: list[tuple[Path, Any]]
) -> None:
    path, image = projected[0]
    frames = tmp_path / "frames"
    out = ("--direction", f"{found}:0-1", "--amount", "-2..2", "--steps", 3, "--frames", frames)
    result = edit(path, *out, "--out", tmp_path / "sheet.png", "--scale", 1)
    assert result.code == 0, result.err
    assert result.err == ""
    assert result.out.startswith(f"moved {path.name} along 2 directions in ")
    shown = [pixels(frames / f"edit0000{number}.png") for number in range(6)]
    assert close(shown[1], image)
    assert (shown[1] == shown[4]).all()
    assert len({one.tobytes() for one in shown}) == 5
    sheet = pixels(tmp_path / "sheet.png")
    assert [len(places(sheet, one)) for one in shown] == [1, 2, 1, 1, 2, 1]
    assert edit(path, *out, "--overwrite", "--noise", "fixed").code == 0
    assert not close(pixels(frames / "edit00001.png"), image)


def test_a_row_of_hdf5_and_a_projection_in_w_plus(
    edit: Invert, found: Path, loaded: LoadedNetwork, tmp_path: Path
) -> None:
    wide = np.random.RandomState(0).randn(8, 24).astype(np.float32)
    plus = write_npz(tmp_path / "plus.npz", wide, loaded.provenance.sha256)
    rows = write_h5(tmp_path / "rows.h5", loaded)
    for latent in (plus, f"{rows}:2"):
        common = (latent, "--direction", f"{found}:0", "--amount", "0,1", "--overwrite")
        result = edit(*common, "--export", tmp_path / "w.npz", "--out", tmp_path / "sheet.png")
        assert (result.code, result.err) == (0, "")
        with np.load(tmp_path / "w.npz") as arrays:
            unchanged, changed = arrays["w"]
        assert (unchanged == wide).all() if latent is plus else (unchanged == unchanged[0]).all()
        assert (np.abs(changed - unchanged).max(axis=1) > 0).all()
    assert "there are 4 rows" in edit(f"{rows}:9", "--export", tmp_path / "x.npz").err


def test_styles_and_directions_together(edit: Invert, found: Path, tmp_path: Path) -> None:
    def made(*arguments: object) -> Any:
        folder = tmp_path / "frames"
        result = edit("5", "--amount", "2", "--frames", folder, "--overwrite", *arguments)
        assert result.code == 0, result.err
        return pixels(folder / "edit00000.png")

    one, fine = made("--direction", f"{found}:0"), made("--direction", f"{found}:0", "--styles", "6-7")
    name = made("--direction", f"{found}:sefa 0")
    assert (one == name).all()
    assert not (one == fine).all()
    both = made("--direction", f"{found}:0", "--direction", f"{found}:1", "--together")
    assert not (both == one).all()
    assert (both == made("--direction", f"{found}:0-1", "--together")).all()


def test_latents_are_exported_and_read_again(edit: Invert, found: Path, tmp_path: Path) -> None:
    exported = tmp_path / "projected_w.npz"
    result = edit("5", "--direction", f"{found}:0", "--amount", "0,1", "--export", exported, "--frames", tmp_path / "a")
    assert result.code == 0, result.err
    with np.load(exported) as arrays:
        assert (list(arrays), arrays["w"].shape) == (["w"], (2, 8, 24))
    assert edit(f"{exported}:1", "--frames", tmp_path / "b").code == 0
    assert (pixels(tmp_path / "b" / "edit00000.png") == pixels(tmp_path / "a" / "edit00001.png")).all()


def test_film(edit: Invert, found: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    film = tmp_path / "film.mp4"
    result = edit("5", "--direction", f"{found}:0", "--amount", "-2..2", "--steps", 4, "--rate", 12, "--out", film)
    assert result.code == 0, result.err
    with av.open(str(film)) as container:
        (stream,) = container.streams.video
        assert stream.average_rate == 12
        assert len(list(container.decode(stream))) == 4


def test_film_without_its_package(edit: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    result = edit("5", "--out", tmp_path / "a.mp4")
    assert result.code == 2
    assert "Install it with: pip install 'invert[video]'." in result.err


def test_a_conditional_network(invert: Invert, tmp_path: Path) -> None:
    path, out = tmp_path / "conditional.safetensors", tmp_path / "a.safetensors"
    save_network(path, load_networks("conditional")[1])
    assert invert("directions", path, "--samples", 100, "--out", out).code == 0
    common = ("edit", "1", "--network", path, "--direction", out, "--out", tmp_path / "b.png")
    assert "Choose one with --class" in invert(*common).err
    assert invert(*common, "--class", 0).code == 0


ABUSE: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no output": (("--direction", "{found}"), 2, "no output was named"),
    "another direction": (("--direction", "{found}:9", "--out", "{out}"), 2, "there is no direction 9: there are 3"),
    "no file": (("--direction", "gone.safetensors:1", "--out", "{out}"), 5, "gone.safetensors': there is no such file"),
    "an image": (("--direction", "{sheet}", "--out", "{out}"), 5, "is no file of directions"),
    "no amount": (("--amount", "x", "--out", "{out}"), 2, "no range like -3..3"),
    "steps of a list": (("--direction", "{found}", "--amount", "1,2", "--steps", "3", "--out", "{out}"), 2, "a range"),
    "a style": (("--direction", "{found}", "--styles", "8", "--out", "{out}"), 2, "style 8: the network has 8 styles"),
    "a suffix": (("--out", "a.gif"), 2, "does not end in .png"),
    "a network": (("--direction", "{network}", "--out", "{out}"), 5, "is no file of directions"),
}


@pytest.mark.parametrize("name", ABUSE)
def test_mistakes_are_told_in_one_line(edit: Invert, network: Path, found: Path, tmp_path: Path, name: str) -> None:
    arguments, code, text = ABUSE[name]
    places = {"found": found, "out": tmp_path / "out.png", "sheet": tmp_path / "sefa.png", "network": network}
    result = edit("5", *(argument.format(**places) for argument in arguments))
    assert (result.code, result.err.count("\n")) == (code, 1)
    assert text in result.err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("change", [lambda w: w[:, :, :-1], lambda w: w[:, :-1]], ids=["w_dim", "styles"])
def test_latents_of_another_shape(edit: Invert, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    np.savez(tmp_path / "w.npz", w=change(np.zeros([1, 8, 24], np.float32)))
    result = edit(tmp_path / "w.npz", "--out", tmp_path / "a.png")
    assert (result.code, result.err.count("\n")) == (5, 1)
    assert "w.npz': its w has " in result.err
