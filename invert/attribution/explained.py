"""What preset exact found of an image, as far as verdicts speak of it, and the group that it puts the image into."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from invert.projection.projector import Projection

__all__ = ["Explained", "check_group", "group_of", "group_text", "is_small"]

_SMALL = "/small"
_NOTHING = "none"
_GROUP = re.compile(rf"[a-z]+(\+[a-z]+)*({_SMALL})?", re.ASCII)

_UNTOLD = {
    "saturated": "it is all black and white, of which nothing can be told",
    "not-finite": "the search for its latents met numbers that are not finite",
}
"""Why a search may have ended without anything to judge, in words."""


def group_of(processing: str, left_small: bool) -> str:
    """Return the group of an image: what was found to have happened to it, without numbers and names of filters.

    Args:
        processing: As `invert.projection.projector.Explanation` has it.
        left_small: Whether the image is smaller than the network's.

    Returns:
        Such as "none", "crop+jpeg" or "resize/small".
    """
    kinds = "+".join(_kinds(processing)) or _NOTHING
    return f"{kinds}{_SMALL}" if left_small else kinds


def _kinds(processing: str) -> list[str]:
    """Return what happened, step by step."""
    return [found[0] for step in _steps(processing) if (found := re.match("[a-z]+", step)) is not None]


def _steps(processing: str) -> list[str]:
    """Return the steps without what changes nothing: a crop that cuts off nothing."""
    return [step for step in processing.split("+") if step != _NOTHING and step.partition(":")[2] != "0"]


def group_text(group: str) -> str:
    """Return a group in words, such as "resize, left small"."""
    return f"{group.removesuffix(_SMALL)}, left small" if is_small(group) else group


def is_small(group: str) -> bool:
    """Tell whether the images of a group are smaller than the network's."""
    return group.endswith(_SMALL)


def check_group(text: str) -> str:
    """Return the text if it is that of a group.

    Raises:
        ValueError: It is not.
    """
    if not _GROUP.fullmatch(text):
        raise ValueError("no group")
    return text


@dataclass(frozen=True)
class Explained:
    """How preset exact explains an image.

    Attributes:
        processing: What happened to the image, with its numbers, as it is written for `--processing`.
        noise: The noise that explains it: "stored", "random" or "zero".
        q: Q over the image's numbers: about 1 where it is the network's. NaN where nothing can be told.
        rms: Root of the mean squared difference between image and expectation, in levels of 255; NaN likewise.
        expected_rms: What rms is where the explanation is true.
        stopped: Why the search ended; see `invert.projection.projector.Explanation`.
    """

    processing: str
    noise: str
    q: float
    rms: float
    expected_rms: float
    stopped: str

    @classmethod
    def of(cls, projection: "Projection") -> Self | None:
        """Return what a projection found; None of another preset."""
        found = projection.explanation
        if found is None:
            return None
        q = found.q / projection.target.array.size
        return cls(found.processing, found.noise_kind, q, found.rms, found.expected_rms, found.stopped)

    @property
    def why_untold(self) -> str:
        """Why nothing can be said of the image, in words; empty where something can."""
        if self.stopped in _UNTOLD:
            return _UNTOLD[self.stopped]
        return "" if math.isfinite(self.q) and math.isfinite(self.rms) else _UNTOLD["not-finite"]

    @property
    def kinds(self) -> frozenset[str]:
        """What happened to the image, without numbers, order and names of filters."""
        return frozenset(_kinds(self.processing))

    @property
    def text(self) -> str:
        """The processing, as far as it changes anything, and the noise where it is not that of the network's file."""
        happened = "+".join(_steps(self.processing)) or _NOTHING
        return happened if self.noise == "stored" else f"{happened}, {self.noise} noise"

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON types; what could not be measured is null."""
        return {key: None if value != value or value == math.inf else value for key, value in asdict(self).items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read it back.

        Raises:
            ValueError, KeyError, TypeError: It is no such record.
        """
        texts = {name: str(record[name]) for name in ("processing", "noise", "stopped")}
        numbers = {name: _number(record[name]) for name in ("q", "rms", "expected_rms")}
        return cls(**texts, **numbers)  # type: ignore[arg-type]


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise ValueError("no number")
    return float(value)
