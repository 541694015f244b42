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
from invert.attribution.candidate import Candidate, LoadedCandidate
from invert.attribution.explained import group_text
from invert.attribution.promise import Promise, promise_of, ratio_sentence
from invert.attribution.report.panels import Places, image_gallery, plot_all_places, readings
from invert.attribution.report.rows import EXPLAINED, explained_texts, reading_texts
from invert.attribution.report.seeds import seed_blocks
from invert.attribution.report.summary import MAX_IMAGES, heading, lead, summary_table
from invert.attribution.ruling import sharing
from invert.attribution.score import SCORE_NAMES
from invert.attribution.verdict import Finding, Outcome, Reading
from invert.errors import display_path
from invert.report.page import Block, Figure, Gallery, Paragraph, Section, Table, render_page
from invert.report.theme import Plot
from invert.statistics.likelihood import ratio_text

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
    date: str,
) -> bytes:
    """Return the page; the same arguments give the same bytes.

    Args:
        networks: The networks and what they are judged by, in the order asked.
        images: What is said about each image.
        command: Command that gives the same verdicts again, for a shell.
        settings: Values of the method and run records, by name.
        software: Versions by name.
        date: When it was made, in words.
    """
    rates = [promise_of(network, sharing(networks)).sentence for network in networks]
    shown = images[:MAX_IMAGES]
    places = plot_all_places([network.calibration for network in networks], [one.verdict for one in shown])
    sections = [Section("Summary", list(_summary(networks, images, rates)))]
    for number, image in enumerate(shown):
        blocks = list(_image(networks, image, rates, places[number]))
        sections.append(Section(heading(number, image), blocks, listed=len(images) <= _MAX_LISTED))
    sections += [
        Section("Images", [_files(images)]),
        Section("Networks and calibrations", list(_networks(networks))),
        Section("Settings", [_values(settings)]),
        Section("Software", [_values(software)]),
        Section("To repeat", list(_command(command, date))),
    ]
    title = f"Attribution: {', '.join(network.name for network in networks)}"
    return render_page(title, sections, lead=lead(images))


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
    yield _verdict(image)
    if image.caveats:
        doubts = "; ".join(image.caveats)
        yield Paragraph(f"No rate is promised for such an image: {doubts}.", notice=True)
    for number, (network, answer, rate) in enumerate(zip(networks, image.answers, rates, strict=True)):
        yield image_gallery(network.name, answer.target.array, answer.reconstruction, answer.distance)
        if answer.finding is not None:
            yield from _finding(answer.finding, network.calibration, number, places, len(networks) > 1)
        yield Paragraph(rate)
    yield from seed_blocks(networks, image)
    yield Table([(name, value) for name, value in zip(_FILE, _file(image), strict=True) if value != "-"])


_FILE = ("sha256 of the file", "sha256 of its pixels", "format", "original size", "changed", "notes")


def _file(image: Attribution) -> tuple[str, ...]:
    """Return what is known of an image's file, under the names of `_FILE`."""
    if not image.answers:
        return ("-",) * 4 + (image.reason, "-")
    target = image.answers[0].target
    # Networks of another size are given other pixels.
    pixels = dict.fromkeys(answer.target.pixel_sha256 for answer in image.answers)
    size = " x ".join(map(str, target.original_size))
    texts = "; ".join(image.warnings) or "-", "; ".join(image.notes) or "-"
    return target.file_sha256, ", ".join(pixels), target.format or "-", size, *texts


def _files(images: Sequence[Attribution]) -> Table:
    rows = [(heading(number, image), *_file(image)) for number, image in enumerate(images)]
    return Table(rows, ("image", *_FILE), "All images; pixels are those that the network is given")


def _verdict(image: Attribution) -> Paragraph:
    verdict = image.verdict
    if verdict is None:
        return Paragraph("No verdict: there is no calibration, no threshold and no own samples.", notice=True)
    return Paragraph(
        f"Verdict: {verdict.text}.",
        notice=verdict.outcome is Outcome.CANNOT_TELL,
        main=verdict.outcome is not Outcome.CANNOT_TELL,
    )


def _finding(
    finding: Finding, calibration: Calibration | None, number: int, places: Places, several: bool
) -> Iterator[Block]:
    if several:
        because = f": {finding.reason}" if finding.reason else ""
        yield Paragraph(f"{finding.network} alone, by the {SCORE_NAMES[finding.deciding]}: {finding.outcome}{because}.")
    shown = list(readings(finding))
    if shown:
        plotted = [(score, one) for score, one in shown if (number, score) in places]
        if plotted:
            yield Gallery([_place(finding, score, one, places[number, score]) for score, one in plotted])
        rows = [(SCORE_NAMES[score], *reading_texts(score, one), _largest(one)) for score, one in shown]
        yield Table(rows, (f"against {finding.network}", "score", "threshold", "p0", "p1", "ratio", "largest ratio"))
    yield from _explained(finding)
    ratio = "" if calibration is None else ratio_sentence(finding, calibration)
    if ratio:
        yield Paragraph(ratio)


def _explained(finding: Finding) -> Iterator[Block]:
    """Say how preset exact explains the image, and whose threshold it is compared with."""
    found, reading = finding.measurement.explained, finding.reading
    if found is None:
        return
    rows = list(zip(("what happened to it", *EXPLAINED), (found.text, *explained_texts(found)), strict=True))
    if reading is not None and reading.group:
        rows.append(("compared with images of the group", group_text(reading.group)))
    yield Table(rows, caption=f"How {finding.network} explains the image")


def _largest(reading: Reading) -> str:
    return "-" if reading.ratio_high is None else ratio_text(reading.ratio_high)


def _place(finding: Finding, score: str, reading: Reading, plot: Plot) -> Figure:
    value, threshold, *_ = reading_texts(score, reading)
    what = SCORE_NAMES[score]
    role = "This score decides" if score == finding.deciding else "The LPIPS rule, for comparison"
    side = "below" if reading.below else "not below"
    setter = reading.population or "the user"
    return Figure(
        plot.light,
        f"Histograms of the {what} of {finding.network}'s own images and of others, and this image's place",
        f"{what[0].upper()}{what[1:]} {value}, {side} the threshold {threshold} set by {setter}. {role}.",
        plot.dark,
    )


def _networks(networks: Sequence[Candidate]) -> Iterator[Block]:
    share = sharing(networks)
    for network in networks:
        rows = [("file", display_path(network.path)), ("sha256", network.sha256)]
        calibration = network.calibration
        rows += _judging(network, promise_of(network, share))
        if calibration is None:
            yield Table([*rows, ("calibration", "none")], caption=network.name)
            continue
        where = "from memory" if network.calibration_path is None else display_path(network.calibration_path)
        rows += [("calibration", where), ("sha256 of the calibration", network.calibration_sha256 or "-")]
        rows += [("method digest", calibration.digest), ("made by invert", calibration.tool)]
        rows += [(f"calibrated: {name}", _value(value)) for name, value in vars(calibration.settings).items()]
        yield Table(rows, caption=network.name)
        populations = [
            (one.label, one.source, str(len(one.measurements)), str(one.left_out), kind.text, one.sha256)
            for one, kind in zip(calibration.populations, calibration.kinds.values(), strict=True)
        ]
        header = ("population", "source", "images", "left out", "kind", "sha256 of their pixel hashes")
        yield Table(populations, header, f"Images that the calibration of {network.name} was made with")


def _judging(network: Candidate, promise: Promise) -> Iterator[tuple[str, str]]:
    """Yield what a network is judged by: what was asked for, which need not be what its calibration was made for."""
    if isinstance(network, LoadedCandidate) and network.calibration is None:
        yield "method digest", network.digest
    yield "score that decides", SCORE_NAMES[network.deciding]
    if network.threshold is not None:
        yield "threshold given", f"{network.threshold:g}"
    if promise.rate is not None:
        yield "rate", f"{100 * promise.rate:.3g} %, shared by {promise.share}"
    if promise.attributed:
        yield "attributed of the calibration", promise.counts
    if promise.miss_rate is not None:
        yield "miss rate", f"{100 * promise.miss_rate:.3g} %"
    if promise.missed is not None:
        yield "own images called none of these, of the calibration", "{} of {}".format(*promise.missed)


def _values(values: Mapping[str, Any]) -> Table:
    return Table([(str(name), _value(value)) for name, value in values.items()])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=os.fsdecode)


def _command(command: str, date: str) -> Iterator[Block]:
    """Show the command; what is too long for a paragraph continues in the next, as a shell accepts it."""
    line = ""
    for word in map(shlex.quote, shlex.split(command)):
        if line and len(line) + len(word) > _MAX_LINE:
            yield Paragraph(f"{line} \\", code=True)
            line = ""
        line = f"{line} {word}".lstrip()
    yield Paragraph(line, code=True)
    yield Paragraph(f"Made {date}.")
    yield Paragraph(
        "The same networks, calibrations and images, known by their hashes above, give the same verdicts. The same "
        "settings, versions and kind of processor give the same numbers."
    )
