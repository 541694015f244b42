"""Weights on their way from a file to our own networks: renamed, checked against shapes, turned into float32."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from generator.errors import NetworkFileError, escaped
from generator.files.pickles.records import MAX_NAME, Array, ArrayRecord, TensorRecord, kind_of
from generator.tensors import Shape

__all__ = [
    "DROPPED",
    "Intake",
    "Translation",
    "Weight",
    "check_shapes",
    "resample_taps",
    "shapes_of",
    "state_digest",
    "to_float32",
    "translate",
    "translated",
]

Translation = tuple[str, str] | None
"""Our name of a tensor and the transform that its array needs; None: a name that the network does not have."""

DROPPED: Final[Translation] = ("", "same")
"""What stands for a tensor of the file that our networks do without."""

# Transforms by name: the number of dimensions they take, and what they do. Weights of TensorFlow are [kh, kw, in, out].
TRANSFORMS: Final[dict[str, tuple[tuple[int, ...], Callable[[Array], Array]]]] = {
    "same": (tuple(range(9)), lambda a: a),
    "transpose": ((2,), lambda a: a.T),
    "filter": ((4,), lambda a: a.transpose(3, 2, 0, 1)),
    "flipped filter": ((4,), lambda a: a[::-1, ::-1].transpose(3, 2, 0, 1)),
    "upside down": ((4,), lambda a: a[:, :, ::-1, ::-1]),
    "kernel": ((2, 4), lambda a: a.reshape(a.shape[-2:]) if a.size == math.prod(a.shape[-2:]) else a),
    "first": ((4, 5), lambda a: a[0]),
    "map": ((4,), lambda a: a[0, 0]),
    "plus one": ((1,), lambda a: a.astype(np.float32) + np.float32(1)),
    "vector": ((1, 4), lambda a: a.reshape(-1)),
    "scalar": ((0, 1), lambda a: a.reshape(())),
}
MAX_TENSORS: Final = 20_000  # a network of 1024 px has some three hundred with its discriminator
SINGLE_AXES: Final = {"first": 1, "map": 2}  # leading axes that must have size 1


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A tensor on its way.

    Attributes:
        array: Its numbers, a view of the file's bytes.
        source: Its name in the file.
        kind: Its type in the file, such as "float16".
    """

    array: Array
    source: str
    kind: str


def translate(weight: Weight, transform: str) -> Weight:
    """Bring a weight into our layout.

    Args:
        weight: The weight as the file has it.
        transform: A name in `TRANSFORMS`.

    Raises:
        NetworkFileError: It has a shape that the transform does not take.
    """
    dimensions, function = TRANSFORMS[transform]
    shape = weight.array.shape
    leading = shape[: SINGLE_AXES.get(transform, 0)]
    if len(shape) not in dimensions or any(size != 1 for size in leading):
        raise NetworkFileError(f"damaged: '{escaped(weight.source)}' has the unexpected shape {shape}")
    if transform == "vector" and weight.array.size != max(shape):
        raise NetworkFileError(f"damaged: '{escaped(weight.source)}' has shape {shape}, not that of a bias")
    if transform == "scalar" and weight.array.size != 1:
        raise NetworkFileError(f"damaged: '{escaped(weight.source)}' has shape {shape}, not that of one number")
    return Weight(function(weight.array), weight.source, weight.kind)


def translated(
    tensors: Mapping[str, object],
    entry: str,
    translation: Callable[[str], Translation],
    intake: "Intake",
    architecture: str,
) -> dict[str, Weight]:
    """Return the tensors of one network under our names.

    Args:
        tensors: Its records by their names in the file.
        entry: Where it stands in the file, for messages.
        translation: From a name in the file to ours.
        intake: What takes the arrays out of the records.
        architecture: What the error calls the network.

    Raises:
        NetworkFileError: There is a tensor that such networks do not have, or one twice.
    """
    weights: dict[str, Weight] = {}
    holder = f"'{entry}' holds" if entry else "it holds"
    for key, record in tensors.items():
        found = translation(key)
        if found is None:
            raise NetworkFileError(f"unsupported: {holder} '{escaped(key)}', which {architecture} does not have")
        if found == DROPPED:
            continue
        name, transform = found
        if name in weights:
            raise NetworkFileError(f"damaged: {holder} '{escaped(key)}' twice")
        weights[name] = translate(intake.weight(record, f"{entry}.{key}".lstrip(".")), transform)
    return weights


class Intake:
    """Take tensors out of a file's records, never more bytes of them than the file has.

    Args:
        file_size: Bytes of the file. In a file any number of tensors may share one storage; a network's never do.
    """

    def __init__(self, file_size: int) -> None:
        self.left = file_size
        self.tensors = 0

    def weight(self, record: object, source: str) -> Weight:
        """Take the array out of a tensor or array record.

        Args:
            record: The record.
            source: Its name in the file.

        Raises:
            NetworkFileError: It is neither, or the file shares its bytes with too many others.
        """
        self.tensors += 1
        if len(source) > MAX_NAME or self.tensors > MAX_TENSORS:
            raise NetworkFileError(f"refused: more than {MAX_TENSORS} tensors, or a name of over {MAX_NAME} characters")
        if isinstance(record, bool | int | float):  # a 0-d array is pickled as a numpy scalar
            if isinstance(record, int) and abs(record) >= 1 << 63:
                raise NetworkFileError(f"damaged: '{escaped(source)}' is an integer of more than 64 bits")
            with np.errstate(over="ignore"):
                return Weight(np.asarray(record, np.float64).astype(np.float32), source, "float32")
        if not isinstance(record, TensorRecord | ArrayRecord):
            raise NetworkFileError(f"damaged: '{escaped(source)}' is a {kind_of(record)}, not a tensor")
        self.left -= record.nbytes
        if self.left < 0:
            raise NetworkFileError("refused: its weights together are larger than the file")
        return Weight(record.array(), source, record.kind)


def shapes_of(weights: Mapping[str, Weight]) -> dict[str, Shape]:
    """Return the shape of every weight."""
    return {name: item.array.shape for name, item in weights.items()}


def check_shapes(weights: Mapping[str, Weight], expected: Mapping[str, Shape], optional: frozenset[str]) -> None:
    """Compare the weights with what the architecture implies.

    Args:
        weights: The weights under our names.
        expected: Shape of every tensor that the architecture has.
        optional: Names that may be missing.

    Raises:
        NetworkFileError: One is missing, unknown or of another shape; it is named, with both shapes.
    """
    for name, item in weights.items():
        if name not in expected:
            raise NetworkFileError(
                f"unsupported: it holds '{escaped(item.source)}', which its architecture does not have"
            )
        if item.array.shape != expected[name]:
            found = f"'{escaped(item.source)}' has shape {item.array.shape}"
            alias = "" if item.source.endswith(name) else f" (as {name})"
            raise NetworkFileError(f"damaged: {found}, its architecture needs {expected[name]}{alias}")
    for name, shape in expected.items():
        if name not in weights and name not in optional:
            raise NetworkFileError(f"damaged: it lacks '{name}', of shape {shape}")


def to_float32(weights: Mapping[str, Weight]) -> tuple[dict[str, Array], list[str]]:
    """Copy checked weights out of the file as float32, sorted by name.

    Returns:
        The arrays, and a warning for each other type that was converted.

    Raises:
        NetworkFileError: A weight is not a floating-point number, or not finite.
    """
    state: dict[str, Array] = {}
    kinds: Counter[str] = Counter()
    for name in sorted(weights):
        item = weights[name]
        if item.array.dtype.kind != "f":
            raise NetworkFileError(f"damaged: '{escaped(item.source)}' holds {item.kind}, not floating-point numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            state[name] = np.array(item.array, dtype=np.float32, order="C", copy=True)
        if not np.isfinite(state[name]).all():
            raise NetworkFileError(
                f"damaged: '{escaped(item.source)}' holds numbers that are not finite (NaN or infinity)"
            )
        kinds[item.kind] += item.kind != "float32"
    return state, [
        f"{count} {kind} tensors were converted to float32" for kind, count in sorted(kinds.items()) if count
    ]


def resample_taps(kernels: Mapping[str, Array]) -> tuple[float, ...]:
    """Return the taps of the one resampling filter that all layers share.

    Args:
        kernels: Filter buffers `[n, n]` or `[n]` by name, scaled in any way.

    Raises:
        NetworkFileError: They differ, or are not the outer product of one symmetric row of taps.
    """
    rows: Array | None = None
    for name, kernel in kernels.items():
        taps = _row(name, kernel)
        if rows is not None and (len(rows) != len(taps) or not np.allclose(rows, taps, atol=1e-5)):
            raise NetworkFileError(
                f"unsupported: the resampling filter '{escaped(name)}' differs from that of other layers"
            )
        rows = taps if rows is None else rows
    if rows is None:
        return (1.0, 3.0, 3.0, 1.0)
    small = np.abs(rows[rows != 0]).min()
    whole = np.round(rows / small)
    return tuple(float(tap) for tap in (whole if np.allclose(rows / small, whole, atol=1e-4) else rows))


def _row(name: str, kernel: Array) -> Array:
    """Reduce a filter to one row of taps that sums to one."""
    bad = NetworkFileError(
        f"unsupported: the resampling filter '{escaped(name)}' is not an outer product of one row of taps"
    )
    if kernel.dtype.kind != "f" or not 1 <= kernel.size <= 256 or not np.isfinite(kernel).all():
        raise bad
    kernel = kernel.astype(np.float64)
    if abs(kernel.sum()) < 1e-6:
        raise bad
    kernel = kernel / kernel.sum()
    if kernel.ndim == 1:
        return kernel
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise bad
    taps: Array = kernel.sum(axis=0)
    if not np.allclose(np.outer(taps, taps), kernel, atol=1e-6):
        raise bad
    return taps


def state_digest(state: Mapping[str, Array]) -> str:
    """Return the SHA-256 of names, shapes and little-endian float32 values: the same whatever file they came in."""
    sha256 = hashlib.sha256()
    for name in sorted(state):
        array = np.asarray(state[name], dtype="<f4")
        sha256.update(f"{name} {array.dtype.str} {'x'.join(map(str, array.shape))}\n".encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()
