"""Verdicts on images, as a function that yields them."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from invert.api.arguments import Network, OnFailure, OnMessage, check_failure, check_settings, fail, silent
from invert.attribution.settings import MISS_RATE, Judging
from invert.batch.given import find_given
from invert.batch.images import Listed
from invert.batch.job import is_file
from invert.batch.work import Failed
from invert.errors import UsageError
from invert.store.locks import Shard, hold_folder

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
    out: str | os.PathLike[str] | None = None,
    workers: int = 1,
    shard: Shard | None = None,
    own: int = 0,
    miss_rate: float = MISS_RATE,
    on_step: "Callable[[StepRecord], None] | None" = None,
    on_message: OnMessage | None = None,
    on_warning: OnMessage | None = None,
    on_failure: OnFailure = "raise",
    **settings: Any,
) -> Attributions:
    """Say of each image whether it is attributed to a network, to none of these, or whether it cannot be told.

    Args:
        images: As for `invert.project`; or HDF5 files that it wrote with `save_images`, whose projections are then
            judged without projecting again: one for each network, of the method of its calibration.
        networks: One or several that may have made the images: from `load`, or their files.
        calibration: One or several: from `calibrate`, or their files; those of other networks are passed over. By
            default they are looked up beside the networks, in the cache, and among those that come with the program;
            which is used is in `candidates`. One of another method than what is given is then not used.
        threshold: LPIPS below which the paper's plain rule attributes an image, with unknown error rate: it decides,
            with a calibration or without.
        score: Score that decides, "evidence" or "lpips"; default each calibration's own.
        rate: Rate of false attributions, in (0, 1), shared among the networks; default each calibration's own.
        out: Folder in which the networks' answers are kept, to be used again by the next call: one that was stopped is
            resumed, and one image more costs one image. By default nothing is kept.
        workers: Processes that share the images. A script that asks for several must not do its work when it is
            imported.
        shard: Judge share I of N of the images, (I, N); others may do theirs at the same time in the same `out`.
        own: Number of fresh samples that a network without a calibration is compared with: "none of these" can then be
            said, with its probability of a mistake.
        miss_rate: Largest share of a network's own images, found alike and measuring as high, at which "none of these"
            is said of an image, in (0, 1).
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
    judging = Judging(score, threshold, rate, own, miss_rate)
    policy, follow = settings.pop("policy", None), settings.pop("follow", False)
    check_settings(settings)
    check_failure(on_failure)
    message = on_message or silent
    warning = on_warning or message
    opened: dict[str, Any] = {"calibrations": _calibrations(calibration), "judging": judging, "policy": policy}
    opened |= {"on_message": message, "on_warning": warning}
    files = _finished_files(images)
    if files:
        if out is not None or workers > 1 or shard is not None:
            reason = "finished projections are judged at once: out, workers and shard have no part in it"
            raise UsageError(reason, advice="Leave them out.")
        return _judge_finished(files, _networks(networks), settings, opened, own, message, warning, on_failure)
    found = find_given(images, follow, frozenset(), message, warning)
    if shard is not None:
        found = found.share(shard)
    # Only now: what is above must be quick, and this imports torch.
    from invert.attribution.candidate import open_candidates

    with contextlib.ExitStack() as stack:
        candidates = open_candidates(
            _networks(networks),
            settings,
            workers=workers,
            work=_work_folder(stack, None if out is None else Path(out), workers, shard),
            **opened,
        )
        candidates = _settle(candidates, own, message, warning)
        for one in candidates:
            one.make_ready(workers)
        held = stack.pop_all()
    asked = {"workers": workers, "on_step": on_step}
    return Attributions(candidates, found.count, _attribute(candidates, found.mine, asked, warning, on_failure, held))


def _settle(
    candidates: "Sequence[LoadedCandidate]", own: int, on_message: OnMessage, on_warning: OnMessage
) -> "list[LoadedCandidate]":
    """Settle what the networks are judged by; what can only end in a refusal is refused before anything is measured."""
    from invert.attribution.own_samples import with_own_samples
    from invert.attribution.ruling import settle

    settled = settle(candidates, own, on_warning)
    if not own:
        return settled
    return [with_own_samples(one, own, on_message=on_message) if one.calibration is None else one for one in settled]


def _finished_files(images: Any) -> list[Path]:
    """Return the files of finished projections that were named; none where images are.

    Raises:
        UsageError: Both are.
    """
    given = images if isinstance(images, list | tuple) else [images]
    paths = [Path(one) if isinstance(one, str | os.PathLike) else None for one in given]
    files = [path for path in paths if path is not None and is_file(path) and not path.is_dir()]
    if files and len(files) < len(paths):
        reason = "has finished projections, which are not judged together with images"
        raise UsageError(reason, path=files[0], advice="Name one or the other.")
    return files


def _judge_finished(
    files: Sequence[Path],
    networks: "list[str | os.PathLike[str] | LoadedNetwork]",
    settings: Mapping[str, Any],
    opened: Mapping[str, Any],
    own: int,
    on_message: OnMessage,
    on_warning: OnMessage,
    on_failure: OnFailure,
) -> Attributions:
    from invert.attribution.attributions import judge_finished
    from invert.attribution.candidate import open_candidates
    from invert.attribution.finished import open_finished

    with contextlib.ExitStack() as stack:
        finished = stack.enter_context(open_finished(files))
        given = {**finished.settings, **{name: value for name, value in settings.items() if value is not None}}
        candidates = open_candidates(networks, given, **opened)
        finished.check(candidates)
        candidates = _settle(candidates, own, on_message, on_warning)
        held = stack.pop_all()
    found = judge_finished(candidates, finished)
    return Attributions(candidates, finished.count, _yielded(found, on_warning, on_failure, held))


def _work_folder(stack: contextlib.ExitStack, out: Path | None, workers: int, shard: Shard | None) -> Path | None:
    """Return where answers are kept; None where nowhere. The stack gives back what is held for it."""
    if out is not None:
        stack.enter_context(hold_folder(out, out, shard))
        return out
    if workers > 1:
        # Processes leave what they find in files, here too.
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="invert-attribute-")))
    return None


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
    asked: Mapping[str, Any],
    on_warning: OnMessage,
    on_failure: OnFailure,
    held: contextlib.ExitStack,
) -> "Iterator[Attribution]":
    from invert.attribution import attributions

    return _yielded(attributions.attribute(candidates, images, **asked), on_warning, on_failure, held)


def _yielded(
    found: "Iterator[Attribution]", on_warning: OnMessage, on_failure: OnFailure, held: contextlib.ExitStack
) -> "Iterator[Attribution]":
    """Yield attributions, and do with images that cannot be used what the caller wants."""
    with held, contextlib.closing(found):  # type: ignore[type-var]
        for one in found:
            if one.error is None:
                yield one
            else:
                fail(Failed.of(os.fsencode(one.path), one.path, one.error), on_failure, on_warning)
