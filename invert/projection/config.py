"""Settings of a projection, and the two records that go into every output.

The METHOD record is what makes distances comparable: two results with the same method digest may be compared.
The RUN record is what makes bits comparable: two results with the same run record too are equal to the last bit.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from invert.errors import UsageError

__all__ = [
    "BANK_VERSION",
    "FINALISTS",
    "PRESETS",
    "Preset",
    "ProjectConfig",
    "config_of",
    "differing_keys",
    "method_digest",
    "method_record",
    "with_defaults",
]

MAX_BANK = 100_000
BANK_VERSION = 1
FINALISTS = 16
"""How many of a bank's samples, the nearest by pixels, are compared by LPIPS."""

METHOD_VERSION = 1  # raised when the same settings would give other distances

_CHOICES = {
    "lpips": ("vgg", "alex"),
    "noise": ("optimise", "fixed", "zero"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("float32", "bfloat16"),
}


@dataclass(frozen=True)
class Preset:
    """The constants of a projection method.

    Reference: Karras et al. 2020, appendix D; the public code differs from it in `pyramid_scale` alone.
    """

    latent_samples: int = 10_000
    latent_seed: int = 123
    start: str = "centre"
    peak_rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    latent_noise: float = 0.05
    latent_noise_length: float = 0.75
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    pyramid_scale: float = 2.0


PRESETS = {
    "paper": Preset(),
    "official": Preset(pyramid_scale=1.0),
    "verdict": Preset(start="bank", peak_rate=0.05, latent_noise=0.01),
}

_DEFAULTS: dict[str, dict[str, Any]] = {
    "paper": {"steps": 1000, "noise": "optimise"},
    "official": {"steps": 1000, "noise": "optimise"},
    # Free noise maps help foreign images more than own ones: see bench/attribution.md.
    "verdict": {"steps": 50, "noise": "fixed"},
}


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of `ProjectConfig` with the steps and the noise of their preset where none, or None, are given.

    Raises:
        KeyError: There is no such preset.
    """
    return {**settings, **{k: v for k, v in _DEFAULTS[settings["preset"]].items() if settings.get(k) is None}}


@dataclass(frozen=True)
class ProjectConfig:
    """Settings of `invert project`.

    Args:
        steps: Optimisation steps. preset: A name in `PRESETS`. lpips: Backbone, "vgg" or "alex".
        noise: "optimise", "fixed" (the network's own stored maps) or "zero".
        noise_weight: Factor on the noise regulariser.
        seed: Of each image's random stream. restarts: Independent optimisations, the best one counts.
        class_index: Class of a conditional network.
        precision: Type of the feature maps, "float32" or "bfloat16"; w, Adam and distances stay float32.
        bank: Samples to start from, for presets that do; None takes `invert.projection.start.bank_size`.
        batch: Images optimised together. threads: CPU threads. device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: A value is out of range.
    """

    steps: int = 1000
    preset: str = "paper"
    lpips: str = "vgg"
    noise: str = "optimise"
    noise_weight: float = 1e5
    seed: int = 0
    restarts: int = 1
    class_index: int | None = None
    batch: int | None = None
    threads: int | None = None
    device: str = "auto"
    precision: str = "float32"
    bank: int | None = None

    def __post_init__(self) -> None:
        for name, choices in {**_CHOICES, "preset": tuple(PRESETS)}.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"--{name} {getattr(self, name)!r} is not one of {', '.join(choices)}.")
        for name, low, high in (("steps", 0, 10**7), ("restarts", 1, 1000), ("seed", 0, 2**63 - 1)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"--{name} {getattr(self, name)} is not in {low}..{high}.")
        for name in ("batch", "threads"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 4096:
                raise UsageError(f"--{name} {value} is not in 1..4096.")
        if not (math.isfinite(self.noise_weight) and self.noise_weight >= 0):
            raise UsageError(f"--noise-weight {self.noise_weight} is not a number of zero or more.")
        if self.class_index is not None and self.class_index < 0:
            raise UsageError(f"--class {self.class_index} is negative; classes are counted from 0.")

        if self.bank is not None and not 1 <= self.bank <= MAX_BANK:
            raise UsageError(f"--bank {self.bank} is not in 1..{MAX_BANK}.")

    @property
    def starts_from_bank(self) -> bool:
        """Whether the preset starts from a bank of samples."""
        return self.constants.start == "bank"

    @property
    def constants(self) -> Preset:
        """The preset's constants."""
        return PRESETS[self.preset]


def method_record(config: ProjectConfig, network_sha256: str, image_policy: dict[str, Any]) -> dict[str, Any]:
    """Return what makes distances comparable, as JSON types; `config.bank` is settled where it counts."""
    record = {
        "method_version": METHOD_VERSION,
        "network_sha256": network_sha256,
        "preset": config.preset,
        "constants": dataclasses.asdict(config.constants),
        "steps": config.steps,
        "lpips": config.lpips,
        "noise": config.noise,
        "noise_weight": config.noise_weight,
        "restarts": config.restarts,
        "class": config.class_index,
        "precision": config.precision,
        "image_policy": image_policy,
    }
    if config.starts_from_bank:
        record["bank"] = {"version": BANK_VERSION, "samples": config.bank, "finalists": FINALISTS}
    return record


def config_of(method: dict[str, Any]) -> ProjectConfig:
    """Return the settings that give a method record, with the rest at its defaults.

    Raises:
        KeyError, TypeError, AttributeError, UsageError: It is no such record.
    """
    return ProjectConfig(
        steps=method["steps"],
        preset=method["preset"],
        lpips=method["lpips"],
        noise=method["noise"],
        noise_weight=method["noise_weight"],
        restarts=method["restarts"],
        class_index=method["class"],
        precision=method["precision"],
        bank=method["bank"]["samples"] if "bank" in method else None,
    )


def method_digest(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical JSON, in hexadecimal."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differing_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return where two records differ, each as "key: old, now new"."""
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differing_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before}, now {after}")
    return lines
