"""An evaluation for people: its tables, as text and on a self-contained HTML page with the charts."""

from collections.abc import Iterator, Sequence

from invert.attribution.calibration import Calibration
from invert.attribution.calibration_file import CalibrationFile
from invert.attribution.evaluation import CLEAN, RATES, Evaluation
from invert.attribution.evaluation_rules import TERCILES
from invert.attribution.perturbations import parse_perturbations
from invert.attribution.promise import rate_sentence
from invert.attribution.report.charts import plot_distances, plot_roc
from invert.attribution.score import SCORE_NAMES
from invert.attribution.settings import OWN, SCORES
from invert.attribution.verdict import Outcome
from invert.errors import display_path
from invert.report.page import Block, Figure, Gallery, Paragraph, Section, Table, render_page
from invert.report.theme import Plot

__all__ = ["evaluation_page", "overview_table", "tables"]

_OWN_ROW = "own images, rightly"


def tables(evaluation: Evaluation) -> list[Table]:
    """Return all tables of an evaluation: separation, verdicts, matched thresholds, rules, complexity."""
    return [_separation(evaluation), _verdicts(evaluation), _matched(evaluation), _rules(evaluation), *_rho(evaluation)]


def overview_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return what the clean threshold does under each perturbation: own images found, others by mistake."""
    names = [one.name for one in evaluations[0].others if one.score == SCORES[0]]
    rows = []
    for evaluation in evaluations:
        for own in evaluation.own:
            others = [str(one.attributed) for one in evaluation.others if one.score == own.score]
            rows.append((evaluation.perturbation, own.score, str(own.attributed), *others))
    header = ("perturbation", "score", _OWN_ROW, *(f"{name}, by mistake" for name in names))
    return Table(rows, header, "Attributed by the calibration's threshold, which is of clean images")


def _separation(evaluation: Evaluation) -> Table:
    header = ("score", "against", "n", "AUC", "TPR at 1 % FPR", "TPR at 5 % FPR", "attributed by mistake", "Cllr")
    rows: list[tuple[str, ...]] = []
    for own in evaluation.own:
        for one in evaluation.others:
            if one.score == own.score:
                rates = [f"{100 * tpr:.1f} % ({100 * low:.1f}-{100 * high:.1f})" for tpr, low, high in one.found]
                area = f"{one.auc:.3f} ({one.auc_low:.3f}-{one.auc_high:.3f})"
                ratio = f"{one.cllr:.2f}, at best {one.cllr_min:.2f}"
                rows.append((one.score, one.name, str(len(one.scores)), area, *rates, str(one.attributed), ratio))
        rows.append((own.score, _OWN_ROW, str(len(own.scores)), "", "", "", str(own.attributed), ""))
    caption = f"Own images against others; promised rate of mistakes {_percent(evaluation.promised)}"
    fewest = min(len(one.scores) for one in evaluation.others)
    if fewest * RATES[0] < 1:
        caption += f"; 1 % of {fewest} images is none of them, so that the rate is not known to be so low"
    return Table(rows, header, caption)


def _verdicts(evaluation: Evaluation) -> Table:
    rows = [(name, *(str(counts[str(one)]) for one in Outcome)) for name, counts in evaluation.verdicts.items()]
    return Table(rows, ("images of", *map(str, Outcome)), "Verdicts")


def _matched(evaluation: Evaluation) -> Table:
    rows = [
        (one.score, one.population, one.rule, _percent(one.rate), str(one.found), f"{one.threshold:.3f}")
        for one in evaluation.matched
    ]
    header = ("score", "set on", "rule", "rate", _OWN_ROW, "threshold")
    caption = "Thresholds set on these very images; an empirical one promises nothing for others"
    return Table(rows, header, caption)


def _rules(evaluation: Evaluation) -> Table:
    names = list(evaluation.verdicts)
    rows: list[tuple[str, ...]] = []
    for one in evaluation.rules:
        counts = [str(one.attributed[name]) for name in names] if one.attributed else ["-"] * len(names)
        needs = f", needs {one.needed} others" if one.needed else ""
        rows.append((one.score, one.rule + needs, "yes" if one.controlled else "no", *counts))
    header = ("score", "rule", "controls mistakes", *(_OWN_ROW if name == OWN else name for name in names))
    return Table(rows, header, "Rules compared, each set on the calibration's images")


def _rho(evaluation: Evaluation) -> Iterator[Table]:
    rows = [
        (
            one.score,
            one.population,
            "-" if one.spearman is None else f"{one.spearman:.2f}",
            *(f"{share} of {share.total}" if share.total else "-" for share in one.terciles),
        )
        for one in evaluation.complexity
    ]
    if rows:
        header = ("score", "images of", "Spearman's rho", *TERCILES)
        yield Table(rows, header, "Complexity: its correlation with the score, and others attributed by mistake")


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def evaluation_page(
    used: CalibrationFile,
    network: str,
    evaluations: Sequence[Evaluation],
    command: str,
    notes: Sequence[str] = (),
) -> bytes:
    """Return the evaluation as one self-contained HTML page.

    Args:
        used: The calibration that was evaluated.
        network: Name of the network.
        evaluations: Evaluation of clean images first, then those of perturbed ones.
        command: Command that evaluated it.
        notes: What the reader should not miss.
    """
    calibration = used.calibration
    sections = [Section(_title(one), list(_section(calibration, one))) for one in evaluations]
    if len(evaluations) > 1:
        sections.insert(0, Section("Perturbations", [overview_table(evaluations)]))
    rows = [("command", command), ("network", f"{network}, sha256 {calibration.network['sha256']}")]
    where = "from memory" if used.path is None else display_path(used.path)
    rows += [("calibration", f"{where}, sha256 {used.sha256}")]
    rows += [("method digest", calibration.digest), ("calibration made by invert", calibration.tool)]
    for population in calibration.populations:
        rows.append(
            (f"calibrated on {population.label}", f"{len(population.measurements)}, sha256 {population.sha256}")
        )
    left_out = [f"{count} {name}" for name, count in evaluations[0].left_out.items() if count]
    rows.append(("measured, but not counted", ", ".join(left_out) or "none"))
    remarks = [*(Paragraph(note, notice=True) for note in notes), Paragraph(rate_sentence(calibration, network))]
    sections.append(Section("What was evaluated", [*remarks, Table(rows)]))
    return render_page(f"Evaluation of {network}", sections, lead="How well its images are told from others")


def _title(evaluation: Evaluation) -> str:
    return "Clean images" if evaluation.perturbation == CLEAN else f"Perturbed: {evaluation.perturbation}"


def _section(calibration: Calibration, evaluation: Evaluation) -> Iterator[Block]:
    first, second, *more = tables(evaluation)
    if evaluation.perturbation != CLEAN:
        (perturbation,) = parse_perturbations(evaluation.perturbation)
        yield Paragraph(f"{perturbation.key}: {perturbation.help}.")
    yield first
    yield second
    figures = [
        _figure(
            plot_distances(calibration, evaluation, score),
            f"Own images and others by {SCORE_NAMES[score]}",
        )
        for score in SCORES
    ]
    yield Gallery([*figures, _figure(plot_roc(evaluation), "Own images found at each rate of mistakes")])
    yield from more


def _figure(plot: Plot, caption: str) -> Figure:
    return Figure(plot.light, f"{caption}; the tables have the numbers", caption, plot.dark)
