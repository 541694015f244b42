"""A training run from the first step to the last: ticks, snapshots, and the check that numbers are finite."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from generator.config import to_dict
from generator.files.invert_format import network_bytes
from generator.networks import Generator
from generator.training.draws import RandomSource
from generator.training.resolution_shares import resolution_shares
from generator.training.state import state_bytes
from generator.training.trainer import Trainer
from invert.errors import NumericError
from invert.images.arrays import contact_sheet, to_uint8
from invert.images.decoding import to_png_bytes
from invert.runs.folder import NETWORK, REALS, RunFolder
from invert.runs.log import TickLog

if TYPE_CHECKING:
    from generator.training.images import Images

__all__ = ["Schedule", "Session", "Step", "Tick", "origin_record"]

# A contact sheet is about this wide, and shows at most so many images a side.
_SHEET_PIXELS, _SHEET_SIDE = 1024, 12
# Latents for the shares of the resolutions: 1024 where that is a matter of seconds.
_SHARE_PIXELS = 1024 * 64 * 64


@dataclass(frozen=True)
class Schedule:
    """When a run ends, and how often it reports and saves; in images. Not part of what a run is."""

    images: int
    tick: int
    snapshot: int


@dataclass(frozen=True)
class Step:
    """One step was done; `images` is how many images were seen."""

    images: int


@dataclass(frozen=True)
class Tick:
    """A tick was reached; `record` is what went into the log."""

    record: dict[str, Any]


class Session:
    """Train, and keep the run's folder.

    Args:
        trainer: With its state loaded, if there was one.
        run: The folder; None on all processes but the first, which write nothing.
        log: Of the same folder.
        schedule: How long and how often.
        origin: Written into each network file.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder | None,
        log: TickLog | None,
        schedule: Schedule,
        origin: dict[str, Any],
    ) -> None:
        self._trainer, self._run, self._log = trainer, run, log
        self._schedule, self._origin = schedule, origin
        before = log.last if log is not None else {}
        self._seconds_before = float(before.get("seconds", 0.0))
        self._ticks = int(before.get("tick", 0))
        self._started = self._tick_started = time.monotonic()
        self._tick_images = trainer.images
        self._saved_at = trainer.images

    def work(self) -> Iterator[Step | Tick]:
        """Train to the end of the schedule. A caller that stops early can `save` what was done.

        Raises:
            NumericError: A weight or a loss is no number any more.
            OutputError: Something cannot be written.
        """
        schedule, trainer = self._schedule, self._trainer
        if self._run is not None and trainer.images == 0:
            self._run.write(REALS, to_png_bytes(_real_sheet(trainer)))
            self._draw()
        before = trainer.images
        for images in trainer.run(schedule.images):
            is_last = images >= schedule.images
            snapshot_due = is_last or _passed(before, images, schedule.snapshot)
            tick_due = _passed(before, images, schedule.tick)
            before = images
            if tick_due or snapshot_due:
                yield Tick(self._tick(snapshot_due, partial=not tick_due))
            # Last: who stops at a step and saves it must not leave out the tick that was due with it.
            yield Step(images)

    def save(self) -> None:
        """Write the state as it is now, unless it is no longer made of numbers."""
        self._require_finite()
        if self._run is not None and self._saved_at != self._trainer.images:
            self._run.save_state(self._trainer.images, state_bytes(self._trainer.state()))
            self._saved_at = self._trainer.images

    def _tick(self, snapshot: bool, partial: bool) -> dict[str, Any]:
        """Close a tick; a partial one is only reported, and goes on."""
        trainer, now = self._trainer, time.monotonic()
        self._require_finite()
        losses = trainer.losses()
        record: dict[str, Any] = {
            "tick": self._ticks + 1,
            "images": trainer.images,
            "seconds": round(self._seconds_before + now - self._started, 3),
            "images_per_second": round((trainer.images - self._tick_images) / max(now - self._tick_started, 1e-9), 3),
            "losses": {name: value for name, value in losses.items() if name not in ("real", "fake")},
            "scores": {name: losses[name] for name in ("real", "fake")},
            "path_length_average": float(trainer.path_length_average) if trainer.config.path_length_weight else None,
            "resolution_shares": None,
            "fakes": None,
            "network": None,
        }
        if trainer.config.growing:
            record |= {"resolution": trainer.stage.resolution, "alpha": trainer.stage.alpha}
        # Gamma / 2 belongs to the penalty as it is reported; the steps' intervals do not.
        if record["losses"]["r1"] is not None:
            record["losses"]["r1"] *= trainer.config.r1_gamma / 2
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
        trainer = self._trainer
        name = f"network-{trainer.images:09d}.safetensors"
        if self._run is not None:
            origin = {**self._origin, "images": trainer.images}
            content = network_bytes(trainer.sampler(), settings=origin)
            self._run.write(name, content)
            self._run.write(NETWORK, content)
        fakes = self._draw()
        pixels = trainer.config.resolution**2
        shares = resolution_shares(trainer.average, samples=min(1024, max(16, _SHARE_PIXELS // pixels)))
        named = None if shares is None else {str(r): share for r, share in shares.items()}
        return {"resolution_shares": named, "fakes": fakes, "network": name}

    def _draw(self) -> str:
        name = f"fakes-{self._trainer.images:09d}.png"
        if self._run is not None:
            self._run.write(name, to_png_bytes(_fake_sheet(self._trainer)))
        return name

    def _require_finite(self) -> None:
        if self._trainer.is_finite():
            return
        where = f"at tick {self._ticks + 1}, after {self._trainer.images} images"
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
    return contact_sheet(list(images.read(chosen).transpose(0, 2, 3, 1)))


@torch.inference_mode()
def _fake_sheet(trainer: Trainer) -> "np.typing.NDArray[np.uint8]":
    """Draw the same latents with the averaged generator as far as it has grown, each with noise maps of its own."""
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
    images = []
    for index in range(count):
        draws = source.draw("sheet", 0, [index])
        ws = generator.mapping_ws(draws.z[:, 0], draws.labels)
        images.append(to_uint8(generator.synthesis(ws, draws.noise))[0])
    return contact_sheet(images)


def origin_record(trainer: Trainer, data: dict[str, Any]) -> dict[str, Any]:
    """Return what a network file says about where it comes from."""
    return {"training": to_dict(trainer.config), "data": {key: data[key] for key in ("fingerprint", "images")}}
