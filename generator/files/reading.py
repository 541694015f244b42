"""From a path to a network's settings and arrays, and on to its networks, by what the file is.

Only building the networks imports torch: `inspect` does without.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from generator.errors import ConfigError, NetworkFileError, escaped
from generator.files import invert_format, nvidia_tensorflow, nvidia_torch, rosinality
from generator.files.pickles import torch_file
from generator.files.pickles.reader import Interpretation, interpret
from generator.files.pickles.records import Array, ModuleRecord, NetworkRecord, TensorRecord
from generator.files.pickles.vocabularies import NVIDIA
from generator.files.sniff import HEAD, sniff
from generator.files.state import LoadedNetwork, LoadedState, Provenance
from generator.files.weights import state_digest
from generator.opening import OpeningError, open_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

    from generator.bases import DiscriminatorBase
    from generator.networks import Generator

__all__ = [
    "Inspection",
    "LoadedNetwork",
    "LoadedState",
    "Provenance",
    "build_discriminator",
    "build_generator",
    "inspect",
    "load",
    "read_state",
]

MAX_FILE: Final = 4 << 30
W_AVG_SAMPLES: Final = 10_000  # as StyleGAN2 estimates its centre (Karras et al. 2020, appendix D)
BATCH: Final = 1000


class Reader(Protocol):
    """What a module that reads the files of one repository offers."""

    def recognises(self, top: object) -> bool:
        """Tell whether what a pickle or torch file holds is one of that repository's networks."""
        ...

    def read(self, top: Any, file_size: int) -> LoadedState:
        """Turn it into settings and arrays.

        Args:
            top: What the file holds.
            file_size: Bytes of the file.

        Raises:
            NetworkFileError: It holds no network that is supported.
        """
        ...


# By what the file is: a bare pickle, or one within what torch.save writes.
_PICKLE_READERS: tuple[Reader, ...] = (nvidia_tensorflow, nvidia_torch)
_TORCH_READERS: tuple[Reader, ...] = (rosinality,)


@dataclass(frozen=True)
class Inspection:
    """A network file, read and checked.

    Attributes:
        path: The file.
        sha256: Hash of the bytes that were read.
        weights_sha256: Hash of the generator's weights, the same whatever kind of file holds them.
        state: What it holds.
    """

    path: Path
    sha256: str
    weights_sha256: str
    state: LoadedState


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Read a network file without building a network and without torch.

    Args:
        path: The file, of any kind that `load` takes.

    Raises:
        NetworkFileError: The file cannot be read, or is not a supported network.
    """
    data = _read_file(path)
    state = read_state(data)
    return Inspection(Path(path), hashlib.sha256(data).hexdigest(), state.weights_sha256(), state)


def read_state(data: memoryview) -> LoadedState:
    """Turn the bytes of a network file into settings and arrays; nothing in them is ever run.

    Raises:
        NetworkFileError: They are not a supported network.
    """
    kind = sniff(bytes(data[:HEAD]), len(data))
    if kind == "safetensors":
        return invert_format.read(data)
    if kind == "pickle":
        found = interpret(data, NVIDIA)
        state = _state(found.value, len(data), _PICKLE_READERS, "a pickle, but not a StyleGAN network")
    else:
        found = torch_file.read_zip(data) if kind == "torch zip" else torch_file.read_stream(data)
        what = "a torch file, but not a supported StyleGAN2 network"
        state = _state(found.value, len(data), _TORCH_READERS, what)
    return replace(state, globals_asked=list(found.globals_asked), embeds_source=_embeds_source(found))


def _state(top: object, size: int, readers: tuple[Reader, ...], otherwise: str) -> LoadedState:
    """Let the first reader that recognises what a file holds read it."""
    for reader in readers:
        if reader.recognises(top):
            return reader.read(top, size)
    raise NetworkFileError(f"this is {otherwise}: it holds {_contents(top)}")


def _contents(top: object) -> str:
    """Say in a few words what a file holds that is no network."""
    if not isinstance(top, dict):
        return f"one {type(top).__name__}"
    inner = top.get("state_dict")
    names = [str(key) for key in list(inner if isinstance(inner, dict) else top)[:1000]]
    if any(name.startswith("decoder.") for name in names):
        return "an encoder for StyleGAN (pSp, e4e or a relative); give the generator it was trained for"
    shown = ", ".join(escaped(name)[:40] for name in names[:4]) or "nothing"
    if names and all(isinstance(value, TensorRecord) for value in top.values()):
        return f"the tensors of another model ({shown})"
    return f"a dictionary of {shown}"


def _embeds_source(found: Interpretation) -> bool:
    """Say whether program text travels with the network."""
    top = found.value
    if isinstance(top, Mapping):
        return any(isinstance(item, ModuleRecord) and item.source_length > 0 for item in top.values())
    states: list[Any] = [item.state for item in top if isinstance(item, NetworkRecord)]
    return any(state and bool(state.get("build_module_src")) for state in states)


def _read_file(path: str | os.PathLike[str]) -> memoryview:
    """Read a regular file once and whole; a file that cannot be a network only up to its head."""
    try:
        with open_regular(path, MAX_FILE) as file:
            size = os.fstat(file.fileno()).st_size
            sniff(file.peek(HEAD)[:HEAD], size)
            return memoryview(file.read(size))
    except OpeningError as error:
        raise NetworkFileError(error.reason) from None
    except OSError as error:
        raise NetworkFileError(f"it cannot be read: {error.strerror or type(error).__name__}") from None
    except MemoryError:
        raise NetworkFileError("it does not fit into memory") from None


def load(path: str | os.PathLike[str]) -> LoadedNetwork:
    """Read a network file and build its networks, on the CPU and in evaluation mode.

    Args:
        path: A file of stylegan2-ada-pytorch, stylegan3 (StyleGAN2 architecture), the TensorFlow code of StyleGAN,
            StyleGAN2 and StyleGAN2-ADA, rosinality, or this project; recognised by what it holds.

    Raises:
        NetworkFileError: The file is unsafe, damaged, unsupported or of another kind.
    """
    found = inspect(path)
    state = found.state
    generator = build_generator(state)
    weights = found.weights_sha256
    if "mapping.w_avg" not in state.generator_state:
        weights = state_digest({name: value.numpy() for name, value in generator.state_dict().items()})
    provenance = Provenance(
        path=found.path,
        sha256=found.sha256,
        weights_sha256=weights,
        family=state.family,
        source_sha256=state.source_sha256 or found.sha256,
        settings=state.settings,
        warnings=state.warnings,
    )
    return LoadedNetwork(generator, build_discriminator(state), provenance)


def build_generator(state: LoadedState) -> "Generator":
    """Build the generator, on the CPU and in evaluation mode; a missing `w_avg` is the mean of w over seeded latents.

    Raises:
        NetworkFileError: The settings do not make a network.
    """
    import torch

    from generator.networks import Generator

    arrays = state.generator_state
    config = state.generator_config
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away; so is what they drew
        try:
            generator = Generator(config)
        except ConfigError as error:
            raise NetworkFileError(f"unsupported: {error}") from None
    average = {} if "mapping.w_avg" in arrays else {"mapping.w_avg": torch.zeros(config.mapping.w_dim)}
    _fill(generator, arrays, average)
    if average:
        generator.mapping.w_avg.copy_(_mean_w(generator))
    return generator


def build_discriminator(state: LoadedState) -> "DiscriminatorBase | None":
    """Build the discriminator, if there is one.

    Raises:
        NetworkFileError: The settings do not make a network.
    """
    import torch

    from generator.networks import make_discriminator

    if state.discriminator_config is None or state.discriminator_state is None:
        return None
    with torch.random.fork_rng(devices=[]):
        try:
            discriminator = make_discriminator(state.discriminator_config)
        except ConfigError as error:
            raise NetworkFileError(f"unsupported: {error}") from None
    _fill(discriminator, state.discriminator_state, {})
    return discriminator


def _fill(module: "nn.Module", arrays: dict[str, Array], more: "dict[str, Tensor]") -> None:
    import torch

    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()} | more, strict=True)
    module.eval()


def _mean_w(generator: "Generator") -> "Tensor":
    """Return the mean of w `[w_dim]` over `W_AVG_SAMPLES` latents that a fixed seed gives."""
    import torch

    config = generator.config.mapping
    rng = torch.Generator().manual_seed(0)
    total = torch.zeros(config.w_dim, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(W_AVG_SAMPLES // BATCH):
            z = torch.randn([BATCH, config.z_dim], generator=rng)
            total += generator.mapping(z).to(torch.float64).sum(dim=0)
    return (total / W_AVG_SAMPLES).to(torch.float32)
