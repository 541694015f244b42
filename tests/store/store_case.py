"""Small folders of results, with seeded numbers in place of projections."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from invert.images.target import Target, pixel_sha256, safe_name
from invert.projection.config import ProjectConfig
from invert.projection.projector import Projection
from invert.projection.records import method_record
from invert.store.folder import FolderStore, open_folder
from invert.store.index import Index, read_index

RUN = {"seed": 0, "batch": 1, "threads": 1}
POLICY = {"version": 1}


def method(**settings: Any) -> dict[str, Any]:
    return method_record(ProjectConfig(**settings), "0" * 64, POLICY)


def target(path: str | bytes = "shirt.png", shade: int = 7, channels: int = 3) -> Target:
    array = np.full([4, 4, channels], shade, np.uint8)
    exact = Path(os.fsdecode(path))
    return Target(
        array=array,
        name=safe_name(exact),
        path=exact,
        file_sha256=hashlib.sha256(bytes([shade])).hexdigest(),
        pixel_sha256=pixel_sha256(array),
        original_size=(4, 4),
        upsampled=False,
        warnings=("a warning",),
        notes=(),
    )


def projection(of: Target, distance: float = 0.25) -> Projection:
    random = np.random.RandomState(0)
    return Projection(
        of,
        w=random.randn(1, 8).astype(np.float32),
        noise={"b4.conv1": random.randn(4, 4).astype(np.float32)},
        distance=distance,
        layer_distances=np.arange(5, dtype=np.float32),
        curve=np.array([0.5, 0.3], np.float32),
        image=np.full_like(of.array, 200),
        status="ok",
        restart=0,
    )


def save(folder: Path, *targets: Target, run: dict[str, Any] = RUN, overwrite: bool = False, **settings: Any) -> None:
    with open_folder(folder, method(**settings), run, overwrite=overwrite) as store:
        for one in targets:
            store.keep(name(one), projection(one))


def name(of: Target) -> bytes:
    return os.fsencode(of.path)


def finished(store: FolderStore, one: Target) -> bool:
    return store.finished(name(one), one.file_sha256) is not None


def index_of(folder: Path) -> Index:
    index = read_index(folder)
    assert index is not None
    return index


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
