"""What all images of an output have in common."""

import json
from typing import Any

import pytest

from invert.projection.records import method_digest
from invert.store.manifest import Manifest, ManifestVersionError
from invert.store.result import VERSION
from tests.batch.batch_case import make_manifest


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(make_manifest().to_bytes()) | fields).encode()


@pytest.mark.parametrize("noise", ["none", "float32", "float16"])
def test_round_trip(noise: str) -> None:
    manifest = make_manifest(noise=noise, images=noise == "none", channels=1)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert manifest.digest == method_digest(manifest.method)
    assert (manifest.steps, manifest.side, manifest.channels, manifest.sizes["w_dim"]) == (3, 8, 1, 8)


def test_differing_keys_are_named_with_both_values() -> None:
    before = make_manifest(noise="none", constants={"peak_rate": 0.1}, run={"threads": 1})
    after = make_manifest(images=False, steps=4, constants={"peak_rate": 0.2}, run={"threads": 2})
    assert before.changes_to(after) == [
        "constants.peak_rate: 0.1, now 0.2",
        "steps: 3, now 4",
        "threads: 1, now 2",
        "stored images: True, now False",
        "stored noise: none, now float32",
    ]


def test_same_settings_differ_in_nothing() -> None:
    before = Manifest.from_bytes(make_manifest(size=(1, 2)).to_bytes())
    assert before.changes_to(make_manifest(size=(1, 2))) == []


def test_version_1_is_read() -> None:
    assert Manifest.from_bytes(changed(version=1)) == make_manifest()


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None, True])
def test_another_version_is_told_apart_from_damage(version: Any) -> None:
    with pytest.raises(ManifestVersionError, match="version"):
        Manifest.from_bytes(changed(version=version))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": "invert batch"',
        b"[" * 100_000,
        b"\xff",
        changed(format="other"),
        changed(extra=1),
        changed(method=[]),
        changed(method_digest="0" * 64),
        changed(method={"steps": 3}),
        changed(noise="float64"),
        changed(images=1),
        changed(network={}),
        changed(run=None),
    ],
)
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Manifest.from_bytes(data)
    assert not isinstance(caught.value, ManifestVersionError)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resolution", 0),
        ("resolution", 1 << 20),
        ("resolution", True),
        ("channels", 5),
        ("w_dim", 8.0),
        ("num_ws", None),
        ("sha256", "0" * 63),
        ("weights_sha256", 1),
        ("family", ""),
        ("family", "caf\u00e9"),
        ("family", "x" * 101),
    ],
)
def test_networks_that_cannot_be(key: str, value: Any) -> None:
    good = make_manifest()
    with pytest.raises(ValueError, match=key):
        Manifest(good.method, good.run, {**good.network, key: value})


@pytest.mark.parametrize("steps", [-1, 10**8, 1.0, None, "3"])
def test_steps_that_cannot_be(steps: Any) -> None:
    with pytest.raises(ValueError, match="steps"):
        make_manifest(steps=steps)


def test_records_fit_into_an_attribute() -> None:
    make_manifest(note="x" * 32_000)
    with pytest.raises(ValueError, match="more than 32768 characters"):
        make_manifest(note="x" * 33_000)
