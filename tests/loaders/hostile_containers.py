"""Hostile containers: tensors outside their storage, storages, zip files and safetensors that lie, and lookalikes."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.loaders import emitter
from tests.loaders.emitter import Call, Global, New, dumps, opcodes
from tests.loaders.hostile_case import Hostile
from tests.loaders.writers import GOLDEN

PROTO = b"\x80\x03"
FLOATS = Global("torch", "FloatStorage")


def cases() -> Iterator[Hostile]:
    """Yield every container that must be refused."""
    yield from tensors()
    yield from storages()
    yield from archives()
    yield from patched_archives()
    yield from safetensors()
    yield from own_format()
    yield from lookalikes()


def tensors() -> Iterator[Hostile]:
    """Tensors that do not lie in their storage."""
    value = np.arange(16, dtype=np.float32)
    whole = emitter.tensor(value).arguments
    for name, changes in {
        "offset beyond": {"offset": 1},
        "negative offset": {"offset": -1},
        "offset of text": {"offset": "0"},
        "offset true": {"offset": True},
        "too many": {"shape": (17,)},
        "long stride": {"shape": (4,), "stride": (6,)},
        "stride 0 of 2^39": {"shape": (1 << 39,), "stride": (0,)},
        "stride 0": {"shape": (17,), "stride": (0,)},
        "negative stride": {"shape": (2,), "stride": (-1,)},
        "strides missing": {"shape": (4, 4), "stride": (4,)},
        "stride of text": {"shape": (4,), "stride": ("1",)},
    }.items():
        yield Hostile(f"tensor with {name}", dumps({"G": emitter.tensor(value, **changes)}, 3), "a tensor")
    short = Call(Global("torch._utils", "_rebuild_tensor_v2"), whole[:4])
    yield Hostile("tensor with few arguments", dumps({"G": short}, 3), "does not begin with its storage")
    yield Hostile(
        "tensor over bytes",
        dumps({"G": Call(Global("torch._utils", "_rebuild_tensor_v2"), (b"abcd", *whole[1:]))}, 3),
        "does not begin with its storage",
    )
    yield Hostile("parameter of a list", dumps({"G": emitter.parameter([1])}, 3), "a parameter that is not a tensor")


def storages() -> Iterator[Hostile]:
    """Embedded storages that lie about themselves."""
    value = np.arange(4, dtype=np.float32)
    good = emitter.stream(emitter.persistent_id("FloatStorage", "0", 4), [value])

    def storage(content: bytes) -> bytes:
        return dumps({"G": Call(Global("torch.storage", "_load_from_bytes"), (content,))}, 3)

    def with_id(*key: Any) -> bytes:
        return storage(emitter.stream(emitter.Persistent(tuple(key)), [value]))

    kind = Global("torch", "FloatStorage")
    yield Hostile("storage cut", storage(good[:-1]), "missing at the end")
    yield Hostile("storage with more", storage(good + b"\0"), "follow the last storage")
    yield Hostile("storage of another size", with_id("storage", kind, "0", "cpu", 5, None), "does not match|missing")
    yield Hostile("storage of 2^60", with_id("storage", kind, "0", "cpu", 1 << 60, None), "missing at the end")
    yield Hostile("storage of -1", with_id("storage", kind, "0", "cpu", -1, None), "not plain")
    yield Hostile("storage of an unknown type", with_id("storage", "FloatStorage", "0", "cpu", 4, None), "of a type")
    yield Hostile(
        "storage by a dtype", with_id("storage", Global("torch", "float32"), "0", "cpu", 4, None), "asks for|of a type"
    )
    yield Hostile("storage view", with_id("storage", kind, "0", "cpu", 4, ("0", 0, 4)), "a view of another")
    yield Hostile("module for a storage", with_id("module", kind, "0", "cpu", 4, None), "not a torch storage")
    yield Hostile("short id", with_id("storage"), "not a torch storage")
    yield Hostile(
        "big-endian writer", storage(good.replace(b"little_endian\x88", b"little_endian\x89")), "little-endian"
    )
    yield Hostile("no magic", storage(good[20:]), "protocol|not a pickle|embedded")
    yield Hostile("text for a storage", storage(b"hello"), "embedded storage")
    wrong = np.arange(4, dtype=np.float64)
    double = emitter.stream(emitter.persistent_id("FloatStorage", "0", 4), [wrong])
    yield Hostile("doubles for floats", storage(double), "follow the last storage")
    keys = good.replace(dumps(["0"]), dumps(["1"]))
    yield Hostile("storage with another key", storage(keys), "does not match the object")


def archives() -> Iterator[Hostile]:
    """Zip files that could be read in two ways, or are not torch's."""
    good = (GOLDEN / "rosinality.pt").read_bytes()
    for method, name in ((zipfile.ZIP_DEFLATED, "deflated"), (zipfile.ZIP_BZIP2, "bzip2")):
        yield Hostile(f"zip {name}", rezipped(good, method), "compressed")
    evil = dumps(Call(Global("os", "system"), ("true",)))
    yield Hostile("zip with code", zipped({"a/data.pkl": evil}), r"asks for 'os\.system'")
    yield Hostile(
        "zip with names of NVIDIA", zipped({"a/data.pkl": dumps(emitter.storage(np.zeros(1, np.float32)))}), "asks for"
    )
    yield Hostile(
        "zip with a Namespace filled twice",
        zipped({"a/data.pkl": PROTO + opcodes(New(Global("argparse", "Namespace"), state={})) + b"}b."}),
        "sets the state",
    )
    for name in ("../data.pkl", "/a/data.pkl", "a\\data.pkl", "a/../../x", "a/dä", "a/\x1b[2J", "a//b"):
        yield Hostile(
            f"zip member {name!r}", zipped({"a/data.pkl": dumps({}), name: b""}), "strange name|not one that torch.save"
        )
    yield Hostile(
        "zip with a folder twice", zipped({"a/data.pkl": dumps({}), "b/data.pkl": dumps({})}), "not one that torch.save"
    )
    yield Hostile("zip of images", zipped({"img/1.png": b"\x89PNG"}), "not one that torch.save")
    yield Hostile(
        "TorchScript", zipped({"a/data.pkl": b"", "a/constants.pkl": b"", "a/code/x.py": b"import os"}), "TorchScript"
    )
    yield Hostile("empty zip", zipped({}), "empty or split zip")
    yield Hostile("big-endian zip", zipped({"a/data.pkl": dumps({}), "a/byteorder": b"big"}), "little-endian")
    lacking = emitter.Persistent(("storage", Global("torch", "FloatStorage"), "7", "cpu", 4))
    yield Hostile(
        "zip without the data", zipped({"a/data.pkl": dumps({"g_ema": lacking})}), "lacks the data of a tensor"
    )
    short = {"a/data.pkl": dumps({"g_ema": lacking}), "a/data/7": b"1234"}
    yield Hostile("zip with short data", zipped(short), "comes with 4")
    away = emitter.Persistent(("storage", Global("torch", "FloatStorage"), "../../x", "cpu", 4))
    yield Hostile("zip reaching outside", zipped({"a/data.pkl": dumps({"g_ema": away})}), "lacks the data of a tensor")


def patched_archives() -> Iterator[Hostile]:
    """Archives of which one field was changed, so that two readers would see two things."""
    good = (GOLDEN / "rosinality.pt").read_bytes()
    evil = dumps(Call(Global("os", "system"), ("true",)))
    plain = zipped({"a/data.pkl": dumps({"g_ema": 5}), "a/data/0": b"abcd"})
    yield Hostile("zip: not a network", plain, "not a dictionary of tensors")
    central, end = plain.index(b"PK\1\2"), plain.index(b"PK\5\6")
    second = plain.index(b"PK\1\2", central + 4)
    for name, at, value, says in (
        ("checksum", central + 16, b"\0\0\0\0", "checksum|two ways"),
        ("local checksum", 14, b"\1\2\3\4", "two ways"),
        ("flag bits", central + 8, b"\1\0", "compressed, encrypted"),
        ("local flag bits", 6, b"\1\0", "two ways"),
        ("local method", 8, b"\x08\0", "two ways"),
        ("method", central + 10, b"\x08\0", "compressed"),
        ("packed size", central + 20, b"\1\0\0\0", "compressed"),
        ("both sizes", central + 20, b"\xff\xff\0\0\xff\xff\0\0", "two ways|past its end"),
        ("local name", 30, b"b", "two ways"),
        ("overlap", second + 42, b"\0\0\0\0", "overlaps|two ways|strange|not where"),
        ("header far away", second + 42, b"\xff\xff\xff\x7f", "overlaps|not where"),
        ("disk", central + 34, b"\1\0", "broken entry"),
        ("count", end + 8, b"\1\0\1\0", "longer than its members"),
        ("count more", end + 8, b"\xfe\xff\xfe\xff", "members|broken entry"),
        ("directory start", end + 16, b"\0\0\0\0", "not where it should be"),
        ("comment", end + 20, b"\5\0", "not where it should be"),
    ):
        yield Hostile(f"zip with a wrong {name}", plain[:at] + value + plain[at + len(value) :], says)
    yield Hostile("zip behind other bytes", b"PK\3\4junk" + plain, "not where it should be|hides bytes")
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a/data.pkl", dumps({}))
        archive.writestr("a/data.pk1", evil)
    yield Hostile("zip with a member twice", twice.getvalue().replace(b"data.pk1", b"data.pkl"), "twice")
    hidden = plain[: plain.index(b"PK\1\2")] + b"\0" * 40
    moved = struct.pack("<I", len(hidden))
    tail = plain[central:]
    at = tail.index(b"PK\5\6") + 16
    yield Hostile("zip with hidden bytes", hidden + tail[:at] + moved + tail[at + 4 :], "hidden before")
    changed = bytearray(good)
    locator = changed.index(b"PK\6\6")
    changed[locator + 24] ^= 1
    yield Hostile("zip with two directories", bytes(changed), "in two ways|not where")


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def rezipped(content: bytes, method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


def safetensors_file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors() -> Iterator[Hostile]:
    """Safetensors of other models, and broken ones of our own."""
    other = {"unet.conv.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    yield Hostile(
        "safetensors of another model", safetensors_file(other, b"1234"), r"another model.*unet\.conv\.weight"
    )
    yield Hostile("safetensors cut off", safetensors_file(other)[:20], "was cut off")
    yield Hostile("safetensors of nothing", safetensors_file({}), "another model")
    yield Hostile("safetensors with a huge header", struct.pack("<Q", 5 << 20) + b"{" + b" " * (5 << 20), "a header of")
    yield Hostile("safetensors not JSON", safetensors_file(b"{nonsense"), "not valid JSON")
    yield Hostile("safetensors nested deeply", safetensors_file(b'{"a":' + b"[" * 200_000), "not valid JSON")
    yield Hostile(
        "safetensors with a long number", safetensors_file(b'{"a":' + b"1" * 200_000 + b"}"), "not valid JSON"
    )
    yield Hostile("safetensors key twice", safetensors_file(b'{"a":1,"a":2}'), "not valid JSON")


def own_format() -> Iterator[Hostile]:
    """Broken files of the project's own format."""
    about = {"format": "invert-network", "version": 1, "generator": {}, "discriminator": None}
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}

    def own(about: Any, data: bytes = b"", **tensors: Any) -> bytes:
        return safetensors_file({"__metadata__": {"invert": json.dumps(about)}, **tensors}, data)

    yield Hostile("own format, next version", own({**about, "version": 2}), "not version 1")
    yield Hostile("own format, another", own({**about, "format": "x"}), "not version 1")
    yield Hostile(
        "own format without settings", own({"format": "invert-network", "version": 1}), "settings are not a network's"
    )
    yield Hostile("own format without tensors", own(about), "lacks 'mapping.fc0.weight'")
    for wrong in (
        {"img_resolution": 1 << 20},
        {"img_resolution": "a"},
        {"resample_filter": ["a"]},
        {"os": "x"},
        {"channels": [1]},
        {"channel_max": 10**9},
    ):
        content = own({**about, "generator": {"synthesis": wrong}})
        yield Hostile(f"own format with {wrong}", content, "settings are not a network's")
    for wrong in ([], "x", 5):
        yield Hostile(
            f"own format with settings {wrong}", own({**about, "generator": wrong}), "settings are not a network's"
        )
    for name, bad in {
        "gap": {**entry, "data_offsets": [4, 8]},
        "overlap": {**entry, "data_offsets": [-4, 0]},
        "far": {**entry, "data_offsets": [0, 4 << 30]},
        "wrong size": {**entry, "shape": [2]},
        "huge shape": {**entry, "shape": [1 << 60]},
        "bad type": {**entry, "dtype": "F16"},
        "text": {**entry, "shape": "1"},
        "nothing": 5,
    }.items():
        yield Hostile(
            f"own format, tensor {name}",
            own(about, b"12345678", **{"G.a": bad}),
            "not where it should be|not described",
        )
    yield Hostile("own format, tensor of nothing", own(about, b"1234", x=entry), "belong to no network")


def lookalikes() -> Iterator[Hostile]:
    """Things that are found under the name of a network."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 363\n"
    onnx = b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:"
    for name, content, says in (
        ("nothing", b"", "the file is empty"),
        ("web page", b"<!DOCTYPE html><html><title>404</title>", "a web page"),
        ("web page after spaces", b"\xef\xbb\xbf\n  <HTML>", "a web page"),
        ("XML", b"<?xml version='1.0'?><Error>", "a web page"),
        ("Git-LFS pointer", pointer, "a Git-LFS pointer.*git lfs pull"),
        ("PNG", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "a PNG image"),
        ("JPEG", b"\xff\xd8\xff\xe0" + b"\0" * 50, "a JPEG image"),
        ("WebP", b"RIFF\0\0\0\0WEBPVP8 ", "an image"),
        ("gzip", b"\x1f\x8b\x08" + b"\0" * 50, "a gzip archive"),
        ("xz", b"\xfd7zXZ\0", "a compressed archive"),
        ("HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "an HDF5 file"),
        ("numpy array", b"\x93NUMPY\1\0", "a numpy array"),
        ("ONNX", onnx, "an ONNX model"),
        ("GGUF", b"GGUF\3\0\0\0", "a model of another kind"),
        ("tar", b"a" * 257 + b"ustar\0" + b"\0" * 300, "a tar archive"),
        ("ELF", b"\x7fELF\2\1\1", "a program"),
        ("script", b"#!/bin/sh\ntrue\n", "a program"),
        ("zeros", b"\0" * 10_000, "zero bytes"),
        ("JSON", b'{"a": 1, "b": 2}', "a JSON file"),
        ("text", b"These are not the weights you are looking for.\n", "a text file"),
        ("pickle of protocol 0", b"cos\nsystem\n(S'true'\ntR.", "a pickle of protocol 0"),
        ("random bytes", bytes(zlib.crc32(bytes([i])) & 0xFF for i in range(200)), "none of the known network files"),
        ("one byte", b"\x80", "damaged or cut off"),
        ("PDF", b"%PDF-1.4", "a PDF document"),
    ):
        yield Hostile(f"lookalike {name}", content, says)
