"""Names of images: any bytes, one order, and safe to show."""

import hashlib

import pytest

from invert.store.names import MAX_NAME, check_name, in_shard, name_key, one_line, printable, row_order


@pytest.mark.parametrize(
    "name", [b"a.png", b"caf\xe9.png", b"new\nline", b"back\\slash", b"-x", b"..", b"x" * MAX_NAME]
)
def test_names_that_a_image_may_have(name: bytes) -> None:
    assert check_name(name) is name


@pytest.mark.parametrize("name", [b"", b"a\0b", b"x" * (MAX_NAME + 1)])
def test_names_that_no_file_has(name: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        check_name(name)


def test_key_is_the_sha256_of_the_bytes() -> None:
    assert name_key(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    # Two spellings of one letter, and of one path, are two names.
    assert len({name_key(name) for name in ("\u00e9".encode(), "e\u0301".encode(), b"a/b", b"a//b", b"a\\b")}) == 5


def test_a_folder_stays_together() -> None:
    names = [b"a/z", b"a", b"a.b", b"a/b/c", b"b", b"a-b/c", b"\xff", b"A"]
    assert sorted(names, key=row_order) == [b"A", b"a", b"a/b/c", b"a/z", b"a-b/c", b"a.b", b"b", b"\xff"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a/b c.png", "a/b c.png"),
        ("\u00e9\u6f22\U0001f600".encode(), "\u00e9\u6f22\U0001f600"),
        (b"caf\xe9", "caf\\xe9"),
        (b"caf\\xe9", "caf\\\\xe9"),
        (b"a\nb\x1b[2J", "a\\nb\\x1b[2J"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        (b"<script>", "<script>"),
    ],
)
def test_shown_on_one_line_without_anything_invisible(name: bytes, shown: str) -> None:
    assert printable(name) == shown


def test_long_names_lose_their_middle_and_no_escape_is_cut() -> None:
    shown = printable(b"start" + b"\xff" * 2000 + b"end.png")
    assert len(shown.encode()) <= 1024
    head, tail = shown.split("...")
    assert head.startswith("start\\xff")
    assert tail.endswith("\\xffend.png")
    assert set(head.removeprefix("start").split("\\")) == {"", "xff"}
    assert tail.startswith("\\xff")
    assert len(printable("\u6f22".encode() * 2000).encode()) <= 1024


def test_messages_keep_their_backslashes() -> None:
    assert one_line("a\\b\tc\udcff") == "a\\b\\tc\\xff"


def test_every_image_is_in_one_share() -> None:
    names = [b"%d.png" % number for number in range(500)]
    shares = [[name for name in names if in_shard(name, (index, 3))] for index in (1, 2, 3)]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert min(map(len, shares)) > 100
    assert all(in_shard(name, None) for name in names)
    # The promise that machines rely on: the first eight bytes of the sha256, big-endian, modulo N.
    assert in_shard(b"x", (int(hashlib.sha256(b"x").hexdigest()[:16], 16) % 7 + 1, 7))
