"""Metrics of networks and of images, as a function that yields them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.api.arguments import OnMessage, silent
from invert.errors import NoInputError, UsageError
from invert.metrics.settings import FEATURES, MeasureSettings
from invert.metrics.table import Chosen, choose

if TYPE_CHECKING:
    from invert.metrics.result import Measured

__all__ = ["measure"]

Source = str | os.PathLike[str]


def measure(
    subjects: Source | Iterable[Source],
    metrics: str | Sequence[str] | None = None,
    *,
    against: Source | None = None,
    features: Source | None = None,
    weights: Source | None = None,
    download: bool = False,
    labels: Source | None = None,
    threads: int | None = None,
    device: str = "auto",
    keep: bool = True,
    on_progress: Callable[[str, int, int], None] | None = None,
    on_warning: OnMessage | None = None,
    **settings: Any,
) -> "Iterator[Measured]":
    """Measure networks, or folders and zips of images.

    Args:
        subjects: Files of networks, or folders, zips or IDX files of images; one or several.
        metrics: Names such as "fd-vgg,kid-vgg", "ppl-wend", "jacobian", "fid"; by default fd-vgg, kid-vgg and pr-vgg
            where there is `against`, else ppl-wend.
        against: Images, or a network, that they are compared with.
        features: "inception", "vgg", "alex" or a file of weights, for names that do not say, such as "kid".
        weights: The file of Inception's weights, or its folder; by default what INVERT_WEIGHTS says.
        download: Whether weights may be fetched where they are not found.
        labels: For separability: a data set with labels or attributes, or an .npz of predictions.
        threads: CPU threads; by default as torch has them.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        keep: Whether parts of the work are kept in the user's cache: called again after it was stopped, this function
            resumes.
        on_progress: Called with what is done, how much of it, and how much there is.
        on_warning: Called with a line on what should be known.
        settings: Fields of `MeasureSettings`: images, psi, noise, seed, batch, pairs, epsilon, samples ...

    Returns:
        An iterator over results, subject by subject.

    Raises:
        UsageError: There is no such metric or setting, or it cannot be measured of these.
        NetworkError: A network cannot be used.
        NoInputError: There are no images.
        NumericError: A network's numbers are not finite.
    """
    for name in settings:
        if name not in MeasureSettings.__dataclass_fields__:
            known = ", ".join(MeasureSettings.__dataclass_fields__)
            raise UsageError(f"there is no setting {name!r}", advice=f"Settings are {known}.")
    chosen_settings = MeasureSettings(**settings)
    word = os.fspath(features) if features is not None else None
    is_file = word is not None and word not in FEATURES
    chosen = choose(metrics, "file" if is_file else word, against is not None)
    listed = [subjects] if isinstance(subjects, str | os.PathLike) else list(subjects)
    for one in (path for path in (labels, *listed, against) if path is not None):
        if not os.path.lexists(one):
            raise NoInputError("there is no such file or folder", path=one, advice="Check the name.")
    if any(one.metric.labels for one in chosen) and labels is None:
        reason = "separability needs a labelled data set, or predictions"
        raise UsageError(reason, advice="Name it with --labels.")
    return _measure(
        listed,
        chosen,
        chosen_settings,
        against,
        {
            "weights": None if weights is None else Path(weights),
            "features_file": Path(word) if is_file and word is not None else None,
            "download": download,
            "labels": None if labels is None else Path(labels),
            "keep": keep,
            "on_warning": on_warning or silent,
            "on_progress": on_progress or (lambda *_: None),
        },
        threads,
        device,
    )


def _measure(
    subjects: Sequence[Source],
    chosen: Sequence[Chosen],
    settings: MeasureSettings,
    against: Source | None,
    others: dict[str, Any],
    threads: int | None,
    device: str,
) -> "Iterator[Measured]":
    from invert.metrics.request import Request, open_subject
    from invert.projection.session import prepare_process, settle_device

    settled = settle_device(device)
    prepare_process(settled, threads, silent)
    warn = others["on_warning"]
    compared = None if against is None else open_subject(against, warn)
    shared: dict[str, Any] = {}
    for path in subjects:
        subject = open_subject(path, warn)
        own: dict[str, Any] = {}
        for one in chosen:
            yield Request(one, subject, settings, compared, device=settled, shared=shared, own=own, **others).measure()
