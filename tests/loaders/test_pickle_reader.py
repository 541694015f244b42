"""The interpreter: agrees with the real unpickler on plain data, and refuses or returns on anything at all."""

import pickle
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generator.errors import NetworkFileError
from generator.files.pickles.machine import Vocabulary
from generator.files.pickles.reader import interpret
from generator.files.pickles.records import ArrayRecord, DtypeRecord, ModuleRecord, NetworkRecord, plain
from generator.files.pickles.vocabularies import NVIDIA
from generator.files.reading import read_state
from tests.golden_data import GOLDEN
from tests.loaders import emitter, hostile_pickles, writers
from tests.loaders.emitter import Call, Global, New, Raw

scalars = st.none() | st.booleans() | st.integers(-(1 << 200), 1 << 200) | st.floats(allow_nan=False) | st.text()
keys = st.text() | st.integers(-(1 << 31), 1 << 31) | st.none() | st.booleans()
values = st.recursive(
    scalars | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner) | st.sets(keys),
    max_leaves=20,
)


def read(content: bytes) -> Any:
    return interpret(memoryview(content), NVIDIA).value


def without_views(value: Any) -> Any:
    """Turn bytes that refer to the file into bytes."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, dict):
        return {key: without_views(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_views(item) for item in value)
    return value


@settings(max_examples=150, deadline=None, derandomize=True)
@given(values, st.integers(2, 5))
def test_plain_data_is_what_was_pickled(value: Any, protocol: int) -> None:
    assert without_views(read(pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("code", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1", ">f4", ">i8"])
def test_numpy_arrays_and_scalars(code: str, protocol: int) -> None:
    original = np.arange(24).astype(code).reshape(2, 3, 4)
    for array in (original, np.asfortranarray(original), original[:, ::2], np.zeros([0, 3], code), np.array(1, code)):
        record = read(pickle.dumps(array, protocol))
        assert isinstance(record, ArrayRecord)
        np.testing.assert_array_equal(record.array(), array)
        assert record.array().dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert read(pickle.dumps(original[1, 1, 1], protocol)) == original[1, 1, 1]


def test_text_of_python_2_is_latin_1() -> None:
    assert read(b"\x80\x02U\x03a\xe9\xff.") == "aéÿ"
    content = b"\xff\x00\x80\x3f"
    data = Raw(b"T\x04\0\0\0" + content)
    start = Call(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), "b"))
    start.state = (1, (1,), emitter.dtype("f4"), False, data)
    np.testing.assert_array_equal(read(emitter.dumps(start)).array(), np.frombuffer(content, "<f4"))


def test_networks_become_records() -> None:
    top = read((GOLDEN / "nvidia_ada.pkl").read_bytes())
    assert isinstance(top["G_ema"], ModuleRecord)
    assert top["G_ema"].class_name == "Generator"
    top = read((GOLDEN / "nvidia_tf.pkl").read_bytes())
    assert all(isinstance(network, NetworkRecord) for network in top)


def test_globals_are_listed_in_the_order_asked() -> None:
    content = emitter.dumps([Call(emitter.ORDERED), New(Global("dnnlib.util", "EasyDict")), Call(emitter.ORDERED)])
    found = interpret(memoryview(content), NVIDIA)
    assert found.globals_asked == ("collections.OrderedDict", "dnnlib.util.EasyDict")
    assert found.value == [{}, {}, {}]


def test_a_vocabulary_of_nothing_allows_no_global() -> None:
    content = memoryview(emitter.dumps(emitter.ORDERED))
    with pytest.raises(NetworkFileError, match=r"asks for 'collections\.OrderedDict'.*at byte 2"):
        interpret(content, Vocabulary())


def test_byte_offset_is_that_of_the_opcode() -> None:
    content = b"\x80\x03" + b"N" * 7 + b"cos\nsystem\n."
    with pytest.raises(NetworkFileError) as caught:
        read(content)
    assert caught.value.offset == 9
    assert str(caught.value).endswith("nothing was run (at byte 9)")


def test_a_dtype_keeps_one_byte_order() -> None:
    assert read(emitter.dumps(emitter.dtype("f4", ">"))).numpy() == np.dtype(">f4")
    assert DtypeRecord("f8").numpy() == np.dtype("<f8")


def test_settings_are_cut_short() -> None:
    """Settings with as many leaves as 2 ** 40 are shown in a moment."""
    laughs: Any = "ha"
    for _ in range(40):
        laughs = [laughs, laughs]
    shown = plain({"a": laughs, "b": "x" * 1000, "c": float("nan"), "d": 1 << 100, "e": emitter, "f": {3, "x"}})
    assert len(str(shown)) < 100_000
    assert shown["b"] == "x" * 200 + "..."
    assert shown["c"] == "nan"
    assert shown["d"] == "a large integer"
    assert shown["e"] == "<module>"
    loop: list[Any] = []
    loop.append(loop)
    assert "..." in str(plain(loop))
    content = writers.ada(kwargs={"laughs": Raw(b"(" + hostile_pickles.laughs(200) + b"t")})
    assert len(str(read_state(memoryview(content)).settings)) < 100_000


FRAGMENTS = [
    b"N", b"\x88", b"K\1", b"M\1\1", b"J\1\1\1\1", b"G\0\0\0\0\0\0\0\0", b"\x8a\1\1", b"]", b"}", b")", b"\x8f", b"(",
    b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"\x90", b"q\0", b"\x94", b"h\0", b"h\1", b"j\2\0\0\0",
    b"R", b"\x81", b"b", b"Q", b"\x93", b"X\1\0\0\0a", b"C\4aaaa", b"B\4\0\0\0abcd", b"U\1a", b".", b"\x80\3",
    emitter.opcodes(emitter.ORDERED), emitter.opcodes(Global("numpy", "dtype")), emitter.opcodes("f4"),
    emitter.opcodes(Global("numpy", "ndarray")), emitter.opcodes(Global("numpy.core.multiarray", "scalar")),
    emitter.opcodes(Global("numpy.core.multiarray", "_reconstruct")), emitter.opcodes(Global("_codecs", "encode")),
    emitter.opcodes(Global("torch._utils", "_rebuild_tensor_v2")), emitter.opcodes(Global("torch", "Size")),
    emitter.opcodes(Global("torch.storage", "_load_from_bytes")), emitter.opcodes(Global("builtins", "set")),
    emitter.opcodes(Global("torch_utils.persistence", "_reconstruct_persistent_obj")),
    emitter.opcodes(Global("dnnlib.util", "EasyDict")), emitter.opcodes(Global("dnnlib.tflib.network", "Network")),
    emitter.opcodes(emitter.dtype("f4")), emitter.opcodes(emitter.array(np.zeros(2, np.float32)), 3),
    emitter.opcodes(emitter.tensor(np.zeros(2, np.float32)), 3), emitter.opcodes(Global("os", "system")),
]  # fmt: skip


def returns_or_refuses(content: bytes) -> None:
    """The oracle: a network or a `NetworkFileError` in one printable line, soon."""
    started = time.process_time()
    said = ""
    try:
        read_state(memoryview(content))
    except NetworkFileError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 600
    assert time.process_time() - started < 2


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=60))
def test_any_sequence_of_opcodes(parts: list[bytes]) -> None:
    returns_or_refuses(b"\x80\x03" + b"".join(parts) + b".")


BASES = [writers.tf(), writers.ada(), (GOLDEN / "rosinality.pt").read_bytes(), (GOLDEN / "nvidia_tf.pkl").read_bytes()]
places = st.floats(0, 1, exclude_max=True)
mutations = st.lists(
    st.tuples(st.sampled_from(["cut", "copy", "insert", "write"]), places, places, st.sampled_from(FRAGMENTS)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(range(len(BASES))), mutations)
def test_mutated_files(base: int, changes: list[tuple[str, float, float, bytes]]) -> None:
    content = bytearray(BASES[base])
    for kind, first, second, fragment in changes:
        # most of a file is weights; what matters is mostly near its beginning
        at, other = (int(len(content) * place**3) for place in (first, second))
        if kind == "cut":
            del content[at : at + 1 + other % 50]
        elif kind == "copy":
            content[at:at] = content[other : other + 40]
        elif kind == "insert":
            content[at:at] = fragment
        else:
            content[at : at + len(fragment)] = fragment
    returns_or_refuses(bytes(content))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\3\4", b"\x40\0\0\0\0\0\0\0{"]))
def test_any_bytes(content: bytes, head: bytes) -> None:
    returns_or_refuses(head + content)
