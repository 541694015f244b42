"""Small files that ask for much: every allocation is charged against the file's own size before it happens."""

import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generator.errors import NetworkFileError
from generator.files.reading import read_state
from generator.jsontext import JsonError, finite_number, read_json, whole_number
from invert.datasets.idx import read_images
from invert.errors import ImageError, InvertError, NoInputError, is_out_of_memory
from invert.images.decoding import decode_image
from invert.npy import ArraysError, read_array, read_arrays
from invert.statistics.thresholds import required_negatives
from tests.loaders import emitter
from tests.loaders.emitter import Call, Global, Raw, dumps
from tests.loaders.hostile_networks import PERSISTENT


def peak(work: Callable[[], Any]) -> int:
    """Return the most memory that Python and numpy hold while something is refused."""
    tracemalloc.start()
    try:
        with pytest.raises((NetworkFileError, InvertError, ValueError)):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def module(parts: Any) -> Call:
    state = {"_parameters": {}, "_buffers": {}, "_modules": parts}
    return Call(PERSISTENT, ({"type": "class", "class_name": "SynthesisBlock", "state": state},))


def test_long_names_of_modules_are_not_multiplied() -> None:
    """300 kB of names, of which every module below has a copy, took 1.9 GB."""
    name = "n" * 40_000
    parts: Any = {f"{i}": module({}) for i in range(500)}
    for _ in range(6):
        parts = {name: module(parts)}
    content = dumps({"G_ema": module(parts)}, 3)
    with pytest.raises(NetworkFileError, match="a name of 40000 characters"):
        read_state(memoryview(content))
    assert peak(lambda: read_state(memoryview(content))) < 8 * len(content) + (1 << 20)


def storage(size: int) -> bytes:
    """Return torch's older stream of one float, with a header of so many bytes that mean nothing."""
    text = emitter.text
    magic, protocol = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02M\xe9\x03."
    system = b"\x80\x02}(" + text("little_endian") + b"\x88" + text("t") + text("a" * size) + b"u."
    kind = emitter.named("torch", "FloatStorage", 2)
    saved = b"\x80\x02(" + text("storage") + kind + text("0") + text("cpu") + b"K\0NtQ."
    return magic + protocol + system + saved + b"\x80\x02]" + text("0") + b"a." + bytes(8)


def test_a_storage_that_is_read_again_is_charged_again() -> None:
    """Each reading of the same bytes copies them: 8 MB, 200 times, took ten seconds, and hours at the limits."""
    inner = storage(1 << 20)
    once = Call(Global("torch.storage", "_load_from_bytes"), (Raw(b"h\0"),))
    head = b"B" + struct.pack("<I", len(inner)) + inner + b"\x94"
    content = b"\x80\x04](" + head + b"".join(emitter.opcodes(once, 4) for _ in range(50)) + b"e."
    with pytest.raises(NetworkFileError, match="unpacks to more bytes than it has"):
        read_state(memoryview(content))


def test_empty_arrays_of_absurd_shapes() -> None:
    """A size of 0 makes any other sizes cost nothing, and numpy multiplies them all the same."""
    shape = (1 << 39, 1 << 39, 0)
    array = emitter.array(np.zeros(0, np.float32))
    array.state = (1, shape, *array.state[2:])
    with pytest.raises(NetworkFileError, match="more elements than any network has"):
        read_state(memoryview(dumps({"G_ema": array}, 3)))


def test_gzipped_idx(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 40_000, 28, 28) + bytes(40_000 * 28 * 28)))
    with pytest.raises(NoInputError, match="which a file of its size does not hold"):
        read_images(path)
    assert peak(lambda: read_images(path)) < 4 << 20
    path.write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 100, 28, 28) + bytes(100 * 28 * 28)))
    assert read_images(path).shape == (100, 28, 28)


def png(width: int, height: int, bits: int, colour: int, packed: bytes, *more: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), *more, (b"IDAT", packed), (b"IEND", b""))
    made = [struct.pack(">I", len(body)) + kind + body for kind, body in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(one + struct.pack(">I", zlib.crc32(one[4:])) for one in made)


def test_a_png_whose_pixels_cannot_be_in_it() -> None:
    content = png(8000, 8000, 16, 6, zlib.compress(bytes(1000)))
    with pytest.raises(ImageError, match="cut off"):
        decode_image(content, 3)
    assert peak(lambda: decode_image(content, 3)) < 1 << 20


def test_16_bits_and_a_transparent_grey_in_little_memory() -> None:
    side = 1500
    content = png(side, side, 16, 0, zlib.compress(bytes(side * (1 + 2 * side))), (b"tRNS", b"\0\0"))
    tracemalloc.start()
    decoded = decode_image(content, 3)
    assert tracemalloc.get_traced_memory()[1] < 8 * side * side
    tracemalloc.stop()
    assert decoded.image.getextrema() == ((0, 0),) * 3
    assert any("transparent" in line for line in decoded.warnings)


def npy(descr: str, shape: str, body: bytes = b"", fortran: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    "content",
    [
        npy("'<f4'", "(1000000000000,)"),
        npy("'<f4'", "(999999999999, 999999999999, 0)"),
        npy("'|O'", "(1,)", bytes(8)),
        npy("[('a', '<f4')]", "(1,)", bytes(4)),
        npy("'<f4'", "(1,", bytes(4)),
        npy("'<f4'", "(2,)", bytes(4)),
        npy("'<U99999999'", "(1,)", bytes(4)),
        npy("'<f3'", "(1,)", bytes(3)),
        npy("'<f4'", "(-1,)", bytes(4)),
        npy("'<f4'", "(1,)", bytes(4), "__import__('os')"),
        b"\x93NUMPY\x03\x00" + bytes(10),
        b"\x80\x04]q\0.",
        b"",
    ],
    ids=str,
)
def test_hostile_npy(content: bytes) -> None:
    with pytest.raises(ArraysError):
        read_array(content)
    assert peak(lambda: read_array(content)) < 1 << 16


def test_arrays_are_read_as_numpy_writes_them(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b/c": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.str_("é\n"),
        "number": np.float64(0.5),
        "bytes": np.array([b"ab"], "S8"),
        "none": np.zeros([0, 4], np.uint8),
        "big": np.arange(3, dtype=">i2"),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = read_arrays((tmp_path / "x.npz").read_bytes())
        assert found.keys() == arrays.keys()
        for name, value in arrays.items():
            assert found[name].dtype == value.dtype
            assert found[name].flags.writeable
            np.testing.assert_array_equal(found[name], value)
    np.savez_compressed(tmp_path / "x.npz", zeros=np.zeros(1 << 22, np.uint8))
    with pytest.raises(ArraysError, match="unpacks to much more"):
        read_arrays((tmp_path / "x.npz").read_bytes())


JSON = {
    "deep": ("[" * 40 + "]" * 40, "nested too deeply"),
    "very deep": ("[" * 200_000, "nested too deeply"),
    "deep beside strings": ('["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\"]", []]' + " ", None),
    "a key twice": ('{"a": 1, "a": 2}', "a key twice"),
    "a large integer": ('{"a": 9223372036854775808}', "more than 64 bits"),
    "a very large integer": ("1" * 100_000, "more than 64 bits"),
    "infinity": ("[1e999]", "out of range"),
    "NaN": ("[NaN]", "NaN in the place of a number"),
    "half a character": ('["\\ud800"]', "not UTF-8"),
    "a pair": ('["\\ud83d\\ude00"]', None),
    "bytes": (b"\xff\xfe", "not UTF-8"),
    "a mark": (b"\xef\xbb\xbf[1]", None),
    "nothing": ("", "not JSON"),
    "too long": ("[" + " " * 5000 + "]", "over the limit"),
}


@pytest.mark.parametrize("case", JSON)
def test_json(case: str) -> None:
    text, says = JSON[case]
    limit = 4096 if case == "too long" else 1 << 20
    if says is None:
        read_json(text, limit)
        return
    with pytest.raises(JsonError, match=says):
        read_json(text, limit)


def test_json_of_too_many_values() -> None:
    text = "[" + "[]," * (1 << 22) + "[]]"
    with pytest.raises(JsonError, match="values"):
        read_json(text)


def test_json_with_what_only_some_files_have() -> None:
    assert read_json('["\\udcff", NaN]', surrogates=True, finite=False)[0] == "\udcff"


def test_numbers_of_files() -> None:
    assert finite_number(3, "x") == 3.0
    assert whole_number(3, "x", 0, 3) == 3
    for value in (True, "1", None, float("nan"), float("inf"), 10**400, [1]):
        with pytest.raises(ValueError, match="x is"):
            finite_number(value, "x")
        with pytest.raises(ValueError, match="x is"):
            whole_number(value, "x", 0, 3)


def test_a_rate_that_is_hardly_a_number() -> None:
    assert required_negatives(1e-320) == 1 << 62
    assert required_negatives(0.01) == 299


def test_what_means_that_memory_ran_out() -> None:
    inner = OSError(12, "Cannot allocate memory")
    outer = RuntimeError("something failed")
    outer.__cause__ = inner
    for error in (MemoryError(), inner, outer, RuntimeError("can't start new thread"), RuntimeError("std::bad_alloc")):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(None)
