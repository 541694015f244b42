"""What all images of one output have in common: settings, network, and what is kept of each image."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from generator.jsontext import read_json
from invert.projection.records import differing_keys, method_digest
from invert.store.result import DISTANCE_LAYERS, VERSION, Field, Sizes

__all__ = ["NOISE_TYPES", "Manifest", "ManifestVersionError"]

_FORMAT = "invert batch"
NOISE_TYPES = ("none", "float32", "float16")

MAX_STEPS = 10**7
MAX_SIZE = 1 << 16
MAX_FAMILY = 100
MAX_MANIFEST = 1 << 20
MAX_RECORD = 1 << 15
"""An attribute of HDF5 has 64 kB at most."""

_Record = dict[str, Any]

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LIMITS = {"resolution": 1 << 14, "channels": 4, "num_ws": 1 << 10, "w_dim": MAX_SIZE}


class ManifestVersionError(ValueError):
    """The manifest is of a later version of this program."""


@dataclass(frozen=True)
class Manifest:
    """What the images of one output have in common.

    Args:
        method: `invert.projection.records.method_record`.
        run: `invert.projection.projector.run_record`.
        network: sha256, weights_sha256 and family of the file; resolution, channels, num_ws and w_dim.
        noise: How the noise maps are kept: "none", "float32" or "float16".
        images: Whether reconstruction and target are kept.

    Raises:
        ValueError: Something is missing, of the wrong type or out of range.
    """

    method: _Record
    run: _Record
    network: _Record
    noise: str = "float32"
    images: bool = True

    def __post_init__(self) -> None:
        if not all(isinstance(record, dict) for record in (self.method, self.run, self.network)):
            raise ValueError("a record is no object")
        steps = self.method.get("steps")
        if type(steps) is not int or not 0 <= steps <= MAX_STEPS:
            raise ValueError(f"steps {steps!r} is not in 0..{MAX_STEPS}")
        for key, limit in _LIMITS.items():
            value = self.network.get(key)
            if type(value) is not int or not 1 <= value <= limit:
                raise ValueError(f"network {key} {value!r} is not in 1..{limit}")
        for key in ("sha256", "weights_sha256"):
            if not isinstance(self.network.get(key), str) or not _SHA256.fullmatch(self.network[key]):
                raise ValueError(f"network {key} is no sha256")
        family = self.network.get("family")
        if not isinstance(family, str) or not (family.isascii() and 1 <= len(family) <= MAX_FAMILY):
            raise ValueError("network family is no plain text")
        if any(len(json.dumps(record)) > MAX_RECORD for record in (self.method, self.run, self.network)):
            raise ValueError(f"a record has more than {MAX_RECORD} characters")
        if self.noise not in NOISE_TYPES or type(self.images) is not bool:
            raise ValueError(f"noise {self.noise!r} or images {self.images!r} is none of the choices")

    @property
    def digest(self) -> str:
        """Digest of the method record: what may be compared has the same."""
        return method_digest(self.method)

    @property
    def steps(self) -> int:
        """Optimisation steps of each image."""
        return int(self.method["steps"])

    @property
    def side(self) -> int:
        """Side of the network's images, in pixels."""
        return int(self.network["resolution"])

    @property
    def channels(self) -> int:
        """Channels of the network's images: 1, 3 or 4."""
        return int(self.network["channels"])

    @property
    def styles(self) -> int:
        """How many styles a w has: 1 where all layers have the same, one for each in W+."""
        return int(self.network["num_ws"]) if self.method.get("space") == "w+" else 1

    @cached_property
    def sizes(self) -> Sizes:
        """What the words in the shapes of `invert.store.result.FIELDS` stand for."""
        return {
            "styles": self.styles,
            "w_dim": int(self.network["w_dim"]),
            "steps": self.steps,
            "layers": DISTANCE_LAYERS,
            "side": self.side,
            "channels": self.channels,
        }

    def keeps(self, field: Field) -> bool:
        """Tell whether a field of each result is kept."""
        policy = self.method.get("image_policy")
        return {
            "always": True,
            "noise": self.noise != "none",
            "images": self.images,
            "exact": self.method.get("preset") == "exact",
            "transform": self.method.get("transform") == "optimise",
            "align": isinstance(policy, dict) and "align" in policy,
        }[field.kept]

    def to_bytes(self) -> bytes:
        """Return the content of manifest.json."""
        values = {
            "format": _FORMAT,
            "version": VERSION,
            "method": self.method,
            "method_digest": self.digest,
            "run": self.run,
            "network": self.network,
            "noise": self.noise,
            "images": self.images,
        }
        return json.dumps(values, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read manifest.json, of this version or an earlier one.

        Raises:
            ValueError: It is none, or damaged; `ManifestVersionError` when it is of a later version.
        """
        values = read_json(data, MAX_MANIFEST)
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError("no manifest")
        version = values.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            raise ManifestVersionError(f"version {version!r}")
        if set(values) != {"format", "version", "method", "method_digest", "run", "network", "noise", "images"}:
            raise ValueError("other fields")
        manifest = cls(values["method"], values["run"], values["network"], values["noise"], values["images"])
        if manifest.digest != values["method_digest"]:
            raise ValueError("the digest does not fit the method")
        return manifest

    def changes_to(self, now: "Manifest") -> list[str]:
        """Return in what another manifest differs, each as "key: before, now after"; empty when in nothing."""
        now = Manifest.from_bytes(now.to_bytes())  # JSON makes lists of tuples
        kept = [{"stored noise": one.noise, "stored images": one.images} for one in (self, now)]
        changes = differing_keys(self.method, now.method) + differing_keys(self.run, now.run)
        return changes + differing_keys(kept[0], kept[1])
