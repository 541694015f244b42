"""Evaluations of made-up measurements, where what should come out is known."""

import dataclasses
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from invert.attribution.calibration_file import CalibrationFile
from invert.attribution.evaluation import attributed, evaluate, known, usable
from invert.attribution.evaluation_rules import Share
from invert.attribution.measurements import Measurement
from invert.attribution.report.charts import plot_roc, standalone
from invert.attribution.report.evaluation import evaluation_page, overview_table, tables
from invert.attribution.settings import CalibrationSettings
from invert.errors import NoInputError
from invert.statistics.thresholds import neyman_pearson
from tests.attribution.calibration_case import calibration, measurement, measurements


@pytest.mark.slow
def test_areas_rates_and_counts() -> None:
    made = calibration(own=-4)
    count = 1600  # the standard deviation of a TPR at 1 % of them is 0.035
    own = measurements("fresh own", count, -4)
    others = {"real": measurements("fresh real", count, 0), "sibling": measurements("fresh sibling", count, -2)}
    found = evaluate(made, {"own": own, **others})
    lpips = {one.name: one for one in found.others if one.score == "lpips"}
    for name, shift in (("real", 4), ("sibling", 2)):
        one = lpips[name]
        assert one.auc is not None
        assert one.auc_low is not None
        assert one.auc_high is not None
        assert one.auc == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=0.02)
        assert one.auc_low < one.auc < one.auc_high or one.auc == 1
        expected = norm.cdf(norm.ppf(0.01) + shift)
        assert one.found[0][0] == pytest.approx(expected, abs=0.1)
        threshold = made.threshold("lpips", 0.5)[1].value
        assert one.attributed.count == int((one.scores < threshold).sum())
        assert one.cllr_min is not None
        assert one.cllr is not None
        assert 0 <= one.cllr_min <= one.cllr + 1e-9
        assert one.bootstrap is not None
        assert one.bootstrap == pytest.approx((one.auc_low, one.auc_high), abs=0.01)
    for counts in found.verdicts.values():
        assert sum(counts.values()) == count
    assert found.verdicts["own"]["attributed"] > 100 * found.verdicts["real"]["attributed"]
    assert json.loads(json.dumps(found.to_record(), allow_nan=False))["promised_fpr"] == 0.01


def test_a_share_has_its_exact_interval() -> None:
    assert str(Share(0, 300)) == "0.0 % (0.0-1.2)"
    assert Share(5, 500).interval == pytest.approx((0.0033, 0.0232), abs=1e-4)


def test_diverged_images_do_not_count_and_empty_populations_are_refused() -> None:
    made = calibration()
    bad = measurement(-9, key="bad", status="diverged")
    found = evaluate(made, {"own": [*measurements("o", 50, -4), bad], "real": measurements("r", 50, 0)})
    assert found.own[0].attributed.total == 50
    with pytest.raises(NoInputError, match="'real' has no usable image"):
        evaluate(made, {"own": measurements("o", 50, -4), "real": [bad]})


def test_what_gets_no_score_does_not_count_and_each_content_counts_once() -> None:
    made = calibration()
    fine = measurements("fine", 4, -4)
    blind = dataclasses.replace(fine[0], pixel_sha256="b", evidence={**fine[0].evidence, "pixel_rmse": float("nan")})
    small = measurement(-4, key="small", upsampled=True)
    again = dataclasses.replace(fine[1], name=b"again")
    everything = [*fine, blind, small, again]
    assert usable(made, everything) == fine
    found = evaluate(made, {"own": everything, "real": measurements("r", 9, 0)})
    assert found.left_out == {"own": 3, "real": 0}
    with pytest.raises(NoInputError, match="1 usable image, 2 are needed"):
        evaluate(made, {"own": fine[:1], "real": measurements("r", 9, 0)})


def test_images_of_the_calibration_are_recognised() -> None:
    made = calibration(count=640)
    assert known(made, [*measurements("real", 10, 0.0), *measurements("new", 5, 0.0)]) == 10


def test_rules_are_set_on_the_calibration_and_only_two_control_mistakes() -> None:
    made = calibration(own=-2.5)
    found = evaluate(made, {"own": measurements("o", 300, -2.5), "sibling": measurements("s", 2000, -1)})
    rules = {one.rule: one for one in found.rules if one.score == "lpips"}
    assert [name for name, one in rules.items() if one.controlled] == ["Neyman-Pearson", "conformal"]
    assert rules["Neyman-Pearson"].threshold == made.threshold("lpips", 0.5)[1].value
    mistakes = {name: one.attributed["sibling"] for name, one in rules.items()}
    assert mistakes["Neyman-Pearson"].count <= mistakes["conformal"].count <= mistakes["quantile"].count
    assert mistakes["Neyman-Pearson"].interval[0] <= 0.01
    # Own images have log distances N(-2.5, 1), others N(-1, 1): Grubbs' limit lies 3.6 deviations above the mean.
    assert mistakes["Grubbs"].count / 2000 > 0.9
    assert mistakes["95 % of a density"].count / 2000 == pytest.approx(norm.cdf(-2.5 + 1.645 + 1), abs=0.1)


def test_a_rule_that_needs_more_images_says_how_many() -> None:
    made = calibration(count=240, settings=CalibrationSettings(score="lpips", rule="conformal"))
    found = evaluate(made, {"own": measurements("o", 20, -4), "real": measurements("r", 20, 0)})
    rule = found.rules[0]
    assert (rule.rule, rule.threshold, rule.needed, dict(rule.attributed)) == ("Neyman-Pearson", None, 299, {})
    assert "Neyman-Pearson, needs 299 others" in {row[1] for row in tables(found)[3].rows}


def test_matched_thresholds_promise_only_where_there_are_enough_images() -> None:
    made = calibration()
    own = measurements("blurred own", 200, -3)
    others = {"many": measurements("many", 400, 0), "few": measurements("few", 100, 0)}
    found = evaluate(made, {"own": own, **others}, perturbation="blur:1")
    matched = {one.population: one for one in found.matched if one.score == "lpips"}
    assert {name: one.rule for name, one in matched.items()} == {"many": "neyman-pearson", "few": "empirical"}
    negatives = {name: np.sort([one.evidence["lpips"] for one in rows]) for name, rows in others.items()}
    assert matched["many"].threshold == neyman_pearson(negatives["many"], 0.01).value
    assert matched["few"].threshold == negatives["few"][1]  # one of the hundred lies below
    distances = np.array([one.evidence["lpips"] for one in own])
    for one in matched.values():
        assert one.found == Share(int((distances < one.threshold).sum()), 200)


def test_simple_images_that_are_accused_show() -> None:
    made = calibration()
    below = made.threshold("lpips", 0.5)[1].value

    def ramp(count: int) -> list[Measurement]:
        rows = [measurement(below - 0.95 + 3 * n / count, complexity=0.1 + 0.8 * n / count) for n in range(count)]
        return [dataclasses.replace(one, evidence={**one.evidence, "pixel_rmse": n}) for n, one in enumerate(rows)]

    found = evaluate(
        made, {"own": measurements("o", 20, -4), "easy": ramp(90), "flat": [measurement(0, key=k) for k in "ab"]}
    )
    easy, flat = (one for one in found.complexity if one.score == "lpips")
    assert easy.spearman == pytest.approx(1)
    assert [share.count for share in easy.terciles] == [29, 0, 0]
    assert sum(share.total for share in easy.terciles) == 90
    assert flat.spearman is None


def test_thresholds_of_bins_are_used() -> None:
    made = calibration()
    below = made.threshold("lpips", 0.5)[1].value
    found = [measurement(below - 0.1, key="a"), measurement(below + 0.1, key="b"), measurement(below, key="c")]
    assert attributed(made, "lpips", found) == Share(1, 3)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


@pytest.mark.slow
def test_the_page_has_tables_and_figures_and_no_script() -> None:
    made = calibration()
    clean = evaluate(made, {"own": measurements("o", 60, -4), "<b>real</b>": measurements("r", 60, 0)})
    blurred = evaluate(
        made,
        {"own": measurements("o2", 60, -3), "<b>real</b>": measurements("r2", 60, 0)},
        perturbation="blur:1",
    )
    page = evaluation_page(CalibrationFile.of(made), "A", [clean, blurred], "invert evaluate <x>").decode()
    parser = _Elements()
    parser.feed(page)
    assert "script" not in parser.seen
    assert "b" not in parser.seen
    assert parser.seen.count("table") == 2 * 5 + 2  # five of each, the perturbations side by side, and what was done
    assert "Perturbed: blur:1" in page
    assert "blur:1: blur with a Gaussian" in page
    assert evaluation_page(CalibrationFile.of(made), "A", [clean, blurred], "invert evaluate <x>").decode() == page
    assert plot_roc(clean).light.startswith(b"\x89PNG")
    separation, verdicts, *_ = tables(clean)
    assert [row[1] for row in separation.rows] == ["<b>real</b>", "own images, rightly"] * 2
    assert [row[0] for row in verdicts.rows] == ["own", "<b>real</b>"]
    assert separation.caption.endswith("1 % of 60 images is none of them, so that the rate is not known to be so low")
    overview = overview_table([clean, blurred])
    assert [row[0] for row in overview.rows] == ["none", "none", "blur:1", "blur:1"]
    assert all(len(row) == len(table.header) for table in [*tables(clean), overview] for row in table.rows)
    histograms, curves = standalone(made, clean)
    for data in (histograms, curves):
        image = Image.open(io.BytesIO(data)).convert("RGBA")
        assert image.getpixel((0, 0)) == (255, 255, 255, 255)
