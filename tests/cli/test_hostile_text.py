"""Text from files acts nowhere: every field of every input format, every output.

A field gets a text that clears a terminal, sets its title, forges a line, is a formula to a spreadsheet, a tag to a
browser and mathematics to a plotting library. A program may refuse the file; what it writes must be harmless.
"""

import csv
import hashlib
import html.parser
import io
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invert.attribution.calibration_file import decode_calibration
from invert.errors import InvertError
from invert.projection.records import method_digest
from tests.batch.batch_case import make_entries, make_manifest, write_batch
from tests.cli.conftest import Invert, Result
from tests.image_factory import chunk, image, png
from tests.net.net_case import ROOT, WRITTEN

TEXT = "=FORGED()\x1b[2J\x1b]0;t\x07\nFORGED line\r\t<x-forged>$\\frac$\u202e\x9b1m,\"'"
NAME = f"{TEXT}\udcff"
JSON_TEXT = f"{TEXT}\ud800"

Mutation = tuple[tuple[Any, ...], Any]


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every text in a document: all of an object, the first two of a list."""
    if isinstance(document, str):
        yield path
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:2]):
            yield from places(value, (*path, index))


def changed(document: Any, *paths: tuple[Any, ...], text: str = JSON_TEXT) -> Any:
    """Return a document with the text in these places."""
    copy = json.loads(json.dumps(document))
    for path in paths:
        inside = copy
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = text
    return copy


def assert_line_by_line(text: str) -> None:
    for line in text.splitlines():
        assert line.isprintable(), ascii(line)
        assert not line.startswith("FORGED"), line
    assert text.count("\n") == len(text.splitlines())


def assert_harmless(result: Result) -> None:
    assert result.code in (0, 2, 3, 4, 5), result.err
    assert_line_by_line(result.out)
    assert_line_by_line(result.err)


def assert_json(result: Result) -> None:
    assert_harmless(result)
    assert result.out.isascii()
    assert all(isinstance(record, dict) for record in result.records())


def assert_csv(result: Result) -> None:
    assert_harmless(result)
    rows = list(csv.reader(io.StringIO(result.out)))
    assert len({len(row) for row in rows}) <= 1
    for cell in (cell for row in rows for cell in row if cell.lstrip().startswith(("=", "+", "-", "@"))):
        float(cell)


class Tags(html.parser.HTMLParser):
    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag != "x-forged"
        assert not any(name.startswith("on") for name, _ in attributes)


def assert_page(path: Path) -> None:
    page = path.read_text("utf-8")
    assert "FORGED" in page
    assert all(character.isprintable() or character == "\n" for character in page)
    Tags().feed(page)


# Networks


def with_metadata(data: bytes, about: dict[str, Any]) -> bytes:
    """Return a network of this project with another metadata entry."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["invert"] = json.dumps(about)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_metadata_of_a_network(invert: Invert, network: Path, tmp_path: Path) -> None:
    file = tmp_path / "n.safetensors"
    assert invert("convert", network, file).code == 0
    data = file.read_bytes()
    about = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["invert"])
    about["settings"] = {TEXT: "a"}
    spots = list(places(about))
    accepted = []
    for spot in spots:
        # Half a character is refused, whatever else would be shown.
        file.write_bytes(with_metadata(data, changed(about, spot)))
        assert_harmless(invert("info", file))
        file.write_bytes(with_metadata(data, changed(about, spot, text=TEXT)))
        result = invert("info", file)
        assert_harmless(result)
        accepted += [spot] if result.code == 0 else []
    assert ("family",) not in accepted  # a plain word
    assert accepted
    file.write_bytes(with_metadata(data, changed(about, *accepted, text=TEXT)))
    assert_harmless(invert("info", file))
    assert_json(invert("info", file, "--json"))
    assert_harmless(invert("convert", file, tmp_path / "again.safetensors"))
    assert_harmless(invert("--debug", "info", tmp_path / NAME))


# Latents


def with_texts(good: Path, path: Path, record: str, value: dict[str, Any]) -> None:
    """Copy a file of latents with another record among its attributes."""
    shutil.copyfile(good, path)
    with h5py.File(path, "r+") as file:
        file.attrs[record] = np.bytes_(json.dumps(value).encode())
        if record == "method":
            file.attrs["method_digest"] = np.bytes_(method_digest(value).encode())
        if record == "network":
            file.attrs["network_family"] = np.bytes_(str(value.get("family")).encode("ascii", "replace"))


def test_records_and_columns_of_latents(invert: Invert, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.h5", tmp_path / "bad.h5"
    manifest = make_manifest(lpips="vgg", image_policy={"alpha": "black"}, run={"device": "cpu"})
    write_batch(good, manifest, make_entries(manifest, 3))
    shown = 0
    for record, value in (("method", manifest.method), ("run", manifest.run), ("network", manifest.network)):
        for spot in places(dict(value)):
            for text in (JSON_TEXT, TEXT):  # half a character is refused
                with_texts(good, bad, record, changed(dict(value), spot, text=text))
                result = invert("show", bad)
                assert_harmless(result)
                shown += "FORGED" in result.out
            assert_json(invert("show", bad, "--json"))
    assert shown >= 2
    for column in ("status", "sha256", "pixel_sha256", "name", "failures/name", "failures/code", "failures/reason"):
        shutil.copyfile(good, bad)
        with h5py.File(bad, "r+") as file:
            values = file[column][:]
            values[0] = TEXT.encode()[: values.dtype.itemsize]
            file[column][:] = values
        assert_harmless(invert("show", bad))
        assert_json(invert("show", bad, "--json"))
        assert_csv(invert("show", bad, "--csv"))
        assert_harmless(invert("verify", bad))


def test_names_in_latents(invert: Invert, tmp_path: Path) -> None:
    out, manifest = tmp_path / "latents.h5", make_manifest()
    (entry,) = make_entries(manifest, 1)
    import dataclasses

    write_batch(out, manifest, [dataclasses.replace(entry, name=os.fsencode(NAME), warnings=(TEXT, "second"))])
    for check, options in ((assert_harmless, ()), (assert_json, ("--json",)), (assert_csv, ("--csv",))):
        result = invert("show", out, *options)
        assert result.code == 0, result.err
        assert "FORGED" in result.out
        check(result)


# Images, calibrations, verdicts


@pytest.fixture
def named_images(tmp_path: Path) -> Path:
    """A folder with an image and a broken one whose names and metadata are hostile."""
    folder = tmp_path / "images"
    folder.mkdir()
    texts = chunk(b"tEXt", b"Title\0" + TEXT.encode("latin-1", "replace")) + chunk(b"iCCP", TEXT.encode() + b"\0\0x")
    pixels = image(32, 32).tobytes()
    (folder / f"{NAME}.png").write_bytes(png(32, 32, 8, 2, pixels, before=texts))
    (folder / f"{NAME}2.png").write_bytes(TEXT.encode())
    (folder / f"{NAME}3.jp2").write_bytes(TEXT.encode())
    return folder


def with_checksum(document: dict[str, Any]) -> bytes:
    content = {key: value for key, value in document.items() if key != "content_sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return json.dumps({**content, "content_sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def accepted_places(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the texts of a calibration that may be others: with each of them it is read."""
    found = []
    for spot in places(document):
        try:
            decode_calibration(with_checksum(changed(document, spot, text=TEXT)))
        except (InvertError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found.append(spot)
    return found


@pytest.mark.slow
def test_names_and_calibrations_in_verdicts(invert: Invert, named_images: Path, tmp_path: Path) -> None:
    document = json.loads((WRITTEN / "calibration.json").read_bytes())
    assert decode_calibration(with_checksum(document))
    spots = [spot for spot in accepted_places(document) if spot[0] != "network" or spot[1] == "family"]
    assert ("populations", 1, "name") in spots
    assert ("invert",) not in spots  # a version is digits
    calibration = tmp_path / "c.json"
    calibration.write_bytes(with_checksum(changed(document, *spots, text=TEXT)))
    report = tmp_path / "report.html"
    command = ("attribute", "--network", ROOT / "data/networks/A.safetensors", named_images, "--threads", 1)
    command = (*command, "--calibration", calibration, "--batch", 1)
    result = invert(*command, "--report", report)
    assert result.code == 3, result.err
    assert "FORGED" in result.out
    assert_harmless(result)
    assert_page(report)
    assert_csv(invert(*command, "--csv"))
    assert_json(invert(*command, "--json", "-q"))
    assert_harmless(invert("histograms", calibration, "--out", tmp_path / "h.png"))


def test_a_calibration_that_is_refused(invert: Invert, tmp_path: Path) -> None:
    document = json.loads((WRITTEN / "calibration.json").read_bytes())
    calibration = tmp_path / "c.json"
    accepted = accepted_places(document)
    for spot in places(document):
        calibration.write_bytes(with_checksum(changed(document, spot)))
        if spot not in accepted:
            assert_harmless(invert("histograms", calibration, "--out", tmp_path / "h.png"))


# Folders of projections, data sets, training runs


def test_names_in_folders_and_their_index(invert: Invert, named_images: Path, network: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("project", named_images, "--network", network, "--steps", 1, "--lpips", "alex", "--threads", 1)
    result = invert(*command, "--out", out)
    assert result.code == 3, result.err
    assert_harmless(result)
    assert_line_by_line((out / "results.jsonl").read_text())
    assert_json(invert(*command, "--out", out, "--json"))
    lines = (out / "results.jsonl").read_text().splitlines()
    for number, line in enumerate(lines[:2]):
        record = json.loads(line)
        for spot in places(record):
            again = [*lines[:number], json.dumps(changed(record, spot)), *lines[number + 1 :]]
            (out / "results.jsonl").write_text("\n".join(again) + "\n")
            assert_harmless(invert(*command, "--out", out, "--steps", 2))


def test_names_and_labels_of_a_data_set(invert: Invert, named_images: Path, tmp_path: Path) -> None:
    pairs = [[name, 0] for name in os.listdir(named_images)]
    document = {"labels": [["x.png", 0], *pairs], "classes": ["a"]}
    spots = list(places(document))
    for spot in [(), *spots]:
        text = json.dumps(changed(document, spot) if spot else document)
        (named_images / "dataset.json").write_text(text)
        assert_harmless(invert("dataset", named_images, tmp_path / "out.zip", "--overwrite"))
        assert_json(invert("dataset", named_images, tmp_path / "out.zip", "--overwrite", "--json"))
    (named_images / "dataset.json").unlink()
    folder = tmp_path / "classes"
    (folder / NAME).mkdir(parents=True)
    shutil.copy(next(named_images.glob("*.png")), folder / NAME / "a.png")
    assert_harmless(invert("dataset", folder, tmp_path / "c.zip", "--labels", "folders"))


def test_records_of_a_training_run(invert: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = Blank()
    monkeypatch.setattr("invert.report.curves.plot_curves", blank)
    monkeypatch.setattr("invert.report.curves.plot_shares", blank)
    good, run = WRITTEN / "run", tmp_path / "run"
    shutil.copytree(good, run)
    settings = json.loads((good / "settings.json").read_text())
    log = [json.loads(line) for line in (good / "log.jsonl").read_text().splitlines()]
    written = 0

    def check(file: str, text: Callable[[], str]) -> None:
        nonlocal written
        (run / file).write_text(text())
        result = invert("train-report", run)
        assert_harmless(result)
        if result.code == 0 and "FORGED" in (run / "report.html").read_text():
            written += 1
            assert_page(run / "report.html")

    for spot in places(settings):
        check("settings.json", lambda spot=spot: json.dumps(changed(settings, spot)))
    (run / "settings.json").write_text(json.dumps(settings))
    for spot in places(log[1]):
        check("log.jsonl", lambda spot=spot: "".join(json.dumps(r) + "\n" for r in [changed(log[1], spot), log[2]]))
    assert written


class Blank:
    """Plots nothing, for a plot takes a second."""

    def __call__(self, *_: object, **__: object) -> Any:
        from invert.images.decoding import to_png_bytes
        from invert.report.curves import Plot

        data = to_png_bytes(np.zeros((8, 8), np.uint8))
        return Plot(data, data)
