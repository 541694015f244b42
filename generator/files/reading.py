"""From a path to a network's settings and arrays, and on to its networks, by what the file is.

Only building the networks imports torch: `inspect` does without.
"""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from generator.errors import ConfigError, NetworkFileError, escaped
from generator.files import genforce, invert_format, mmgeneration, nvidia_tensorflow, nvidia_torch, rosinality
from generator.files.checkpoints import Checkpoint, as_module
from generator.files.pickles import torch_file
from generator.files.pickles.reader import Interpretation, interpret
from generator.files.pickles.records import Array, ArrayRecord, ModuleRecord, NetworkRecord, TensorRecord, kind_of
from generator.files.pickles.vocabularies import NVIDIA
from generator.files.sniff import HEAD, sniff
from generator.files.state import MEAN_LATENTS, LoadedNetwork, LoadedState, Provenance
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
BATCH: Final = 1000
_LATENTS: Final = ("w", "ws", "w_plus", "latent", "latents", "latent_code", "z")


class Reader(Protocol):
    """What a module that reads the files of one repository offers."""

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Tell whether what a file holds is one of that repository's networks."""
        ...

    def read(self, checkpoint: Checkpoint, file_size: int) -> LoadedState:
        """Turn it into settings and arrays.

        Args:
            checkpoint: What the file holds.
            file_size: Bytes of the file.

        Raises:
            NetworkFileError: It holds no network that is supported.
        """
        ...


# The first that recognises what a file holds reads it, whichever kind of file it came in.
_READERS: tuple[Reader, ...] = (nvidia_tensorflow, nvidia_torch, rosinality, mmgeneration, genforce)


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
        other = invert_format.other_tensors(data)
        if other is None:
            return invert_format.read(data)
        return _state(other, len(data), "a safetensors file of another model")
    if kind == "pickle":
        found = interpret(data, NVIDIA)
        state = _state(found.value, len(data), "a pickle, but not a StyleGAN network")
    else:
        found = torch_file.read_zip(data) if kind == "torch zip" else torch_file.read_stream(data)
        state = _state(found.value, len(data), "a torch file, but not a supported StyleGAN2 network")
    return replace(state, globals_asked=list(found.globals_asked), embeds_source=_embeds_source(found))


def _state(top: object, size: int, otherwise: str) -> LoadedState:
    """Let the first reader that recognises what a file holds read it."""
    checkpoint = Checkpoint(top)
    for reader in _READERS:
        if reader.recognises(checkpoint):
            return reader.read(checkpoint, size)
    raise NetworkFileError(f"this is {otherwise}: it holds {_contents(checkpoint)}")


# Networks that are known and not read, by a name that only they have.
_OTHERS: Final = (
    (re.compile(r"synthesis\.(input\.|L0_)"), "a StyleGAN3 (alias-free) network in a layout that is not read"),
    (
        re.compile(r"initial_conv\.weight|blocks\.\d+\.to_style1\."),
        "lucidrains' stylegan2-pytorch, which has StyleGAN2's name and other layers (no equalised learning rate, noise"
        " through a linear layer, bilinear upsampling): its images would not be its own here",
    ),
)


def _contents(checkpoint: Checkpoint) -> str:
    """Say in a few words what a file holds that is no network."""
    top = checkpoint.top
    if isinstance(top, TensorRecord | ArrayRecord):
        return f"one array of shape {top.shape}: a latent, if anything, and not a network; give the network itself"
    if not isinstance(top, dict):
        return f"one {kind_of(top)}"
    for pattern, what in _OTHERS:
        if any(pattern.match(name) for one in checkpoint.networks for name in one.tensors):
            return what
    if any(one.role == "encoder" for one in checkpoint.networks):
        return "an encoder for StyleGAN (pSp, e4e or a relative) without a decoder; give the generator it was made for"
    arrays = [key for key, value in list(top.items())[:1000] if isinstance(value, TensorRecord | ArrayRecord)]
    if any(str(key) in _LATENTS for key in arrays):
        named = ", ".join(escaped(str(key))[:40] for key in arrays[:4])
        return f"latents ({named}), not a network; give the network itself"
    shown = ", ".join(escaped(str(key))[:40] for key in list(top)[:4]) or "nothing"
    if top and all(isinstance(value, TensorRecord | ArrayRecord) for value in top.values()):
        return f"the tensors of another model ({shown})"
    return f"a dictionary of {shown}"


def _embeds_source(found: Interpretation) -> bool:
    """Say whether program text travels with the network."""
    top = found.value
    if found.has_source:
        return True
    if isinstance(top, tuple | NetworkRecord):
        networks = [item for item in (top if isinstance(top, tuple) else (top,)) if isinstance(item, NetworkRecord)]
        return any(item.state and bool(item.state.get("build_module_src")) for item in networks)
    modules = (as_module(one.value) for one in Checkpoint(top).networks)
    return any(isinstance(module, ModuleRecord) and module.source_length > 0 for module in modules)


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
            StyleGAN2 and StyleGAN2-ADA, rosinality and its relatives, MMGeneration, genforce, or this project;
            recognised by what it holds.

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
    """Return the mean of w `[w_dim]` over `MEAN_LATENTS` latents that a fixed seed gives."""
    import torch

    config = generator.config.mapping
    rng = torch.Generator().manual_seed(0)
    total = torch.zeros(config.w_dim, dtype=torch.float64)
    # of a conditional network the mean over all classes
    labels = torch.eye(config.c_dim)[torch.arange(BATCH) % config.c_dim] if config.c_dim else None
    with torch.no_grad():
        for _ in range(MEAN_LATENTS // BATCH):
            z = torch.randn([BATCH, config.z_dim], generator=rng)
            total += generator.mapping(z, labels).to(torch.float64).sum(dim=0)
    return (total / MEAN_LATENTS).to(torch.float32)
