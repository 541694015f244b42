"""`invert metrics` as a user runs it."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invert
from tests.cli.train_case import write_images
from tests.golden_data import GOLDEN

NETWORK = GOLDEN / "nvidia_ada.pkl"
OTHER = GOLDEN / "nvidia_tf_stylegan1.pkl"
QUICK = ("--device", "cpu", "--threads", 1)


@pytest.mark.slow
def test_several_networks_become_one_table_and_one_page(invert: Invert, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = invert(
        *("metrics", NETWORK, OTHER, "--metric", "fd-alex,pr-alex", "--metric", "jacobian,ppl-wend"),
        *("--against", NETWORK, "--images", 16, "--pairs", 10, "--samples", 1, "--out", page, *QUICK),
    )
    assert found.code == 0, found.err
    header, *rows = found.out.splitlines()
    assert header.split()[-1] == "ppl-wend"
    for word in ("fd-alex", "pr-alex precision", "pr-alex recall", "jacobian effective rank"):
        assert word in header
    assert rows[0].startswith(str(NETWORK))
    assert rows[1].startswith(str(OTHER))
    assert len(rows) == 3
    assert "is too large, and depends on their number" in found.err
    text = page.read_text()
    assert text.count("<img") == 3  # spectra for light and dark pages, the histogram of path lengths
    assert "features_sha256" in text
    again = invert("metrics", NETWORK, "--metric", "resolutions", "--out", page)
    assert (again.code, "--overwrite" in again.err) == (2, True)


def test_records_have_their_protocol(invert: Invert, tmp_path: Path) -> None:
    data = write_images(tmp_path / "images")
    options = ("--metric", "resolutions,ppl-wend", "--samples", 16, "--pairs", 10, "--json", *QUICK)
    found = invert("metrics", NETWORK, *options, "--sheet", tmp_path / "sheets", "--quiet")
    assert found.code == 0, found.err
    shares, length, summary = found.records()
    assert summary["results"] == 2
    assert shares["metric"] == "resolutions"
    assert sum(shares["values"].values()) == pytest.approx(1)
    protocol = length["protocol"]
    assert (protocol["pairs"], protocol["noise"], protocol["precision"]) == (10, "random", "float64")
    assert protocol["versions"]["invert"]
    assert length["value"] == length["values"]["mean"] > 0
    names = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert names == [f"nvidia_ada-ppl-wend-{name}.png" for name in ("highest", "histogram", "lowest")]
    # of images, what needs a network is refused
    refused = invert("metrics", data, "--metric", "ppl-wend", "--json")
    assert (refused.code, "of networks, not of images" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--metric", "fid", "--against", NETWORK), 2, "6726825d0af5f729"),
        (("--metric", "fid"), 2, "--against"),
        (("--metric", "beauty"), 2, "there is no metric 'beauty'"),
        (("--metric", "separability"), 2, "--labels"),
        (("--images", 3), 2, "images"),
        (("--metric", "ppl-wend", "--out", "page.txt"), 2, ".html"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    arguments: tuple[object, ...], code: int, words: str, invert: Invert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVERT_WEIGHTS", raising=False)
    found = invert("metrics", NETWORK, *arguments, *QUICK)
    assert found.code == code
    assert words in found.err
    assert "Traceback" not in found.err


def test_images_are_compared_with_images(invert: Invert, tmp_path: Path) -> None:
    first, second = (write_images(tmp_path / str(seed), seed=seed) for seed in range(2))
    found = invert("metrics", first, "--against", second, "--metric", "pr-vgg", "--json", "-q", *QUICK)
    assert found.code == 0, found.err
    record = json.loads(found.out.splitlines()[0])
    assert (record["protocol"]["images"], record["protocol"]["against_images"]) == (24, 24)
    assert record["protocol"]["weights_sha256"] is None
