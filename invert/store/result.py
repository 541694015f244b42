"""Declare what is kept of an image, once: the fields of a `Result`.

Everything that keeps or shows results derives from `FIELDS`: the .npz of a folder (`npz=`), the entries of the journal,
the columns of HDF5 (`column=`), the table, CSV and JSON of `invert show` (`shown=`), and the lines of a folder's index.

To add a field, write one line into `Result` with the next version as `since=`: `VERSION`, which entries, manifests and
HDF5 files carry, follows from it. Files of earlier versions stay readable; they give the field's default.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from generator.jsontext import read_json
from invert.store.names import check_name

if TYPE_CHECKING:
    from invert.projection.projector import Projection

__all__ = ["DISTANCE_LAYERS", "FIELDS", "LAYER_NAME", "VERSION", "Failure", "Field", "Result", "Sizes"]

DISTANCE_LAYERS = 5
"""Both backbones of LPIPS compare at five depths."""

LAYER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,63}", re.ASCII)

MAX_TEXTS = 1 << 20
"""The most bytes that the texts of one field may have as JSON."""

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

Sizes = Mapping[str, int]
"""What the words in a field's shape stand for: styles, w_dim, steps, layers, side and channels.

With `rectangle` noise maps need not be square.
"""

_Shape = tuple[str | int, ...]
_Kind = Literal["bytes", "texts", "text", "number", "numbers", "array", "maps"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """How one field of a result is kept.

    Attributes:
        help: What it is.
        dtype: Little-endian numpy type; or "sha256" (64 hexadecimal digits), "bytes" (of any length), "texts" (a
            tuple of them, of any length).
        shape: Shape of one image's value. A word is looked up in `Sizes`; `("map", "map")` is one square map per
            noise layer. A shape of numbers alone is a tuple in Python, not an array.
        earlier: Shapes of earlier versions, whose values are reshaped to that of today.
        of: Where a `Projection` has it; by default under the field's own name.
        npz: Key in the .npz of a folder; None where that does not have it.
        column: Dataset in HDF5; None where that does not have it.
        since: First version that has it.
        kept: "always", or only where the manifest says that noise or images are kept, that the preset is exact, that
            shift and rotation are optimised, or that photos were aligned.
        shown: Its name in the CSV and JSON of `invert show`, one for each number that it has; `{}` counts from 1.
        text: Format of its column in the table that `invert show` prints; empty leaves it out.
        finite: Numbers must be finite.
        choices: The texts that it can be; empty allows all.
        least: The smallest number that it can be.
        name: Name of the attribute of `Result`, and of the array in an entry of the journal.
        default: What a file of a version before `since` gives.
    """

    help: str
    dtype: str
    shape: _Shape = ()
    earlier: Mapping[int, _Shape] = dataclasses.field(default_factory=dict)
    of: str = ""
    npz: str | None = None
    column: str | None = None
    since: int = 1
    kept: Literal["always", "noise", "images", "exact", "transform", "align"] = "always"
    shown: str | tuple[str, ...] = ()
    text: str = ""
    finite: bool = False
    choices: tuple[str, ...] = ()
    least: int | None = None
    name: str = ""
    default: Any = None

    @property
    def kind(self) -> _Kind:
        """How Python has it: a plain value, an array, or a map of arrays."""
        if self.dtype == "bytes" or self.dtype == "texts":
            return "bytes" if self.dtype == "bytes" else "texts"
        if self.shape == ("map", "map"):
            return "maps"
        if any(isinstance(size, str) for size in self.shape):
            return "array"
        if self.shape:
            return "numbers"
        return "text" if self.dtype == "sha256" or self.numpy_type.kind == "S" else "number"

    @property
    def is_of_some(self) -> bool:
        """Whether results of some settings have it, and others have None."""
        return self.kept not in ("always", "noise", "images")

    @property
    def is_listed(self) -> bool:
        """Whether it is small enough for a line of an index: a number or some text about the image."""
        return self.kind in ("number", "text", "texts")

    @property
    def numpy_type(self) -> np.dtype[Any]:
        """Type of a fixed length in HDF5."""
        return np.dtype("S64" if self.dtype == "sha256" else self.dtype)

    def shape_of(self, sizes: Sizes, version: int | None = None) -> tuple[int, ...]:
        """Return the shape of one image's value, in the version of a file; by default in that of today."""
        of_version = [before for before in self.earlier if version is not None and version <= before]
        shape = self.earlier[min(of_version)] if of_version else self.shape
        return tuple(sizes[size] if isinstance(size, str) else size for size in shape)

    def to_array(self, value: Any) -> Any:
        """Return a value as an array of a .npz, or of an entry of the journal; not for maps."""
        match self.kind:
            case "bytes":
                return np.frombuffer(value, np.uint8)
            case "texts":
                return np.str_(json.dumps(list(value)))
            case "text":
                return np.str_(value)
            case "number":
                return self.numpy_type.type(value)
            case "numbers":
                return np.array(value, self.numpy_type)
            case _:
                return np.asarray(value)

    def from_array(self, stored: Any, sizes: Sizes | None = None) -> Any:
        """Return a value from an array of a .npz, an entry or a row of HDF5; not for maps.

        Args:
            stored: An array or scalar; for text of HDF5 its bytes.
            sizes: Where they are known, arrays of an earlier version get today's shape.

        Raises:
            ValueError, TypeError: It is none.
        """
        if self.kind in ("number", "numbers") and (stored.ndim != len(self.shape) or stored.dtype.kind not in "fiu"):
            raise ValueError(f"its {self.name} is no number")
        match self.kind:
            case "bytes":
                return stored if isinstance(stored, bytes) else stored.tobytes()
            case "texts":
                texts = read_json(stored if isinstance(stored, bytes) else str(stored), MAX_TEXTS)
                if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                    raise ValueError(f"its {self.name} are no texts")
                return tuple(texts)
            case "text":
                return stored.decode() if isinstance(stored, bytes) else str(stored)
            case "number":
                return float(stored) if self.numpy_type.kind == "f" else self.numpy_type.type(stored).item()
            case "numbers":
                values = tuple(stored.tolist())
                if len(values) != self.shape[0]:
                    raise ValueError(f"its {self.name} are not {self.shape[0]} numbers")
                return values
            case _:
                for before in self.earlier if sizes is not None else ():
                    if sizes is not None and stored.shape == self.shape_of(sizes, before):
                        return stored.reshape(self.shape_of(sizes))
                return stored

    def missing(self, sizes: Sizes) -> Any:
        """Return what a result of a version before `since` has in its place."""
        if self.kind == "array" and self.default is None:
            return np.full(self.shape_of(sizes), np.nan if self.numpy_type.kind == "f" else 0, self.numpy_type)
        return self.default

    def problem(self, value: Any, sizes: Sizes, noise: str) -> str | None:
        """Return why a value cannot be that of an image, as a part of a sentence; None when it can.

        Args:
            value: The value.
            sizes: What the words of its shape stand for; not needed for numbers and texts.
            noise: How noise maps are kept: "float32" or "float16"; "none" allows no maps.
        """
        match self.kind:
            case "bytes":
                try:
                    check_name(value)
                except ValueError as error:
                    return str(error)
            case "text" if self.dtype == "sha256" and not _SHA256.fullmatch(value):
                return f"its {self.name} is no sha256"
            case "text" if self.choices and value not in self.choices:
                return f"its {self.name} is {value!r}"
            case "number" | "numbers":
                numbers = value if isinstance(value, tuple) else (value,)
                too_small = self.least is not None and min(numbers) < self.least
                if too_small or (self.finite and not np.isfinite(numbers).all()):
                    return f"its {self.name} is {value}"
            case "array":
                shape = self.shape_of(sizes)
                if getattr(value, "dtype", None) != self.numpy_type or value.shape != shape:
                    return f"its {self.name} is not {self.numpy_type.name} {list(shape)}"
                if self.finite and not np.isfinite(value).all():
                    return f"its {self.name} is not finite"
            case "maps":
                for layer, values in value.items():
                    fits = values.ndim == 2 and all(1 <= size <= sizes["side"] for size in values.shape)
                    # a folder may be of a network that is not square; what has a manifest is not
                    fits = fits and (values.shape[0] == values.shape[1] or "rectangle" in sizes)
                    if not LAYER_NAME.fullmatch(layer) or not fits or values.dtype.name != noise:
                        return f"its {self.name} {layer!r} is not {noise} [H, W]"
        return None

    def cells(self, values: NDArray[Any]) -> dict[str, list[Any]]:
        """Return what `invert show` says of a column: a list, with one value for each image, under each of its names.

        Args:
            values: The column `[N]` or `[N, ...]`.
        """
        if not self.shown:
            return {}
        if self.kind == "text":
            values = np.char.decode(values.astype(bytes), "ascii", "replace")
        parts = values.reshape(len(values), int(np.prod(values.shape[1:]))).T
        names = self.shown if isinstance(self.shown, tuple) else [self.shown.format(i + 1) for i in range(len(parts))]
        return {name: part.tolist() for name, part in zip(names, parts, strict=True)}


def _row(help: str, dtype: str, shape: _Shape = (), **more: Any) -> Mapping[str, Field]:
    """Return how a field is kept, as metadata for its declaration."""
    return {"field": Field(help=help, dtype=dtype, shape=shape, **more)}


def _of_exact(help: str, dtype: str, **more: Any) -> Mapping[str, Field]:
    """Return how a fact that preset exact alone finds out is kept, under its attribute's name everywhere."""
    return _row(help, dtype, since=3, kept="exact", **more)


_Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What came out for one image, on its way to or from disk. Each attribute says what it is; see `FIELDS`.

    The order of the attributes is that of the columns of HDF5, over which a row's checksum is computed.
    """

    # fmt: off
    name: bytes = dataclasses.field(metadata=_row(
        "Name of the image: its path below the folder that was named, or as named, with / between the components.",
        "bytes", npz="source", column="name_bytes"))
    warnings: tuple[str, ...] = dataclasses.field(default=(), metadata=_row(
        "What reading the image gave rise to.", "texts", of="target.remarks", column="warnings"))
    w: _Array = dataclasses.field(metadata=_row(
        "Latent code: one style for all layers, or one for each.", "<f4", ("styles", "w_dim"),
        earlier={1: ("w_dim",)}, npz="w", column="w", finite=True))
    distance: float = dataclasses.field(metadata=_row(
        "LPIPS between the image and g(w, noise) after the last step.", "<f8",
        npz="distance", column="distance", shown="distance", text="8.4f", finite=True))
    layer_distances: _Array = dataclasses.field(metadata=_row(
        "The distance's share of each depth of LPIPS.", "<f4", ("layers",),
        npz="layer_distances", column="layer_distances", shown="layer{}"))
    curve: _Array = dataclasses.field(metadata=_row(
        "LPIPS in each step, with latent noise; NaN after a divergence. With preset exact the rms of each iteration.",
        "<f4", ("steps",),
        npz="step_loss", column="curve"))
    status: str = dataclasses.field(metadata=_row(
        "ok, or diverged: a step was not finite, and this is the best state before it.", "S8",
        npz="status", column="status", shown="status", text="<8", choices=("ok", "diverged")))
    restart: int = dataclasses.field(metadata=_row(
        "Which of the restarts it is, from 0.", "<i8", npz="restart", column="restart", shown="restart", least=0))
    file_sha256: str = dataclasses.field(metadata=_row(
        "sha256 of the image's file.", "sha256", of="target.file_sha256",
        npz="file_sha256", column="sha256", shown="sha256"))
    pixel_sha256: str = dataclasses.field(metadata=_row(
        "sha256 of the image's shape and pixels after the image policy.", "sha256", of="target.pixel_sha256",
        npz="pixel_sha256", column="pixel_sha256", shown="pixel_sha256"))
    original_size: tuple[int, int] = dataclasses.field(default=(0, 0), metadata=_row(
        "Width and height of the image's file, upright; 0 where it is not known.", "<i8", (2,),
        of="target.original_size", column="original_size", shown=("width", "height"), least=1))
    noise: Mapping[str, _Array] = dataclasses.field(default_factory=dict, metadata=_row(
        "Noise map of each layer.", "<f4", ("map", "map"), npz="noise", column="noise", kept="noise"))
    reconstruction: _Array | None = dataclasses.field(default=None, metadata=_row(
        "g(w, noise).", "u1", ("side", "side", "channels"), of="image", column="reconstruction", kept="images"))
    target: _Array | None = dataclasses.field(default=None, metadata=_row(
        "The image as the network sees it.", "u1", ("side", "side", "channels"),
        of="target.array", column="target", kept="images"))
    q: float | None = dataclasses.field(default=None, metadata=_of_exact(
        "-2 log of the image's likelihood under the network, up to a constant; NaN where nothing can be told.", "<f8"))
    misfit: float | None = dataclasses.field(default=None, metadata=_of_exact(
        "Part of q: the whitened residual's sum of squares.", "<f8"))
    latent_norm: float | None = dataclasses.field(default=None, metadata=_of_exact(
        "Part of q: |u|^2 of the whitened latents.", "<f8"))
    noise_norm: float | None = dataclasses.field(default=None, metadata=_of_exact(
        "Part of q: |n|^2 of the noise maps; 0 where they were given.", "<f8"))
    rms: float | None = dataclasses.field(default=None, metadata=_of_exact(
        "Root of the mean squared difference between the image and what is expected, in levels of 255.", "<f8",
        text="8.3f"))
    expected_rms: float | None = dataclasses.field(default=None, metadata=_of_exact(
        "What rms is where the explanation is true.", "<f8"))
    iterations: int | None = dataclasses.field(default=None, metadata=_of_exact(
        "How many Jacobians were taken.", "<i8", least=0))
    stopped: str | None = dataclasses.field(default=None, metadata=_of_exact(
        "Why the search ended: converged, stalled, iterations, not-finite, or saturated.", "S12",
        choices=("converged", "stalled", "iterations", "not-finite", "saturated")))
    noise_kind: str | None = dataclasses.field(default=None, metadata=_of_exact(
        "The noise that explains the image: stored, random or zero.", "S8", choices=("stored", "random", "zero")))
    processing: str | None = dataclasses.field(default=None, metadata=_of_exact(
        "What happened to the image, as --processing has it.", "S80"))
    transform: tuple[float, float, float] | None = dataclasses.field(default=None, metadata=_row(
        "Shift to the right and down in shares of the image's side, and rotation counter-clockwise in degrees.",
        "<f8", (3,), npz="transform", column="transform", since=4, kept="transform",
        shown=("shift_x", "shift_y", "rotation"), finite=True))
    psnr: float = dataclasses.field(default=float("nan"), metadata=_row(
        "Peak signal-to-noise ratio of g(w, noise) in dB; NaN where it is not known.", "<f8", since=4,
        of="fidelity.psnr", npz="psnr", column="psnr", shown="psnr"))
    ssim: float = dataclasses.field(default=float("nan"), metadata=_row(
        "Structural similarity of g(w, noise), likewise.", "<f8", since=4,
        of="fidelity.ssim", npz="ssim", column="ssim", shown="ssim"))
    quad: tuple[float, ...] | None = dataclasses.field(default=None, metadata=_row(
        "The square that was cut out of a photo: x and y of its corners in the photo's pixels, of which the first "
        "reaches from 0 to 1; those that are top left, bottom left, bottom right and top right of what was cut out.",
        "<f8", (8,), of="target.quad", npz="quad", column="quad", since=4, kept="align",
        shown=tuple(f"{corner}_{axis}" for corner in ("top_left", "bottom_left", "bottom_right", "top_right")
                    for axis in "xy"), finite=True))
    # fmt: on

    @property
    def image(self) -> _Array | None:
        """The reconstruction, under the name that it has in a `Projection`."""
        return self.reconstruction

    @classmethod
    def of(cls, name: bytes, projection: "Projection") -> Self:
        """Return the result of a projection, with all that can be kept.

        Args:
            name: Name of the image; see `Result`.
            projection: What the projector found.
        """
        explained = projection.explanation is not None
        values = {
            field.name: attrgetter(field.of or field.name)(projection)
            for field in FIELDS
            if field.name != "name" and (explained or field.kept != "exact")
        }
        return cls(name=name, **values)

    def facts(self) -> dict[str, Any]:
        """Return its numbers and texts as JSON types, for a line of an index."""
        listed = {field.name: getattr(self, field.name) for field in FIELDS if field.is_listed}
        # JSON has no NaN; what another preset does not find out is left out.
        listed = {name: value for name, value in listed.items() if value is not None and value == value}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in listed.items()}


def _declared(attribute: "dataclasses.Field[Any]") -> Field:
    default = None if attribute.default is dataclasses.MISSING else attribute.default
    declared: Field = attribute.metadata["field"]
    name = attribute.name
    if declared.kept == "exact":
        declared = dataclasses.replace(
            declared, of=f"explanation.{name}", npz=name, column=name, shown=name, text=declared.text
        )
    return dataclasses.replace(declared, name=name, default=default)


FIELDS: tuple[Field, ...] = tuple(map(_declared, dataclasses.fields(Result)))
"""The fields of a result, in the order of the columns of HDF5."""

VERSION = max(max([field.since, *(before + 1 for before in field.earlier)]) for field in FIELDS)
"""Version of the fields: that of the schema of HDF5, of the journal's entries and of its manifest."""


@dataclass(frozen=True)
class Failure:
    """An image without a result.

    Attributes:
        name: Name of the image, as in `Result`.
        code: Stable name of the reason.
        reason: The reason in words.
    """

    name: bytes
    code: str
    reason: str
