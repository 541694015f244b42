"""A training run from the first step to the last: settled, begun or resumed, its ticks and snapshots."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from generator.config import to_dict
from generator.errors import ConfigError
from generator.files.invert_format import network_bytes
from generator.networks import Generator
from generator.training.config import TrainConfig
from generator.training.draws import RandomSource
from generator.training.presets import Lengths
from generator.training.resolution_shares import resolution_shares
from generator.training.state import check_state, state_bytes, state_limit
from generator.training.trainer import Trainer
from invert.errors import NumericError
from invert.images.arrays import contact_sheet, to_rgb, to_uint8
from invert.images.decoding import to_png_bytes
from invert.runs.folder import NETWORK, REALS, RunFolder, open_run_folder, record_of
from invert.runs.log import TickLog
from invert.runs.settings import refused

if TYPE_CHECKING:
    from generator.files.state import LoadedNetwork
    from generator.training.images import Images
    from generator.training.processes import World
    from invert.datasets.training_images import TrainingImages

__all__ = ["StepDone", "TickDone", "TrainingSession", "begin_session", "new_trainer"]

# A contact sheet is about this wide, and shows at most so many images a side.
_SHEET_PIXELS, _SHEET_SIDE = 1024, 12
_AT_ONCE = 1 << 16  # pixels of its images that are synthesised together


@dataclass(frozen=True)
class StepDone:
    """One step was done; `images` is how many images have been seen."""

    images: int


@dataclass(frozen=True)
class TickDone:
    """A tick was reached; `record` is what went into the log."""

    record: dict[str, Any]


class TrainingSession:
    """Train, and keep the run's folder; made by `begin_session`.

    Args:
        trainer: The trainer, with its state loaded if there was one.
        run: The run's folder; None on all processes but the first, for those write nothing.
        log: The log in that folder, or None.
        lengths: How long to train, how often to report and to save.
        origin: What each network file says about where it comes from.

    Attributes:
        trainer: The trainer.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder | None,
        log: TickLog | None,
        lengths: Lengths,
        origin: dict[str, Any],
    ) -> None:
        self.trainer, self._run, self._log = trainer, run, log
        self._lengths, self._origin = lengths, origin
        before = log.last if log is not None else {}
        self._seconds_before = float(before.get("seconds", 0.0))
        self._ticks = int(before.get("tick", 0))
        self._started = self._tick_started = time.monotonic()
        self._tick_images = trainer.images
        self._saved_at = trainer.images

    @property
    def run_folder(self) -> RunFolder | None:
        """The run's folder; None on all processes but the first."""
        return self._run

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.trainer.world.rank == 0

    def work(self) -> Iterator[StepDone | TickDone]:
        """Train to the end. A caller that stops early can `save` what was done.

        Raises:
            NumericError: A weight or a loss is no number any more.
            OutputError: Something cannot be written.
        """
        lengths, trainer = self._lengths, self.trainer
        if self._run is not None and trainer.images == 0:
            self._run.write(REALS, to_png_bytes(_real_sheet(trainer), is_sheet=True))
            self._write_fakes()
        before = trainer.images
        for images in trainer.run(lengths.images):
            is_last = images >= lengths.images
            snapshot_due = is_last or _passed(before, images, lengths.snapshot)
            tick_due = _passed(before, images, lengths.tick)
            before = images
            if tick_due or snapshot_due:
                yield TickDone(self._tick(snapshot_due, partial=not tick_due))
            # Last: who stops at a step and saves it must not leave out the tick that was due with it.
            yield StepDone(images)

    def note_metrics(self, images: int, values: Mapping[str, float | None]) -> None:
        """Show in TensorBoard, where that is installed, what was measured of a snapshot."""
        if self._log is not None:
            self._log.plot({f"metrics/{name}": value for name, value in values.items()}, images)

    def save(self) -> None:
        """Write the state as it is now, unless it is no longer made of numbers."""
        self._require_finite()
        if self._run is not None and self._saved_at != self.trainer.images:
            self._run.save_state(self.trainer.images, state_bytes(self.trainer.state()))
            self._saved_at = self.trainer.images

    def _tick(self, snapshot: bool, partial: bool) -> dict[str, Any]:
        """Close a tick; a partial one is only reported, and goes on."""
        trainer, now = self.trainer, time.monotonic()
        self._require_finite()
        losses = trainer.losses()
        record: dict[str, Any] = {
            "tick": self._ticks + 1,
            "images": trainer.images,
            "seconds": round(self._seconds_before + now - self._started, 3),
            "images_per_second": round((trainer.images - self._tick_images) / max(now - self._tick_started, 1e-9), 3),
            "losses": {name: value for name, value in losses.items() if name not in ("real", "fake", "real_sign")},
            "scores": {name: losses[name] for name in ("real", "fake")},
            "path_length_average": float(trainer.path_length_average) if trainer.config.path_length_weight else None,
            "resolution_shares": None,
            "fakes": None,
            "network": None,
        }
        if trainer.config.growing:
            record |= {"resolution": trainer.stage.resolution, "alpha": trainer.stage.alpha}
        if trainer.augment_probability is not None:
            record["augment_p"] = trainer.augment_probability
        if "real_sign" in losses:
            record["real_sign"] = losses["real_sign"]
        if trainer.config.blur_warmup_sigma:
            record["blur_sigma"] = round(trainer.blur, 4)
        # Gamma / 2 belongs to the penalty as it is reported; the steps' intervals do not.
        for name in ("r1", "r2"):
            if record["losses"].get(name) is not None:
                record["losses"][name] *= trainer.config.r1_gamma / 2
        if partial:
            record["partial"] = True
        else:
            trainer.reset_losses()
            self._ticks += 1
            self._tick_images, self._tick_started = trainer.images, time.monotonic()
        if self._run is not None and self._log is not None:
            if snapshot:
                record |= self._snapshot()
            self._log.add(record)
            if snapshot:
                # Last: a state says that everything before it was written, its record in the log too.
                self.save()
        return record

    def _snapshot(self) -> dict[str, Any]:
        """Write the network and its images; return what the log says of them."""
        trainer = self.trainer
        name = f"network-{trainer.images:09d}.safetensors"
        if self._run is not None:
            origin = {**self._origin, "images": trainer.images}
            content = network_bytes(trainer.sampler(), settings=origin)
            self._run.write(name, content)
            self._run.write(NETWORK, content)
            self._run.note_growing()
        fakes = self._write_fakes()
        shares = resolution_shares(trainer.average)
        named = None if shares is None else {str(r): share for r, share in shares.items()}
        return {"resolution_shares": named, "fakes": fakes, "network": name}

    def _write_fakes(self) -> str:
        name = f"fakes-{self.trainer.images:09d}.png"
        if self._run is not None:
            self._run.write(name, to_png_bytes(_fake_sheet(self.trainer), is_sheet=True))
        return name

    def _require_finite(self) -> None:
        if self.trainer.is_finite():
            return
        where = f"at tick {self._ticks + 1}, after {self.trainer.images} images"
        last = self._run.last_snapshot() if self._run is not None else "see the first process"
        raise NumericError(
            f"training: losses or weights are not finite {where}; {last}",
            advice="Try a smaller learning rate or a larger --gamma, from the beginning or with another --seed.",
        )


def _passed(before: int, images: int, interval: int) -> bool:
    """Whether this step reached or passed a multiple of the interval."""
    return images // interval > before // interval


def _sheet_side(resolution: int) -> int:
    return max(2, min(_SHEET_SIDE, _SHEET_PIXELS // resolution))


def _real_sheet(trainer: Trainer) -> "np.typing.NDArray[np.uint8]":
    images: Images = trainer.data
    count = min(len(images), _sheet_side(images.resolution) ** 2)
    chosen = np.linspace(0, len(images) - 1, count).astype(int).tolist()
    return contact_sheet([_shown(image) for image in images.read(chosen).transpose(0, 2, 3, 1)])


def _shown(image: "np.typing.NDArray[np.uint8]") -> "np.typing.NDArray[np.uint8]":
    """Return an image `[H, W, C]` as sheets show it: transparent parts on white."""
    return to_rgb(image) if image.shape[2] == 4 else image


@torch.inference_mode()
def _fake_sheet(trainer: Trainer) -> "np.typing.NDArray[np.uint8]":
    """Synthesise the same latents with the averaged generator as far as it has grown, each with noise of its own."""
    generator: Generator = trainer.sampler()
    config = trainer.config
    count = _sheet_side(config.resolution) ** 2
    source = RandomSource(
        config.seed,
        generator.config,
        generator.synthesis.noise_sizes,
        style_mixing=0.0,
        classes=np.arange(config.classes) if config.classes else None,
        device=trainer.device,
    )
    images: list[np.typing.NDArray[np.uint8]] = []
    size = max(1, _AT_ONCE // config.resolution**2)
    for first in range(0, count, size):
        draws = source.draw("sheet", 0, range(first, min(first + size, count)))
        ws = generator.mapping_ws(draws.z[:, 0], draws.labels)
        images += (_shown(image) for image in to_uint8(generator.synthesis(ws, draws.noise)))
    return contact_sheet(images)


def new_trainer(
    config: TrainConfig,
    images: "TrainingImages",
    *,
    micro_batch: int | None,
    world: "World",
    start: "LoadedNetwork | None" = None,
) -> Trainer:
    """Return a trainer at its first step, see `Trainer`.

    Args:
        config: Settings of the run.
        images: What it trains on.
        micro_batch: Images that are computed at a time; None: the whole part of a process.
        world: The processes that train together.
        start: The network that the run starts from, if from any.

    Raises:
        UsageError: The batch cannot be cut into such parts, or the network to start from does not fit.
    """
    try:
        return Trainer(config, images, micro_batch=micro_batch, world=world, start=start)
    except ConfigError as error:
        raise refused(error) from error


@contextlib.contextmanager
def begin_session(
    trainer: Trainer,
    data: Path,
    folder: Path,
    lengths: Lengths,
    *,
    attribute: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Iterator[TrainingSession]:
    """Open a run's folder and bring the trainer into the state in which the run was left; close the log at the end.

    Args:
        trainer: A new trainer.
        data: Where its images come from, for the run's record.
        folder: The run; locked by the first process, see `invert.runs.folder.lock_run`.
        lengths: How long to train, how often to report and to save.
        attribute: What the labels say, for the run's record, where they are an attribute of the images.
        overwrite: Begin again, whatever is there of an earlier run.
        resume: There has to be a run to resume.
        on_warning: Called with a line for each training state that is damaged.

    Raises:
        UsageError: The folder holds a run with other settings or data, or something else; or, with `resume`, nothing.
        OutputError: The folder cannot be read or written.
        StateError: The newest training state is whole, and not one of this run.
    """
    images: Images = trainer.data
    about = {
        "path": str(data),
        "fingerprint": images.fingerprint,
        "images": len(images),
        "resolution": images.resolution,
        "channels": images.channels,
        "classes": images.classes,
    } | ({} if attribute is None else {"attribute": attribute})
    settings = to_dict(trainer.config)
    run = state = None
    if trainer.world.rank == 0:
        run = open_run_folder(folder, record_of(settings, about), overwrite=overwrite, resume=resume)
        layout = trainer.layout()
        state, complaints = run.newest_state(state_limit(layout), lambda found: check_state(found, layout))
        for line in complaints:
            on_warning(line)
    state = trainer.world.agree(state)
    if state is not None:
        trainer.load_state(state)
    origin = {
        "training": settings,
        "data": {key: about[key] for key in ("fingerprint", "images", "attribute") if key in about},
    }
    with contextlib.ExitStack() as stack:
        log = None
        if run is not None:
            log = stack.enter_context(contextlib.closing(TickLog(folder, trainer.images)))
        yield TrainingSession(trainer, run, log, lengths, origin)
