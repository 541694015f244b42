"""The table of what each space, tuning and an encoder reach: its counting, and a run of two steps."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from bench import spaces
from bench.spaces import CLAIMS, KINDS, METHODS, Measures
from invert.cli.main import main as invert

REAL = Path(__file__).parent.parent / "data" / "samples" / "real"


def measures(lpips: list[float], seconds: float) -> Measures:
    return {"lpips": lpips, "psnr": [20.0] * len(lpips), "processor": [seconds] * len(lpips), "wall": [0.0]}


def test_claims_are_about_the_images_that_both_methods_have() -> None:
    of_each = {
        "w": measures([0.3, 0.5, 0.4, 0.9], 10.0),
        "w+": measures([0.2, 0.3, 0.45, 0.8], 10.0),
        "tuned": measures([0.25, 0.35], 20.0),
        "fast": measures([0.3, 0.5, 0.4, 0.9], 1.0),
    }
    rows = list(spaces._claims({(method, kind): one for method, one in of_each.items() for kind in KINDS}))
    assert [(row[0], row[1]) for row in rows] == [(claim.title, kind) for claim in CLAIMS for kind in (*KINDS, "all")]
    said = {(row[0], row[1]): row[2:] for row in rows}
    nearer, tuning, fast = (claim.title for claim in CLAIMS)
    assert said[nearer, "own"] == ["4", "0.3750", "0.4500", "0.4375", "0.5250", "75%", "1.000", "holds"]
    assert said[tuning, "real"] == ["2", "0.3000", "0.2500", "0.3000", "0.2500", "0%", "2.000", "does not hold"]
    assert said[tuning, "all"][0] == "6"
    assert said[fast, "own"] == ["4", "0.4500", "0.4500", "0.5250", "0.5250", "0%", "0.100", "holds"]
    of_each["fast"] = measures([0.3, 0.5, 0.4, 0.9], 1.1)
    rows = list(spaces._claims({(method, kind): one for method, one in of_each.items() for kind in KINDS}))
    assert rows[-1][-2:] == ["0.110", "does not hold"]


@pytest.mark.slow
def test_the_table_says_what_each_method_was_measured_on_and_resumes(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net, work = tmp_path / "net.safetensors", tmp_path / "work"
    assert invert(["convert", str(network), str(net)]) == 0
    quick = ("--steps", "1", "--batch", "2", "--width", "4", "--threads", "1", "--quiet")
    assert invert(["train-encoder", str(net), *quick]) == 0
    sources = ["--network", str(net), "--sibling", str(net), "--real", str(REAL)]
    command = [str(work), *sources, "--steps", "2", "--tune-steps", "1", "--fast-steps", "1", "--images", "1"]

    def here(arguments: Sequence[str], method: str, threads: int) -> None:
        spaces.main([*arguments, "--measure", method])

    monkeypatch.setattr(spaces, "apart", here)
    monkeypatch.setattr(spaces, "machine", lambda: "Machine: this one.")
    capsys.readouterr()
    spaces.main([*command, "--w", "2"])
    first = capsys.readouterr()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.out.splitlines() if "|" in line]
    counts = [(row[1], row[2], row[3]) for row in rows[2 : 2 + len(METHODS) * len(KINDS)]]
    assert counts == [(kind, n, n) for method in METHODS for n in ("2" if method == "w" else "1",) for kind in KINDS]
    assert sum(row[-1] in ("holds", "does not hold") for row in rows) == len(CLAIMS) * (len(KINDS) + 1)
    assert first.err.count("batch 1 of 3") == len(METHODS)
    # what is there is not measured again, and says the same
    spaces.main([*command, "--w", "2", "--figure", str(tmp_path / "figure.png")])
    assert capsys.readouterr() == (first.out, "")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.height > 32 * (1 + len(METHODS))  # the image, and what each method made of it
    spaces.main([*command, "--methods", "encoder"])
    again = capsys.readouterr()
    assert (again.err, "claim" in again.out) == ("", False)
    assert again.out.splitlines()[-1].rpartition("|")[0].rpartition("|")[0] in first.out
