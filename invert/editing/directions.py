"""Directions in W that an image can be moved along, and the file that keeps them.

directions = read_directions("directions.safetensors")
chosen = directions.choose("0-3")           # or a name
check_network(directions, loaded, print)    # say so, or refuse, if they are another network's
"""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator.errors import NetworkFileError
from generator.files.invert_format import METADATA_KEY, read_tensors
from invert.errors import NoInputError, UsageError, display_path, visible
from invert.images.opening import read_regular

if TYPE_CHECKING:
    from generator.files.reading import LoadedNetwork

__all__ = ["FORMAT", "Directions", "check_network", "choose_directions", "identity", "read_directions"]

FORMAT, _VERSION = "invert-directions", 1

_MAX_BYTES = 1 << 28
_MAX_NAME = 200
_MOST_STYLES = 1000
_NUMBERS = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions in the W of a network.

    Attributes:
        method: How they were found: "sefa", "pca" or "labels".
        names: What each is called; no two alike.
        vectors: float32 `[D, w_dim]` of length 1.
        deviations: float32 `[D]`, the standard deviation of W along each: the length of an amount of 1.
        strengths: float32 `[D]`: eigenvalue of sefa, share of the variance of W of pca, held-out accuracy of labels.
        styles: The styles that they were found for, and are applied to where nothing else is said; None is all.
        network: Which network they were found in, see `identity`.
        settings: How they were found, as JSON types.
    """

    method: str
    names: tuple[str, ...]
    vectors: NDArray[np.float32]
    deviations: NDArray[np.float32]
    strengths: NDArray[np.float32]
    styles: tuple[int, ...] | None
    network: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.names)

    def choose(self, which: str | int | Sequence[int] | None) -> "Directions":
        """Return some of them.

        Args:
            which: A number from 0, numbers, a range such as "0-3", a name, or None for all.

        Raises:
            UsageError: There is no such direction.
        """
        if which is None:
            return self
        chosen = [which] if isinstance(which, int) else which
        if isinstance(chosen, str):
            match = _NUMBERS.fullmatch(chosen)
            if chosen in self.names:
                chosen = [self.names.index(chosen)]
            elif match is None:
                known = ", ".join(visible(name) for name in self.names[:20])
                raise UsageError(f"there is no direction {visible(chosen)!r}", advice=f"There are {known}.")
            else:
                chosen = range(int(match[1]), int(match[2] or match[1]) + 1)
        far = next((number for number in chosen if not 0 <= number < len(self)), None)
        if far is not None or not chosen:
            raise UsageError(f"there is no direction {which}: there are {len(self)}, counted from 0")
        rows = list(chosen)
        return dataclasses.replace(
            self,
            names=tuple(self.names[row] for row in rows),
            vectors=self.vectors[rows],
            deviations=self.deviations[rows],
            strengths=self.strengths[rows],
        )

    def strength_texts(self) -> list[str]:
        """Say of each how much it is, in a few words."""
        words = {"pca": "{:.1%} of W's variance", "labels": "accuracy {:.3f}"}.get(self.method, "eigenvalue {:.4g}")
        return [words.format(strength) for strength in self.strengths]

    def to_bytes(self) -> bytes:
        """Return the content of their file: equal directions give equal bytes."""
        from safetensors.numpy import save

        about = {
            "format": FORMAT,
            "version": _VERSION,
            "method": self.method,
            "names": list(self.names),
            "styles": None if self.styles is None else list(self.styles),
            "network": self.network,
            "settings": self.settings,
        }
        tensors = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in _TENSORS}
        return save(tensors, {METADATA_KEY: json.dumps(about, sort_keys=True, separators=(",", ":"))})

    def save(self, path: str | Path) -> None:
        """Write them to a file, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        from invert.durable import ensure_folder, write_atomic

        ensure_folder(Path(path).parent)
        write_atomic(Path(path), self.to_bytes())


_TENSORS = ("vectors", "deviations", "strengths")


def read_directions(path: str | Path) -> Directions:
    """Read a file of directions; nothing in it is run.

    Raises:
        NoInputError: It cannot be read, is damaged, or something else.
    """
    path = Path(path)
    data = read_regular(path, _MAX_BYTES)
    if data[8:9] != b"{":
        advice = "Name a file that 'invert directions' wrote."
        raise NoInputError("is no file of directions", path=path, advice=advice, code="directions-damaged")
    try:
        about, tensors = read_tensors(memoryview(data), FORMAT, _VERSION)
        return _from_file(about, tensors)
    except (NetworkFileError, ValueError, KeyError, TypeError) as error:
        reason = str(error).rstrip(".") if isinstance(error, NetworkFileError) else "its description is damaged"
        raise NoInputError(f"holds no directions: {reason}", path=path, code="directions-damaged") from error


def _from_file(about: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Directions:
    vectors, deviations, strengths = (np.array(tensors[name]) for name in _TENSORS)
    names, styles, network = about["names"], about["styles"], about["network"]
    good = vectors.ndim == 2 and deviations.shape == strengths.shape == vectors.shape[:1] and len(tensors) == 3
    good = good and all(map(_is_name, names)) and len(set(names)) == len(names) == len(vectors) > 0
    good = good and isinstance(about["method"], str) and isinstance(network, dict) and isinstance(names, list)
    good = good and isinstance(about["settings"], dict) and type(network["num_ws"]) is int
    good = good and 1 <= network["num_ws"] <= _MOST_STYLES
    good = good and (styles is None or (len(styles) > 0 and all(_is_style(style, network) for style in styles)))
    if not good or not all(np.isfinite(one).all() for one in (vectors, deviations, strengths)):
        raise ValueError("its parts do not fit together")
    styles = None if styles is None else tuple(styles)
    return Directions(about["method"], tuple(names), vectors, deviations, strengths, styles, network, about["settings"])


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _MAX_NAME


def _is_style(style: object, network: dict[str, Any]) -> bool:
    return type(style) is int and 0 <= style < network["num_ws"]


def identity(loaded: "LoadedNetwork") -> dict[str, Any]:
    """Return what tells a network from others, and the shape of its styles, as JSON types."""
    origin, generator = loaded.provenance, loaded.generator
    return {
        "weights_sha256": origin.weights_sha256,
        "sha256": origin.sha256,
        "source_sha256": origin.source_sha256,
        "num_ws": generator.num_ws,
        "w_dim": generator.config.mapping.w_dim,
    }


def choose_directions(spec: str, loaded: "LoadedNetwork", on_warning: Callable[[str], None]) -> Directions:
    """Return the directions that a user means, for a network.

    Args:
        spec: A file; or `FILE:K`, where K is a number from 0, a range or a name.
        loaded: The network that they are applied to.
        on_warning: See `check_network`.

    Raises:
        NoInputError: The file cannot be read, or its directions have another size than the network's w.
        UsageError: There is no such direction.
    """
    path, which = Path(spec), None
    if ":" in spec and not path.is_file():
        name, _, which = spec.rpartition(":")
        path = Path(name)
    directions = read_directions(path)
    check_network(directions, loaded, path, on_warning)
    try:
        return directions.choose(which)
    except UsageError as error:
        raise UsageError(error.reason, path=path, advice=error.advice) from None


def check_network(
    directions: Directions, loaded: "LoadedNetwork", path: Path | None, on_warning: Callable[[str], None]
) -> None:
    """Compare the network that directions were found in with another.

    Args:
        directions: The directions.
        loaded: The network to apply them to.
        path: Their file, for what is said.
        on_warning: Called with a line where it is another network, though of the same shape: directions of a network
            often serve those that were trained on from it.

    Raises:
        NoInputError: Its w has another size.
    """
    own, found = identity(loaded), directions.network
    network = display_path(loaded.provenance.path)
    size = directions.vectors.shape[1]
    if size != own["w_dim"]:
        reason = f"its directions have size {size}, w of network '{network}' {own['w_dim']}"
        advice = "Name the network that they were found in."
        raise NoInputError(reason, path=path, advice=advice, code="directions-other-network")
    tuned = loaded.provenance.tuned
    known = {own["weights_sha256"], own["sha256"], own["source_sha256"], tuned.network_sha256 if tuned else None} - {
        None
    }
    if not known & {found.get("weights_sha256"), found.get("sha256"), found.get("source_sha256")}:
        recorded = visible(str(found.get("weights_sha256")))[:12]
        what = f"directions '{display_path(path)}'" if path else "directions"
        on_warning(f"{what}: found in another network (weights {recorded}...), whose W '{network}' may not share")
