"""The formats that are fuzzed: for each some good files, how one is changed, and what is to read it."""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz import mutation
from tests.fuzz.mutation import Mutator, either

Read = Callable[[bytes, Path], object]
"""Reads a changed file: its bytes, or what is written to a folder that is empty."""

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
FIXTURES = ROOT / "tests" / "net" / "fixtures" / "version-0.1.0"


@dataclass(frozen=True)
class Format:
    """A format that is fuzzed.

    Attributes:
        seeds: Makes the good files; called once in a process.
        mutate: Changes one.
        read: Reads it, and raises nothing but errors of the two trees.
    """

    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutator
    read: Read


# Network files


def _network(data: bytes, _: Path) -> object:
    from generator.files.reading import build_discriminator, build_generator, read_state

    state = read_state(memoryview(data))
    # What is accepted has to make networks, and records that can be written.
    build_generator(state)
    build_discriminator(state)
    return json.dumps(state.settings).encode(), state.weights_sha256(), state.family.encode()


def _golden(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [(GOLDEN / name).read_bytes() for name in names]


def _pickles() -> list[bytes]:
    from tests.loaders import writers

    return [
        writers.ada(),
        writers.tf(),
        *_golden("nvidia_ada.pkl", "nvidia_tf_stylegan1.pkl", "nvidia_stylegan3_t.pkl")(),
    ]


def _torch_files() -> list[bytes]:
    import torch

    stream = io.BytesIO()
    state = torch.load(GOLDEN / "rosinality.pt", weights_only=False)
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return [(GOLDEN / "rosinality.pt").read_bytes(), stream.getvalue()]


def _torch_pickle(random: Random, data: bytes) -> bytes:
    """Change the pickle inside a zip of torch.save, or the object in its older stream."""
    if data[:2] != b"PK":
        return mutation.pickle(random, data)
    source = zipfile.ZipFile(io.BytesIO(data))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith("data.pkl"):
                content = mutation.pickle(random, content)
            target.writestr(member.filename, content)
    return stream.getvalue()


def _own_networks() -> list[bytes]:
    from generator.files.invert_format import network_bytes
    from generator.networks import Generator
    from generator.stylegan2.discriminator import Discriminator
    from tests.loaders.test_own_format import DISCRIMINATORS, GENERATORS

    pairs = zip(GENERATORS[:3], DISCRIMINATORS[:3], strict=True)
    made = [network_bytes(Generator(g), Discriminator(d), settings={"a": 1}) for g, d in pairs]
    return [*made, (FIXTURES / "run" / "network.safetensors").read_bytes()]


# Training


@functools.cache
def _trainer() -> Any:
    from tests.training.training_case import tiny, trained

    return trained(tiny(), 1)


def _states() -> list[bytes]:
    from generator.training.state import state_bytes

    return [state_bytes(_trainer().state())]


def _state(random: Random, data: bytes) -> bytes:
    """Change tensors of a training state; its checksum is right."""
    import torch

    from generator.training.state import state_bytes, state_from_bytes

    state = state_from_bytes(data)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(list(state))
        value = state[name]
        match random.randrange(8):
            case 0:
                del state[name]
            case 1:
                state[name] = torch.zeros(random.choice(([], [1], [0], [3, 5], [*value.shape, 1], value.shape[::-1])))
            case 2:
                kinds = (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64)
                state[name] = value.to(random.choice(kinds))
            case 3:
                state[name] = torch.full_like(value, random.choice((-1, 0, 1, 2)))
            case 4 if value.is_floating_point():
                state[name] = torch.full_like(value, random.choice((float("nan"), float("inf"), 1e30, -1.5)))
            case 5:
                state[random.choice((name + "2", "x", "adam.G.x:step", name.replace("exp_avg", "max")))] = value
            case 6:
                state[name] = state[random.choice(list(state))]
            case _:
                state[name] = torch.tensor(random.choice((-1, 1 << 62, 10**15)))
    return state_bytes({name: value.clone() for name, value in state.items()})


def _resume(data: bytes, _: Path) -> object:
    from generator.training.state import check_state, state_from_bytes
    from tests.training.training_case import train

    state = state_from_bytes(data)
    trainer = _trainer()
    check_state(state, trainer.layout())
    trainer.load_state(state)
    if trainer.images < 10**9 and hashlib.sha256(data).digest()[0] < 8:
        train(trainer, 1)
    return None


def _history(data: bytes, folder: Path) -> object:
    from invert.runs.history import read_history
    from invert.runs.log import TickLog

    (folder / "settings.json").write_bytes((FIXTURES / "run" / "settings.json").read_bytes())
    (folder / "log.jsonl").write_bytes(data)
    try:
        return read_history(folder)
    finally:
        TickLog(folder, 100).close()


def _settings(data: bytes, folder: Path) -> object:
    from invert.runs.folder import open_run_folder
    from invert.runs.history import read_history

    (folder / "settings.json").write_bytes(data)
    (folder / "log.jsonl").write_bytes((FIXTURES / "run" / "log.jsonl").read_bytes())
    try:
        return read_history(folder)
    finally:
        record = json.loads((FIXTURES / "run" / "settings.json").read_bytes())
        open_run_folder(folder, record, overwrite=False, resume=True)


# Results


def _fixture(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [(FIXTURES / name).read_bytes() for name in names]


def _latents(data: bytes, folder: Path) -> object:
    from invert.hdf5.reading import open_latents
    from invert.hdf5.verification import verify

    (folder / "x.h5").write_bytes(data)
    with open_latents(folder / "x.h5") as latents:
        found = [list(latents), latents.failures, latents.table(), latents.to_numpy(["w", "distance"])]
        verify(latents)
    return found


def _hdf5_files() -> list[bytes]:
    from tests.batch.batch_case import make_entries, make_manifest, write_batch

    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "x.h5"
        manifest = make_manifest()
        write_batch(out, manifest, make_entries(manifest, 3))
        return [out.read_bytes(), (FIXTURES / "latents.h5").read_bytes()]


def _hdf5(random: Random, data: bytes) -> bytes:
    """Change numbers near the structures of HDF5, and the attributes' JSON at its length."""
    content = bytearray(data)
    marks = (b"TREE", b"SNOD", b"HEAP", b"FRHP", b"OHDR", b"BTHD", b"\x89HDF", b"GCOL", b"invert")
    places = [at for mark in marks for at in mutation.places_of(data, mark)] or [0]
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.choice(places) + random.randrange(512)
        size = random.choice((1, 2, 4, 8))
        number = random.choice((*mutation.NUMBERS, len(data), random.randrange(256))) & ((1 << 8 * size) - 1)
        content[at : at + size] = number.to_bytes(size, "little")
    return bytes(content)


def _projections() -> list[bytes]:
    return [path.read_bytes() for path in sorted((FIXTURES / "projections").glob("*.npz"))[:2]]


def _npz(random: Random, data: bytes) -> bytes:
    """Change an array's header, type or JSON inside an .npz; the archive is whole."""
    source = zipfile.ZipFile(io.BytesIO(data))
    members = {member.filename: source.read(member) for member in source.infolist()}
    name = random.choice(list(members))
    array = np.load(io.BytesIO(members[name]), allow_pickle=False)
    match random.randrange(7):
        case 0:
            del members[name]
        case 1:
            head = members[name]
            cut = 10 + int.from_bytes(head[8:10], "little")
            members[name] = mutation.bytes_of(random, head[:cut]) + head[cut:]
        case 2:
            members[name] = mutation.bytes_of(random, members[name])
        case 3:
            members[random.choice((name + "2", "../x.npy", "noise/\x1b.npy", "x"))] = members[name]
        case 4 if array.dtype.kind == "U":
            text = mutation.json_text(random, str(array).encode("utf-8", "replace")).decode("utf-8", "replace")
            members[name] = _npy(np.str_(text))
        case _:
            kinds = ("<f4", "<f8", "<i8", "|u1", "|b1", "<U3", "|S4", "<f2", ">f4")
            shapes = ((), (1,), (0,), (2, 3), array.shape[::-1], (*array.shape, 1))
            value = np.zeros(random.choice((array.shape, *shapes)), random.choice(kinds))
            if value.dtype.kind == "f" and random.random() < 0.5:
                value += random.choice((np.nan, np.inf, 1.5))
            members[name] = _npy(value)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as target:
        for key, content in members.items():
            target.writestr(key, content)
    return stream.getvalue()


def _npy(value: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value)
    return stream.getvalue()


def _projection(data: bytes, folder: Path) -> object:
    from invert.store.npz import read_projection

    (folder / "x.npz").write_bytes(data)
    return read_projection(folder / "x.npz")


@functools.cache
def _manifest() -> Any:
    from tests.batch.batch_case import make_manifest

    return make_manifest()


def _entries() -> list[bytes]:
    from invert.store.entry import encode
    from tests.batch.batch_case import make_entries

    return [encode(entry, _manifest()) for entry in make_entries(_manifest(), 2)]


def _entry(random: Random, data: bytes) -> bytes:
    """Change the archive of a journal's entry; its checksum is right."""
    head, _, body = data.partition(b"\n")
    body = either(_npz, mutation.zip_fields)(random, body)
    version = random.choice((head.split()[1], b"1", b"2", b"9999"))
    return b"invert-entry " + version + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _decode_entry(data: bytes, _: Path) -> object:
    from invert.store.entry import EntryError, decode

    try:
        return decode(data, _manifest())
    except EntryError:  # what calls it makes an error of it, or does the image again
        return None


def _manifests() -> list[bytes]:
    return [_manifest().to_bytes(), (FIXTURES / "unfinished.h5.work" / "manifest.json").read_bytes()]


def _read_manifest(data: bytes, folder: Path) -> object:
    from invert.store.locks import WorkFolder, read_manifest

    work = WorkFolder(folder / "x.h5")
    work.path.mkdir()
    work.manifest.write_bytes(data)
    manifest = read_manifest(work)
    return None if manifest is None else (manifest.sizes, manifest.changes_to(_manifest()))


def _indexes() -> list[bytes]:
    from invert.store.index import read_index

    index = read_index(FIXTURES / "projections")
    assert index is not None
    return [index.to_bytes()]


def _index(data: bytes, folder: Path) -> object:
    from invert.store.folder import open_folder
    from invert.store.index import read_index

    (folder / ("results.json" if data.startswith(b"{\n") else "results.jsonl")).write_bytes(data)
    index = read_index(folder)
    if index is not None:
        with open_folder(folder, index.method, index.runs[0], overwrite=True):
            pass
    return None


def _indented_json(random: Random, data: bytes) -> bytes:
    """Change a JSON text; it begins as one over several lines does."""
    return b"{\n" + mutation.json_text(random, data).lstrip()[1:]


# Calibrations and measurements


def _calibrations() -> list[bytes]:
    return [(FIXTURES / "calibration.json").read_bytes()]


def _calibration(random: Random, data: bytes) -> bytes:
    """Change a calibration; its checksum is right."""
    changed = mutation.json_text(random, data)
    try:
        record = json.loads(changed)
        del record["content_sha256"]
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
        record["content_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        return json.dumps(record).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return changed


def _read_calibration(data: bytes, folder: Path) -> object:
    from invert.attribution.calibration_file import encode_calibration, read_calibration
    from invert.statistics.thresholds import TooFewNegativesError

    (folder / "x.json").write_bytes(data)
    calibration = read_calibration(folder / "x.json")
    # Who asks for verdicts makes an error of it.
    with contextlib.suppress(TooFewNegativesError):
        encode_calibration(calibration)
    return None


# Latents of other programs, and directions


def _other_latents() -> list[bytes]:
    import torch

    from invert.store.latent_files import projected_w

    w = np.random.RandomState(0).randn(2, 8, 24).astype(np.float32)
    array, tensors, image = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, w)
    torch.save(torch.from_numpy(w), tensors)
    entry = {"latent": torch.from_numpy(w[0]), "noise": [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)]}
    torch.save({"a.png": entry}, image)
    return [projected_w(w), array.getvalue(), tensors.getvalue(), image.getvalue()]


def _other_latent(random: Random, data: bytes) -> bytes:
    """Change a file by what it is."""
    if data[:2] != b"PK":
        return mutation.bytes_of(random, data)
    return random.choice((_npz if b".npy" in data else _torch_pickle, mutation.zip_fields))(random, data)


def _read_other_latents(data: bytes, folder: Path) -> object:
    from invert.store.latent_files import read_other_latents

    path = folder / ("x.npz" if b".npy" in data else "x.pt")
    path.write_bytes(data)
    found = read_other_latents(path, 8)
    return None if found is None else [(one.w.dtype.name, one.w.shape, len(one.noise)) for one in found]


def _directions() -> list[bytes]:
    from invert.editing.directions import Directions

    network = {"weights_sha256": "0" * 64, "sha256": "1" * 64, "source_sha256": "1" * 64, "num_ws": 8, "w_dim": 24}
    lengths = np.ones(2, np.float32)
    vectors = np.eye(2, 24, dtype=np.float32)
    return [Directions("pca", ("a", "b"), vectors, lengths, lengths, (0, 1), network, {"seed": 0}).to_bytes()]


def _read_directions(data: bytes, folder: Path) -> object:
    from invert.editing.directions import read_directions
    from invert.editing.moves import moves_along

    (folder / "x.safetensors").write_bytes(data)
    found = read_directions(folder / "x.safetensors")
    return len(moves_along(found, None, found.network["num_ws"])), found.strength_texts(), found.to_bytes()


# Images and data sets


def _pngs() -> list[bytes]:
    random = np.random.RandomState(0)
    made = []
    for mode, shape in (("L", (12, 9)), ("RGB", (12, 9, 3)), ("RGBA", (9, 12, 4)), ("LA", (9, 9, 2))):
        made.append(_encoded(Image.fromarray(random.randint(0, 256, shape, np.uint8), mode), "PNG"))
    made.append(_encoded(Image.fromarray(random.randint(0, 65536, (12, 9)).astype(np.uint16)), "PNG"))
    made.append(_encoded(Image.fromarray(random.randint(0, 256, (16, 16, 3), np.uint8)).quantize(16), "PNG"))
    return made


def _other_images() -> list[bytes]:
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


def _image(data: bytes, folder: Path) -> object:
    from invert.images.target import read_target

    (folder / "x.png").write_bytes(data)
    return [read_target(folder / "x.png", 8, channels).pixel_sha256 for channels in (1, 3, 4)]


def _zips() -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            image = Image.fromarray(np.full([8, 8], 80 * number, np.uint8))
            archive.writestr(f"a/{number}.png", _encoded(image, "PNG"))
        archive.writestr("dataset.json", json.dumps({"labels": [["a/0.png", 0], ["a/1.png", 1], ["a/2.png", 0]]}))
    return [stream.getvalue(), (FIXTURES / "images16.zip").read_bytes()]


def _zip(data: bytes, folder: Path) -> object:
    from invert.datasets.training_images import open_images

    (folder / "x.zip").write_bytes(data)
    with contextlib.closing(open_images(folder / "x.zip", cache_bytes=0)) as images:
        return images.read(range(min(len(images), 4)))


def _idx() -> list[bytes]:
    plain = struct.pack(">IIII", 0x803, 5, 9, 8) + bytes(range(180)) * 2
    return [plain, gzip.compress(plain)]


def _idx_header(random: Random, data: bytes) -> bytes:
    packed = data[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(data) if packed else data)
    at = random.choice((0, 4, 8, 12))
    content[at : at + 4] = (random.choice((*mutation.NUMBERS, 5, 10, 0x801)) & 0xFFFFFFFF).to_bytes(4, "big")
    if random.random() < 0.3:
        content += bytes(random.choice((1, 360, 1 << 20)))
    return gzip.compress(bytes(content)) if packed else bytes(content)


def _read_idx(data: bytes, folder: Path) -> object:
    from invert.datasets.idx import read_images, read_labels

    path = folder / "x-images-idx3-ubyte"
    path.write_bytes(data)
    try:
        return read_images(path)
    finally:
        with contextlib.suppress(*allowed()):
            read_labels(path, 5)


@functools.cache
def allowed() -> tuple[type[Exception], ...]:
    """Return what reading may raise: the error trees, and nothing else."""
    from generator.errors import GeneratorError
    from invert.errors import InvertError

    return GeneratorError, InvertError


def _labels(data: bytes, folder: Path) -> object:
    from invert.datasets.labels import parse_dataset_json

    return parse_dataset_json(data, folder / "dataset.json")


def _dataset_json() -> list[bytes]:
    return [
        json.dumps({"labels": [["a.png", 0], ["b/c.png", 1]], "classes": ["x", "y"]}).encode(),
        b'{"labels": null}',
    ]


FORMATS: dict[str, Format] = {
    "pickle": Format(_pickles, either(mutation.pickle), _network),
    "torch": Format(_torch_files, either(_torch_pickle, mutation.zip_fields), _network),
    "safetensors": Format(_own_networks, either(mutation.safetensors), _network),
    "state": Format(_states, either(_state, mutation.safetensors), _resume),
    "log": Format(_fixture("run/log.jsonl"), either(mutation.json_lines), _history),
    "settings": Format(_fixture("run/settings.json"), either(mutation.json_text), _settings),
    "hdf5": Format(_hdf5_files, either(_hdf5), _latents),
    "npz": Format(_projections, either(_npz, mutation.zip_fields), _projection),
    "other latents": Format(_other_latents, either(_other_latent), _read_other_latents),
    "directions": Format(_directions, either(mutation.safetensors), _read_directions),
    "entry": Format(_entries, either(_entry), _decode_entry),
    "manifest": Format(_manifests, either(mutation.json_text), _read_manifest),
    "index": Format(_indexes, either(mutation.json_lines), _index),
    "old index": Format(_fixture("projections/results.json"), either(_indented_json), _index),
    "calibration": Format(_calibrations, either(_calibration), _read_calibration),
    "png": Format(_pngs, either(mutation.png), _image),
    "images": Format(_other_images, mutation.bytes_of, _image),
    "zip": Format(_zips, either(mutation.zip_fields), _zip),
    "idx": Format(_idx, either(_idx_header), _read_idx),
    "labels": Format(_dataset_json, either(mutation.json_text), _labels),
}


def inputs(name: str, seed: int) -> Iterator[Callable[[], bytes]]:
    """Yield what makes input 0, 1, 2 ... of a format: each depends on the seed and its number alone."""
    one = FORMATS[name]
    seeds = one.seeds()
    number = 0
    while True:
        random = Random(f"{name} {seed} {number}")
        yield lambda random=random: one.mutate(random, random.choice(seeds))  # type: ignore[misc]
        number += 1


def clean(folder: Path) -> None:
    """Remove everything in a folder."""
    for path, folders, files in os.walk(folder, topdown=False):
        for file in files:
            os.unlink(os.path.join(path, file))
        for inner in folders:
            os.rmdir(os.path.join(path, inner))
