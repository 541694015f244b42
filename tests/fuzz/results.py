"""Files that commands write: projections and batches of them, calibrations, latents and directions."""

import contextlib
import functools
import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutation
from tests.fuzz.files import FIXTURES
from tests.fuzz.mutation import either
from tests.fuzz.networks import changed_torch_pickle


def read_hdf5(data: bytes, folder: Path) -> object:
    from invert.hdf5.reading import open_latents
    from invert.hdf5.verification import verify

    (folder / "x.h5").write_bytes(data)
    with open_latents(folder / "x.h5") as latents:
        found = [list(latents), latents.failures, latents.table(), latents.to_numpy(["w", "distance"])]
        verify(latents)
    return found


def hdf5_files() -> list[bytes]:
    from tests.batch.batch_case import make_entries, make_manifest, write_batch

    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "x.h5"
        manifest = make_manifest()
        write_batch(out, manifest, make_entries(manifest, 3))
        return [out.read_bytes(), (FIXTURES / "latents.h5").read_bytes()]


def changed_hdf5(random: Random, data: bytes) -> bytes:
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


def projections() -> list[bytes]:
    return [path.read_bytes() for path in sorted((FIXTURES / "projections").glob("*.npz"))[:2]]


def changed_npz(random: Random, data: bytes) -> bytes:
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


def read_npz(data: bytes, folder: Path) -> object:
    from invert.store.npz import read_projection

    (folder / "x.npz").write_bytes(data)
    return read_projection(folder / "x.npz")


@functools.cache
def _manifest() -> Any:
    from tests.batch.batch_case import make_manifest

    return make_manifest()


def entries() -> list[bytes]:
    from invert.store.entry import encode
    from tests.batch.batch_case import make_entries

    return [encode(entry, _manifest()) for entry in make_entries(_manifest(), 2)]


def changed_entry(random: Random, data: bytes) -> bytes:
    """Change the archive of a journal's entry; its checksum is right."""
    head, _, body = data.partition(b"\n")
    body = either(changed_npz, mutation.zip_fields)(random, body)
    version = random.choice((head.split()[1], b"1", b"2", b"9999"))
    return b"invert-entry " + version + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def read_entry(data: bytes, _: Path) -> object:
    from invert.store.entry import EntryError, decode

    try:
        return decode(data, _manifest())
    except EntryError:  # what calls it makes an error of it, or does the image again
        return None


def manifests() -> list[bytes]:
    return [_manifest().to_bytes(), (FIXTURES / "unfinished.h5.work" / "manifest.json").read_bytes()]


def read_manifest_file(data: bytes, folder: Path) -> object:
    from invert.store.locks import WorkFolder, read_manifest

    work = WorkFolder(folder / "x.h5")
    work.path.mkdir()
    work.manifest.write_bytes(data)
    manifest = read_manifest(work)
    return None if manifest is None else (manifest.sizes, manifest.changes_to(_manifest()))


def indexes() -> list[bytes]:
    from invert.store.index import read_index

    index = read_index(FIXTURES / "projections")
    assert index is not None
    return [index.to_bytes()]


def read_index_file(data: bytes, folder: Path) -> object:
    from invert.store.folder import open_folder
    from invert.store.index import read_index

    (folder / ("results.json" if data.startswith(b"{\n") else "results.jsonl")).write_bytes(data)
    index = read_index(folder)
    if index is not None:
        with open_folder(folder, index.method, index.runs[0], overwrite=True):
            pass
    return None


def changed_old_index(random: Random, data: bytes) -> bytes:
    """Change a JSON text; it begins as one over several lines does."""
    return b"{\n" + mutation.json_text(random, data).lstrip()[1:]


def calibrations() -> list[bytes]:
    return [(FIXTURES / "calibration.json").read_bytes()]


def changed_calibration(random: Random, data: bytes) -> bytes:
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


def read_calibration_file(data: bytes, folder: Path) -> object:
    from invert.attribution.calibration_file import encode_calibration, read_calibration
    from invert.statistics.thresholds import TooFewNegativesError

    (folder / "x.json").write_bytes(data)
    calibration = read_calibration(folder / "x.json")
    # Who asks for verdicts makes an error of it.
    with contextlib.suppress(TooFewNegativesError):
        encode_calibration(calibration)
    return None


def other_latents() -> list[bytes]:
    import torch

    from invert.store.latent_files import projected_w

    w = np.random.RandomState(0).randn(2, 8, 24).astype(np.float32)
    array, tensors, image = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, w)
    torch.save(torch.from_numpy(w), tensors)
    entry = {"latent": torch.from_numpy(w[0]), "noise": [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)]}
    torch.save({"a.png": entry}, image)
    return [projected_w(w), array.getvalue(), tensors.getvalue(), image.getvalue()]


def changed_other_latents(random: Random, data: bytes) -> bytes:
    """Change a file by what it is."""
    if data[:2] != b"PK":
        return mutation.bytes_of(random, data)
    return random.choice((changed_npz if b".npy" in data else changed_torch_pickle, mutation.zip_fields))(random, data)


def read_other_latents_file(data: bytes, folder: Path) -> object:
    from invert.store.latent_files import read_other_latents

    path = folder / ("x.npz" if b".npy" in data else "x.pt")
    path.write_bytes(data)
    found = read_other_latents(path, 8)
    return None if found is None else [(one.w.dtype.name, one.w.shape, len(one.noise)) for one in found]


def directions() -> list[bytes]:
    from invert.editing.directions import Directions

    network = {"weights_sha256": "0" * 64, "sha256": "1" * 64, "source_sha256": "1" * 64, "num_ws": 8, "w_dim": 24}
    lengths = np.ones(2, np.float32)
    vectors = np.eye(2, 24, dtype=np.float32)
    return [Directions("pca", ("a", "b"), vectors, lengths, lengths, (0, 1), network, {"seed": 0}).to_bytes()]


def read_directions_file(data: bytes, folder: Path) -> object:
    from invert.editing.directions import read_directions
    from invert.editing.moves import moves_along

    (folder / "x.safetensors").write_bytes(data)
    found = read_directions(folder / "x.safetensors")
    return len(moves_along(found, None, found.network["num_ws"])), found.strength_texts(), found.to_bytes()
