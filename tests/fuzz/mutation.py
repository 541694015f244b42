"""Change inputs by their structure: a field, a chunk, an opcode or a key at a time, checksums put right again.

Every function takes a `random.Random` and gives bytes that depend on it and on the input alone.
"""

import json
import pickletools
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutator = Callable[[Random, bytes], bytes]

NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)

# Texts that take the place of a JSON value as they are.
RAW = (
    "1e999",
    "-1e999",
    "NaN",
    "1" * 400,
    "9223372036854775808",
    '"\\ud800"',
    '"\\u001b[2J\\n=1+1<b>"',
    "[" * 50 + "]" * 50,
    '{"a":' * 40 + "1" + "}" * 40,
    '"' + "x" * 5000 + '"',
    "{}",
    "[]",
    "null",
    "true",
    "-1",
    "0.5",
    "1e-320",
    '""',
    '"\\u0000"',
    '"../../x"',
)


def bytes_of(random: Random, data: bytes) -> bytes:
    """Change some bytes, cut out, double or insert a piece; what every format gets now and then."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        at = random.randrange(len(content) + 1)
        length = random.choice((1, 1, 2, 4, 8, 64))
        match random.randrange(5):
            case 0 if content:
                content[min(at, len(content) - 1)] ^= 1 << random.randrange(8)
            case 1:
                content[at : at + length] = random.randbytes(length)
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = content[at : at + length] * random.choice((1, 2, 30))
            case _:
                size = random.choice((1, 2, 4, 8))
                number = random.choice(NUMBERS) & ((1 << 8 * size) - 1)
                content[at : at + size] = number.to_bytes(size, random.choice(("little", "big")))
    return bytes(content[: random.randrange(len(content) + 1)] if random.random() < 0.05 else content)


def json_text(random: Random, text: bytes) -> bytes:
    """Change values and keys of a JSON text somewhere in its depth."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return bytes_of(random, text)
    raw: list[str] = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _changed(random, value, raw)
    result = json.dumps(value)
    for number, one in enumerate(raw):
        result = result.replace(f'"@@{number}@@"', one)
    return result.encode()


def _changed(random: Random, value: Any, raw: list[str]) -> Any:
    """Go down into a value for as long as chance has it, and change what is there."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        match random.randrange(12):
            case 0:
                del value[key]
            case 1:
                value[random.choice(("", "x", "__class__", "\x1b", key + "2"))] = value.pop(key)
            case 2:
                value[key] = value[random.choice(list(value))]
            case _:
                value[key] = _changed(random, value[key], raw)
        return value
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        match random.randrange(8):
            case 0:
                del value[at]
            case 1:
                value.insert(at, value[random.randrange(len(value))])
            case 2:
                value += value[:50]
            case _:
                value[at] = _changed(random, value[at], raw)
        return value
    if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.4:
        return random.choice((*NUMBERS, value + 1, -value, value * 1000))
    if isinstance(value, str) and random.random() < 0.4:
        return random.choice((value[:-1], value + "0", value.upper(), value[::-1], value * 100))
    raw.append(random.choice(RAW))
    return f"@@{len(raw) - 1}@@"


def json_lines(random: Random, text: bytes) -> bytes:
    """Change one line of JSON Lines, or the lines' order."""
    lines = text.splitlines()
    at = random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            random.shuffle(lines)
        case 1:
            lines.insert(at, lines[random.randrange(len(lines))])
        case 2:
            del lines[at]
        case _:
            lines[at] = json_text(random, lines[at])
    return b"\n".join(lines) + (b"\n" if random.random() < 0.9 else b"")


_OPCODES = [one.code.encode("latin-1") for one in pickletools.opcodes]


def pickle(random: Random, data: bytes) -> bytes:
    """Change opcodes of a pickle: their order, number and arguments; what follows its end stays."""
    try:
        places = [(found[0].name, found[2] or 0) for found in pickletools.genops(data)]
    except Exception:  # pickletools promises no list of what it raises
        return bytes_of(random, data)
    starts = [place for _, place in places]
    pieces = [data[first:last] for first, last in zip(starts, [*starts[1:], starts[-1] + 1], strict=True)]
    rest = data[starts[-1] + 1 :]
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(pieces))
        other = random.randrange(len(pieces))
        match random.randrange(9):
            case 0:
                del pieces[at]
                pieces = pieces or [b"."]
            case 1:
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case 2:
                pieces[at] = pieces[other]
            case 3:
                pieces[at:at] = pieces[other : other + random.choice((1, 3, 30))]
            case 4:
                pieces.insert(at, random.choice(_OPCODES) + random.randbytes(random.choice((0, 1, 4))))
            case 5:
                pieces.insert(at, random.choice((b"N", b"K\x01", b"}", b"]", b")", b"(", b"0", b"h\0", b"\x85", b"R")))
            case 6:
                pieces[at] = _integer(random)
            case 7:
                head, length = pieces[at][:1], len(pieces[at])
                if head in (b"X", b"B", b"T") and length >= 5:
                    pieces[at] = head + struct.pack("<I", random.choice(NUMBERS) & 0xFFFFFFFF) + pieces[at][5:]
                elif length > 1:
                    pieces[at] = head + bytes_of(random, pieces[at][1:])
            case _:
                pieces[at] = _text(random, pieces[at])
    return b"".join(pieces) + rest


def _integer(random: Random) -> bytes:
    value = random.choice((*NUMBERS, -1, 10**30, -(10**100)))
    if 0 <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def _text(random: Random, piece: bytes) -> bytes:
    if piece[:1] != b"X":
        return piece
    body = random.choice(
        (b"", b"x" * 2000, b"\xed\xa0\x80", b"weight", b"G_ema", b"\x1b[2J", piece[5:] * 3, piece[5:-1])
    )
    return b"X" + struct.pack("<I", len(body)) + body


def safetensors(random: Random, data: bytes) -> bytes:
    """Change the header's JSON, one more time inside its metadata, and give it its right length."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if random.random() < 0.6:
        try:
            values = json.loads(header)
            about = json_text(random, values["__metadata__"]["invert"].encode())
            values["__metadata__"]["invert"] = about.decode("utf-8", "replace")
            header = json.dumps(values).encode()
        except (ValueError, KeyError, AttributeError):
            header = json_text(random, header)
    else:
        header = json_text(random, header)
    size = len(header) if random.random() < 0.95 else random.choice(NUMBERS)
    return size.to_bytes(8, "little") + header + (bytes_of(random, rest) if random.random() < 0.1 else rest)


def png(random: Random, data: bytes) -> bytes:
    """Change chunks of a PNG: their order, fields and pixels; each checksum is right again."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(chunks))
        kind, body = chunks[at]
        match random.randrange(7):
            case 0:
                chunks[at] = (
                    random.choice((b"tRNS", b"PLTE", b"acTL", b"iCCP", b"eXIf", b"gAMA", b"sBIT", kind)),
                    body,
                )
            case 1:
                chunks.insert(at, random.choice(chunks))
            case 2 if len(chunks) > 1:
                del chunks[at]
            case 3:
                chunks.insert(random.randrange(len(chunks)), (b"tRNS", random.randbytes(random.choice((1, 2, 6, 256)))))
            case 4 if kind == b"IHDR" and len(body) == 13:
                fields = list(struct.unpack(">IIBBBBB", body))
                field = random.randrange(7)
                fields[field] = random.choice(NUMBERS) & (0xFFFFFFFF if field < 2 else 0xFF)
                if field > 1:
                    fields[field] = random.choice((0, 1, 2, 3, 4, 6, 8, 16))
                chunks[at] = (kind, struct.pack(">IIBBBBB", *fields))
            case 5 if kind == b"IDAT":
                try:
                    chunks[at] = (kind, zlib.compress(bytes_of(random, zlib.decompress(body))))
                except zlib.error:
                    chunks[at] = (kind, bytes_of(random, body))
            case _:
                chunks[at] = (kind, bytes_of(random, body))
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:8] + made


def zip_fields(random: Random, data: bytes) -> bytes:
    """Change a field of a zip's headers, entries or end."""
    content = bytearray(data)
    marks = (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7")
    places = [at for mark in marks for at in places_of(data, mark)]
    for _ in range(random.choice((1, 1, 2))):
        at = random.choice(places or [0]) + 4 + 2 * random.randrange(24)
        size = random.choice((2, 4, 8))
        number = random.choice((*NUMBERS, len(data), len(data) - 1)) & ((1 << 8 * size) - 1)
        content[at : at + size] = number.to_bytes(size, "little")
    return bytes(content)


def places_of(data: bytes, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0 and len(found) < 1000:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def either(*mutators: Mutator) -> Mutator:
    """Return a mutator that takes one of these each time, the earlier ones more often; and bytes now and then."""

    def mutate(random: Random, data: bytes) -> bytes:
        if random.random() < 0.1:
            return bytes_of(random, data)
        weights = range(len(mutators), 0, -1)
        return random.choices(mutators, weights)[0](random, data)

    return mutate
