"""`invert train`: train a StyleGAN, StyleGAN2 or StyleGAN3 from images."""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.errors import ConfigError
from generator.settings import setting_of
from generator.training.config import TrainConfig
from generator.training.presets import TRAINING_PRESETS, Lengths, parse_setting
from invert.cli import options
from invert.cli.help import Command
from invert.cli.inputs import NETWORK_FILE
from invert.cli.output import Output
from invert.cli.progress import ImageProgress
from invert.errors import UsageError, display_path
from invert.metrics.table import choose

if TYPE_CHECKING:
    from invert.runs.meter import Meter
    from invert.runs.session import TrainingSession

__all__ = ["train"]

_LOSSES, _COMPUTATION, _METRICS = "Losses", "Computation", "Metrics"
_FIELDS = dataclasses.fields(TrainConfig)
_WITH_OPTION = tuple(field.name for field in _FIELDS if setting_of(field).option is not None)
_LENGTHS = tuple(field.name for field in dataclasses.fields(Lengths))
_FROM_DATA = ("channels", "classes", "start")
"""Settings that the images decide, --cond or --attribute, and --from."""
_SHOWN = "stylegan2-f"
"""The preset whose values `--help` shows."""


class _Assignment(click.ParamType[tuple[str, Any]]):
    """A setting of `TrainConfig` as NAME=VALUE."""

    name = "setting"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, mark, text = str(value).partition("=")
        if not mark:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        if name.strip() in _FROM_DATA:
            self.fail(f"{value}: the images say that, --cond or --attribute, and --from", param, ctx)
        try:
            return name.strip(), parse_setting(name.strip(), text.strip())
        except ConfigError as error:
            self.fail(f"{value}: {error}", param, ctx)


class _TrainCommand(Command):
    """A command whose `--help` lists the settings that `--set` takes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        settings = TRAINING_PRESETS[_SHOWN].settings
        for field in _FIELDS:
            declared = setting_of(field)
            takes_value = declared.option is not None and declared.flag is None
            if not takes_value and field.name not in _FROM_DATA:
                value = settings.get(field.name, field.default)
                default = str(value).lower() if isinstance(value, bool) else value
                shown = f"{default:g}" if type(default) is float else default
                rows.append((f"{field.name}={shown}", declared.help))
        with formatter.section(f"Settings for --set, with their values in {_SHOWN}"):
            formatter.write_dl(rows, col_max=34)
        super().format_epilog(ctx, formatter)


@click.command(
    cls=_TrainCommand,
    short_help="Train a StyleGAN, StyleGAN2 or StyleGAN3 from images.",
    examples=(
        "invert train --data digits.zip --out runs/digits",
        "invert train --data photos256.zip --out runs/photos --config stylegan2-f --gamma 10",
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
    type=options.Folder(),
    help="Folder of the run.",
)
@options.option(
    "--config",
    "preset",
    default="small",
    show_default=True,
    type=click.Choice(list(TRAINING_PRESETS)),
    help="Preset of networks, losses and lengths.",
)
@options.option("--resume", is_flag=True, help="Insist that there is a run to resume.")
@options.option(
    "--from",
    "start_path",
    metavar="NETWORK",
    type=NETWORK_FILE,
    help="Start with the layers of a network file that fit; networks are built like those in it.",
    group="Networks",
)
@options.option(
    "--mirror",
    "mirrored",
    is_flag=False,
    flag_value="x",
    type=click.Choice(["x", "y", "xy"]),
    help="Show images mirrored half of the time, along x (as --mirror alone and the papers' presets do), y or both.",
    group="Images",
)
@options.option("--no-mirror", "unmirrored", is_flag=True, help="Show no image mirrored.", group="Images")
@options.option("--cond", is_flag=True, help="Train a conditional network on the data's labels.", group="Images")
@options.option(
    "--attribute",
    metavar="NAME",
    help="Train a conditional network on an attribute of the data's dataset.json in place of the labels.",
    group="Images",
)
# Not from the environment: a variable that is set for projections would give a run other settings than it has.
@options.settings(TrainConfig, only=_WITH_OPTION, defaults=dict.fromkeys(_WITH_OPTION), environment=False)
@options.option(
    "--set",
    "others",
    multiple=True,
    type=_Assignment(),
    metavar="NAME=VALUE",
    help="Any other setting, see below; may be given several times.",
    group=_LOSSES,
)
@options.settings(Lengths, defaults=dict.fromkeys(_LENGTHS, options.Unset("the preset's")), environment=False)
@options.option(
    "--metrics",
    "names",
    metavar="LIST",
    help="Measure each snapshot, such as fd-vgg,kid-vgg; the best by the first is network-best.safetensors.",
    group=_METRICS,
)
@options.option(
    "--metrics-images",
    default=5000,
    show_default=True,
    type=click.IntRange(min=10),
    metavar="N",
    help="Samples of each snapshot, and the most training images, that are measured.",
    group=_METRICS,
)
@options.option(
    "--micro-batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Images that are computed at a time, to save memory.",
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
    others: tuple[tuple[str, Any], ...],
    start_path: Path | None,
    mirrored: str | None,
    unmirrored: bool,
    cond: bool,
    attribute: str | None,
    names: str | None,
    metrics_images: int,
    micro_batch: int | None,
    resume: bool,
    overwrite: bool,
    threads: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Train a generator and a discriminator on the images of DATA, a folder or a zip that `invert dataset` made.

    RUN gets settings.json, log.jsonl, grids of samples (fakes-*.png), networks for every other command
    (network.safetensors is the newest) and the training state. The same command again resumes a run that was
    stopped or killed, to the bit; --kimg may grow.

    On several processes: torchrun --nproc-per-node N -m invert train ...
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    lengths = dataclasses.replace(
        TRAINING_PRESETS[preset].lengths, **{name: chosen.pop(name) for name in _LENGTHS if name in chosen}
    )
    if mirrored and unmirrored:
        raise UsageError("--mirror and --no-mirror exclude each other", advice="Leave one of them out.")
    if cond and attribute is not None:
        raise UsageError("--cond and --attribute exclude each other", advice="Leave one of them out.")
    if mirrored or unmirrored:
        chosen |= {"mirror": "x" in (mirrored or ""), "mirror_y": "y" in (mirrored or "")}
    chosen |= dict(others)
    metrics = choose(names, None, against=True) if names else []
    for one in metrics:
        if one.metric.labels or not one.metric.better:
            raise UsageError(f"--metrics: {one.name} tells no snapshot from a better one", advice="Use invert metrics.")
    is_first = int(os.environ.get("RANK", "0")) == 0
    with Output(as_json=as_json, quiet=quiet or not is_first) as output, contextlib.ExitStack() as stack:
        if is_first:
            # before torch is loaded, which takes seconds: a run in use is told at once
            from invert.runs.folder import lock_run

            stack.enter_context(lock_run(folder))
        from generator.processors import doubt_bfloat16
        from generator.training.processes import join_world
        from invert.datasets.training_images import open_images
        from invert.projection.session import load_network, prepare_process, settle_device
        from invert.runs.folder import recorded_settings
        from invert.runs.session import begin_session, new_trainer
        from invert.runs.settings import adopted_from, config_for

        chosen_device = settle_device(device)
        world = stack.enter_context(join_world(chosen_device))
        # one process is enough to say what is wrong with an image
        on_warning = output.warning if is_first else lambda _: None
        start = None
        if start_path is not None:
            start = load_network(start_path, on_warning)
            chosen = adopted_from(start, start_path) | chosen
        images = open_images(data, attribute=attribute, on_message=on_warning, on_progress=_looking(output))
        notes: list[str] = []
        config = config_for(
            images,
            preset,
            chosen,
            conditional=cond or attribute is not None,
            lengths=lengths,
            recorded=world.agree(recorded_settings(folder) if is_first and not overwrite else None),
            on_warning=on_warning,
            on_note=notes.append,
        )
        if doubt := doubt_bfloat16(config.precision, chosen_device):
            on_warning(doubt)
        prepare_process(chosen_device, threads, output.note)
        trainer = new_trainer(config, images, micro_batch=micro_batch, world=world, start=start)
        for note in notes:  # settings that follow from others are of interest once all of them fit
            output.note(note)
        begun = begin_session(
            trainer,
            data,
            folder,
            lengths,
            attribute=attribute,
            overwrite=overwrite,
            resume=resume,
            on_warning=output.warning,
        )
        session = stack.enter_context(begun)
        if start_path is not None and not trainer.images:
            afresh = ", ".join(trainer.fresh) or "none"
            output.note(f"started from '{display_path(start_path)}'; layers that start afresh: {afresh}")
        if trainer.images:
            output.note(f"resuming after {trainer.images} images")
        meter = None
        if metrics and session.run_folder is not None:
            from invert.runs.meter import Meter, Plan

            plan = Plan(data, attribute, metrics, metrics_images, chosen_device, threads)
            meter = stack.enter_context(contextlib.closing(Meter(session.run_folder, plan, output.warning)))
        _work(session, folder, lengths.images, output, meter, graceful=world.size == 1)


def _looking(output: Output) -> Callable[[int, int], None]:
    """Return what shows how many images have been looked at, which takes minutes where there are many."""
    bars: list[ImageProgress] = []

    def looked(_: int, total: int) -> None:
        if not bars:
            bars.append(output.image_progress(total))
        bars[0].step()

    return looked


def _work(
    session: "TrainingSession", folder: Path, images: int, output: Output, meter: "Meter | None", *, graceful: bool
) -> None:
    from invert.runs.folder import NETWORK
    from invert.runs.session import TickDone
    from invert.runs.signals import deferred_signals
    from invert.runs.snapshots import BEST

    trainer = session.trainer
    output.keeps()
    progress = output.training_progress(trainer.images, images)
    last: dict[str, Any] = {}
    with deferred_signals(graceful) as asked:
        _measure(session, meter, output, asked)  # what a run that was killed left out
        for event in session.work():
            if isinstance(event, TickDone):
                last = event.record
                if session.is_first:
                    progress.tick(last)
                    output.event({"type": "tick", "code": "tick", **last})
                    if last["network"] is not None:
                        _measure(session, meter, output, asked)
                continue
            progress.step(event.images, trainer.losses)
            if asked:
                session.save()
                break
    if asked:
        output.note(f"stopped after {trainer.images} images; the same command again resumes from there")
        signal.raise_signal(asked[0])
    if session.is_first:
        path = folder / NETWORK
        record = {"type": "summary", "code": "done", "images": trainer.images, "network": str(path), "last": last}
        lines = [f"trained on {trainer.images} images: {display_path(path)}"]
        best = None if meter is None else meter.best()
        if best is not None:
            record["best"] = best[0].record()
            value = best[0].value(best[1])
            lines.append(
                f"best by {best[1]}, {value:.4g}: that of {best[0].images} images, {display_path(folder / BEST)}"
            )
        output.result(record, *lines)


def _measure(session: "TrainingSession", meter: "Meter | None", output: Output, asked: list[int]) -> None:
    """Measure the snapshots that are not measured yet, until a signal asks to stop."""
    if meter is None:
        return
    for snapshot in meter.catch_up(session.trainer.images, lambda: bool(asked)):
        values = {name: snapshot.value(name) for name in snapshot.metrics}
        session.note_metrics(snapshot.images, values)
        shown = ", ".join(f"{name} {'none' if value is None else f'{value:.4g}'}" for name, value in values.items())
        output.note(f"{snapshot.network}: {shown}")
        output.event({"type": "metrics", "code": "measured", **snapshot.record()})
