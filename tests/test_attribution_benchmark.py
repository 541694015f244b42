"""The arithmetic of the benchmark of verdicts, whose hours of measurements are no test's."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.attribution.attacks import ATTACKS, Attacker
from bench.attribution.cells import HELD_OUT, ROWS, Counts, add_held_out, add_verdicts
from bench.attribution.document import Text, at_least, at_most, counted, write_document
from bench.attribution.laboratory import Laboratory
from bench.attribution.naming import fresh_seeds
from bench.attribution.sealed import FOREIGN, MOST, RANDOM, SEALED
from bench.exact_inversion import INDEX
from bench.exact_inversion import SEED as TRIED
from bench.populations import CALIBRATION, EXACT, TESTS
from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.attribution.evaluation_rules import Share
from invert.attribution.perturbations import parse_perturbations
from invert.attribution.populations import FIRST_SEED
from invert.attribution.settings import OWN, PROCESSINGS
from invert.attribution.verdict import Finding, Outcome
from invert.projection import start, whitening
from invert.projection.likelihood import Point

SIDE = 16


def test_an_aim_says_by_how_much_it_is_missed() -> None:
    assert at_least(0.99).beside(Share(297, 300)) == ">= 99 %: met"
    assert at_least(0.99).beside(Share(294, 300)) == ">= 99 %: missed by 1.0"
    assert at_most(0.01).beside(Share(1, 100)) == "<= 1 %: met"
    assert at_most(0.01).beside(Share(4, 100)) == "<= 1 %: missed by 3.0"
    assert at_most(0.01).beside(Share(0, 0)) == "<= 1 %: not measured"
    assert counted([True, False, True]) == Share(2, 3)


def test_sections_that_are_not_made_stay(tmp_path: Path) -> None:
    path = tmp_path / "tables.md"
    path.write_text("# Old\n\n## Later\n\nkept | this\n\n## Gone\n\nno section\n\n## First\n\nold numbers\n")
    text = Text()
    text.say("new numbers")
    write_document(path, "# Title\n", ["First", "Later", "Never made"], {"First": text})
    assert path.read_text() == "# Title\n\n## First\n\nnew numbers\n\n## Later\n\nkept | this\n"


def test_sealed_images_are_those_of_nothing_else() -> None:
    spans: dict[str, list[tuple[int, int]]] = {}
    for one in SEALED.values():
        spans.setdefault("seeds" if not one.is_real else one.source, []).append((one.first, one.first + MOST))
    for kind, first, *count in (*CALIBRATION.values(), *EXACT.values(), *TESTS.values()):
        many = count[0] if isinstance(count[0], int) else 1000
        spans.setdefault(kind if kind in ("t10k", "train") else "seeds", []).append((first, first + many))
    spans["t10k"] += [(0, 32), (INDEX, INDEX + 1000)]  # samples, and trials
    tried = [(TRIED, TRIED + 1000), (whitening.SEED, whitening.SEED + 1000), (FIRST_SEED, FIRST_SEED + 10_000)]
    spans["seeds"] += [*tried, (start._SEED, start._SEED + 1000)]
    sealed = {(one.first, one.first + MOST) for one in SEALED.values()}
    for kind, its in spans.items():
        for a, b in itertools.combinations(its, 2):
            if a in sealed or b in sealed:
                assert a[1] <= b[0] or b[1] <= a[0], f"{kind}: {a} and {b}"
    assert all(one.first + MOST <= 10_000 for one in SEALED.values() if one.source == "t10k")


def test_seeds_to_be_named_are_different_and_unused() -> None:
    seeds = fresh_seeds(200, 20_000)
    assert len(set(seeds)) == 200
    assert min(seeds) >= 1000
    assert max(seeds) < 20_000
    assert fresh_seeds(10, 20_000) == seeds[:10]


def test_held_out_processings_are_in_no_calibration() -> None:
    known = {one.key for one in parse_perturbations(PROCESSINGS)}
    assert not known & set(HELD_OUT)
    assert [one.key for one in parse_perturbations(" ".join(HELD_OUT))] == list(HELD_OUT)


def _written(folder: Path, name: str, count: int) -> Path:
    raise AssertionError(f"{count} of {name} in {folder}: what is said needs no images")


class _Said(Laboratory):
    """A laboratory in which the outcomes of each population are known."""

    def __init__(self, outcomes: dict[str, list[Outcome]]) -> None:
        super().__init__(Path("none"), _written, {"exact": _Method()})  # type: ignore[dict-item]
        self._outcomes = outcomes

    def findings(self, method: str, population: str, count: int, processing: str = "none") -> list[Finding]:
        outcomes = self._outcomes.get(population, [Outcome.NONE])
        nothing: Any = None
        found = [Finding("A", nothing, None, None, "evidence", False, one, "why") for one in outcomes]
        return list(itertools.islice(itertools.cycle(found), count))


class _Method:
    most = 7

    class calibration:  # noqa: N801
        digest = "0123456789abcdef"

        class settings:  # noqa: N801
            rate = 0.01


A, N, C = Outcome.ATTRIBUTED, Outcome.NONE, Outcome.CANNOT_TELL


def _row(text: Text, *first: str) -> list[str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.lines if line.startswith("|")]
    return next(row for row in rows if row[: len(first)] == list(first))


def test_the_table_counts_what_is_attributed_and_what_is_not_told() -> None:
    text = Text()
    said = _Said({OWN: [A], RANDOM: [A, A, A, C], "real": [N], "B": [N, N, N, A], "C": [C]})
    add_verdicts(text, said, Counts(clean=20, processed=8, extra=0))
    row = _row(text, "none", "exact")
    assert [cell.partition("(")[0].strip() for cell in row[2:]] == ["100.0 %", "75.0 %", "0.0 %", "12.5 %", "14.3 %"]
    aims = text.lines[text.lines.index("| " + " | ".join(row) + " |") + 1]
    assert aims == (
        "|  | aim | >= 99 %: met | >= 97 %: missed by 22.0 | <= 1 %: met | <= 1 %: missed by 11.5 | "
        "<= 10 %: missed by 4.3 |"
    )
    assert len(FOREIGN) == 7  # of which one is never told: a seventh
    # without other populations a third of real, B and C is not told
    assert _row(text, "jpeg:75", "exact")[6].startswith("33.3 %")
    assert all(_row(text, one, "exact") for row in ROWS for one in row.processings)


def test_cells_over_the_promise_are_counted() -> None:
    text = Text()
    add_held_out(text, _Said({"B": [N] * 98 + [A] * 2, "C": [A]}), Counts(1, 100, 0))
    # B and C after each; of B the interval reaches down to what is promised
    cells = 3 * len(HELD_OUT)
    row = _row(text, "exact", str(cells))
    assert row[2].startswith("66.7 %")
    assert row[3] == "<= 5 %: missed by 61.7"
    assert row[4].startswith("33.3 %")


@pytest.fixture(scope="module")
def attacker() -> Attacker:
    torch.manual_seed(0)
    synthesis = SynthesisConfig(8, SIDE, channel_base=64, channel_max=8, img_channels=1)
    return Attacker(Generator(GeneratorConfig(MappingConfig(8, 0, 8, 2), synthesis)), bound=4, steps=10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_stays_within_its_bound_and_is_worth_it(attacker: Attacker, name: str) -> None:
    stream = np.random.default_rng(1)
    u = torch.from_numpy(stream.standard_normal([1, attacker.whitening.size]))
    with torch.no_grad():
        own = attacker.model(np.zeros([SIDE, SIDE, 1], np.uint8)).expected(Point(u))[0].permute(1, 2, 0).numpy()
    image = np.clip(np.rint(own + 20 * stream.standard_normal(own.shape) * ATTACKS[name].is_forger), 0, 255)
    image = image.astype(np.uint8)
    moved = ATTACKS[name].move(attacker, image, u)
    change = np.abs(moved.astype(np.int16) - image)
    assert moved.dtype == np.uint8
    assert 0 < change.max() <= 4
    before, after = (float(attacker.model(one).q(Point(u))) for one in (image, moved))
    assert (after < before) == ATTACKS[name].is_forger
