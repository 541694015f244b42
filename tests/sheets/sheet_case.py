"""Projections with seeded numbers, as `invert project` writes them, for the sheets to show."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from generator.files.reading import LoadedNetwork
from invert.images.target import Target
from invert.projection.projector import Projection
from invert.store.npz import encode_arrays
from invert.store.result import Result
from tests.batch.batch_case import make_entries, make_manifest, write_batch


def write_npz(path: Path, w: Any, network_sha256: str = "0" * 64) -> Path:
    """Write a projection whose w is given."""
    image = np.zeros([32, 32, 3], np.uint8)
    target = Target(image, "a", Path("a.png"), "1" * 64, "2" * 64, (32, 32), False, (), ())
    shares, curve = np.zeros(5, np.float32), np.zeros(3, np.float32)
    projection = Projection(target, w, {"b4.conv1": np.zeros([4, 4], np.float32)}, 0.1, shares, curve, image, "ok", 0)
    path.write_bytes(
        encode_arrays(Result.of(b"a.png", projection), {"network_sha256": network_sha256, "steps": 3}, {"seed": 0})
    )
    return path


def write_h5(path: Path, loaded: LoadedNetwork, rows: int = 4, **network: Any) -> Path:
    """Write a batch of projections into a network; keywords change what is said of the network."""
    manifest = make_manifest(noise="none", images=False)
    facts = {"w_dim": loaded.generator.config.mapping.w_dim, "weights_sha256": loaded.provenance.weights_sha256}
    manifest = dataclasses.replace(manifest, network=manifest.network | facts | network)
    write_batch(path, manifest, make_entries(manifest, rows))
    return path
