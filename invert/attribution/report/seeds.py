"""Seeds in the report, the table and the CSV of `invert attribute`: what generates an image again."""

from collections.abc import Iterator, Sequence
from typing import Any

from invert.attribution.attributions import Attribution
from invert.attribution.candidate import Candidate
from invert.attribution.report.panels import seed_gallery
from invert.errors import display_path
from invert.report.page import Block, Paragraph
from invert.seeds.search import NO_EVIDENCE

__all__ = ["seed_blocks", "seed_cells", "seed_header"]

_CELLS = ("seed", "seed_psi", "seed_cutoff", "seed_noise", "seed_class", "seed_rms", "seeds_searched", "seed_command")


def seed_blocks(networks: Sequence[Candidate], image: Attribution) -> Iterator[Block]:
    """Yield what is to be said of the seeds of an image: nothing where none were searched for."""
    for network, answer in zip(networks, image.seeds, strict=False):
        named, last = answer.named, answer.searched - 1
        if named is None:
            yield Paragraph(f"No seed of {network.name} in 0..{last}: {answer.reason}. {NO_EVIDENCE}")
            continue
        yield Paragraph(f"{network.name} generates this image from {_words(answer)}.", main=True)
        yield seed_gallery(network.name, answer.target, named.image, named.rms, named.expected_rms)
        yield Paragraph(named.command(display_path(network.path)), code=True)


def _words(answer: Any) -> str:
    named = answer.named
    words = [f"seed {named.seed}", f"psi {named.truncation_psi:g}"]
    words += [] if named.truncation_cutoff is None else [f"the {named.truncation_cutoff} coarsest styles truncated"]
    words += [] if named.class_index is None else [f"class {named.class_index}"]
    words.append(f"{named.noise} noise")
    return ", ".join(words) + ("" if answer.processing == "none" else f", and {answer.processing} after that")


def seed_header(candidates: Sequence[Candidate]) -> list[str]:
    """Return the names of the columns of `seed_cells`."""
    return [f"{candidate.name}: {cell}" for candidate in candidates for cell in _CELLS]


def seed_cells(found: Attribution, candidates: Sequence[Candidate]) -> list[Any]:
    """Return the cells of an image in a row of CSV; what is not known is empty."""
    row: list[Any] = []
    for number, candidate in enumerate(candidates):
        answer = found.seeds[number] if number < len(found.seeds) else None
        if answer is None or answer.named is None:
            row += [*[""] * 6, "" if answer is None else answer.searched, ""]
            continue
        named = answer.named
        values = (named.seed, named.truncation_psi, named.truncation_cutoff, named.noise, named.class_index, named.rms)
        row += ["" if value is None else value for value in values]
        row += [answer.searched, named.command(display_path(candidate.path))]
    return row
