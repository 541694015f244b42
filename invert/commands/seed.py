"""`invert seed`: the seed, truncation and noise from which a network generated images."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from invert import api
from invert.batch.work import Failed
from invert.cli import inputs, options
from invert.cli.output import Output
from invert.cli.progress import ProjectionProgress, SweepProgress
from invert.errors import ExitCode, display_path
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig

if TYPE_CHECKING:
    from invert.attribution.attributions import Attribution
    from invert.attribution.candidate import LoadedCandidate
    from invert.projection.projector import StepRecord
    from invert.seeds.search import SeedAnswer

__all__ = ["SeedOutput", "search_attributions", "seed", "seed_search"]

_SEEDS = click.IntRange(1, 1 << 32)

seed_search = options.option(
    "--seed-search",
    metavar="N",
    type=_SEEDS,
    help="Search the seeds 0 to N - 1 for those from which the networks generated the images: see 'invert seed'.",
)


@options.command(
    short_help="Find the seed from which a network generated an image.",
    examples=(
        "invert seed photo.png --network ffhq.pkl",
        "invert seed photos/ projections/ latents.h5 --network ffhq.pkl --max 100000",
    ),
)
@inputs.images("images", "IMAGE...")
@options.network(required=False)
@options.option(
    "--max",
    "maximum",
    default=1_000_000,
    show_default=True,
    type=_SEEDS,
    metavar="N",
    help="Number of seeds that are tried: 0 to N - 1.",
)
@options.settings(
    ProjectConfig, without=("batch", "space", "space_weight", "start", "mask", "tune"), defaults=dict(api.SEED_DEFAULTS)
)
@options.max_pixels
@options.follow
@options.as_json
@options.quiet
def seed(
    images: Sequence[Path],
    network_path: Path | None,
    maximum: int,
    max_pixels: int | None,
    follow: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Name the seed, the truncation and the noise from which a network generated each image, and the command for it.

    Seed S is z = numpy.random.RandomState(S).randn(1, z_dim), as in the published programs. A seed is named where the
    network gives the image from it to the last level, after what happened to the image since; nearness names none.
    No seed found is no evidence against the network.

    IMAGE is an image, a folder or a zip of images, or - for a list of these on standard input; or finished projections:
    NAME.npz, a folder of them, or an HDF5 file of 'invert project --save-images'. Images, and projections of other
    presets, are projected by preset exact first.
    """
    if max_pixels is not None:
        settings["policy"] = ImagePolicy(max_pixels=max_pixels)
    with Output(as_json=as_json, quiet=quiet) as output:
        network = options.network_or_default(network_path, output)
        shown = SeedOutput(output, network)
        found = api.find_seeds(
            list(images),
            network,
            maximum=maximum,
            follow=follow,
            on_step=shown.step,
            on_progress=shown.sweep,
            on_message=output.note,
            on_warning=output.warning,
            on_failure=shown.fail,
            **settings,
        )
        shown.begin(found)
        with contextlib.closing(found):
            for answer in found:
                shown.show(answer)
        shown.summarise(maximum)
        return shown.exit_code


class SeedOutput:
    """What was shown of a search.

    Args:
        output: Where to.
        network: The network's file, as the command names it.
    """

    def __init__(self, output: Output, network: Path) -> None:
        self._output, self._network = output, network
        self._steps: ProjectionProgress | None = None
        self._sweep: SweepProgress | None = None
        self._total = self._named = self._answers = self._failed = self._awaited = 0

    def begin(self, found: "api.Seeds") -> None:
        """Start the bar of the projections."""
        self._total, self._awaited = found.total, found.count or 0
        config = found.session.config
        if found.count != 0:
            self._steps = self._output.progress(self._awaited, 1, config.steps * config.restarts)

    def step(self, record: "StepRecord") -> None:
        """Count a step of a projection."""
        if self._steps is not None:
            self._steps.step(record.group, record.distances)

    def sweep(self, seeds: int) -> None:
        """Count seeds."""
        if self._sweep is None:
            self._sweep = self._output.sweep_progress(self._total)
        self._sweep.step(seeds)

    def fail(self, failed: Failed) -> None:
        """Say why an image cannot be used."""
        self._failed += 1
        self._awaited -= 1
        if self._steps is not None:
            self._steps.expect(self._awaited)
        self._output.error(failed.message)
        self._output.event({"type": "image", **failed.record()})

    def show(self, answer: "SeedAnswer", kind: str = "image") -> None:
        """Write an image's lines, or its record.

        Args:
            answer: What was found.
            kind: Type of the record.
        """
        lines = [] if self._answers else ["", _HEADER] if kind == "seed" else [_HEADER]
        self._answers += 1
        self._named += answer.named is not None
        record = {"type": kind, "network": os.fspath(self._network), **answer.to_record(self._network)}
        self._output.result(record, *lines, *_lines(answer, self._network))

    def summarise(self, maximum: int) -> None:
        """Say how many images have a seed, and what it means where one has none."""
        from invert.seeds.search import NO_EVIDENCE

        record = {"type": "summary", "code": "done", "images": self._answers, "named": self._named}
        record |= {"failed": self._failed, "searched": maximum, "note": NO_EVIDENCE}
        counted = f"{self._named} of {self._answers} images have a seed in 0..{maximum - 1}; {self._failed} failed"
        self._output.result(record, "", counted, *([] if self._named == self._answers else [NO_EVIDENCE]))

    @property
    def exit_code(self) -> int:
        """How the command ends: not to find a seed is an answer."""
        if not self._answers:
            return ExitCode.NO_INPUT
        return ExitCode.PARTIAL if self._failed else ExitCode.OK


def search_attributions(
    images: "Sequence[Attribution]",
    candidates: "Sequence[LoadedCandidate]",
    maximum: int,
    output: Output,
    *,
    silent: bool,
) -> "list[Attribution]":
    """Return attributions with the seeds of their images in each network, and show these.

    Args:
        images: What was said about each image.
        candidates: The networks.
        maximum: How many seeds are tried.
        output: Where the seeds are shown.
        silent: Whether they are not, for they are columns of the rows that follow.
    """
    used = [one for one in images if one.error is None]
    found: list[tuple[SeedAnswer, ...]] = [()] * len(used)
    for number, candidate in enumerate(candidates if used else ()):
        shown = SeedOutput(output, candidate.path)
        answers = api.seeds_of(
            candidate.session,
            [one.answers[number].target for one in used],
            maximum=maximum,
            on_step=shown.step,
            on_progress=shown.sweep,
            on_message=output.note,
        )
        shown.begin(answers)
        for row, answer in enumerate(answers):
            found[row] = (*found[row], answer)
            if not silent:
                shown.show(answer, "seed")
    with_seeds = iter(found)
    return [one if one.error is not None else dataclasses.replace(one, seeds=next(with_seeds)) for one in images]


_HEADER = f"{'seed':>10} {'psi':>6} {'cutoff':>6} {'noise':<7} {'rms':>7}  image"


def _lines(answer: "SeedAnswer", network: Path) -> list[str]:
    shown = display_path(answer.path)
    named = answer.named
    if named is None:
        return [f"{'none':>10} {'-':>6} {'-':>6} {'-':<7} {'-':>7}  {shown}", f"{'':<10} {answer.reason}"]
    cutoff = "-" if named.truncation_cutoff is None else str(named.truncation_cutoff)
    of_class = "" if named.class_index is None else f" (class {named.class_index})"
    cells = f"{named.seed:>10} {named.truncation_psi:>6g} {cutoff:>6} {named.noise:<7} {named.rms:>7.3f}"
    return [f"{cells}  {shown}{of_class}", f"{'':<10} {named.command(display_path(network))}"]
