"""Settle once what a projection needs: from a network and settings to records, a prepared process and a projector.

    session = open_session("network.safetensors", ProjectConfig(), images=100)
    session.config                 # nothing left open: bank, batch, threads and device are what will be used
    session.method, session.run    # the two records that go into every output
    for event in session.projector().run(targets): ...

Every command and the functions of `invert.api` go this way, so that the same settings mean the same everywhere.
"""

import ctypes
import dataclasses
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from generator.ops.native.build import ensure, kernels_hash
from invert.errors import UsageError, display_path, network_errors
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig, method_record, run_settings
from invert.projection.exact import ExactProjector
from invert.projection.latents import Start, start_at_centre
from invert.projection.perceptual import Perceptual
from invert.projection.projector import ImageProjector, Projector, check_fit
from invert.projection.start import BankStart, SampleBank, bank_size, load_bank

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator

__all__ = [
    "Session",
    "default_batch",
    "device_kind",
    "keep_freed_memory",
    "load_network",
    "open_session",
    "prepare_process",
    "run_record",
    "settle",
]

_Record = dict[str, Any]
_OnMessage = Callable[[str], None]

_SMALL, _LARGE = 64, 512  # px
_BATCHES = {_SMALL: 32, _LARGE - 1: 8}

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**30


def _silent(_: str) -> None:
    return


@dataclass(frozen=True, eq=False)
class Session:
    """A network and settings with nothing left open, in a process that is prepared for them.

    Made by `open_session`.

    Attributes:
        network: The network.
        config: Settings; bank, batch, threads and device are settled.
        policy: What is accepted as an image.
        method: What makes distances comparable, see `invert.projection.config.method_record`.
        run: What makes bits comparable, see `run_record`.
        on_message: Called with a line while something takes long.
    """

    network: "LoadedNetwork"
    config: ProjectConfig
    policy: ImagePolicy
    method: _Record
    run: _Record
    on_message: _OnMessage = field(default=_silent, repr=False)

    @property
    def path(self) -> Path:
        """The network's file."""
        return self.network.provenance.path

    @property
    def sha256(self) -> str:
        """Hash of the network's file."""
        return self.network.provenance.sha256

    @property
    def batch(self) -> int:
        """How many images are optimised together."""
        return self.config.batch or 1

    @property
    def resolution(self) -> int:
        """Side of the network's images in pixels."""
        return self.network.generator.config.synthesis.img_resolution

    @property
    def channels(self) -> int:
        """Channels of the network's images: 1, 3 or 4."""
        return self.network.generator.config.synthesis.img_channels

    def projector(self) -> ImageProjector:
        """Return what projects images; it is put together once, and its bank of samples is generated then."""
        return self._projector

    def draw_bank(self) -> None:
        """Draw the samples to start from, where the preset wants any, before several processes do it at once."""
        if self.config.starts_from_bank:
            self._bank(self.network.generator.to(self.config.device))

    @cached_property
    def _projector(self) -> ImageProjector:
        config = self.config
        generator = self.network.generator.to(config.device)
        perceptual = Perceptual(config.lpips).to(config.device)
        if config.is_exact:
            return ExactProjector(generator, perceptual, config, bank=self._bank(generator), device=config.device)
        start: Start = start_at_centre
        if config.starts_from_bank:
            # Before the network is frozen, as it is for the images that a user draws with it.
            start = BankStart(self._bank(generator), generator, perceptual)
        return Projector(generator, perceptual, config, batch=self.batch, device=config.device, start=start)

    def _bank(self, generator: "Generator") -> SampleBank:
        samples = self.config.bank or bank_size(self.resolution)
        weights, message = self.network.provenance.weights_sha256, self.on_message
        return load_bank(generator, weights, samples, class_index=self.config.class_index, on_message=message)


def open_session(
    network: "str | os.PathLike[str] | LoadedNetwork",
    config: ProjectConfig,
    policy: ImagePolicy | None = None,
    *,
    images: int | None = None,
    workers: int = 1,
    resumed: Mapping[str, Any] | None = None,
    on_message: _OnMessage | None = None,
    on_warning: _OnMessage | None = None,
) -> Session:
    """Settle everything and prepare this process.

    Args:
        network: A network, or its file.
        config: Settings; what is None is settled as `settle` says.
        policy: What is accepted as an image.
        images: How many there are, None where nobody knows.
        workers: Processes that will share the work.
        resumed: Run record of an output that is resumed.
        on_message: Called with a line while something takes long: kernels are built, samples are generated.
        on_warning: Called with a line for each thing that a user of the network should know.

    Raises:
        NetworkError: The file cannot be read, or is not a network.
        UsageError: The settings do not fit the network or the machine.
    """
    if isinstance(network, str | os.PathLike):
        network = load_network(network, on_warning)
    on_message = on_message or _silent
    config = settle(network, config, images=images, workers=workers, resumed=resumed)
    prepare_process(config.device, config.threads, on_message)
    policy = policy or ImagePolicy()
    method = method_record(config, network.provenance.sha256, policy.record())
    return Session(network, config, policy, method, run_record(config), on_message)


def load_network(path: str | os.PathLike[str], on_warning: _OnMessage | None = None) -> "LoadedNetwork":
    """Load a network file of any known format; nothing in it is ever run.

    Args:
        path: The file.
        on_warning: Called with a line for each thing that its user should know.

    Raises:
        NetworkError: It is unsafe, unsupported, damaged, or cannot be read.
    """
    from generator.files.reading import load

    with network_errors(Path(path)):
        loaded = load(Path(path))
    for warning in loaded.provenance.warnings:
        (on_warning or _silent)(f"network '{display_path(path)}': {warning}")
    return loaded


def settle(
    network: "LoadedNetwork",
    config: ProjectConfig,
    *,
    images: int | None = None,
    workers: int = 1,
    resumed: Mapping[str, Any] | None = None,
) -> ProjectConfig:
    """Return the settings with nothing left open.

    Device: CUDA where there is one. Batch: that of the run that is resumed, or `default_batch`. Threads: all of the
    process, or an equal share of the processors for each of several workers. Bank: by the size of the network.

    Args:
        network: The network.
        config: Settings.
        images: How many there are, None where nobody knows.
        workers: Processes that will share the work.
        resumed: Run record of an output that is resumed.

    Raises:
        UsageError: The settings do not fit the network or the machine.
    """
    check_fit(network.generator, config)
    kind = device_kind(config.device)
    if kind == "cuda" and workers > 1:
        raise UsageError("--workers is for processors", advice="One process keeps a GPU busy: leave it out.")
    resolution = network.generator.config.synthesis.img_resolution
    threads = config.threads
    if threads is None:
        threads = torch.get_num_threads() if workers == 1 else max(1, (os.cpu_count() or 1) // workers)
    batch = config.batch
    if config.is_exact:
        batch = ExactProjector.batch
    if batch is None:
        batch = int(resumed["batch"]) if resumed is not None else default_batch(resolution, kind, images)
    return dataclasses.replace(_settle_bank(config, resolution), batch=batch, threads=threads, device=kind)


def _settle_bank(config: ProjectConfig, resolution: int) -> ProjectConfig:
    """Return the settings with the size of the bank, where one is used: it is part of the method."""
    if not config.starts_from_bank or config.bank is not None:
        return config
    return dataclasses.replace(config, bank=bank_size(resolution))


def default_batch(resolution: int, device_type: str, images: int | None = None) -> int:
    """Return how many images are optimised together unless the user says: what keeps a processor busy.

    It is a power of two that few images more or less do not change, for it is part of the run record.

    Args:
        resolution: Side of the network's images in pixels.
        device_type: "cpu" or "cuda".
        images: How many there are; a batch is not much larger. None where nobody knows.
    """
    most = next((batch for side, batch in _BATCHES.items() if resolution <= side), 1 if device_type == "cpu" else 8)
    return most if images is None else min(most, 1 << max(0, images - 1).bit_length())


def device_kind(choice: str) -> str:
    """Return "cpu" or "cuda" for a device of "auto", "cpu" or "cuda".

    Raises:
        UsageError: CUDA was asked for and cannot be used.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that PyTorch can use", advice="Use cpu.")
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return choice


def run_record(config: ProjectConfig) -> _Record:
    """Return what makes bits comparable, as JSON types.

    Args:
        config: Settled settings, in a process that is prepared for them.
    """
    device = torch.device(config.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        **run_settings(config, batch=config.batch, threads=torch.get_num_threads(), device=f"{device.type} ({name})"),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "kernels": kernels_hash(),
    }


def prepare_process(device_type: str, threads: int | None, on_message: _OnMessage) -> None:
    """Set this process up for projections: memory, native kernels and threads.

    Args:
        device_type: "cpu" or "cuda".
        threads: CPU threads; None leaves the number that torch has.
        on_message: Called with a line when kernels have to be built.
    """
    keep_freed_memory()
    ensure(cuda=device_type == "cuda", on_message=on_message)
    if threads is not None:
        torch.set_num_threads(threads)


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory, and return whether it understood.

    A projection step frees and asks for the same gigabytes again; by default each is returned to the system
    and cleared page by page before its next use, which takes half of a 1024 px step (see
    `bench/projection_step.py`). It holds for the whole process.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
