"""`invert attribute` as a user runs it."""

import csv
import hashlib
import html
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.attribute_case import own_images
from tests.cli.conftest import Invert

pytestmark = pytest.mark.usefixtures("attribution_cache")


@pytest.fixture
def attribute(invert: Invert) -> Invert:
    return lambda *arguments: invert("attribute", "--threads", 1, "--quiet", *arguments)


def test_verdicts_in_words(attribute: Invert, invert: Invert, case: Path, tmp_path: Path) -> None:
    own = own_images(invert, case, tmp_path / "own")
    result = attribute("--network", case / "net.pkl", own, case / "real" / "000.png")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    columns = ["verdict", "distance", "LPIPS", "rule", "score", "threshold", "p0", "p1", "ratio", "image"]
    assert lines[0].split() == columns
    assert sum("seed000" in line for line in lines) == 4
    assert any(
        line.startswith("At most 30 % of images like those of the calibration, real (10), sibling") for line in lines
    )
    counts = next(line for line in lines if "none of these" in line and "failed" in line)
    assert counts.endswith("; 0 failed")


def test_json_has_all_that_was_measured(attribute: Invert, invert: Invert, case: Path, tmp_path: Path) -> None:
    own = own_images(invert, case, tmp_path / "own", "0-1")
    *images, summary = attribute("--network", case / "net.pkl", own, "--json").records()
    assert sum(summary["verdicts"].values()) == len(images) == 2
    (finding,) = images[0]["findings"]
    assert finding["decides"] == "evidence"
    assert finding["measured"]["lpips"] == pytest.approx(np.log(images[0]["distances"]["net"]), abs=1e-4)
    reading = finding["evidence"]
    assert reading["below"] == (reading["score"] < reading["threshold"])
    assert 1 / 11 <= reading["p0"] <= 1
    assert reading["likelihood_ratio"] <= reading["likelihood_ratio_cap"] == 11
    table = list(csv.DictReader(io.StringIO(attribute("--network", case / "net.pkl", own, "--csv").out)))
    scores = [p["findings"][0]["evidence"]["score"] for p in images]
    assert [float(row["net: score"]) for row in table] == pytest.approx(scores, rel=1e-12)


def test_a_report_is_written_once(attribute: Invert, invert: Invert, case: Path, tmp_path: Path) -> None:
    own = own_images(invert, case, tmp_path / "own", "0")
    (own / "bad.png").write_bytes(b"no image")
    arguments = ("--network", case / "net.pkl", own, "--report", tmp_path / "report.html")
    assert attribute(*arguments).code == 3
    page = (tmp_path / "report.html").read_text()
    assert "seed0000.png" in page
    assert "<script" not in page
    result = attribute(*arguments)
    assert result.code == 2
    assert "exists already" in result.err


def test_other_settings_than_those_of_a_calibration_that_was_named(attribute: Invert, case: Path) -> None:
    named = ("--calibration", case / "net.calibration.json")
    for arguments, difference in (
        (("--steps", 6), "steps: 5, now 6"),
        (("--preset", "paper"), "preset: verdict, now paper"),
    ):
        result = attribute("--network", case / "net.pkl", case / "real" / "000.png", *arguments, *named)
        assert result.code == 2
        assert difference in result.err
        assert len(result.err.splitlines()) == 1


def test_other_settings_than_those_of_a_calibration_that_was_found(attribute: Invert, case: Path) -> None:
    """Distances, why there is no verdict, and what to do for one."""
    image = case / "real" / "000.png"
    result = attribute("--network", case / "net.pkl", image, "--preset", "paper", "--steps", 2)
    assert result.code == 0
    assert "preset: verdict, now paper" in result.err
    assert "--real DIR --other DIR --preset paper --steps 2 --lpips alex" in result.err
    assert "or --own 99" in result.err
    assert result.out.splitlines()[0].split() == ["distance", "image"]


def test_naming_the_preset_of_the_calibration_changes_nothing(attribute: Invert, case: Path) -> None:
    arguments = ("--network", case / "net.pkl", case / "real" / "000.png")
    result = attribute(*arguments, "--preset", "verdict")
    assert result.code == 0, result.err
    assert result.out == attribute(*arguments).out


def resealed(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a calibration that somebody changed, checksum and all."""
    record = json.loads(content)
    change(record)
    del record["content_sha256"]
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return json.dumps({**record, "content_sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def test_swapped_damaged_and_later_calibrations(attribute: Invert, case: Path, tmp_path: Path) -> None:
    from generator.files.invert_format import save_network
    from tests.golden_data import load_networks

    other = tmp_path / "other.safetensors"
    save_network(other, load_networks("skip_resnet")[1])
    good = case / "net.calibration.json"
    image = case / "real" / "000.png"
    result = attribute("--network", other, image, "--calibration", good)
    assert result.code == 2
    assert "none of the calibrations given is of the network" in result.err
    content = good.read_bytes()
    for name, damaged, reason in (
        ("cut", content[: len(content) // 2], "is damaged"),
        ("empty", b"", "is damaged"),
        ("changed", content.replace(b'"rate": 0.3', b'"rate": 0.4'), "was changed after it was written"),
        ("later", content.replace(b'"version": 3,', b'"version": 4,', 1), "is in version 4 of its format"),
        ("foreign", b"{}", "is no calibration"),
        ("list", b"[1]", "is no calibration"),
        ("deep", b"[" * 100_000, "is damaged"),
        ("line", resealed(content, lambda one: one["populations"][0]["images"].__setitem__(0, {"a": 1})), "is damaged"),
        ("features", resealed(content, lambda one: one.__setitem__("features", [["lpips"]])), "is damaged"),
        ("rate", resealed(content, lambda one: one["settings"].__setitem__("rate", True)), "is damaged"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_bytes(damaged)
        result = attribute("--network", case / "net.pkl", image, "--calibration", path)
        assert result.code == 2, name
        assert reason in result.err
        assert len(result.err.splitlines()) == 1


def test_without_a_calibration(attribute: Invert, case: Path, tmp_path: Path) -> None:
    from generator.files.invert_format import save_network
    from tests.golden_data import load_networks

    other = tmp_path / "other.safetensors"
    save_network(other, load_networks("skip_resnet")[1])
    arguments = ("--network", other, case / "real" / "000.png", "--steps", 5, "--lpips", "alex", "--bank", 40)
    result = attribute(*arguments)
    assert result.code == 0
    assert (
        f"Make one with: invert calibrate --network {other} --real DIR --other DIR --steps 5 --lpips alex --bank 40."
        in result.err
    )
    assert "attributed" not in result.out
    (record, _) = attribute(*arguments, "--threshold", 50, "--json").records()
    assert (record["verdict"], record["networks"]) == ("attributed", ["other"])
    assert record["threshold_rule"] == "below 50 for other (error rate unknown)"
    result = attribute(*arguments, "--network", case / "net.pkl")
    assert result.code == 2
    assert "other has none" in result.err


def test_two_networks(attribute: Invert, invert: Invert, case: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    shutil.copy(case / "net.pkl", twin / "net.pkl")
    own = own_images(invert, case, tmp_path / "own", "0-1")
    networks = ("--network", case / "net.pkl", "--network", twin / "net.pkl")
    calibration = ("--calibration", case / "net.calibration.json")
    result = attribute(*networks, *calibration, own, "--fpr", 0.3)
    assert result.code == 2
    assert "cannot promise this rate to 2 candidates" in result.err
    *images, _ = attribute(*networks, *calibration, own, "--fpr", 0.9, "--json").records()
    for image in images:
        assert [finding["network"] for finding in image["findings"]] == ["net (1)", "net (2)"]
        if len(image["networks"]) == 2 and not image["reason"].startswith("its"):
            assert "cannot separate net (1) from net (2)" in image["reason"]


def test_the_miss_rate_rules_images_out_or_leaves_them_open(attribute: Invert, case: Path) -> None:
    base = ("--network", case / "net.pkl", case / "real", "--json")
    counts = []
    for rate in (0.001, 0.99):
        *images, summary = attribute(*base, "--miss-rate", rate).records()
        counts.append(sum(image["verdict"] == "none of these" for image in images))
        (promise,) = summary["networks"]
        assert promise["miss_rate"] == rate
        assert 0 <= promise["missed_of_calibration"]["missed"] <= promise["missed_of_calibration"]["of"]
    assert counts[0] == 0 < counts[1]


def test_small_images_get_no_verdict(attribute: Invert, case: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full([20, 20, 3], 90, np.uint8)).save(tmp_path / "small.png")
    result = attribute("--network", case / "net.pkl", tmp_path / "small.png")
    assert result.code == 0
    assert "cannot tell" in result.out
    assert "it is smaller than the network's 32 px" in result.out


def test_bad_input(attribute: Invert, case: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert attribute("--network", case / "net.pkl", empty).code == 5
    (empty / "bad.png").write_bytes(b"")
    result = attribute("--network", case / "net.pkl", empty)
    assert result.code == 5
    for arguments in (("--threshold", -1), ("--fpr", 2), ("--miss-rate", 0), ("--csv", "--json")):
        assert attribute("--network", case / "net.pkl", case / "real", *arguments).code == 2


@pytest.mark.slow
def test_a_distance_gives_a_verdict_everywhere(attribute: Invert, case: Path, tmp_path: Path) -> None:
    """The paper's plain rule, with the calibration and with other settings than its."""
    image, page = case / "real" / "000.png", tmp_path / "report.html"
    base = ("--network", case / "net.pkl", image, "--threshold", 50)
    text = attribute(*base, "--report", page)
    assert text.code == 0, text.err
    assert text.out.splitlines()[1].split()[:3] == ["attributed", "to", "net"]
    assert "1 attributed, 0 none of these" in text.out
    assert "Attributed to net is what lies below a distance of 50; its error rate is unknown." in text.out
    assert "Verdict: attributed to net." in page.read_text()
    record, summary = attribute(*base, "--json").records()
    assert (record["verdict"], record["networks"], summary["verdicts"]["attributed"]) == ("attributed", ["net"], 1)
    assert summary["networks"][0]["rule"] == "threshold"
    (row,) = csv.DictReader(io.StringIO(attribute(*base, "--csv").out))
    assert (row["verdict"], row["networks"], row["net: threshold"], row["net: lpips_rule"]) == (
        *("attributed", "net"),
        *("50.0", "below"),
    )
    other = attribute("--network", case / "net.pkl", image, "--threshold", 1e-6, "--steps", 4)
    assert "0 attributed, 1 none of these" in other.out
    assert "was made with another method (steps: 5, now 4)" in other.err
    refused = attribute(*base, "--fpr", 0.3)
    assert (refused.code, "--threshold is a distance" in refused.err) == (2, True)


@pytest.mark.slow
def test_lpips_may_decide_in_place_of_the_evidence(attribute: Invert, case: Path) -> None:
    arguments = ("--network", case / "net.pkl", case / "real" / "000.png", "--score", "lpips")
    record, summary = attribute(*arguments, "--json").records()
    (finding,) = record["findings"]
    assert finding["decides"] == summary["networks"][0]["decides"] == "lpips"
    score = attribute(*arguments).out.splitlines()[1].split()
    assert score.count(f"{record['distances']['net']:.4f}") == 2  # as the distance and as the score


@pytest.mark.slow
def test_own_samples_in_place_of_a_calibration(attribute: Invert, case: Path, tmp_path: Path) -> None:
    arguments = ("--network", case / "net.pkl", case / "real" / "000.png", "--steps", 2, "--own", 4)
    record, summary = attribute(*arguments, "--json").records()
    assert record["verdict"] in ("none of these", "cannot tell")
    assert summary["networks"][0]["rule"] == "own samples"
    assert 0.2 <= record["findings"][0]["lpips"]["p1"] <= 1
    result = attribute(*arguments, "--report", tmp_path / "own.html")
    assert "by mistake with a probability of at most 20 %" in result.out
    assert "(4 samples)" in (tmp_path / "own.html").read_text()


@pytest.mark.slow
def test_what_decides_is_named_in_every_output(attribute: Invert, case: Path, tmp_path: Path) -> None:
    path, page = case / "net.calibration.json", tmp_path / "report.html"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    arguments = ("--network", case / "net.pkl", case / "real" / "000.png", case / "real" / "001.png")
    assert f"calibration of net: {path}, sha256 {sha256}" in attribute(*arguments, "--report", page).out
    assert sha256 in page.read_text()
    record, _, summary = attribute(*arguments, "--json").records()
    for place in (record["findings"][0], summary["networks"][0]):
        assert (place["calibration"], place["calibration_sha256"]) == (str(path), sha256)
    first, *_ = csv.DictReader(io.StringIO(attribute(*arguments, "--csv").out))
    assert (first["net: calibration"], first["net: calibration_sha256"]) == (str(path), sha256)
    assert first["net: attributed_of_calibration"].count(" of ") == 2


@pytest.mark.slow
def test_the_command_of_a_report_is_accepted_as_it_stands(attribute: Invert, case: Path, tmp_path: Path) -> None:
    from invert.cli.main import main

    page = tmp_path / "report.html"
    attribute("--network", case / "net.pkl", case / "real" / "000.png", "--fpr", 0.4, "--report", page)
    before = page.read_text()
    (line,) = re.findall(r'<p class="code">(.*?)</p>', before)
    command, *words = shlex.split(html.unescape(line))
    assert command == "invert"
    assert main(words) == 0
    date = re.compile("Made [^<]*")
    assert date.sub("", page.read_text()) == date.sub("", before)


@pytest.mark.slow
def test_unlike_images_have_it_in_the_reason(attribute: Invert, case: Path, tmp_path: Path) -> None:
    with Image.open(case / "real" / "000.png") as image:
        image.convert("RGB").save(tmp_path / "a.jpg", quality=60)
    (tmp_path / "bad.png").write_bytes(b"no image")
    arguments = ("--network", case / "net.pkl", tmp_path)
    assert "it is a JPEG image" in attribute(*arguments).out
    record, *_ = attribute(*arguments, "--json").records()
    assert "it is a JPEG image" in record["reason"]
    assert any("it is a JPEG image" in warning for warning in record["warnings"])
    jpeg, bad = csv.DictReader(io.StringIO(attribute(*arguments, "--csv").out))
    assert "it is a JPEG image" in jpeg["reason"]
    assert (bad["verdict"], "is not a PNG" in bad["reason"]) == ("not read", True)


def test_what_ends_in_a_refusal_is_known_before_anything_is_measured(
    attribute: Invert, case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr("invert.projection.session.Session.projector", forbidden)
    two = ("--network", case / "net.pkl", "--network", case / "net.pkl", case / "real" / "000.png")
    for arguments, code, reason in (
        ((*two, "--fpr", 0.3), 2, "cannot promise this rate to 2 candidates"),
        ((*two, "--steps", 3), 2, "are compared by their calibrations"),
        ((*two[2:], "--report", tmp_path / "nowhere" / "a.html"), 6, "its folder does not exist"),
        ((*two[2:], "--report", case / "real"), 2, "is a directory"),
    ):
        result = attribute(*arguments)
        assert (result.code, reason in result.err) == (code, True), result.err
