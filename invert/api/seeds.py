"""The seeds of images, as a function that yields them."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.api.arguments import Network, OnFailure, OnMessage, check_failure, check_settings, fail, silent
from invert.batch.given import find_given
from invert.batch.images import Found, Listed
from invert.batch.work import Done, Failed, Stepped, work
from invert.errors import UsageError
from invert.images.target import Target
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.presets import PRESETS, ExactConstants
from invert.store.protocol import Nowhere

if TYPE_CHECKING:
    from invert.projection.projector import StepRecord
    from invert.projection.session import Session
    from invert.seeds.recovered import Recovered
    from invert.seeds.search import SeedAnswer

__all__ = ["SEED_DEFAULTS", "Seeds", "find_seeds", "seeds_of"]

SEED_DEFAULTS: Mapping[str, Any] = {"preset": "exact", "noise": "both", "processing": "auto", "restarts": 8}
"""Settings of the projections before a search, unless others are given: more starts than a verdict has, for no seed is
found of an image whose latents are not."""

_KEPT = ("lpips", "bank", "class_index", "seed", "threads", "device")
"""Settings that a search after verdicts has of their session; it has all where that is of preset exact."""


class Seeds(Iterator["SeedAnswer"]):
    """Answers of a search for seeds, as they come. Made by `find_seeds`.

    Attributes:
        session: The network, and the settings of the projections.
        count: How many images are projected; None where nobody knows.
        total: How many seeds are tried, all classes together.
    """

    def __init__(self, session: "Session", count: int | None, total: int, found: "Iterator[SeedAnswer]") -> None:
        self.session, self.count, self.total = session, count, total
        self._found = found

    def __next__(self) -> "SeedAnswer":
        return next(self._found)

    def close(self) -> None:
        """End the thread that reads images; there are no answers any more."""
        self._found.close()  # type: ignore[attr-defined]


def find_seeds(
    images: Any,
    network: Network,
    *,
    maximum: int = 1_000_000,
    on_step: "Callable[[StepRecord], None] | None" = None,
    on_progress: Callable[[int], None] | None = None,
    on_message: OnMessage | None = None,
    on_warning: OnMessage | None = None,
    on_failure: OnFailure = "raise",
    **settings: Any,
) -> Seeds:
    """Find the seeds, truncation and noise from which a network generated images.

    Each image is projected by preset exact, unless it was before; then the seeds 0 to maximum - 1 are mapped once for
    all images, and the likeliest of each image are synthesised. A seed is named where the network gives the image from
    it to the last level, after what happened to the image, and never for being near. No seed found is no evidence
    against the network.

    Args:
        images: As for `invert.project`; or paths of finished projections: NAME.npz with NAME.png beside it, a folder
            of these, or an HDF5 file with images. What is not of preset exact among them is projected again.
        network: From `load`, or its file.
        maximum: How many seeds are tried, 1 to 2^32.
        on_step: Called after each step of the projection of an image.
        on_progress: Called with how many more seeds were tried.
        on_message: Called with a line on what takes long.
        on_warning: Called with a line on what should be known; by default `on_message`.
        on_failure: What to do with an image that cannot be used: "raise" its error, "skip" it, or a function that is
            called with what is known of it.
        settings: Fields of `ProjectConfig`, such as class_index, threads or device; by default the noise is "both", the
            processing "auto" and the restarts are 8. `policy`, an `ImagePolicy`; `follow`, for links that lead out of
            folders.

    Returns:
        An iterator over the answers: those to finished projections, then those to images, each in their order.

    Raises:
        ImageError: An image cannot be used, with `on_failure="raise"`.
        InvertError: The network, the settings or the images cannot be used, or there are none.
    """
    policy, follow = settings.pop("policy", None), settings.pop("follow", False)
    check_settings(settings)
    check_failure(on_failure)
    config = _config(settings)
    message = on_message or silent
    warning = on_warning or message
    finished, others = _parted(images)
    # Only now: what is above must be quick, and this imports torch.
    from invert.projection.session import open_session
    from invert.seeds.search import check_maximum, classes_of

    check_maximum(maximum)
    found = Found([], [], 0) if others is None else find_given(others, follow, frozenset(), message, warning)
    session = open_session(network, config, policy, on_message=message, on_warning=warning)
    total = maximum * len(classes_of(session.network.generator, config.class_index))
    recovered, again = _finished(finished, session, warning)
    count = None if found.count is None else found.count + len(again)
    mine = [*again, *found.mine] if again else found.mine
    # Where nothing is projected, no bank of samples is generated for it.
    events = iter(()) if count == 0 else _projected(session, mine, on_step, warning, on_failure)
    return Seeds(session, count, total, _search(session, recovered, events, maximum, on_progress))


def seeds_of(
    session: "Session",
    targets: Sequence[Target],
    *,
    maximum: int,
    on_step: "Callable[[StepRecord], None] | None" = None,
    on_progress: Callable[[int], None] | None = None,
    on_message: OnMessage | None = None,
) -> Seeds:
    """Find the seeds of images that were read for a network already; see `find_seeds`.

    Args:
        session: The network, and settings of any method.
        targets: The images.
        maximum: As for `find_seeds`, and so are the others.
        on_step: Likewise.
        on_progress: Likewise.
        on_message: Likewise.
    """
    from invert.projection.session import open_session
    from invert.seeds.search import check_maximum, classes_of

    check_maximum(maximum)
    config = session.config
    if not config.is_exact:
        config = _config({name: getattr(config, name) for name in _KEPT})
    own = open_session(session.network, config, session.policy, on_message=on_message)
    total = maximum * len(classes_of(own.network.generator, own.config.class_index))
    events = _of_targets(own, targets, on_step)
    return Seeds(own, len(targets), total, _search(own, [], events, maximum, on_progress))


def _of_targets(
    session: "Session", targets: Sequence[Target], on_step: "Callable[[StepRecord], None] | None"
) -> "Iterator[Recovered]":
    from invert.projection.projector import StepRecord
    from invert.seeds.recovered import Recovered

    for event in session.projector().run(targets):
        if not isinstance(event, StepRecord):
            yield Recovered.of(event)
        elif on_step is not None:
            on_step(event)


def _config(settings: Mapping[str, Any]) -> ProjectConfig:
    given = {**SEED_DEFAULTS, **{name: value for name, value in settings.items() if value is not None}}
    if not isinstance(PRESETS[given["preset"]].constants, ExactConstants):
        reason = f"--preset {given['preset']} does not meet images to the last level"
        raise UsageError(reason, advice="Use exact.")
    return ProjectConfig(**with_defaults(given))


def _parted(images: Any) -> tuple[list[Path], Any]:
    """Return the finished projections among what was named, and the rest; None where there is no rest."""
    from invert.seeds.finished import is_finished

    given = images if isinstance(images, list | tuple) else [images]
    named = [Path(one) for one in given if isinstance(one, str | os.PathLike)]
    finished = [path for path in named if is_finished(path)]
    if not finished:
        return [], images
    rest = [one for one in given if not (isinstance(one, str | os.PathLike) and Path(one) in finished)]
    return finished, rest or None


def _finished(
    paths: Sequence[Path], session: "Session", on_warning: OnMessage
) -> "tuple[list[Recovered], list[Listed]]":
    """Return what finished projections recovered, and the images of those that have to be projected again."""
    from invert.seeds.finished import read_finished
    from invert.seeds.recovered import Recovered

    recovered, again = [], []
    for name, result, image in read_finished(paths, session.network, on_warning):
        one = Recovered.of_result(name, image, result)
        if one is not None:
            recovered.append(one)
        else:
            again.append(Listed(os.fsencode(name), name, image=image))
    return recovered, again


def _projected(
    session: "Session",
    images: Iterable[Listed],
    on_step: "Callable[[StepRecord], None] | None",
    on_warning: OnMessage,
    on_failure: OnFailure,
) -> "Iterator[Recovered]":
    from invert.seeds.recovered import Recovered

    stream = work(session.projector(), Nowhere(), images, session.policy)
    with contextlib.closing(stream) as events:
        for event in events:
            if isinstance(event, Stepped):
                if on_step is not None:
                    on_step(event.record)
            elif isinstance(event, Failed):
                fail(event, on_failure, on_warning)
            elif isinstance(event, Done) and event.projection is not None:
                found = Recovered.of(event.projection)
                # as it was named, not as a file may be called
                yield dataclasses.replace(found, path=Path(event.path))


def _search(
    session: "Session",
    finished: "Sequence[Recovered]",
    projected: "Iterator[Recovered]",
    maximum: int,
    on_progress: Callable[[int], None] | None,
) -> "Iterator[SeedAnswer]":
    from generator.layers import freeze
    from invert.seeds.search import search

    recovered = [*finished, *projected]
    generator = session.network.generator.to(session.config.device)
    freeze(generator)
    yield from search(
        generator,
        recovered,
        maximum,
        class_index=session.config.class_index,
        on_progress=on_progress or (lambda _: None),
    )
