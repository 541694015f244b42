"""The calibration of a network, as a function."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.api.arguments import Network, OnMessage, load, make_config, silent
from invert.attribution.settings import CalibrationSettings
from invert.batch.given import find_given
from invert.batch.images import Listed
from invert.batch.work import Event, Failed
from invert.durable import ensure_folder, exclusive_lock
from invert.errors import UsageError
from invert.version import __version__

if TYPE_CHECKING:
    from invert.attribution.calibration import Calibration

__all__ = ["calibrate"]

Populations = Mapping[str, tuple[str, Sequence[Listed]]]


def calibrate(
    network: Network,
    real: Any,
    others: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    work: str | os.PathLike[str] | None = None,
    count: int = 400,
    earlier: str | os.PathLike[str] | None = None,
    workers: int | None = 1,
    overwrite: bool = False,
    on_count: Callable[[int], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    on_message: OnMessage | None = None,
    on_warning: OnMessage | None = None,
    **settings: Any,
) -> "Calibration":
    """Measure fresh samples of a network and images that are not its own, and set thresholds on them.

    Args:
        network: From `load`, or its file.
        real: Images like those that the network was trained on: a folder, or anything that `invert.project` takes.
        others: Images of other origins by name, such as those of other networks.
        out: The calibration's file; what is measured on the way is beside it until it is written. Called again after
            it was stopped, this function resumes.
        work: Folder of what is measured on the way, which is then kept; by default beside `out`, or a temporary one.
        count: Number of the network's own samples.
        earlier: File of an earlier calibration of the same method, whose measurements are reused.
        workers: Processes that share the images; None means one per processor. A script that asks for several must
            not do its work when it is imported.
        overwrite: Whether `out` may be there already.
        on_count: Called once with how many images are measured.
        on_event: Called with each event of the engine; by default what is wrong with images is a warning.
        on_message: Called with a line on what was decided or takes long.
        on_warning: Called with a line on what should be known; by default `on_message`.
        settings: Fields of `CalibrationSettings` (score, rule, rate, confidence, candidates, bins) and of
            `ProjectConfig` (steps, lpips, bank, batch, threads, device, class_index ...); `policy`, an `ImagePolicy`.

    Returns:
        The calibration.

    Raises:
        UsageError: A population is too small for the rate, or the settings are not those of what is resumed.
        BusyError: Another process is at it.
        InvertError: The network cannot be used, a population has no images, or something cannot be written.
    """
    names = [field.name for field in dataclasses.fields(CalibrationSettings)]
    chosen = CalibrationSettings(**{name: settings.pop(name) for name in names if name in settings})
    policy = settings.pop("policy", None)
    config = make_config("verdict", settings)
    message = on_message or silent
    warning = on_warning or message
    target = None if out is None else Path(out)
    if target is not None and target.exists() and not overwrite:
        raise UsageError("exists already", path=target, advice="Add --overwrite, or choose another -o.")
    with _work_folder(None if work is None else Path(work), target) as folder:
        populations = _populations(real, others or {}, message, warning)
        _announce({name: len(images) for name, (_, images) in populations.items()}, count, chosen, message)
        loaded = load(network, on_warning=warning) if isinstance(network, str | os.PathLike) else network
        # Only now: what is above must be quick, and this imports torch.
        from invert.attribution.calibration_file import read_calibration, write_calibration
        from invert.attribution.measurements import clear_measurements
        from invert.attribution.study import Study
        from invert.projection.session import open_session

        session = open_session(loaded, config, policy, on_message=message)
        before = None if earlier is None else (Path(earlier), read_calibration(Path(earlier)))
        if on_count is not None:
            on_count(count + sum(len(images) for _, images in populations.values()))

        def say(event: Event) -> None:
            if isinstance(event, Failed):
                warning(event.message)

        study = Study(session, folder, workers, on_event or say)
        made = study.calibrate(chosen, populations, count, tool=__version__, earlier=before)
        if target is not None:
            write_calibration(made, target, message)
            if work is None:
                clear_measurements(folder)
    return made


@contextlib.contextmanager
def _work_folder(named: Path | None, out: Path | None) -> Iterator[Path]:
    """Give a folder for what is measured, locked for the length of the block."""
    if named is None and out is None:
        with tempfile.TemporaryDirectory(prefix="invert-calibrate-") as folder:
            yield Path(folder)
        return
    work = named or Path(f"{out}.work")
    ensure_folder(work)
    with exclusive_lock(work / ".lock", out or work):
        yield work


def _populations(real: Any, others: Mapping[str, Any], on_message: OnMessage, on_warning: OnMessage) -> Populations:
    """Return source and images of each population but the network's own."""
    from invert.attribution.populations import check_names

    named = {"real": real, **others}
    check_names(["real", *others], "Give it another name.")
    return {name: _population(images, on_message, on_warning) for name, images in named.items()}


def _population(images: Any, on_message: OnMessage, on_warning: OnMessage) -> tuple[str, list[Listed]]:
    if isinstance(images, str | os.PathLike):
        from invert.attribution.populations import list_population

        return Path(images).resolve().name, list_population(Path(images))
    listed = list(find_given(images, False, frozenset(), on_message, on_warning).mine)
    if len({one.name for one in listed}) < len(listed):
        # A measurement is known by its image's name.
        listed = [dataclasses.replace(one, name=b"%06d" % number) for number, one in enumerate(listed)]
    return "images that were given", listed


def _announce(sizes: Mapping[str, int], count: int, settings: CalibrationSettings, on_message: OnMessage) -> None:
    """Say what the rate takes, and refuse at once what can only end in a refusal."""
    from invert.attribution.calibration import check_sizes, required_images
    from invert.attribution.verdict import OWN_TO_RULE_OUT

    listed = ", ".join(f"{size} of {name}" for name, size in sizes.items())
    on_message(
        f"a rate of {settings.rate:g} needs {required_images(settings)} images of each population that is not the "
        f"network's; there are {listed}, and {count} samples of its own will be generated"
    )
    if count < OWN_TO_RULE_OUT:
        on_message(f"fewer than {OWN_TO_RULE_OUT} own samples can rule no image out: none gets 'none of these'")
    check_sizes(settings, sizes)
