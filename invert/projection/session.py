"""Settle once what a projection needs: from a network and settings to records, a prepared process and a projector.

    session = open_session("network.safetensors", ProjectConfig())
    session.config                 # nothing left open: bank, batch, threads and device are what will be used
    session.method, session.run    # the two records that go into every output
    for event in session.projector().run(targets): ...

Every command and the functions of `invert.api` go this way, so that the same settings mean the same everywhere.
"""

import dataclasses
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from generator.ops.native.build import kernels_hash
from generator.processors import doubt_bfloat16
from generator.settings import map_shape, setting_of
from invert.errors import UsageError, display_path, network_errors
from invert.images.decoding import ImagePolicy
from invert.projection.config import ProjectConfig
from invert.projection.encoders import EncoderFile, EncoderStart, encoder_path, read_encoder
from invert.projection.exact import ExactProjector
from invert.projection.latents import LatentStatistics, Start, Targets, kept_statistics, start_at_centre
from invert.projection.mask import Mask, read_mask
from invert.projection.network_bars import settled_fit
from invert.projection.perceptual import Perceptual
from invert.projection.process import default_threads, keep_freed_memory, prepare_process, settle_device
from invert.projection.projector import ImageProjector, Projector, check_fit, check_square
from invert.projection.records import method_record, run_settings
from invert.projection.start import BankStart, SampleBank, bank_size, load_bank

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork
    from generator.networks import Generator

__all__ = [
    "GivenStart",
    "Records",
    "Session",
    "default_batch",
    "default_threads",
    "keep_freed_memory",
    "load_network",
    "open_session",
    "prepare_process",
    "run_record",
    "settle",
    "settle_as_before",
    "settle_device",
]

_Record = dict[str, Any]
_OnMessage = Callable[[str], None]

_SMALL = 64  # px
_BATCH = 8


def _silent(_: str) -> None:
    return


class GivenStart(Protocol):
    """Latents of files to start from."""

    @property
    def digest(self) -> str:
        """Digest of all that a start depends on."""

    def __call__(self, statistics: LatentStatistics, targets: Targets, restart: int) -> Tensor:
        """Return w, as an `invert.projection.latents.Start` does."""


@dataclass(frozen=True)
class Records:
    """The records of an output that is resumed: they settle what the user leaves open.

    Attributes:
        method: See `invert.projection.records.method_record`.
        run: See `run_record`.
    """

    method: Mapping[str, Any]
    run: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Session:
    """A network and settings with nothing left open, in a process that is prepared for them.

    Made by `open_session`.

    Attributes:
        network: The network.
        config: Settings; bank, batch, threads and device are settled.
        policy: What is accepted as an image.
        method: What makes distances comparable, see `invert.projection.records.method_record`.
        run: What makes bits comparable, see `run_record`.
        on_message: Called with a line while something takes long.
        start: Gives the first w of images where `--start` names a file; None elsewhere.
        mask: The pixels of images that count; None where all of them do.
        encoder: What tells the first w of images; None where they start elsewhere.
    """

    network: "LoadedNetwork"
    config: ProjectConfig
    policy: ImagePolicy
    method: _Record
    run: _Record
    on_message: _OnMessage = field(default=_silent, repr=False)
    start: "GivenStart | None" = None
    mask: Mask | None = None
    encoder: EncoderFile | None = None

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

    def generate_bank(self) -> None:
        """Generate the samples to start from, where the preset wants any, before several processes do it at once."""
        if self.config.starts_from_bank:
            self._bank(self.network.generator.to(self.config.device))

    @cached_property
    def _projector(self) -> ImageProjector:
        config = self.config
        generator = self.network.generator.to(config.device)
        perceptual = Perceptual(config.lpips).to(config.device)
        if config.is_exact:
            return ExactProjector(generator, perceptual, config, bank=self._bank(generator), device=config.device)
        start: Start = self.start or start_at_centre
        if self.encoder is not None:
            start = EncoderStart(self.encoder.network.to(config.device))
        elif config.starts_from_bank:
            # Before the network is frozen, as it is for the images that a user generates with it.
            start = BankStart(self._bank(generator), generator, perceptual)
        weights = self.network.provenance.weights_sha256
        # What the last bits of w depend on: a kept centre must be the one that this run would measure.
        arithmetic = json.dumps({name: value for name, value in self.run.items() if name not in ("seed", "batch")})
        return Projector(
            generator,
            perceptual,
            config,
            batch=self.batch,
            device=config.device,
            start=start,
            mask=self.mask,
            measure=partial(kept_statistics, weights_sha256=weights, arithmetic=arithmetic),
        )

    def _bank(self, generator: "Generator") -> SampleBank:
        samples = self.config.bank or bank_size(self.resolution)
        weights, message = self.network.provenance.weights_sha256, self.on_message
        return load_bank(generator, weights, samples, class_index=self.config.class_index, on_message=message)


def open_session(
    network: "str | os.PathLike[str] | LoadedNetwork",
    config: ProjectConfig,
    policy: ImagePolicy | None = None,
    *,
    workers: int = 1,
    resumed: Records | None = None,
    on_message: _OnMessage | None = None,
    on_warning: _OnMessage | None = None,
    any_shape: bool = False,
    start: "GivenStart | None" = None,
) -> Session:
    """Settle everything and prepare this process.

    Args:
        network: A network, or its file.
        config: Settings; what is None is settled as `settle` says.
        policy: What is accepted as an image; the network decides on its `fit` where that is "auto".
        workers: Processes that will share the work.
        resumed: Records of an output that is resumed.
        on_message: Called with a line while something takes long: kernels are built, samples are generated.
        on_warning: Called with a line for each thing that a user of the network should know.
        any_shape: Whether the network's images need not be square.
        start: What `config.start_file` holds, where that names a file.

    Raises:
        NetworkError: The file cannot be read, or is not a network.
        UsageError: The settings do not fit the network or the machine.
    """
    if isinstance(network, str | os.PathLike):
        network = load_network(network, on_warning, any_shape=any_shape)
    if not any_shape:
        check_square(network.generator)
    on_message = on_message or _silent
    config = settle(network, config, workers=workers, resumed=resumed)
    classes = network.generator.config.mapping.c_dim
    if classes and config.class_index is None and on_warning is not None:
        on_warning(
            f"no --class was given: the network's latents of all its {classes} classes, 0 to {classes - 1}, are used, "
            "each class as often as another"
        )
    doubt = doubt_bfloat16(config.precision, config.device)
    if doubt is not None and on_warning is not None:
        on_warning(doubt)
    prepare_process(config.device, config.threads, on_message)
    policy = policy or ImagePolicy()
    if policy.align != "none":
        check_square(network.generator, f"--align {policy.align}")
        if policy.fit in ("pad", "stretch"):
            reason = f"--fit {policy.fit} does not go with --align {policy.align}: what is cut out is square"
            raise UsageError(reason, advice="Leave it out.")
        policy = dataclasses.replace(policy, fit="crop")
    if policy.fit == "auto":
        generator = network.generator.eval().to(config.device)
        before = None if resumed is None else resumed.method
        policy = settled_fit(policy, None if config.is_exact else generator, before, on_message)
    if config.is_exact and policy.fit == "pad":
        advice = "It explains every pixel, and black bars are none of the network's."
        raise UsageError("--fit pad does not go with --preset exact", advice=advice)
    if config.start_file is not None and start is None:
        raise UsageError(f"--start {config.start_file} is a file, which only projections start from")
    synthesis = network.generator.config.synthesis
    mask = None if config.mask is None else read_mask(Path(config.mask), map_shape(synthesis, synthesis.img_resolution))
    encoder = _find_encoder(network, config) if config.starts_from_encoder else None
    given = (("start", start), ("encoder", encoder), ("mask", mask))
    files = {name: one.digest for name, one in given if one is not None}
    method = method_record(config, network.provenance.sha256, policy.record(), files)
    return Session(network, config, policy, method, run_record(config), on_message, start, mask, encoder)


def _find_encoder(network: "LoadedNetwork", config: ProjectConfig) -> EncoderFile:
    """Return the encoder that a projection starts with: the one that is named, or the one beside the network.

    Raises:
        NoInputError: It cannot be read, or is damaged.
        UsageError: There is none, or it is of another network.
    """
    is_named = config.start is not None and config.start.endswith(".safetensors")
    path = Path(str(config.start)) if is_named else encoder_path(network.provenance.path)
    if not is_named and not path.exists():
        advice = f"Make one: invert train-encoder {display_path(network.provenance.path)}"
        raise UsageError("there is no encoder of this network", path=path, advice=advice, code="no-encoder")
    found = read_encoder(path)
    if found.weights_sha256 != network.provenance.weights_sha256:
        reason = "is the encoder of another network"
        raise UsageError(reason, path=path, advice="Make one with 'invert train-encoder'.", code="other-network")
    return found


def load_network(
    path: str | os.PathLike[str], on_warning: _OnMessage | None = None, *, any_shape: bool = False
) -> "LoadedNetwork":
    """Load a network file of any known format; nothing in it is ever run.

    Args:
        path: The file.
        on_warning: Called with a line for each thing that its user should know.
        any_shape: Whether its images need not be square.

    Raises:
        NetworkError: It is unsafe, unsupported, damaged, or cannot be read.
        UsageError: Its images are not square, and what it is for needs them to be.
    """
    from generator.files.reading import load

    with network_errors(Path(path)):
        loaded = load(Path(path))
    if not any_shape:
        check_square(loaded.generator)
    for warning in loaded.provenance.warnings:
        (on_warning or _silent)(f"network '{display_path(path)}': {warning}")
    return loaded


def settle(
    network: "LoadedNetwork",
    config: ProjectConfig,
    *,
    workers: int = 1,
    resumed: Records | None = None,
) -> ProjectConfig:
    """Return the settings with nothing left open.

    What is open is as it was in the output that is resumed. Otherwise device: CUDA where there is one. Batch:
    `default_batch`. Threads: `default_threads`. Bank: by the size of the network.

    Args:
        network: The network.
        config: Settings.
        workers: Processes that will share the work.
        resumed: Records of an output that is resumed.

    Raises:
        UsageError: The settings do not fit the network or the machine.
    """
    check_fit(network.generator, config)
    if resumed is not None:
        config = settle_as_before(config, resumed)
    device = settle_device(config.device)
    if device != "cpu" and workers > 1:
        raise UsageError("--workers is for processors", advice="One process keeps a GPU busy: leave it out.")
    resolution = network.generator.config.synthesis.img_resolution
    # Preset exact has no batches: an image's Jacobian keeps a processor as busy.
    batch = ExactProjector.batch if config.is_exact else config.batch or default_batch(resolution, device)
    return dataclasses.replace(
        _settle_bank(config, resolution),
        batch=batch,
        threads=config.threads or default_threads(workers),
        device=device,
    )


def settle_as_before(config: ProjectConfig, before: Records) -> ProjectConfig:
    """Return the settings with what is left open as the records have it.

    What the records lack or have wrong stays open: they are files, and are compared with what comes of it anyway.
    """
    found: _Record = {}
    for setting in dataclasses.fields(config):
        declared = setting_of(setting)
        if getattr(config, setting.name) is not None or "unset" not in declared.others:
            continue
        value = before.run.get(setting.name)
        if "entry" in declared.others:
            value = declared.others["entry"].read(before.method) if config.starts_from_bank else None
        if type(value) is int and declared.wanted(value) is None:
            found[setting.name] = value
    kind = str(before.run.get("device")).partition(" ")[0]
    if config.device == "auto" and (kind == "cpu" or (kind == "cuda" and torch.cuda.is_available())):
        found["device"] = kind
    return dataclasses.replace(config, **found)


def _settle_bank(config: ProjectConfig, resolution: int) -> ProjectConfig:
    """Return the settings with the size of the bank, where one is used: it is part of the method."""
    if not config.starts_from_bank or config.bank is not None:
        return config
    return dataclasses.replace(config, bank=bank_size(resolution))


def default_batch(resolution: int, device: str) -> int:
    """Return how many images are optimised together unless the user says.

    It depends on nothing else, above all not on how many images there are: a batch rounds in its own way, and an
    image's numbers must not change because another one lies beside it. Where there are fewer images the batch is
    padded, which is why it is small: see `bench/default_batch.py`.

    Args:
        resolution: Side of the network's images in pixels.
        device: From `settle_device`.
    """
    return 1 if device == "cpu" and resolution > _SMALL else _BATCH


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
