"""Verdicts on images, as a function that yields them."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from invert.api.arguments import Network, OnFailure, OnMessage, check_failure, check_settings, fail, silent
from invert.attribution.settings import Judging
from invert.batch.given import find_given
from invert.batch.images import Listed
from invert.batch.work import Failed
from invert.errors import UsageError

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from invert.attribution.attributions import Attribution
    from invert.attribution.calibration import Calibration
    from invert.attribution.candidate import LoadedCandidate
    from invert.projection.projector import StepRecord

__all__ = ["Attributions", "attribute"]

Calibrated: TypeAlias = "str | os.PathLike[str] | Calibration"


class Attributions(Iterator["Attribution"]):
    """Attributions of images, as they come. Made by `attribute`.

    Attributes:
        candidates: The networks: their names, calibrations and sessions.
        count: How many images there are; None where nobody knows.
    """

    def __init__(
        self, candidates: "Sequence[LoadedCandidate]", count: int | None, found: "Iterator[Attribution]"
    ) -> None:
        self.candidates, self.count = candidates, count
        self._found = found

    def __next__(self) -> "Attribution":
        return next(self._found)

    def close(self) -> None:
        """End the threads that read images; there are no attributions any more."""
        self._found.close()  # type: ignore[attr-defined]


def attribute(
    images: Any,
    networks: "Network | Iterable[Network]",
    *,
    calibration: "Calibrated | Iterable[Calibrated] | None" = None,
    threshold: float | None = None,
    score: str | None = None,
    rate: float | None = None,
    own: int = 0,
    on_step: "Callable[[StepRecord], None] | None" = None,
    on_message: OnMessage | None = None,
    on_warning: OnMessage | None = None,
    on_failure: OnFailure = "raise",
    **settings: Any,
) -> Attributions:
    """Say of each image whether it is attributed to a network, to none of these, or whether it cannot be told.

    Args:
        images: As for `invert.project`.
        networks: One or several that may have made the images: from `load`, or their files.
        calibration: One or several: from `calibrate`, or their files; those of other networks are passed over. By
            default they are looked up beside the networks, in the cache, and among those that come with the program;
            which is used is in `candidates`. One of another method than what is given is then not used.
        threshold: LPIPS below which the paper's plain rule attributes an image, with unknown error rate: it decides,
            with a calibration or without.
        score: Score that decides, "evidence" or "lpips"; default each calibration's own.
        rate: Rate of false attributions, in (0, 1), shared among the networks; default each calibration's own.
        own: Number of fresh samples that a network without a calibration is compared with: "none of these" can then be
            said, with its probability of a mistake.
        on_step: Called after each step of a group of images into one of the networks.
        on_message: Called with a line on what takes long.
        on_warning: Called with a line on what should be known; by default `on_message`.
        on_failure: What to do with an image that cannot be used: "raise" its error, "skip" it, or a function that is
            called with what is known of it.
        settings: Fields of `ProjectConfig`, such as seed, batch, threads or device; those of the method are the
            calibration's. `policy`, an `ImagePolicy`; `follow`, for links that lead out of folders.

    Returns:
        An iterator over the attributions, in the order of the images; its `candidates` are the networks.

    Raises:
        ImageError: An image cannot be used, with `on_failure="raise"`.
        UsageError: The settings do not go with the calibration that was named, one of several networks has none, or it
            cannot promise the rate to so many networks. All of it is known before anything is measured.
        InvertError: A network or a calibration cannot be used, or there are no images.
    """
    judging = Judging(score, threshold, rate, own)
    policy, follow = settings.pop("policy", None), settings.pop("follow", False)
    check_settings(settings)
    check_failure(on_failure)
    message = on_message or silent
    warning = on_warning or message
    found = find_given(images, follow, frozenset(), message, warning)
    # Only now: what is above must be quick, and this imports torch.
    from invert.attribution.candidate import open_candidates
    from invert.attribution.own_samples import with_own_samples
    from invert.attribution.ruling import settle

    opened = open_candidates(
        _networks(networks),
        settings,
        calibrations=_calibrations(calibration),
        judging=judging,
        policy=policy,
        images=found.count,
        on_message=message,
        on_warning=warning,
    )
    candidates = settle(opened, own, warning)
    if own:
        candidates = [
            with_own_samples(one, own, on_message=message) if one.calibration is None else one for one in candidates
        ]
    for one in candidates:
        one.make_ready()
    judged = _attribute(candidates, found.mine, on_step, warning, on_failure)
    return Attributions(candidates, found.count, judged)


def _networks(networks: "Network | Iterable[Network]") -> "list[str | os.PathLike[str] | LoadedNetwork]":
    if isinstance(networks, str | os.PathLike) or not isinstance(networks, Iterable):
        return [networks]
    found = list(networks)
    if not found:
        raise UsageError("no network was given")
    return found


def _calibrations(given: "Calibrated | Iterable[Calibrated] | None") -> "list[Path | Calibration]":
    if given is None:
        return []
    if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
        given = [given]
    return [Path(one) if isinstance(one, str | os.PathLike) else one for one in given]


def _attribute(
    candidates: "Sequence[LoadedCandidate]",
    images: Iterable[Listed],
    on_step: "Callable[[StepRecord], None] | None",
    on_warning: OnMessage,
    on_failure: OnFailure,
) -> "Iterator[Attribution]":
    from invert.attribution import attributions

    found = attributions.attribute(candidates, images, on_step=on_step)
    with contextlib.closing(found):  # type: ignore[type-var]
        for one in found:
            if one.error is None:
                yield one
            else:
                fail(Failed.of(os.fsencode(one.path), one.path, one.error), on_failure, on_warning)
