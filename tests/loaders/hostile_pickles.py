"""Hostile pickles: code, the known bypasses of allow-lists, wrong types, bombs, damage."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.loaders import emitter
from tests.loaders.emitter import Call, Global, New, Raw, dumps, opcodes
from tests.loaders.hostile_case import Hostile
from tests.loaders.writers import GOLDEN

PROTO = b"\x80\x03"
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
DTYPE = Global("numpy", "dtype")
SCALAR = Global("numpy.core.multiarray", "scalar")


def cases(sentinel: Path) -> Iterator[Hostile]:
    """Yield every hostile pickle."""
    yield from code(sentinel)
    yield from names()
    yield from foreign(sentinel)
    yield from bypasses(sentinel)
    yield from dtypes()
    yield from types()
    yield from refused_opcodes()
    yield from bombs()
    yield from shapes()
    yield from framing()


def code(sentinel: Path) -> Iterator[Hostile]:
    """Globals that run something, each really called."""
    touch = f"touch {sentinel}"
    write = f"open({str(sentinel)!r}, 'w').close()"
    calls: list[tuple[str, str, tuple[Any, ...]]] = [
        ("os", "system", (touch,)),
        ("posix", "system", (touch,)),
        ("nt", "system", (touch,)),
        ("subprocess", "Popen", (["touch", str(sentinel)],)),
        ("subprocess", "check_output", (["touch", str(sentinel)],)),
        ("builtins", "eval", (write,)),
        ("builtins", "exec", (write,)),
        ("builtins", "compile", (write, "x", "exec")),
        ("builtins", "open", (str(sentinel), "w")),
        ("builtins", "getattr", (Global("os", "system"), "__call__")),
        ("builtins", "__import__", ("os",)),
        ("__builtin__", "eval", (write,)),
        ("pty", "spawn", (["touch", str(sentinel)],)),
        ("runpy", "run_path", (str(sentinel),)),
        ("importlib", "import_module", ("os",)),
        ("ctypes", "CDLL", ("libc.so.6",)),
        ("webbrowser", "open", (f"file://{sentinel}",)),
        ("socket", "create_connection", (("127.0.0.1", 9),)),
        ("operator", "attrgetter", ("system",)),
        ("operator", "methodcaller", ("system", touch)),
        ("functools", "partial", (Global("os", "system"), touch)),
        ("copyreg", "_reconstructor", (Global("builtins", "object"), Global("builtins", "object"), None)),
        ("copy_reg", "_reconstructor", (Global("builtins", "object"), Global("builtins", "object"), None)),
        ("_pickle", "loads", (b"",)),
        ("torch", "load", (str(sentinel),)),
        ("torch.hub", "load", ("a/b", "c")),
        ("torch.serialization", "load", (str(sentinel),)),
        ("torch.utils.collect_env", "run", (touch,)),
        ("numpy", "load", (str(sentinel),)),
        ("numpy.testing._private.utils", "runstring", (write, {})),
        ("numpy.f2py.crackfortran", "getlincoef", (write, {})),
        ("dnnlib.util", "call_func_by_name", (touch,)),
        ("dnnlib.util", "construct_class_by_name", (touch,)),
        ("torch_utils.persistence", "persistent_class", (touch,)),
        ("__main__", "anything", ()),
        ("builtins", "frozenset", ([],)),
        ("collections", "defaultdict", (Global("os", "system"),)),
    ]
    for module, name, arguments in calls:
        for protocol in (2, 4):
            content = dumps({"G_ema": Call(Global(module, name), arguments)}, protocol)
            yield Hostile(
                f"call {module}.{name} protocol {protocol}", content, rf"asks for '(os\.system|{module}\.{name})'"
            )


def names() -> Iterator[Hostile]:
    """Names that only look like allowed ones, or like names."""
    odd = [
        ("collections", "OrderedDict.__init__.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections.abc", "OrderedDict"),
        ("collections ", "OrderedDict"),
        ("Collections", "OrderedDict"),
        ("сollections", "OrderedDict"),  # noqa: RUF001 - a Cyrillic letter is the point
        ("ｃollections", "OrderedDict"),  # noqa: RUF001 - a full-width letter is the point
        ("builtins", "ѕet"),  # noqa: RUF001 - a Cyrillic letter is the point
        ("collections\0", "OrderedDict"),
        ("", ""),
        ("torch", "FloatStorage\x1b[2J"),
        ("x" * 100_000, "y"),
    ]
    for module, name in odd:
        content = PROTO + emitter.text(module) + emitter.text(name) + b"\x93."
        yield Hostile(f"name {module[:20]!r} {name!r}", content, r"asks for '[ -~]*'.*nothing was run")
    yield Hostile("global that does not end", PROTO + b"c" + b"a" * 500, "a name does not end")
    yield Hostile("stack global of numbers", PROTO + b"K\1K\2\x93.", "named by something that is not text")


def foreign(sentinel: Path) -> Iterator[Hostile]:
    """Classes of packages that nobody knows: a record may be made of one, and nothing be called."""
    touch = f"touch {sentinel}"
    for module, name in (("pip", "main"), ("model", "Generator"), ("torch.nn.modules.conv", "Conv2d")):
        called = dumps({"G_ema": Call(Global(module, name), (touch,))}, 3)
        yield Hostile(f"foreign call of {name}", called, f"asks for '{module}.{name}' to be called.*nothing was run")
    for module, name in (
        ("os", "_wrap_close"),
        ("subprocess", "Popen"),
        ("Subprocess", "Popen"),
        ("torch.hub", "Hub"),
        ("torch.nnx", "X"),
        ("numpy.ctypeslib", "X"),
        ("__main__", "X"),
        ("cPickle", "Unpickler"),
        ("model", "A.b"),
        ("model.", "A"),
        ("model", "A\n"),
        ("m\u00f6del", "A"),
        ("model" * 100, "A"),
    ):
        content = PROTO + emitter.text(module) + emitter.text(name) + b"\x93)\x81."
        yield Hostile(f"foreign object of {module[:20]}.{name!r}", content, "asks for .*nothing was run")
    thing = opcodes(New(Global("model", "A"), state={"a": 1}))
    yield Hostile("foreign object filled twice", PROTO + thing + b"}b.", "sets the state of a 'model.A'")
    yield Hostile("foreign object added to", PROTO + thing + b"(K\1\x90.", "adds to a 'model.A'")
    yield Hostile("foreign object as a key", PROTO + b"}" + thing + b"K\1s.", "is used as a key")
    yield Hostile("foreign object alone", PROTO + thing + b".", "it holds one 'model.A'")
    parts = opcodes("_parameters") + b"}" + opcodes("_buffers") + b"}" + opcodes("_modules") + b"}q\1u"
    loop = opcodes(Global("model", "A")) + b")\x81q\0}(" + parts + b"b"
    inside = PROTO + b"}" + opcodes("g") + loop + b"s" + opcodes("x") + b"h\1" + opcodes("a") + b"h\0ss."
    yield Hostile("foreign module within itself", inside, "is shared, or modules are nested")
    nested = b"}q\0" + b"".join(opcodes(str(i)) + b"h\0s" for i in range(100))
    yield Hostile("dictionaries within themselves", PROTO + nested + b".", "a dictionary of 0, 1, 2, 3")
    tree = b"}" + opcodes("0") + b"}q\0s"
    for depth in range(1, 6):  # each holds the one before a hundred times
        below = b"".join(opcodes(str(i)) + b"h" + bytes([depth - 1]) + b"s" for i in range(100))
        tree += opcodes(str(depth)) + b"}q" + bytes([depth]) + below + b"s"
    yield Hostile("a tree of dictionaries", PROTO + tree + b".", "a dictionary of 0, 1, 2, 3")
    path = Call(Global("pathlib", "PosixPath"), ("a" * 2000,))
    yield Hostile("a long path", dumps({"G": path}, 3), "not made of a few names")
    yield Hostile("a path of numbers", dumps(Call(Global("pathlib", "PosixPath"), (5,)), 3), "not made of a few names")
    made = Call(Global("collections", "defaultdict"), ({},))
    yield Hostile("defaults of a dictionary", dumps(made, 3), "made of more than a class")
    yield Hostile(
        "namespace of a number", dumps(Call(Global("types", "SimpleNamespace"), (5,)), 3), "made of something"
    )
    yield Hostile("call of list", dumps(Call(Global("builtins", "list"), ([],)), 3), "only a name")


def bypasses(sentinel: Path) -> Iterator[Hostile]:
    """The five ways past an allow-list that hands back real functions."""
    evil = dumps({"x": Call(Global("os", "system"), (f"touch {sentinel}",))})
    load = Global("torch.storage", "_load_from_bytes")
    yield Hostile("1 nested pickle in a storage", dumps({"G": Call(load, (evil,))}, 3), "in an embedded storage")
    head = emitter.stream(Call(Global("os", "system"), (f"touch {sentinel}",)), [])
    yield Hostile("1b nested in a storage's object", dumps({"G": Call(load, (head,))}, 3), r"asks for 'os\.system'")
    nested = emitter.stream(Call(load, (evil,)), [])
    yield Hostile("1c storage in a storage", dumps({"G": Call(load, (nested,))}, 3), "asks for 'torch.storage")
    for function in (REBUILD, Global("torch._utils", "_rebuild_parameter"), Global("collections", "OrderedDict")):
        for state in ({"__setstate__": Global("torch", "Size")}, (None, {"__defaults__": (1,)})):
            content = PROTO + opcodes(function) + opcodes(state) + b"b."
            yield Hostile(f"2 state of {function.name} {type(state).__name__}", content, "sets the state of a name")
    for opcode, bound in ((b"r", 1 << 26), (b"r", 0xFFFFFFFF), (b"q", 200)):
        number = struct.pack("<I", bound) if opcode == b"r" else bytes([bound])
        yield Hostile(f"4 memo bomb {bound}", PROTO + b"N" + opcode + number + b".", f"memo entry {bound} while only 0")
    walk = PROTO + emitter.text("collections") + emitter.text("OrderedDict.update") + b"\x93)R."
    yield Hostile("5 dotted name", walk, r"asks for 'collections\.OrderedDict\.update'")


def dtypes() -> Iterator[Hostile]:
    """Types of numpy that read any address: bypass 3."""
    void = Call(DTYPE, ("V8", 0, 1), (3, "|", None, ("a",), {"a": (Call(DTYPE, ("f8", 0, 1)), 10**9)}, 8, 1, 16))
    yield Hostile("3 dtype V8", dumps(Call(SCALAR, (void, b"A" * 8)), 3), r"numpy dtype 'V8'")
    for code, state in {
        "fields": (3, "<", None, ("a",), {"a": (Call(DTYPE, ("f8", 0, 1)), 10**9)}, 8, 1, 16),
        "object flags": (3, "|", None, None, None, 8, 8, 63),
        "size": (3, "<", None, None, None, 1 << 30, 1, 0),
        "subarray": (3, "<", (Call(DTYPE, ("f8", 0, 1)), (1 << 30,)), None, None, -1, -1, 0),
        "metadata": (4, "<", None, None, None, -1, -1, 0, {"a": 1}),
        "two orders": (3, ">", None, None, None, -1, -1, 0),
    }.items():
        twice = Raw(opcodes(Call(DTYPE, ("<f8", 0, 1), state)))
        yield Hostile(f"3 dtype with {code}", dumps(Call(SCALAR, (twice, b"A" * 8)), 3), "a numpy dtype is given")
    for name in (
        "O8",
        "O",
        "|O",
        "V",
        "U8",
        "S8",
        "M8",
        "m8",
        "c8",
        "f16",
        "i3",
        "",
        "f4,f4",
        "float64",
        "<<f4",
        "f\N{FULLWIDTH DIGIT FOUR}",
    ):
        yield Hostile(f"3 dtype {name!r}", dumps(Call(DTYPE, (name, 0, 1)), 3), "dtype")


def types() -> Iterator[Hostile]:
    """Opcodes on values of the wrong type, and opcodes that no network file uses."""
    wrong = {
        "items of a list": (b"]K\1K\2s.", "sets items of a list"),
        "items of a tuple": (b")(K\1K\2u.", "sets items of a tuple"),
        "items of a name": (opcodes(REBUILD) + b"K\1K\2s.", "sets items of a name"),
        "append to a dictionary": (b"}K\1a.", "appends to a dict"),
        "append to a tuple": (b")(K\1e.", "appends to a tuple"),
        "append to text": (emitter.text("a") + b"K\1a.", "appends to a str"),
        "add to a list": (b"](K\1\x90.", "adds to a list"),
        "state of a list": (b"]}b.", "sets the state of a list"),
        "state of a dictionary": (b"}}b.", "sets the state of a dict"),
        "state of a number": (b"K\1}b.", "sets the state of a int"),
        "state of an ordered dictionary": (
            opcodes(Call(emitter.ORDERED, (), {"x": 1})) + b".",
            "sets the state of a dict",
        ),
        "call of a number": (b"K\1)R.", "calls a int"),
        "call of a dictionary": (b"})R.", "calls a dict"),
        "call without a tuple": (opcodes(REBUILD) + b"]R.", "without a tuple"),
        "call of a word": (opcodes(Global("torch", "FloatStorage")) + b")R.", "only a name"),
        "call of ndarray": (opcodes(Global("numpy", "ndarray")) + b"(J\xff\xff\xff\x7ftR.", "only a name"),
        "call of a class": (opcodes(Global("dnnlib.util", "EasyDict")) + b")R.", "only a name"),
        "object with arguments": (
            opcodes(New(Global("dnnlib.util", "EasyDict"), arguments=(1,))) + b".",
            "makes an object",
        ),
        "object of a function": (opcodes(REBUILD) + b")\x81.", "makes an object"),
        "object of a word": (opcodes(Global("torch", "FloatStorage")) + b")\x81.", "makes an object"),
        "key that is a list": (b"}]K\1s.", "a list is used as a key"),
        "key that is a tuple": (b"}K\1\x85K\1s.", "a tuple is used as a key"),
        "key that is bytes": (b"}C\1aK\1s.", "a byte string is used as a key"),
        "key that is a float": (b"}" + opcodes(1.5) + b"K\1s.", "a float is used as a key"),
        "key that is a large integer": (b"}" + opcodes((1 << 61) - 1) + b"K\1s.", "a int is used as a key"),
        "set of lists": (b"\x8f(]\x90.", "a list is used as a key"),
        "odd items": (b"}(K\1u.", "a key without a value"),
        "ordered dictionary of a number": (opcodes(Call(emitter.ORDERED, (5,))) + b".", "not made from pairs"),
        "ordered dictionary with odd pairs": (opcodes(Call(emitter.ORDERED, ([(1,)],))) + b".", "not made from pairs"),
        "ordered dictionary with odd keys": (
            opcodes(Call(emitter.ORDERED, ([(1.5, 2)],))) + b".",
            "a float is used as a key",
        ),
        "set of a tuple": (opcodes(Call(Global("builtins", "set"), ((1,),))) + b".", "not made from a list"),
        "codec other than latin-1": (
            opcodes(Call(Global("_codecs", "encode"), ("a", "rot13"))) + b".",
            "other than latin-1",
        ),
        "bytes of a size": (opcodes(Call(Global("builtins", "bytes"), (1 << 40,))) + b".", "'bytes' is called with"),
        "persistent id": (b"K\1Q.", "persistent id outside a torch file"),
        "persistent id as text": (b"Pfoo\n.", "PERSID"),
    }
    for name, (body, says) in wrong.items():
        yield Hostile(name, PROTO + body, says)


def refused_opcodes() -> Iterator[Hostile]:
    """Opcodes that exist, and that no network file uses."""
    for code, name in {
        b"i__main__\nx\n": "INST", b"(o": "OBJ", b"\x82\1": "EXT1", b"\x83\1\1": "EXT2", b"\x84\1\1\1\1": "EXT4",
        b"N)}\x92": "NEWOBJ_EX", b"\x97": "NEXT_BUFFER", b"\x98": "READONLY_BUFFER", b"N0": "POP", b"(1": "POP_MARK",
        b"N2": "DUP", b"F1\n": "FLOAT", b"I1\n": "INT", b"L1L\n": "LONG", b"S'a'\n": "STRING", b"Va\n": "UNICODE",
        b"(d": "DICT", b"(l": "LIST", b"(\x91": "FROZENSET", b"Np0\n": "PUT", b"g0\n": "GET",
    }.items():  # fmt: skip
        yield Hostile(f"opcode {name}", PROTO + code + b".", f"the pickle opcode {name},")
    yield Hostile("opcode of none", PROTO + b"\xff.", "0xff is not a pickle opcode")


def bombs() -> Iterator[Hostile]:
    """Small files that would take much memory or time."""
    many = 1_200_000
    yield Hostile("empty lists", PROTO + b"]" + b"]a" * many, "pickle operations")
    yield Hostile("empty sets", PROTO + b"]" + b"\x8fa" * many, "pickle operations")
    yield Hostile("tuple in a tuple", PROTO + b"N" + b"\x85" * many, "pickle operations")
    yield Hostile("memo entries", PROTO + b"N" + b"\x94" * many, "pickle operations")
    yield Hostile("marks", PROTO + b"(" * many, "stacks more than")
    yield Hostile("values", PROTO + b"N" * many, "stacks more than")
    yield Hostile("scalars", PROTO + repeated(SCALAR, (emitter.dtype("f8"), b"A" * 8)), "pickle operations")
    yield Hostile("tensors", PROTO + repeated(REBUILD, emitter.tensor(np.zeros(4, np.float32)).arguments), "operations")
    blob = emitter.storage(np.zeros(4, np.float32))
    yield Hostile("storages", PROTO + repeated(blob.function, blob.arguments), "operations")
    text = ("A" * (1 << 20), "latin1")
    yield Hostile(
        "decoded over and over", PROTO + repeated(Global("_codecs", "encode"), text, 300), "more bytes than it"
    )
    yield Hostile("a list of the nested", PROTO + b"](" + laughs(5000) + b"e.", "it holds one list")
    yield Hostile("billion laughs", PROTO + b"(" + laughs(200) + b"t.", "it holds one tuple")
    yield Hostile("billion laughs as a key", PROTO + b"}(" + laughs(3) + b"u.", "a tuple is used as a key")
    yield Hostile("list in itself", PROTO + b"]\x94h\0a.", "it holds one list")
    for opcode, width in ((b"B", 4), (b"X", 4), (b"\x8e", 8), (b"\x8d", 8), (b"\x96", 8), (b"T", 4)):
        for length in (1 << 31, (1 << 8 * width) - 1, 1000):
            size = length.to_bytes(width, "little")
            says = "missing at the end|is too long"
            yield Hostile(f"length {opcode!r} {length}", PROTO + opcode + size + b"abc", says)
    yield Hostile("huge integer", PROTO + b"\x8b" + struct.pack("<I", 100 << 20) + b"\1" * 1000, "an integer of")
    yield Hostile("negative integer length", PROTO + b"\x8b\xff\xff\xff\xff" + b"\1" * 1000, "an integer of")
    yield Hostile("huge frame", b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.", "missing at the end")
    wide = "a" * (4 << 20) + "\N{GRINNING FACE}"
    yield Hostile("wide text", PROTO + emitter.text(wide) + b".", "neither a setting nor array data")


def repeated(function: Global, arguments: tuple[Any, ...], times: int = 400_000) -> bytes:
    """Call one function with the same arguments many times."""
    made = opcodes(function, 3) + b"q\0" + opcodes(arguments, 3) + b"q\1"
    return made + b"]" + b"h\0h\1Ra" * times + b"."


def laughs(depth: int) -> bytes:
    """Push 1, then pairs of what was pushed before: the last one has 2 ** depth leaves."""
    return b"K\1\x94" + b"".join((b"j" + struct.pack("<I", i)) * 2 + b"\x86\x94" for i in range(depth))


def shapes() -> Iterator[Hostile]:
    """Sizes that are none, or far more than there is."""
    value = np.zeros([4, 4], np.float32)
    reconstruct = Global("numpy.core.multiarray", "_reconstruct")
    for shape in ((1 << 40,), (1 << 20, 1 << 20), (1 << 30, 0x7FFFFFFF), (2,) * 9, (-1,), (True, 1), ("a",), 5, [1]):
        yield Hostile(f"tensor shape {shape}", dumps({"G": emitter.tensor(value, shape=shape)}, 3), "tensor|shape")
        announced = Call(reconstruct, (Global("numpy", "ndarray"), shape, b"b"))
        yield Hostile(f"array shape {shape}", dumps({"G": announced}, 3), "empty plain array")
        state = (1, shape, emitter.dtype("f4"), False, b"aaaa")
        filled = Call(reconstruct, (Global("numpy", "ndarray"), (0,), b"b"), state)
        yield Hostile(f"array filled {shape}", dumps({"G": filled}, 3), "shape|needs")


def framing() -> Iterator[Hostile]:
    """Around the pickle: truncation, bytes after it, a second one."""
    for name in ("nvidia_ada.pkl", "nvidia_tf.pkl", "rosinality.pt"):
        content = (GOLDEN / name).read_bytes()
        for percent in range(1, 100):
            cut = len(content) * percent // 100
            says = "damaged or cut off|damaged" if name.endswith("pt") else "damaged or cut off"
            yield Hostile(f"{name} cut at {percent} %", content[:cut], says)
        yield Hostile(f"{name} without its last byte", content[:-1], "cut off|damaged")
        yield Hostile(f"{name} with a byte more", content + b"\0", "follow the end|damaged or cut off")
        evil = dumps(Call(Global("os", "system"), ("true",)))
        yield Hostile(f"{name} with a second pickle", content + evil, "follow the end|damaged or cut off")
        yield Hostile(f"{name} behind a second pickle", evil + content, "asks for 'os.system'")
    yield Hostile("value left over", PROTO + b"NN.", "values left over")
    yield Hostile("mark left over", PROTO + b"N(N.", "values left over")
    yield Hostile("nothing on the stack", PROTO + b".", "not there")
    yield Hostile("tuple without a mark", PROTO + b"Nt.", "did not begin")
    yield Hostile("below a mark", PROTO + b"K\1(K\2\x86.", "not there")
    yield Hostile("unknown memo entry", PROTO + b"h\5.", "used before it is made")
    yield Hostile("protocol 6", b"\x80\x06N.", "none of the known|protocol 6")
    yield Hostile("protocol 1", b"\x80\x01N.", "protocol 1")
    yield Hostile("protocol twice", PROTO + PROTO + b"N.", "second protocol")
    yield Hostile("bad UTF-8", PROTO + b"X\2\0\0\0\xff\xfe.", "not valid UTF-8")
    yield Hostile("only the protocol", PROTO, "cut off")
