"""Small batches with seeded numbers in place of projections, and what their files must hold."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from invert.hdf5.pack import PackResult, pack
from invert.hdf5.reading import Latents
from invert.hdf5.verification import verify
from invert.store.journal import Journal, begin_journal
from invert.store.locks import lock_output
from invert.store.manifest import Manifest
from invert.store.result import Failure, Result

SIDE, W_DIM, STEPS = 8, 8, 3
LAYERS = {"b4.conv1": 4, "b8.conv0": 8}

FAILURES = (
    Failure(b"a/broken.png", "image-truncated", "is cut off"),
    Failure(b"zz\xff.png", "image-format", "is text"),
)


def make_manifest(
    *,
    noise: str = "float32",
    images: bool = True,
    channels: int = 3,
    run: Mapping[str, Any] | None = None,
    **method: Any,
) -> Manifest:
    """Return what the images of a small batch have in common."""
    network = {
        "sha256": hashlib.sha256(b"file").hexdigest(),
        "weights_sha256": hashlib.sha256(b"weights").hexdigest(),
        "family": "stylegan2-ada-pytorch",
        "resolution": SIDE,
        "channels": channels,
        "num_ws": 4,
        "w_dim": W_DIM,
    }
    record = {"method_version": 1, "preset": "paper", "constants": {"peak_rate": 0.1}, "steps": STEPS, **method}
    return Manifest(record, {"batch": 2, "threads": 1, "seed": 0, **(run or {})}, network, noise, images)


def make_entry(manifest: Manifest, name: bytes, *, layers: Mapping[str, int] = LAYERS, **changes: Any) -> Result:
    """Return a finished image whose numbers follow from its name."""
    random = np.random.default_rng(list(name))
    image = (manifest.side, manifest.side, manifest.channels)
    sha256 = hashlib.sha256(name)
    entry = Result(
        name=name,
        distance=float(random.random()),
        status="ok",
        restart=int(random.integers(3)),
        file_sha256=sha256.hexdigest(),
        pixel_sha256=hashlib.sha256(sha256.digest()).hexdigest(),
        original_size=(int(random.integers(1, 99)), 7),
        warnings=("it is grey: repeated into three channels",) if sha256.digest()[0] % 2 else (),
        w=random.standard_normal((1, manifest.sizes["w_dim"])).astype(np.float32),
        layer_distances=random.random(5).astype(np.float32),
        curve=random.random(manifest.steps).astype(np.float32),
        noise={layer: random.standard_normal((side, side)).astype(np.float32) for layer, side in layers.items()},
        reconstruction=random.integers(0, 256, image, np.uint8),
        target=random.integers(0, 256, image, np.uint8),
    )
    return replace(entry, **changes)


def make_entries(manifest: Manifest, count: int = 7) -> list[Result]:
    """Return finished images in some folders, in the order of the rows."""
    names = sorted((b"%s/%02d.png" % (b"ab"[i % 2 : i % 2 + 1], i) for i in range(count)), key=lambda n: n.split(b"/"))
    return [make_entry(manifest, name) for name in names]


MANIFEST = make_manifest()
ENTRY = make_entry(MANIFEST, b"a/x.png")


def write_batch(
    out: Path, manifest: Manifest, entries: Iterable[Result], failures: Iterable[Failure] = FAILURES
) -> PackResult:
    """Go the whole way from finished images to the file."""
    with lock_output(out) as lock:
        fill(begin_journal(lock, manifest), entries, failures)
        return pack(lock)


def fill(journal: Journal, entries: Iterable[Result], failures: Iterable[Failure] = ()) -> None:
    """Save images, note failures and that this was all."""
    count = 0
    for entry in entries:
        journal.save(entry)
        count += 1
    for failure in failures:
        journal.fail(failure.name, failure.code, failure.reason)
        count += 1
    journal.complete(count)


def is_finished(journal: Journal, name: bytes = ENTRY.name, file_sha256: str = ENTRY.file_sha256) -> bool:
    return journal.finished(name, file_sha256) is not None


def check(path: Path) -> int:
    """Verify a file and return its number of rows."""
    with Latents(path) as latents:
        verify(latents)
        return len(latents)


def assert_same_entry(found: Result, expected: Result, manifest: Manifest) -> None:
    """Compare what came back with what went in, to the bit, as far as the manifest keeps it."""
    for key in ("name", "distance", "status", "restart", "file_sha256", "pixel_sha256", "original_size", "warnings"):
        assert getattr(found, key) == getattr(expected, key), key
    arrays = {"w": expected.w, "layer_distances": expected.layer_distances, "curve": expected.curve}
    if manifest.images:
        arrays |= {"reconstruction": expected.reconstruction, "target": expected.target}
    else:
        assert found.reconstruction is None
        assert found.target is None
    for key, values in arrays.items():
        assert getattr(found, key).dtype == values.dtype, key
        np.testing.assert_array_equal(getattr(found, key), values, key)
    assert set(found.noise) == (set() if manifest.noise == "none" else set(expected.noise))
    for layer, values in found.noise.items():
        assert values.dtype == manifest.noise
        np.testing.assert_array_equal(values, expected.noise[layer].astype(manifest.noise), layer)


def only(folder: Path) -> list[str]:
    """Return what is in a folder, hidden files too."""
    return sorted(os.listdir(folder))
