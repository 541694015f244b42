"""`invert train`: train a StyleGAN or StyleGAN2 from images."""

import contextlib
import dataclasses
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from generator.errors import ConfigError
from generator.settings import setting_of
from generator.training.config import TrainConfig, parse_setting
from generator.training.presets import PRESETS, settings_with
from invert.cli import options
from invert.cli.help import Command
from invert.cli.output import Output
from invert.cli.progress import TrainingProgress
from invert.errors import UsageError, display_path

if TYPE_CHECKING:
    from generator.training.processes import World
    from generator.training.trainer import Trainer
    from invert.datasets.training_images import TrainingImages
    from invert.runs.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = ["chosen_settings", "end_of_growth", "lengths_of", "train", "train_config"]


def lengths_of(preset: str, *given: float | None) -> tuple[int, int, int]:
    """Return when to end, report and save, in images.

    Raises:
        UsageError: A length is out of range.
    """
    found = []
    own = PRESETS[preset]
    defaults = (own.kimg, own.tick_kimg, own.snapshot_kimg)
    for name, value, default in zip(("kimg", "tick-kimg", "snapshot-kimg"), given, defaults, strict=True):
        kimg = default if value is None else value
        if not (math.isfinite(kimg) and 0.001 <= kimg <= 1e9):
            raise UsageError(f"--{name} {value} is not in 0.001..1e9")
        found.append(round(kimg * 1000))
    return found[0], found[1], found[2]


def chosen_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the command line names, by their names in TrainConfig.

    Raises:
        UsageError: A `--set` is none.
    """
    others = settings.pop("others")
    chosen: dict[str, Any] = {}
    if settings.pop("no_path_length"):
        chosen["path_length_weight"] = 0.0
    if settings.pop("no_lazy"):
        chosen["lazy"] = False
    if settings.pop("no_demodulation"):
        chosen["demodulate"] = False
    if settings.pop("latent_input"):
        chosen["synthesis_input"] = "latent"
    if settings.pop("no_styles"):
        chosen["use_styles"] = False
    if settings.pop("no_noise"):
        chosen["use_noise"] = False
    if settings.pop("mirror"):
        chosen["mirror"] = True
    if settings["loss"] == "wgan-gp":
        chosen["r1_gamma"] = 0.0  # it has a penalty of its own
    chosen |= {name: value for name, value in settings.items() if value is not None}
    for text in others:
        name, mark, value = text.partition("=")
        if not mark:
            raise UsageError(f"--set {text!r} is not NAME=VALUE")
        try:
            chosen[name.strip()] = parse_setting(name.strip(), value.strip())
        except ConfigError as error:
            raise UsageError(f"--set {text}: {error}") from error
    return chosen


def train_config(preset: str, chosen: dict[str, Any], images: "TrainingImages") -> TrainConfig:
    """Return the settings of a run on these images.

    Raises:
        UsageError: They do not fit together, or the images.
    """
    if chosen["classes"] and not images.classes:
        raise UsageError("--cond: the data has no labels", advice="Leave --cond out.")
    wanted = chosen.get("resolution", images.resolution)
    if wanted != images.resolution:
        advice = f"Make them {wanted} px with `invert dataset --resolution {wanted}`."
        raise UsageError(f"--resolution {wanted}: the images have {images.resolution} px", advice=advice)
    settings = {
        **settings_with(preset, chosen),
        "resolution": images.resolution,
        "channels": images.channels,
        "classes": images.classes if chosen["classes"] else 0,
    }
    try:
        return TrainConfig(**settings)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def end_of_growth(config: TrainConfig, images: int) -> str:
    """Return what to say of a run that ends before its networks have grown; nothing where they have."""
    schedule = config.growth_schedule()
    last = schedule.at(images - 1)
    if last.resolution == config.resolution and last.alpha >= 1:
        return ""
    steps = len(schedule.resolutions) - 1
    whole = steps * (schedule.stage_images + schedule.fade_images)
    return (
        f"this run ends at {last.resolution} px; the networks have grown to {config.resolution} px after "
        f"{whole / 1000:g} thousand images: give a larger --kimg, or --set growing_stage_kimg and growing_fade_kimg"
    )


_FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(TrainConfig)}
_FROM_DATA = ("channels", "classes")
"""Settings that the images decide, and --cond."""

_IMAGES, _NETWORKS, _LOSSES, _COMPUTATION = "Images", "Networks", "Losses", "Computation"


def _setting(name: str, metavar: str | None = None, group: str = "") -> Callable[[_F], _F]:
    """Return the option of a setting, as `TrainConfig` declares it; one that is not given is left to the preset."""
    declared = setting_of(_FIELDS[name])
    kind = _FIELDS[name].type if declared.choices is None else click.Choice(declared.choices)
    return options.option(
        declared.option or f"--{name}", name, type=kind, metavar=metavar, help=declared.help, group=group
    )


class _TrainCommand(Command):
    """A command whose `--help` lists the settings that `--set` takes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name, field in _FIELDS.items():
            declared = setting_of(field)
            if declared.option is None and name not in _FROM_DATA:
                default = str(field.default).lower() if isinstance(field.default, bool) else field.default
                rows.append((f"{name}={default:g}" if type(default) is float else f"{name}={default}", declared.help))
        with formatter.section("Settings for --set, with the defaults of stylegan2-f"):
            formatter.write_dl(rows, col_max=34)
        super().format_epilog(ctx, formatter)


@click.command(
    cls=_TrainCommand,
    short_help="Train a StyleGAN or StyleGAN2 from images.",
    examples=(
        "invert train --data digits.zip --out runs/digits",
        "invert train --data photos256.zip --out runs/photos --config stylegan2-f --gamma 10 --mirror",
    ),
)
@options.option(
    "--data",
    required=True,
    metavar="DATA",
    type=click.Path(exists=True, path_type=Path),
    help="Training images: a folder, or a zip made by 'invert dataset'.",
)
@options.option(
    "--out",
    "folder",
    required=True,
    metavar="RUN",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run.",
)
@options.option(
    "--config",
    "preset",
    default="small",
    show_default=True,
    type=click.Choice(list(PRESETS)),
    help="Preset of networks, losses and lengths.",
)
@options.option("--kimg", type=float, metavar="K", help="Train until 1000 K images were seen.  [default: the preset's]")
@options.option("--resume", is_flag=True, help="Insist that there is a run to resume.")
@_setting("seed", "N")
@options.option("--mirror", is_flag=True, help="Mirror half of the images.", group=_IMAGES)
@options.option("--cond", is_flag=True, help="Train a conditional network on the data's labels.", group=_IMAGES)
@_setting("resolution", "R", _IMAGES)
@_setting("generator_architecture", group=_NETWORKS)
@_setting("discriminator_architecture", group=_NETWORKS)
@_setting("mapping_layers", "N", _NETWORKS)
@options.option(
    "--growing/--no-growing", default=None, help="Grow the networks progressively, or not.", group=_NETWORKS
)
@options.option("--no-noise", is_flag=True, help="Leave out the noise inputs.", group=_NETWORKS)
@options.option("--no-demodulation", is_flag=True, help="Do not demodulate the weights.", group=_NETWORKS)
@options.option(
    "--latent-input",
    is_flag=True,
    help="StyleGAN: the traditional latent input in place of a learned constant.",
    group=_NETWORKS,
)
@options.option(
    "--no-styles", is_flag=True, help="StyleGAN: w at the input alone; needs --latent-input.", group=_NETWORKS
)
@_setting("normalisation", group=_NETWORKS)
@_setting("spectral_norm", group=_NETWORKS)
@_setting("loss", group=_LOSSES)
@_setting("r1_gamma", "X", _LOSSES)
@options.option("--no-path-length", is_flag=True, help="Leave out the path length regularisation.", group=_LOSSES)
@options.option("--no-lazy", is_flag=True, help="Regularise at every step.", group=_LOSSES)
@_setting("style_mixing", "P", _LOSSES)
@options.option(
    "--set",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting, see below; may be given several times.",
    group=_LOSSES,
)
@_setting("batch", "N", _COMPUTATION)
@options.option(
    "--micro-batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Images that are computed at a time, to save memory.",
    group=_COMPUTATION,
)
@options.option(
    "--tick-kimg",
    type=float,
    metavar="K",
    help="Thousands of images between two records of the log.  [default: the preset's]",
    group=_COMPUTATION,
)
@options.option(
    "--snapshot-kimg",
    type=float,
    metavar="K",
    help="Thousands of images between two snapshots.  [default: the preset's]",
    group=_COMPUTATION,
)
@options.threads
@options.device
@options.as_json
@options.quiet
@options.overwrite
def train(
    data: Path,
    folder: Path,
    preset: str,
    kimg: float | None,
    tick_kimg: float | None,
    snapshot_kimg: float | None,
    micro_batch: int | None,
    cond: bool,
    resume: bool,
    overwrite: bool,
    threads: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a generator and a discriminator on the images of DATA, a folder or a zip that `invert dataset` made.

    RUN gets settings.json, log.jsonl, grids of samples (fakes-*.png), networks for every other command
    (network.safetensors is the newest) and the training state. The same command again resumes a run that was
    stopped or killed, to the bit; --kimg may grow.

    On several processes: torchrun --nproc-per-node N -m invert train ...
    """
    lengths = lengths_of(preset, kimg, tick_kimg, snapshot_kimg)
    chosen = {**chosen_settings(settings), "classes": cond}
    is_first = int(os.environ.get("RANK", "0")) == 0
    with Output(as_json=as_json, quiet=quiet or not is_first) as output, contextlib.ExitStack() as stack:
        if is_first:
            from invert.runs.folder import lock_run

            stack.enter_context(lock_run(folder))
        from generator.training.processes import join_world
        from invert.projection.session import device_kind

        kind = device_kind(device)
        world = stack.enter_context(join_world(kind))
        # one process is enough to say what is wrong with an image
        images = _open(data, output.warning if is_first else None)
        config = train_config(preset, chosen, images)
        unfinished = end_of_growth(config, lengths[0])
        if unfinished and is_first:
            output.warning(unfinished)
        _prepare(kind, threads, output)
        trainer = _trainer(config, images, micro_batch, world)
        from invert.runs.folder import NETWORK
        from invert.runs.session import Lengths, begin_session

        begun = begin_session(
            trainer,
            data,
            folder,
            Lengths(*lengths),
            overwrite=overwrite,
            resume=resume,
            on_warning=output.warning,
        )
        session = stack.enter_context(begun)
        if trainer.images:
            output.note(f"resuming after {trainer.images} images")
        _work(session, folder / NETWORK, lengths[0], output, graceful=world.size == 1)


def _open(data: Path, on_message: Callable[[str], None] | None) -> "TrainingImages":
    from invert.datasets.training_images import open_images

    return open_images(data, on_message=on_message)


def _prepare(kind: str, threads: int | None, output: Output) -> None:
    from invert.projection.session import prepare_process

    prepare_process(kind, threads, output.note)


def _trainer(config: TrainConfig, images: "TrainingImages", micro_batch: int | None, world: "World") -> "Trainer":
    from generator.training.trainer import Trainer

    try:
        return Trainer(config, images, micro_batch=micro_batch, world=world)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _work(session: "Session", network: Path, images: int, output: Output, *, graceful: bool) -> None:
    from invert.runs.session import TickDone

    trainer = session.trainer
    progress = output.training_progress(trainer.images, images)
    last: dict[str, Any] = {}
    with _deferred_signals(graceful) as asked:
        for event in session.work():
            if isinstance(event, TickDone):
                last = event.record
                if session.is_first:
                    _show_tick(last, progress, output)
                continue
            progress.step(event.images, trainer.losses)
            if asked:
                session.save()
                break
    if asked:
        output.note(f"stopped after {trainer.images} images; the same command again resumes from there")
        signal.raise_signal(asked[0])
    if session.is_first:
        record = {"type": "summary", "code": "done", "images": trainer.images, "network": str(network), "last": last}
        output.result(record, f"trained on {trainer.images} images: {display_path(network)}")


def _show_tick(record: dict[str, Any], progress: TrainingProgress, output: Output) -> None:
    progress.tick(record)
    output.event({"type": "tick", "code": "tick", **record})


@contextlib.contextmanager
def _deferred_signals(graceful: bool) -> Iterator[list[int]]:
    """Let the first signal to stop wait for the end of the step; the list then holds it. The second one acts at once.

    Several processes cannot agree on a step to stop at: there a signal acts at once, and the last snapshot counts.
    """
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for known, handler in before.items():
            signal.signal(known, handler)

    if graceful:
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        with contextlib.suppress(ValueError):  # not the main thread
            for number in numbers:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
