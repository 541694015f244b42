"""The calibration of a network, as a function."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invert.api.arguments import Network, OnMessage, check_settings, load, silent
from invert.attribution.settings import (
    PROCESSINGS,
    SHARES_OF_SEVERAL,
    UNPROCESSED,
    CalibrationSettings,
    check_evidence,
    check_untuned,
    with_verdict_defaults,
)
from invert.batch.given import find_given
from invert.batch.images import Listed
from invert.batch.work import Event, Failed
from invert.errors import UsageError
from invert.projection.config import ProjectConfig
from invert.store.locks import Shard, hold_folder
from invert.version import __version__

if TYPE_CHECKING:
    from invert.attribution.calibration import Calibration
    from invert.attribution.perturbations import Perturbation
    from invert.attribution.study import Study

__all__ = ["calibrate", "measure_share"]

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
    processing: str | None = None,
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
        processing: What all images are measured after, such as "none jpeg:75 crop:0.02+jpeg:75", for preset exact,
            which finds out by itself which of it happened to an image; default a list of usual processings.
        settings: Fields of `CalibrationSettings` (score, rule, rate, confidence, candidates, bins, fit_share,
            threshold_share) and of `ProjectConfig` (steps, lpips, bank, batch, threads, device, class_index ...);
            `policy`, an `ImagePolicy`.

    Returns:
        The calibration.

    Raises:
        UsageError: A population is too small for the rate, or the settings are not those of what is resumed.
        BusyError: Another process is at it.
        InvertError: The network cannot be used, a population has no images, or something cannot be written.
    """
    message = on_message or silent
    told: dict[str, Any] = {
        "on_event": on_event,
        "on_count": on_count,
        "on_message": message,
        "on_warning": on_warning or message,
    }
    target = None if out is None else Path(out)
    if target is not None and target.exists() and not overwrite:
        raise UsageError("exists already", path=target, advice="Add --overwrite, or choose another -o.")
    processings = _processings(processing, settings)
    chosen = _settings(settings, len(processings))
    with _work_folder(None if work is None else Path(work), target) as folder:
        asked = _begin(
            network, real, others or {}, chosen, processings, folder, count, earlier, workers, settings, **told
        )
        done: dict[str, Any] = {"processings": processings, "earlier": asked.earlier}
        made = asked.study.calibrate(chosen, asked.populations, count, tool=__version__, **done)
        for text in (*made.unlike_own(), *filter(None, [made.unjudged()])):
            told["on_warning"](text)
        if target is not None:
            from invert.attribution.calibration_file import write_calibration
            from invert.attribution.measurements import clear_measurements

            write_calibration(made, target)
            if work is None:
                clear_measurements(folder)
    return made


def measure_share(
    network: Network,
    real: Any,
    others: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str],
    shard: Shard,
    count: int = 400,
    earlier: str | os.PathLike[str] | None = None,
    workers: int | None = 1,
    on_count: Callable[[int], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    on_message: OnMessage | None = None,
    on_warning: OnMessage | None = None,
    processing: str | None = None,
    **settings: Any,
) -> int:
    """Measure a share of what a calibration measures; others may do theirs at the same time, on other machines.

    When all shares are done, `calibrate` with the same arguments finds everything measured and sets the thresholds.

    Args:
        network: See `calibrate`.
        real: See `calibrate`.
        others: See `calibrate`.
        out: The calibration's file, which is not written; what is measured is beside it.
        shard: Share I of N of the images of each population, (I, N).
        count: See `calibrate`.
        earlier: See `calibrate`.
        workers: See `calibrate`.
        on_count: Called once with how many images all shares have together.
        on_event: See `calibrate`.
        on_message: See `calibrate`.
        on_warning: See `calibrate`.
        processing: See `calibrate`.
        settings: See `calibrate`.

    Returns:
        How many images of the share are measured.

    Raises:
        UsageError: A population is too small for the rate, or the settings are not those of the other shares.
        BusyError: Another process is at it.
        InvertError: The network cannot be used, a population has no images, or something cannot be written.
    """
    message = on_message or silent
    told: dict[str, Any] = {
        "on_event": on_event,
        "on_count": on_count,
        "on_message": message,
        "on_warning": on_warning or message,
    }
    processings = _processings(processing, settings)
    chosen = _settings(settings, len(processings))
    with _work_folder(None, Path(out), shard) as folder:
        asked = _begin(
            network, real, others or {}, chosen, processings, folder, count, earlier, workers, settings, **told
        )
        done: dict[str, Any] = {"processings": processings, "earlier": asked.earlier}
        measured = asked.study.measure(asked.populations, count, shard=shard, **done)
    return sum(len(population.measurements) for population in measured)


def _settings(settings: dict[str, Any], processings: int) -> CalibrationSettings:
    """Take the settings of a calibration out of all settings."""
    names = [field.name for field in dataclasses.fields(CalibrationSettings)]
    usual = SHARES_OF_SEVERAL if processings > 1 else {}
    return CalibrationSettings(**{**usual, **{name: settings.pop(name) for name in names if name in settings}})


def _processings(text: str | None, settings: Mapping[str, Any]) -> "list[Perturbation]":
    """Return what the images are measured after, each once.

    Raises:
        UsageError: There is no such processing, or the preset cannot find out about it.
    """
    from invert.attribution.perturbations import parse_perturbations

    is_exact = settings.get("preset") == "exact"
    if text is not None and not is_exact:
        reason = "--processing takes a method that finds out what happened to an image"
        raise UsageError(reason, advice="Add --preset exact.")
    found = parse_perturbations(text if text is not None else PROCESSINGS if is_exact else UNPROCESSED)
    if not found:
        raise UsageError("--processing names nothing", advice=f"Leave it out, or say {UNPROCESSED}.")
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Asked:
    """What a calibration is to be made from."""

    study: "Study"
    populations: Populations
    earlier: "tuple[Path, Calibration] | None"


def _begin(
    network: Network,
    real: Any,
    others: Mapping[str, Any],
    chosen: CalibrationSettings,
    processings: "Sequence[Perturbation]",
    folder: Path,
    count: int,
    earlier: str | os.PathLike[str] | None,
    workers: int | None,
    settings: dict[str, Any],
    *,
    on_event: Callable[[Event], None] | None,
    on_count: Callable[[int], None] | None,
    on_message: OnMessage,
    on_warning: OnMessage,
) -> _Asked:
    """List the images and settle the session, as the work folder or the earlier calibration has it."""
    policy = settings.pop("policy", None)
    check_settings(settings)
    config = ProjectConfig(**with_verdict_defaults(settings))
    check_evidence(config, policy)
    populations = _populations(real, others, on_message, on_warning)
    _announce({name: len(images) for name, (_, images) in populations.items()}, count, chosen, processings, on_message)
    loaded = load(network, on_warning=on_warning) if isinstance(network, str | os.PathLike) else network
    check_untuned(loaded.provenance)
    # Only now: what is above must be quick, and this imports torch.
    from invert.attribution.calibration_file import read_calibration
    from invert.attribution.measurements import begin_settled, read_settings
    from invert.attribution.study import Study, count_workers
    from invert.projection.session import Records, Session, open_session

    before = None if earlier is None else (Path(earlier), read_calibration(Path(earlier)))
    processes = count_workers(workers, config.device)

    def settled() -> Session:
        resumed = read_settings(folder)
        if resumed is None and before is not None:
            resumed = Records(before[1].method, before[1].run)
        return open_session(loaded, config, policy, workers=processes, resumed=resumed, on_message=on_message)

    session = begin_settled(folder, settled)
    if on_count is not None:
        on_count(len(processings) * (count + sum(len(images) for _, images in populations.values())))

    def say(event: Event) -> None:
        if isinstance(event, Failed):
            on_warning(event.message)

    return _Asked(Study(session, folder, processes, on_event or say), populations, before)


@contextlib.contextmanager
def _work_folder(named: Path | None, out: Path | None, shard: Shard | None = None) -> Iterator[Path]:
    """Give a folder for what is measured, locked for the length of the block."""
    if named is None and out is None:
        with tempfile.TemporaryDirectory(prefix="invert-calibrate-") as folder:
            yield Path(folder)
        return
    work = named or Path(f"{out}.work")
    with hold_folder(work, out or work, shard):
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


def _announce(
    sizes: Mapping[str, int],
    count: int,
    settings: CalibrationSettings,
    processings: "Sequence[Perturbation]",
    on_message: OnMessage,
) -> None:
    """Say what the rate takes, and refuse at once what can only end in a refusal."""
    from invert.attribution.sizes import check_sizes, own_to_rule_out, required_images

    listed = ", ".join(f"{size} of {name}" for name, size in sizes.items())
    on_message(
        f"a rate of {settings.rate:g} needs {required_images(settings)} images of each population that is not the "
        f"network's; there are {listed}, and {count} samples of its own will be generated"
    )
    if len(processings) > 1:
        each = count + sum(sizes.values())
        keys = ", ".join(one.key for one in processings)
        on_message(
            f"all of them are measured after each of {len(processings)} processings, {len(processings) * each} "
            f"projections: {keys}"
        )
    least = own_to_rule_out(settings)
    if count < least:
        on_message(f"fewer than {least} own samples can rule no image out: none gets 'none of these'")
    check_sizes(settings, sizes)
