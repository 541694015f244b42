"""Find the networks in what a file holds, however its repository names and nests them.

A checkpoint is a dictionary of networks, one network, or networks under one another's names; a network is a
dictionary of tensors, or a module that was saved whole. Which code wrote it is told by the readers, from its names.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final

from generator.errors import NetworkFileError, escaped
from generator.files.pickles.records import MAX_NAME, ArrayRecord, ModuleRecord, ObjectRecord, TensorRecord, plain
from generator.files.weights import MAX_TENSORS

__all__ = ["Checkpoint", "Network", "as_module", "tensors_or_parts"]

MAX_MODULES: Final = 1000
MAX_DEPTH: Final = 16  # of modules in modules
MAX_NESTING: Final = 4  # of dictionaries in dictionaries
MAX_NETWORKS: Final = 64
MAX_ENTRIES: Final = 100

# What repositories call their networks; of several generators the first kind that there is, is taken.
_AVERAGED: Final = ("g_ema", "G_ema", "generator_ema", "generator_smooth", "netG_ema", "gen_ema")
_DECODER: Final = "decoder"
_NOT_AVERAGED: Final = ("g", "G", "generator", "netG", "gen")
_DISCRIMINATORS: Final = ("d", "D", "discriminator", "netD")
_ENCODERS: Final = ("encoder", "hypernet", "D_ema", "discriminator_ema")
_ROLES: Final = frozenset((*_AVERAGED, _DECODER, *_NOT_AVERAGED, *_DISCRIMINATORS, *_ENCODERS))
# what training on several devices and compilation put before every name
_WRAPPERS: Final = ("module", "_orig_mod")
_LATENT_AVERAGES: Final = ("latent_avg", "mean_latent")


def as_module(value: object) -> ModuleRecord | None:
    """Return a module of PyTorch, whichever way it was saved; None for anything else."""
    if isinstance(value, ModuleRecord):
        return value
    if isinstance(value, ObjectRecord) and isinstance(value.state, dict) and "_modules" in value.state:
        return ModuleRecord(value.name.name, value.state, 0)
    return None


def tensors_or_parts(values: object) -> list[tuple[str, Any]]:
    """Return the items of a module's dictionary of parameters, buffers or modules.

    Raises:
        NetworkFileError: It is none.
    """
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise NetworkFileError("damaged: a module's tensors or parts are not listed by name")
    return [(key, value) for key, value in values.items() if value is not None]


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint.

    Attributes:
        path: Where it stands: the names of the entries, outermost first.
        value: A dictionary of records by name, or a module.
    """

    path: tuple[str, ...]
    value: Any

    @property
    def role(self) -> str:
        """The name of its entry; empty where the file is one network."""
        return self.path[-1] if self.path else ""

    @property
    def shown(self) -> str:
        """Where it stands, for messages."""
        return escaped(".".join(self.path))

    @property
    def rank(self) -> int:
        """How soon it is taken as the generator, 0 first."""
        if self.role in _AVERAGED:
            return 0
        return 1 if self.role in (_DECODER, "") else 2 if self.role in _NOT_AVERAGED else 3

    @cached_property
    def tensors(self) -> Mapping[str, Any]:
        """Its tensors by name: what `state_dict` of a module gives.

        Raises:
            NetworkFileError: A module's parts are shared, or nested without end.
        """
        module = as_module(self.value)
        return self.value if module is None else dict(_state_of(module))


def _state_of(root: ModuleRecord) -> Iterator[tuple[str, Any]]:
    waiting: list[tuple[str, ModuleRecord, int]] = [("", root, 0)]
    seen: set[int] = set()
    while waiting:
        prefix, module, depth = waiting.pop()
        if id(module.state) in seen or len(seen) > MAX_MODULES or depth > MAX_DEPTH or len(prefix) > MAX_NAME:
            raise NetworkFileError(f"refused: '{escaped(prefix)}' is shared, or modules are nested without end")
        seen.add(id(module.state))
        left_out = module.state.get("_non_persistent_buffers_set")
        for group in ("_parameters", "_buffers"):
            for key, record in tensors_or_parts(module.state.get(group, {})):
                if not isinstance(left_out, set) or key not in left_out:
                    yield f"{prefix}{key}", record
        children = [(key, as_module(part)) for key, part in tensors_or_parts(module.state.get("_modules", {}))]
        waiting += [(f"{prefix}{key}.", part, depth + 1) for key, part in reversed(children) if part is not None]


class Checkpoint:
    """What a file holds, as networks.

    Args:
        top: The value of its pickle.

    Attributes:
        top: The same.
        networks: The networks, in the file's order.
        latent_average: The mean of w, where it stands beside the networks; None: it does not.
        settings: What the file says of itself, as JSON types.
    """

    def __init__(self, top: object) -> None:
        self.top = top
        self.latent_average: TensorRecord | None = None
        self._seen: set[int] = set()
        self.networks = list(islice(self._networks_in(top, ()), MAX_NETWORKS))
        self.settings: dict[str, Any] = (
            {"entries": sorted(escaped(str(key)) for key in list(top)[:50])} if isinstance(top, dict) else {}
        )
        if isinstance(top, dict):
            said = {
                key: top[key] for key in ("args", "opts", "meta", "training_set_kwargs") if top.get(key) is not None
            }
            self.settings |= {key: plain(value) for key, value in said.items()}

    def _networks_in(self, value: object, path: tuple[str, ...]) -> Iterator[Network]:
        if as_module(value) is not None:
            yield Network(path, value)
        elif isinstance(value, dict):
            for name in _LATENT_AVERAGES:
                if self.latent_average is None and isinstance(value.get(name), TensorRecord):
                    self.latent_average = value[name]
            if _is_state(value):
                yield from _parts(value, path)
            elif len(path) < MAX_NESTING and id(value) not in self._seen:
                self._seen.add(id(value))  # one dictionary may stand in many places
                for key in list(value)[:MAX_ENTRIES]:
                    if isinstance(key, str):
                        yield from self._networks_in(value[key], (*path, key))

    def generators(self, fits: Callable[[Network], bool]) -> list[Network]:
        """Return the networks that are generators of one code, the one to be taken first."""
        left_out = (*_DISCRIMINATORS, *_ENCODERS)
        fitting = [one for one in self.networks if one.role not in left_out and fits(one)]
        return sorted(fitting, key=lambda one: one.rank)

    def notes(self, generators: list[Network]) -> tuple[str, ...]:
        """Return what a user should know about the choice of the generator.

        Args:
            generators: What `generators` gave; the first one is taken.
        """
        taken = generators[0]
        notes = []
        if taken.rank == 2:
            notes.append(f"the file has no averaged generator; '{taken.shown}' is used")
        if taken.rank == 3:
            notes.append(f"the generator is the file's entry '{taken.shown}'")
        same = [f"'{one.shown}'" for one in generators[1:] if one.rank == taken.rank]
        if same:
            notes.append(f"the file holds other generators too ({', '.join(same[:4])}); '{taken.shown}' is used")
        if taken.role == _DECODER:
            beside = [one for one in self.networks if one.path[:-1] == taken.path[:-1] and one.role in _ENCODERS]
            named = ", ".join(f"'{one.shown}' ({len(one.tensors)} tensors)" for one in beside)
            notes.append(
                f"the file is of an encoder: its '{taken.shown}' is the generator; left out: {named or 'none'}"
            )
        return tuple(notes)

    def discriminator(self, generator: Network) -> Network | None:
        """Return the discriminator that stands beside a generator; None: there is none."""
        for one in self.networks:
            if one.role in _DISCRIMINATORS and one.path[:-1] == generator.path[:-1] and generator.path:
                return one
        return None


def _is_state(value: Mapping[Any, Any]) -> bool:
    """Tell whether a dictionary lists the tensors of a network by their dotted names."""
    if len(value) > MAX_TENSORS or not all(isinstance(key, str) for key in value):
        return False
    if any(isinstance(item, dict) or as_module(item) is not None for item in value.values()):
        return False
    return any("." in key and isinstance(item, TensorRecord | ArrayRecord) for key, item in value.items())


def _parts(state: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Network]:
    """Yield the networks of one dictionary of tensors; a prefix that all names have is taken off."""
    groups: dict[str, dict[str, Any]] = {}
    for name, record in state.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first if rest else "", {})[rest or name] = record
    named = [first for first in groups if first]
    only = named[0] if len(named) == 1 else ""
    if only and len(path) <= MAX_NESTING and (only in _WRAPPERS or not _ROLES.intersection(path)):
        yield from _parts(groups[only], path if only in _WRAPPERS else (*path, only))
    elif len(path) <= MAX_NESTING and _ROLES.intersection(named):
        for first in named:
            if first in _ROLES:
                yield from _parts(groups[first], (*path, first))
        others = {name: record for name, record in state.items() if name.partition(".")[0] not in _ROLES}
        if any("." in name for name in others):
            yield Network(path, others)
    else:
        yield Network(path, state)
