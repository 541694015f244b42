"""The two records that go into every output of a projection, from its settings and back.

The METHOD record is what makes distances comparable: two results with the same method digest may be compared.
The RUN record is what makes bits comparable: two results with the same run record too are equal to the last bit.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from generator.settings import is_left_out, setting_of
from invert.projection.config import Entry, ProjectConfig

__all__ = ["config_of", "differing_keys", "method_digest", "method_record", "run_settings"]

_METHOD_VERSION = 1  # raised when the same settings would give other distances


def method_record(
    config: ProjectConfig, network_sha256: str, image_policy: dict[str, Any], files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what makes distances comparable, as JSON types.

    Args:
        config: Settings; `bank` is settled where it counts.
        network_sha256: Hash of the network's file.
        image_policy: What images became pixels by.
        files: Digest of what was read from each file that a setting names, by the setting's name.
    """
    return {
        "method_version": _METHOD_VERSION,
        "network_sha256": network_sha256,
        **_method_entries(config, later=False),
        "image_policy": image_policy,
        **_method_entries(config, later=True),
        **{name: {"sha256": digest} for name, digest in (files or {}).items()},
    }


def _method_entries(config: ProjectConfig, *, later: bool) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        declared = setting_of(field)
        entry: Entry | None = declared.others.get("entry")
        if entry is None or declared.later is not later:
            continue
        value = getattr(config, field.name)
        if entry.write is not None:
            entries |= entry.write(config)
        elif not is_left_out(field, value):
            entries[entry.key] = value
    return entries


def config_of(method: Mapping[str, Any]) -> ProjectConfig:
    """Return the settings that give a method record, with the rest at its defaults.

    Raises:
        KeyError, TypeError, AttributeError, UsageError: It is no such record.
    """
    settings = {}
    for field in dataclasses.fields(ProjectConfig):
        declared = setting_of(field)
        entry: Entry | None = declared.others.get("entry")
        if entry is None:
            continue
        if entry.read is not None:
            settings[field.name] = entry.read(method)
        elif entry.key in method or not declared.later:
            settings[field.name] = method[entry.key]
    return ProjectConfig(**settings)


def run_settings(config: ProjectConfig, **settled: Any) -> dict[str, Any]:
    """Return the settings that belong to the run record.

    Args:
        config: The settings.
        settled: What stands for settings that were left open, by their names: what the machine then chose.
    """
    fields = [field for field in dataclasses.fields(config) if setting_of(field).others.get("run")]
    return {field.name: settled.get(field.name, getattr(config, field.name)) for field in fields}


def method_digest(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical JSON, in hexadecimal."""
    text = json.dumps(_first_policy(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _first_policy(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with image policy 1 in place of 2: only an image with a colour profile gives other pixels by it.

    Its warnings say so; what was measured of all others stays comparable, and calibrations keep their validity.
    """
    policy = record.get("image_policy")
    if not isinstance(policy, dict) or (policy.get("version"), policy.get("profile")) != (2, "srgb"):
        return record
    return {**record, "image_policy": {**policy, "version": 1, "profile": "ignored"}}


def differing_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return where two records differ, each as "key: old, now new"."""
    old, new = _first_policy(old), _first_policy(new)
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differing_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before}, now {after}")
    return lines
