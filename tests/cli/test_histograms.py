"""`invert histograms` as a user runs it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.attribution.calibration_file import encode_calibration
from invert.attribution.report.charts import population_values
from tests.attribution import groups_case
from tests.attribution.calibration_case import calibration
from tests.cli.conftest import Invert


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two calibrations of the same method."""
    found = []
    for name, own in (("first", -4.0), ("second", -2.0)):
        made = calibration(own=own, others={"real": 0.0, "sibling": -1.0})
        found.append(tmp_path / f"{name}.calibration.json")
        found[-1].write_bytes(encode_calibration(made))
    return found


def test_calibrations_side_by_side(invert: Invert, paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "figures" / "both.png"
    result = invert("histograms", *paths, "-o", out)
    assert result.code == 0, result.err
    assert not result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("first: 640 of its own; AUC ")
    assert lines[1].startswith("second: 640 of its own; AUC ")
    both = np.asarray(Image.open(out).convert("RGB"))
    one = tmp_path / "one.png"
    assert invert("histograms", paths[0], "-o", one, "--score", "evidence").code == 0
    single = np.asarray(Image.open(one).convert("RGB"))
    assert both.shape[1] == pytest.approx(2 * single.shape[1], abs=2)
    blue = (both[..., 2].astype(int) - both[..., 0]) > 30  # the network's own, filled, in each half
    assert all(half.sum() > 1000 for half in np.array_split(blue, 2, axis=1))


def test_areas_are_those_of_the_distances(invert: Invert, paths: list[Path], tmp_path: Path) -> None:
    *_, summary = invert("histograms", *paths, "-o", tmp_path / "x.png", "--json").records()
    found = summary["calibrations"]
    assert [one["name"] for one in found] == ["first", "second"]
    for one, gap in zip(found, (4.0, 2.0), strict=True):
        for name, mean in (("real", 0.0), ("sibling", -1.0)):
            # Of two normal distributions of variance one: Phi(difference of the means / sqrt 2).
            expected = _phi((gap + mean) / np.sqrt(2))
            assert one["auc"][name] == pytest.approx(expected, abs=0.03)


def _phi(x: float) -> float:
    from scipy.stats import norm

    return float(norm.cdf(x))


def test_evidence_is_not_shown_where_it_was_fitted() -> None:
    made = calibration()
    assert {name: len(values) for name, values in population_values(made, "lpips").items()} == {
        "own": 640,
        "real": 640,
        "sibling": 640,
    }
    assert {len(values) for values in population_values(made, "evidence").values()} == {480}


def test_another_method_is_drawn_with_a_warning(invert: Invert, paths: list[Path], tmp_path: Path) -> None:
    made = calibration()
    other = tmp_path / "other.calibration.json"
    other.write_bytes(encode_calibration(dataclasses.replace(made, method={**made.method, "steps": 7})))
    result = invert("histograms", paths[0], other, "-o", tmp_path / "x.png")
    assert result.code == 0
    assert "is of another method (steps: 100, now 7)" in result.err


def test_levels_that_preset_exact_leaves_after_each_processing(invert: Invert, tmp_path: Path) -> None:
    exact = tmp_path / "exact.calibration.json"
    exact.write_bytes(encode_calibration(groups_case.calibration()))
    asked = ("histograms", exact, "--score", "rms", "--processing", "none jpeg:75")
    result = invert(*asked, "-o", tmp_path / "x.png")
    assert result.code == 0, result.err
    assert [line.partition(":")[0] for line in result.out.splitlines()[:2]] == ["exact", "exact after jpeg"]
    values = population_values(groups_case.calibration(), "rms", "none")
    assert {name: len(one) for name, one in values.items()} == {"own": 220, "real": 60, "sibling": 60}
    assert np.median(values["own"]) == pytest.approx(0.3, rel=0.1)
    assert np.median(values["real"]) > 0.5
    refused = invert("histograms", exact, "--score", "rms", "--processing", "blur:1", "-o", tmp_path / "y.png")
    assert refused.code == 2
    assert "'blur:1' is none of the calibration's: none, jpeg:75, reduce:0.5" in refused.err


def test_levels_are_of_preset_exact_alone(invert: Invert, paths: list[Path], tmp_path: Path) -> None:
    refused = invert("histograms", paths[0], "--score", "rms", "-o", tmp_path / "y.png")
    assert (refused.code, "Plot --score lpips" in refused.err) == (2, True)
    assert not (tmp_path / "y.png").exists()


def test_bad_input(invert: Invert, paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    assert invert("histograms", "-o", out).code == 2
    assert invert("histograms", tmp_path / "none.json", "-o", out).code == 2
    assert invert("histograms", *paths, "-o", tmp_path / "x.jpg").code == 2
    assert invert("histograms", *[paths[0]] * 7, "-o", out).code == 2
    damaged = tmp_path / "damaged.json"
    damaged.write_bytes(paths[0].read_bytes()[:-40])
    result = invert("histograms", paths[0], damaged, "-o", out)
    assert result.code == 2
    assert "damaged.json" in result.err
    assert not out.exists()
    assert invert("histograms", *paths, "-o", out).code == 0
    assert invert("histograms", *paths, "-o", out).code == 2
    assert invert("histograms", *paths, "-o", out, "--overwrite").code == 0
