"""What the other commands make of an HDF5 file of latents."""

import csv
import io
import statistics
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cli.batch_case import KEEP, QUICK, pixels, write_images
from tests.cli.batch_case import images as images  # a fixture
from tests.cli.batch_case import out as out  # a fixture
from tests.cli.batch_case import project as project  # a fixture
from tests.cli.conftest import ROOT, Invert


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A finished file with noise and images, not to be changed; images/bad.png has no result."""
    from invert.cli.main import main

    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images", 6)
    (folder / "images" / "bad.png").write_bytes(b"not an image")
    out = folder / "latents.h5"
    arguments = ["project", *QUICK, "--network", network, "--out", out, "--quiet", *KEEP, folder / "images"]
    assert main([str(argument) for argument in arguments]) == 3
    return out


def rewritten(source: Path, target: Path, **changes: str) -> Path:
    """Project the images of a finished file again, with other things kept."""
    from invert.cli.main import main

    network = str(Path("tests/golden/nvidia_ada.pkl"))
    arguments = [*QUICK, "--network", ROOT / network, "--out", target, "--quiet", source.parent / "images"]
    for name, value in changes.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    assert main(["project", *map(str, arguments)]) == 3
    return target


def test_show(invert: Invert, finished: Path) -> None:
    result = invert("show", finished, "--rows", 3)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["row", "distance", "status", "name"]
    assert lines[1].split()[-1] == "000.png"
    assert "3 more" in lines[4]
    assert any(line.startswith("no result: bad.png: ") for line in lines)
    assert any(line.startswith("images    6, 1 without a result") for line in lines)
    assert sum("#" in line for line in lines) >= 2
    *rows, failure, summary = invert("show", finished, "--json").records()
    assert [row["name"] for row in rows][-1] == "sub/005.png"
    assert failure["code"] == "image-unrecognised"
    assert summary["images"] == 6
    distances = [row["distance"] for row in rows]
    assert summary["distance"]["smallest"] == min(distances)
    assert len(distances) % 2 == 0
    assert summary["distance"]["median"] == pytest.approx(statistics.median(distances))
    table = list(csv.DictReader(io.StringIO(invert("show", finished, "--csv").out)))
    assert [float(row["distance"]) for row in table] == [row["distance"] for row in rows]
    worst = invert("show", finished, "--worst", "--rows", 1).out.splitlines()[1]
    assert float(worst.split()[1]) == pytest.approx(summary["distance"]["largest"], abs=1e-4)


def test_csv_cells_are_no_formulas(project: Invert, invert: Invert, images: Path, out: Path) -> None:
    (images / "000.png").rename(images / "=cmd.png")
    assert project(images).code == 0
    names = [row["name"] for row in csv.DictReader(io.StringIO(invert("show", out, "--csv").out))]
    assert "'=cmd.png" in names


def test_verify(invert: Invert, finished: Path, tmp_path: Path) -> None:
    result = invert("verify", finished)
    assert result.code == 0
    assert "is intact: 6 images, 1 without a result" in result.out
    damaged = tmp_path / "damaged.h5"
    content = bytearray(finished.read_bytes())
    with h5py.File(finished) as file:
        place = file["w"].id.get_chunk_info(0)
    content[place.byte_offset + place.size // 2] ^= 1
    damaged.write_bytes(content)
    result = invert("verify", damaged)
    assert result.code == 5
    assert len(result.err.splitlines()) == 1
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"junk"):
        damaged.write_bytes(content)
        for command in ("verify", "show"):
            result = invert(command, damaged)
            assert (result.code, len(result.err.splitlines())) == (5, 1)


def test_render_draws_the_same_images(invert: Invert, network: Path, finished: Path, tmp_path: Path) -> None:
    result = invert("render", finished, "--network", network, "--index", "1-4", "--out", tmp_path / "rendered")
    assert result.code == 0, result.err
    rendered = sorted((tmp_path / "rendered").iterdir())
    assert [path.name for path in rendered] == ["000001-001.png", "000002-003.png", "000003-004.png", "000004-002.png"]
    with h5py.File(finished) as file:
        for row, path in enumerate(rendered, 1):
            np.testing.assert_array_equal(pixels(path), file["reconstruction"][row])
    again = invert("render", finished, "--network", network, "--index", "1", "--out", tmp_path / "rendered")
    assert again.code == 2
    assert "exists already" in again.err


def test_render_from_less(invert: Invert, network: Path, finished: Path, tmp_path: Path) -> None:
    with h5py.File(finished) as file:
        expected = file["reconstruction"][:].astype(int)
    half = rewritten(finished, tmp_path / "half.h5", save_noise="float16")
    assert invert("render", half, "--network", network, "--out", tmp_path / "half", "-q").code == 0
    rendered = np.stack([pixels(path) for path in sorted((tmp_path / "half").iterdir())]).astype(int)
    assert np.abs(rendered - expected).max() <= 1
    bare = rewritten(finished, tmp_path / "bare.h5")
    result = invert("render", bare, "--network", network, "--out", tmp_path / "bare")
    assert result.code == 0
    assert "no noise maps were kept: w is synthesised with fresh noise" in result.err
    rendered = np.stack([pixels(path) for path in sorted((tmp_path / "bare").iterdir())]).astype(int)
    assert 1 < np.abs(rendered - expected).mean() < 60


def test_render_with_another_network(invert: Invert, finished: Path, tmp_path: Path) -> None:
    result = invert("render", finished, "--out", tmp_path / "rendered", "-q")
    assert result.code == 4
    assert "is not the one of these latents" in result.err
    result = invert("render", finished, "--index", "6", "--out", tmp_path / "rendered")
    assert result.code == 2


def test_one_line_of_numpy(finished: Path) -> None:
    table = {name: column[:] for name, column in h5py.File(finished).items() if getattr(column, "ndim", 0) == 1}
    assert len({len(values) for name, values in table.items() if name in ("distance", "name", "sha256")}) == 1
