"""The report of `invert attribute` as one HTML page: for each image the verdict, what it rests on, what it is worth.

Reference: the StyleGAN2 paper (Karras et al. 2020, section 5.1, figure 10) for the histograms of distances.
"""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from invert.attribution.attributions import Attribution
from invert.attribution.calibration import Calibration
from invert.attribution.candidate import Candidate
from invert.attribution.report.panels import Places, image_gallery, plot_all_places, readings
from invert.attribution.report.summary import (
    MAX_IMAGES,
    heading,
    lead,
    numbers,
    summary_table,
)
from invert.attribution.score import SCORE_NAMES
from invert.attribution.verdict import Finding, Outcome, Reading, Verdict, rate_sentence, ratio_sentence
from invert.errors import display_path
from invert.report.page import Block, Figure, Gallery, Paragraph, Section, Table, render_page
from invert.report.theme import Plot

__all__ = ["attribution_report"]

_MAX_LISTED = 12  # images that the list of links names
_MAX_LINE = 1500  # characters of the command in a paragraph
_LEGEND = (
    "A score is lower for what is more like the network's own images; below the threshold its rule fires. The LPIPS "
    "rule, that of the StyleGAN2 paper, looks at the distance alone, the evidence score also at what else the "
    "projection shows. p0 is "
    "the share of others' images that measure as low: small speaks for the network. p1 is the share of the network's "
    "own that measure as high: small speaks against it."
)


def attribution_report(
    networks: Sequence[Candidate],
    images: Sequence[Attribution],
    *,
    command: str,
    settings: Mapping[str, Any],
    software: Mapping[str, Any],
    rate: float | None = None,
) -> bytes:
    """Return the page; the same arguments give the same bytes.

    Args:
        networks: The networks, in the order asked.
        images: What is said about each image.
        command: Command that gives the same verdicts again, for a shell.
        settings: Values of the method and run records, by name.
        software: Versions by name.
        rate: Rate of false attributions; default each calibration's.
    """
    rates = [_rate(network, len(networks), rate) for network in networks]
    shown = images[:MAX_IMAGES]
    places = plot_all_places([network.calibration for network in networks], [one.verdict for one in shown])
    sections = [Section("Summary", list(_summary(networks, images, rates)))]
    for number, image in enumerate(shown):
        blocks = list(_image(networks, image, rates, places[number]))
        sections.append(Section(heading(number, image), blocks, listed=len(images) <= _MAX_LISTED))
    sections += [
        Section("Networks and calibrations", list(_networks(networks))),
        Section("Settings", [_values(settings)]),
        Section("Software", [_values(software)]),
        Section("To repeat", list(_command(command))),
    ]
    title = f"Attribution: {', '.join(network.name for network in networks)}"
    return render_page(title, sections, lead=lead(images))


def _rate(network: Candidate, share: int, rate: float | None) -> str:
    if network.calibration is None:
        return f"There is no calibration of {network.name}: what a distance is worth is not known."
    return rate_sentence(network.calibration, network.name, rate=rate, share=share)


def _summary(networks: Sequence[Candidate], images: Sequence[Attribution], rates: Sequence[str]) -> Iterator[Block]:
    yield summary_table(networks, images, first=2)
    if len(images) > MAX_IMAGES:
        more = len(images) - MAX_IMAGES
        yield Paragraph(f"The first {MAX_IMAGES} images have a section each; {more} more are only in this table.")
    yield from map(Paragraph, (*rates, _LEGEND))


def _image(networks: Sequence[Candidate], image: Attribution, rates: Sequence[str], places: Places) -> Iterator[Block]:
    if image.error is not None:
        yield Paragraph(f"Not read: {image.reason}.", notice=True)
        return
    yield _verdict(image.verdict)
    if image.threshold_rule:
        yield Paragraph(f"By the threshold that was given: {image.threshold_rule}.")
    for number, (network, answer, rate) in enumerate(zip(networks, image.answers, rates, strict=True)):
        yield image_gallery(network.name, answer.target.array, answer.reconstruction, answer.distance)
        if answer.finding is not None and network.calibration is not None:
            yield from _finding(answer.finding, network.calibration, number, places, len(networks) > 1)
        yield Paragraph(rate)
    yield from (Paragraph(f"The image: {text}.", notice=True) for text in image.warnings)
    yield Paragraph(f"sha256 of the file: {image.answers[0].target.file_sha256}")


def _verdict(verdict: Verdict | None) -> Paragraph:
    if verdict is None:
        return Paragraph("No verdict: not every network has a calibration.", notice=True)
    return Paragraph(
        f"Verdict: {verdict.text}.",
        notice=verdict.outcome is Outcome.CANNOT_TELL,
        main=verdict.outcome is not Outcome.CANNOT_TELL,
    )


def _finding(finding: Finding, calibration: Calibration, number: int, places: Places, several: bool) -> Iterator[Block]:
    if several:
        because = f": {finding.reason}" if finding.reason else ""
        yield Paragraph(f"{finding.network} alone, by the {SCORE_NAMES[finding.deciding]}: {finding.outcome}{because}.")
    shown = list(readings(finding))
    if shown:
        yield Gallery([_place(finding, score, reading, places[number, score]) for score, reading in shown])
        rows = [(SCORE_NAMES[score], *numbers(score, one), f"{one.ratio_high:.0f}") for score, one in shown]
        yield Table(rows, (f"against {finding.network}", "value", "threshold", "p0", "p1", "ratio", "largest ratio"))
    ratio = ratio_sentence(finding, calibration)
    if ratio:
        yield Paragraph(ratio)


def _place(finding: Finding, score: str, reading: Reading, plot: Plot) -> Figure:
    value, threshold, *_ = numbers(score, reading)
    what = SCORE_NAMES[score]
    role = "This score decides" if score == finding.deciding else "The LPIPS rule, for comparison"
    side = "below" if reading.below else "not below"
    return Figure(
        plot.light,
        f"Histograms of the {what} of {finding.network}'s own images and of others, and this image's place",
        f"{what[0].upper()}{what[1:]} {value}, {side} the threshold {threshold} set by {reading.population}. {role}.",
        plot.dark,
    )


def _networks(networks: Sequence[Candidate]) -> Iterator[Block]:
    for network in networks:
        rows = [("file", display_path(network.path)), ("sha256", network.sha256)]
        calibration = network.calibration
        if calibration is None:
            yield Table([*rows, ("calibration", "none")], caption=network.name)
            continue
        where = "-" if network.calibration_path is None else display_path(network.calibration_path)
        rows += [("calibration", where), ("method digest", calibration.digest), ("made by invert", calibration.tool)]
        rows += [(name, _value(value)) for name, value in vars(calibration.settings).items()]
        yield Table(rows, caption=network.name)
        populations = [
            (one.name, one.source, str(len(one.measurements)), str(one.left_out), one.sha256)
            for one in (calibration.own, *calibration.others)
        ]
        header = ("population", "source", "images", "left out", "sha256 of their pixel hashes")
        yield Table(populations, header, f"Images that the calibration of {network.name} was made with")


def _values(values: Mapping[str, Any]) -> Table:
    return Table([(str(name), _value(value)) for name, value in values.items()])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=os.fsdecode)


def _command(command: str) -> Iterator[Block]:
    """Show the command; what is too long for a paragraph continues in the next, as a shell accepts it."""
    line = ""
    for word in map(shlex.quote, shlex.split(command)):
        if line and len(line) + len(word) > _MAX_LINE:
            yield Paragraph(f"{line} \\", code=True)
            line = ""
        line = f"{line} {word}".lstrip()
    yield Paragraph(line, code=True)
    yield Paragraph(
        "The same networks, calibrations and images, known by their hashes above, give the same verdicts. The same "
        "settings, versions and kind of processor give the same numbers."
    )
