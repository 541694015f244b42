"""Images and data sets."""

import contextlib
import gzip
import io
import json
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz import mutation
from tests.fuzz.files import FIXTURES, allowed


def pngs() -> list[bytes]:
    random = np.random.RandomState(0)
    made = []
    for mode, shape in (("L", (12, 9)), ("RGB", (12, 9, 3)), ("RGBA", (9, 12, 4)), ("LA", (9, 9, 2))):
        made.append(_encoded(Image.fromarray(random.randint(0, 256, shape, np.uint8), mode), "PNG"))
    made.append(_encoded(Image.fromarray(random.randint(0, 65536, (12, 9)).astype(np.uint16)), "PNG"))
    made.append(_encoded(Image.fromarray(random.randint(0, 256, (16, 16, 3), np.uint8)).quantize(16), "PNG"))
    return made


def other_images() -> list[bytes]:
    image = Image.fromarray(np.random.RandomState(1).randint(0, 256, (24, 16, 3), np.uint8))
    options: tuple[tuple[str, dict[str, Any]], ...] = (
        ("JPEG", {"quality": 80, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 70}),
        ("BMP", {}),
    )
    return [_encoded(image, kind, **more) for kind, more in options]


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read_image(data: bytes, folder: Path) -> object:
    from invert.images.target import read_target

    (folder / "x.png").write_bytes(data)
    return [read_target(folder / "x.png", 8, channels).pixel_sha256 for channels in (1, 3, 4)]


def zips() -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            image = Image.fromarray(np.full([8, 8], 80 * number, np.uint8))
            archive.writestr(f"a/{number}.png", _encoded(image, "PNG"))
        archive.writestr("dataset.json", json.dumps({"labels": [["a/0.png", 0], ["a/1.png", 1], ["a/2.png", 0]]}))
    return [stream.getvalue(), (FIXTURES / "images16.zip").read_bytes()]


def read_zip(data: bytes, folder: Path) -> object:
    from invert.datasets.training_images import open_images

    (folder / "x.zip").write_bytes(data)
    with contextlib.closing(open_images(folder / "x.zip", cache_bytes=0)) as images:
        return images.read(range(min(len(images), 4)))


def idx_files() -> list[bytes]:
    plain = struct.pack(">IIII", 0x803, 5, 9, 8) + bytes(range(180)) * 2
    return [plain, gzip.compress(plain)]


def changed_idx(random: Random, data: bytes) -> bytes:
    packed = data[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(data) if packed else data)
    at = random.choice((0, 4, 8, 12))
    content[at : at + 4] = (random.choice((*mutation.NUMBERS, 5, 10, 0x801)) & 0xFFFFFFFF).to_bytes(4, "big")
    if random.random() < 0.3:
        content += bytes(random.choice((1, 360, 1 << 20)))
    return gzip.compress(bytes(content)) if packed else bytes(content)


def read_idx(data: bytes, folder: Path) -> object:
    from invert.datasets.idx import read_images, read_labels

    path = folder / "x-images-idx3-ubyte"
    path.write_bytes(data)
    try:
        return read_images(path)
    finally:
        with contextlib.suppress(*allowed()):
            read_labels(path, 5)


def read_dataset_json(data: bytes, folder: Path) -> object:
    from invert.datasets.labels import parse_dataset_json

    return parse_dataset_json(data, folder / "dataset.json")


def dataset_jsons() -> list[bytes]:
    return [
        json.dumps({"labels": [["a.png", 0], ["b/c.png", 1]], "classes": ["x", "y"]}).encode(),
        b'{"labels": null}',
    ]
