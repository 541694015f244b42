"""Files that version 0.1.0 wrote can be read, checked, rendered and gone on with."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.net import net_case as net

CONTENT = "2d56bd0d3f585a525346bbf5e9939ec27ca1f6a5d0ea37d259125b6a75b8fde1"
DISTANCES = {
    "A/seed0002": 0.2937372326850891,
    "A/seed0011": 0.35056760907173157,
    "B/seed0001": 0.34428665041923523,
    "real/01": 0.26278921961784363,
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return a copy of the files that may be changed."""
    folder = Path(shutil.copytree(net.WRITTEN, tmp_path / "written"))
    for name in ("failures", "parts"):  # git keeps no empty folders
        (folder / "unfinished.h5.work" / name).mkdir(exist_ok=True)
    return folder


def pixels(path: Path) -> "np.ndarray[Any, Any]":
    """Return an image as RGB integers."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), int)


def test_show_latents() -> None:
    *rows, summary = net.invert("show", net.WRITTEN / "latents.h5")
    assert [row["name"] for row in rows] == sorted(net.samples(net.EIGHT))
    by_name = {row["name"]: row["distance"] for row in rows}
    assert {name: by_name[f"data/samples/{name}.png"] for name in DISTANCES} == DISTANCES
    assert [(row["width"], row["height"], row["status"], row["restart"]) for row in rows] == [(32, 32, "ok", 0)] * 8
    assert rows[0]["pixel_sha256"] == "d02cd9ad5816595e3d19f9af277110e042e63a5e22825e9fecb062663da89ccc"
    assert sum(rows[0][f"layer{layer}"] for layer in range(1, 6)) == pytest.approx(rows[0]["distance"], abs=1e-6)
    assert summary["noise"] == "float32"
    assert summary["stored_images"] is True
    assert summary["method_digest"] == net.recorded_texts()["methods"]["A-paper-batch4"]
    assert (summary["method"]["preset"], summary["method"]["steps"]) == ("paper", 6)
    assert (summary["run"]["seed"], summary["run"]["batch"]) == (7, 4)
    assert (summary["network"]["resolution"], summary["network"]["w_dim"], summary["network"]["num_ws"]) == (32, 128, 8)


def test_verify_latents() -> None:
    (summary,) = net.invert("verify", net.WRITTEN / "latents.h5")
    assert (summary["code"], summary["failures"], summary["content_sha256"]) == ("intact", 0, CONTENT)


def test_render_latents(tmp_path: Path) -> None:
    net.invert("render", net.WRITTEN / "latents.h5", "--network", net.network_file("A"), "--out", tmp_path / "out")
    images = sorted((tmp_path / "out").glob("*.png"))
    assert [path.name[7:] for path in images] == [Path(name).name for name in sorted(net.EIGHT)]
    kept = net.columns(net.WRITTEN / "latents.h5")["reconstruction"].astype(int)
    rendered = np.stack([pixels(path) for path in images])
    assert np.abs(rendered - kept).max() <= 1  # none of 255 on the machine that wrote it


def test_projections_are_taken_over(written: Path) -> None:
    """The same command projects nothing again, and one more image joins the earlier ones."""
    folder = written / "projections"
    before = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    *records, summary = net.invert(*net.projection("A-paper-batch4", folder))
    assert (summary["projected"], summary["reused"]) == (0, 4)
    assert {record["path"]: record["distance"] for record in records} == {
        f"data/samples/{name}.png": distance for name, distance in DISTANCES.items()
    }
    command = net.projection("A-paper-batch4", folder)
    *_, summary = net.invert(*command, *net.samples(("A/seed0003.png",)))
    assert (summary["projected"], summary["reused"]) == (1, 4)
    after = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    assert before == {name: after[name] for name in before}
    assert set(after) - set(before) == {"seed0003.npz"}


def test_projections_are_latents(tmp_path: Path) -> None:
    """A projection of the folder and a row of the HDF5 file of the same image are generated alike."""
    ends = {}
    rows = sorted(net.EIGHT)
    for name, latent in (
        ("folder", net.WRITTEN / "projections" / "01.npz"),
        ("file", f"{net.WRITTEN / 'latents.h5'}:{rows.index('real/01.png')}"),
    ):
        way = ("--from", latent, "--to", 5, "--steps", 2, "--space", "w")
        command = ("interpolate", "--network", net.network_file("A"), *way, "--frames", tmp_path / name)
        net.invert(*command)
        ends[name] = [pixels(path) for path in sorted((tmp_path / name).glob("*.png"))]
    assert len(ends["folder"]) == 2
    assert np.abs(np.stack(ends["folder"]) - np.stack(ends["file"])).max() <= 1
    assert np.abs(ends["folder"][0] - ends["folder"][1]).max() > 50


def test_an_unfinished_batch_goes_on(written: Path) -> None:
    """Three of eight were done when it was killed; the others join them."""
    file = written / "unfinished.h5"
    (packed,) = net.invert("pack", "--partial", file)
    assert (packed["rows"], packed["failures"], packed["damaged"]) == (3, 0, [])
    partial = {row["name"]: row for row in net.invert("show", file)[:-1]}
    assert partial["data/samples/A/seed0011.png"]["distance"] == 0.2768447995185852
    file.unlink()
    *_, summary = net.invert(*net.unfinished(file))
    assert (summary["projected"], summary["reused"], summary["rows"]) == (5, 3, 8)
    whole = {row["name"]: row for row in net.invert("show", file)[:-1]}
    assert sorted(whole) == sorted(net.samples(net.EIGHT))
    for name, row in partial.items():
        assert (whole[name]["distance"], whole[name]["pixel_sha256"]) == (row["distance"], row["pixel_sha256"])
    (verified,) = net.invert("verify", file)
    assert verified["code"] == "intact"


def test_an_unfinished_batch_is_packed(written: Path) -> None:
    file = written / "unfinished.h5"
    (summary,) = net.invert("pack", "--partial", file)
    assert summary["rows"] == 3
    (verified,) = net.invert("verify", file)
    assert verified["code"] == "intact"


def test_histograms_of_a_calibration(tmp_path: Path) -> None:
    (summary,) = net.invert("histograms", net.WRITTEN / "calibration.json", "-o", tmp_path / "h.png")
    (calibration,) = summary["calibrations"]
    assert (calibration["name"], calibration["own"]) == ("calibration", 24)
    assert calibration["auc"] == {"real": 0.7048611111111112, "B": 0.6041666666666667}


def test_a_calibration_is_taken_over(tmp_path: Path) -> None:
    """All that --from has is not measured again."""
    written = json.loads((net.WRITTEN / "calibration.json").read_text())
    real, other = tmp_path / "real", tmp_path / "B"
    for folder in (real, other):
        folder.mkdir()
        for path in sorted((net.ROOT / "data/samples" / folder.name).glob("*.png"))[:24]:
            shutil.copy(path, folder)
    out = tmp_path / "again.json"
    net.invert(
        *("calibrate", "--network", net.network_file("A"), "--real", real, "--other", other, "-o", out),
        *("--from", net.WRITTEN / "calibration.json", "--count", 24, "--fpr", 0.25, "--steps", 6, "--bank", 256),
        *("--batch", 8, "--workers", 1, *net.ALONE, "-q"),
    )
    again = json.loads(out.read_text())
    before, now = (_measured(record) for record in (written, again))
    taken = {name: {image for image in images if image in before[name]} for name, images in now.items()}
    assert [len(taken[name]) for name in ("real", "B")] == [24, 24]
    assert len(taken["own"]) > 20  # another processor may round a pixel of a sample otherwise, which is measured then
    for name, images in taken.items():
        assert {image: now[name][image] for image in images} == {image: before[name][image] for image in images}
    assert again["method_digest"] == written["method_digest"]
    if len(taken["own"]) < 24:
        return
    # Version 1 of the format called a threshold "below".
    thresholds = {
        score: [{"threshold" if name == "below" else name: value for name, value in row.items()} for row in rows]
        for score, rows in written["thresholds"].items()
    }
    assert again["thresholds"] == thresholds


def _measured(record: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the numbers of each image of each population of a calibration, those that version 0.1.0 knew."""
    known = json.loads((net.WRITTEN / "calibration.json").read_text())["features"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for population in record["populations"]:
        lines = [line.split(" ", 1) for line in population.get("pictures") or population["images"]]
        rows = {image: dict(zip(record["features"], json.loads(numbers), strict=True)) for image, numbers in lines}
        found[population["name"]] = {image: {name: row[name] for name in known} for image, row in rows.items()}
    return found


def test_a_training_run_is_resumed(written: Path) -> None:
    """The run that version 0.1.0 ended at 104 images ends at 200 as one that was never stopped, but for rounding."""
    run = written / "run"
    net.invert(*net.training("stylegan2", run, 0.2))
    net.assert_unchanged("training-stylegan2", net.trained(run), to_the_bit=False)


def test_report_of_a_training_run(written: Path) -> None:
    (summary,) = net.invert("train-report", written / "run")
    assert (summary["ticks"], summary["images"], summary["grids"], summary["missing"]) == (3, 104, 2, [])
    assert summary["last"]["generator"] == 0.7196091413497925
    assert summary["last"]["discriminator"] == 1.3743844032287598
    page = (written / "run" / "report.html").read_text()
    assert page.startswith("<!doctype html>")


def test_the_network_of_a_training_run(written: Path) -> None:
    network = written / "run" / "network.safetensors"
    records = net.invert("generate", "--network", network, "--seeds", "1,2", "--out", written / "generated")
    images = [pixels(path) for path in sorted((written / "generated").glob("*.png"))]
    assert len(records) >= 2
    assert [image.shape for image in images] == [(16, 16, 3)] * 2
