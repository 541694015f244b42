"""What a measurement gives: its numbers, and the protocol without which they cannot be compared."""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

__all__ = ["Measured"]


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric of one network, or of one folder of images.

    Attributes:
        path: The network, or the images.
        metric: Name of the metric, such as "fd-vgg".
        main: Which of `values` is the metric's figure, such as "distance".
        values: All its figures by name; None where one is not a number.
        protocol: What makes it comparable: numbers of images, features and their hash, resize, psi, noise, seed,
            versions; JSON types.
        arrays: What plots are made of, by name; not in the record.
    """

    path: str | os.PathLike[str]
    metric: str
    main: str
    values: Mapping[str, float | None]
    protocol: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        finite = {k: v if v is not None and math.isfinite(v) else None for k, v in self.values.items()}
        object.__setattr__(self, "values", finite)

    @property
    def value(self) -> float | None:
        """The metric's figure."""
        return self.values[self.main]

    def record(self) -> dict[str, Any]:
        """Return everything but the arrays as JSON types."""
        record = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "arrays"}
        record |= {"path": os.fspath(self.path), "values": dict(self.values), "protocol": dict(self.protocol)}
        return {"value": self.value, **record}
