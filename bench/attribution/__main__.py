"""How well network A's images are told from others: the tables of bench/attribution.md.

    python -m bench.attribution [--count 300] [--processed 100] [--only verdicts --only costs] [--work runs/attribution]

The two methods that are compared are those of the calibrations that come with the project, or that are named. All that
is measured is kept in the work folder, so that the same command goes on where it was stopped; sections that are not
made stay as the document has them. Those of preset verdict by itself, which take hours more, and that of faces, which
`make faces` draws, are made where --only names them.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from bench.attribution import attacks, cells, costs, distances, faces, gap, larger, naming
from bench.attribution.document import Text, write_document
from bench.attribution.laboratory import NETWORK, Laboratory, Method, shipped_calibration
from bench.attribution.sealed import write_sealed
from bench.machine import machine
from bench.populations import FASHION_MNIST
from generator.files.reading import load
from generator.processors import processors

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Section:
    """A section of the document.

    Attributes:
        heading: Its heading.
        add: Measures, and adds what is found to a text.
        is_usual: Whether it is made unless others are named.
    """

    heading: str
    add: Callable[[Text, Laboratory, argparse.Namespace], None]
    is_usual: bool = True


def _counts(given: argparse.Namespace) -> cells.Counts:
    return cells.Counts(given.count, given.processed, given.extra)


def _naming(given: argparse.Namespace) -> naming.Naming:
    return naming.Naming(given.seeds, given.count, given.processed, given.directions, given.far)


def _of_distances(add: Callable[[Text, distances.Distances], None]) -> Callable[..., None]:
    def section(text: Text, laboratory: Laboratory, given: argparse.Namespace) -> None:
        add(text, distances.Distances(laboratory, given.fashion_mnist, given.count, given.without))

    return section


SECTIONS = {
    "verdicts": Section("Verdicts", lambda text, lab, given: cells.add_verdicts(text, lab, _counts(given))),
    "held-out": Section(
        "Processings that no calibration has seen",
        lambda text, lab, given: cells.add_held_out(text, lab, _counts(given)),
    ),
    "costs": Section(
        "Time and recovery", lambda text, lab, given: costs.add_costs(text, lab, given.timed, given.count)
    ),
    "gap": Section("The gap", lambda text, lab, given: gap.add_gap(text, lab, _counts(given), given.figure)),
    "seeds": Section("Seeds", lambda text, lab, given: naming.add_naming(text, lab, _naming(given))),
    "attacks": Section(
        "Attacks",
        lambda text, lab, given: attacks.add_attacks(text, lab, given.attacked, given.bound, given.gradients),
    ),
    "larger": Section(
        "Larger networks",
        lambda text, lab, given: larger.add_larger(text, lab, given.sides, given.large, given.adam),
    ),
    "faces": Section(
        "Faces, 64 px, in colour",
        lambda text, lab, given: faces.add_faces(text, lab, given.faces, _counts(given)),
        is_usual=False,  # needs the faces that an npm package draws
    ),
    "clean": Section("Preset verdict: its calibration", _of_distances(distances.add_clean), False),
    "methods": Section(
        "Preset verdict: steps, starts, backbones, noise, restarts", _of_distances(distances.add_methods), False
    ),
    "chance": Section("Preset verdict: another seed", _of_distances(distances.add_chance), False),
}
"""All sections by their names on the command line, in the order of the document."""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(
        prog="python -m bench.attribution",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--work", type=Path, default=Path("runs/attribution"))
    found.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "attribution.md")
    found.add_argument("--fashion-mnist", type=Path, default=FASHION_MNIST)
    found.add_argument("--exact", type=Path, help="calibration by preset exact; default the one of data/networks")
    found.add_argument("--verdict", type=Path, help="calibration by preset verdict, likewise")
    found.add_argument("--workers", type=int, default=processors(), help="processes that share images")
    found.add_argument("--only", choices=SECTIONS, action="append", default=[], help="make this section")
    found.add_argument("--count", type=int, default=300, help="images of a population as they are")
    found.add_argument("--processed", type=int, default=100, help="images after each processing: own, real, B and C")
    found.add_argument("--extra", type=int, default=100, help="the same of the other populations; 0 for none")
    found.add_argument("--beside", type=int, help="images of a cell by preset verdict, at most; default as many")
    found.add_argument("--timed", type=int, default=32, help="images of each kind whose verdicts are timed")
    found.add_argument("--seeds", type=int, default=1_000_000, help="seeds that are searched")
    found.add_argument("--directions", type=int, default=300, help="images of random w that are searched for")
    found.add_argument("--far", type=int, default=100_000, help="random w beside the nearest seed alone")
    found.add_argument("--attacked", type=int, default=100, help="images of each attack")
    found.add_argument("--bound", type=int, default=4, help="levels that an attack changes at most")
    found.add_argument("--gradients", type=int, default=100, help="of a forger, at each of three variances")
    found.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256], help="of untrained networks, in pixels")
    found.add_argument("--large", type=int, default=3, help="images of each; one by preset paper")
    found.add_argument("--adam", type=int, nargs="+", default=[100, 1000], help="steps of preset paper with them")
    found.add_argument("--faces", type=Path, default=Path("runs/faces64-test.zip"), help="faces that no network saw")
    found.add_argument("--figure", type=Path, default=DOCS / "gap-sealed.png", help="where the figure of the gap goes")
    found.add_argument("--without", metavar="METHOD", action="append", default=[], help="such as 'paper, 1000 steps'")
    return found


def methods(given: argparse.Namespace, names: Sequence[str]) -> dict[str, Method]:
    """Return the methods that are compared, of these names."""
    found = {}
    for name in names:
        path = getattr(given, name) or shipped_calibration(name)
        if path is None:
            raise SystemExit(f"there is no calibration of network A by preset {name}: name one with --{name}")
        found[name] = Method.of(path, given.beside if name == "verdict" else None)
        if found[name].calibration.method["preset"] != name:
            raise SystemExit(f"{path} is not by preset {name}")
    return found


def main() -> None:
    """Make the sections and write the file after each."""
    given = parser().parse_args()
    torch.set_num_threads(1)
    chosen = given.only or [name for name, section in SECTIONS.items() if section.is_usual]
    # what is about preset verdict by itself needs no other calibration
    names = ("verdict", "exact") if any(SECTIONS[name].is_usual for name in chosen) else ("verdict",)
    write = partial(write_sealed, given.fashion_mnist)
    laboratory = Laboratory(given.work, write, methods(given, names), given.workers)
    title = (
        "# Attribution to network A, measured\n\n"
        "32 x 32 networks of garments, unless a section says otherwise; nothing here implies the same rates for\n"
        "photographs or larger networks. Made\n"
        f"by `make benchmark-attribution`; network {load(NETWORK).provenance.sha256[:16]}.\n{machine()}\n"
    )
    order = [section.heading for section in SECTIONS.values()]
    for name in chosen:
        text = Text()
        SECTIONS[name].add(text, laboratory, given)
        write_document(given.out, title, order, {SECTIONS[name].heading: text})


if __name__ == "__main__":
    main()
