"""Whatever lies in the place of a file, opening it ends at once, and says what it is."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from invert.errors import ExitCode, ImageError, NoInputError, UnreadableError
from invert.images.opening import open_regular, read_head, read_regular

PIPE = "it is a pipe, socket or device, not a file"


def open_and_close(path: Path) -> None:
    open_regular(path).close()


READERS = [open_and_close, lambda path: read_regular(path, 1 << 20), lambda path: read_head(path, 4)]


def in_the_place_of(path: Path, kind: str) -> Path:
    """Put something in the place of a file; return where it is."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "link to a pipe":
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")
    elif kind == "below a file":
        path.write_bytes(b"file")
        return path / "more"
    return Path(kind) if kind.startswith("/dev") else path


@pytest.mark.parametrize("read", READERS, ids=["open", "read", "head"])
@pytest.mark.parametrize(
    ("kind", "fault", "says"),
    [
        ("pipe", "not-regular", PIPE),
        ("socket", "not-regular", PIPE),
        ("/dev/zero", "not-regular", PIPE),
        ("/dev/null", "not-regular", PIPE),
        ("link to a pipe", "not-regular", PIPE),
        ("folder", "not-regular", "it is a folder, not a file"),
        ("missing", "missing", "there is no such file"),
        ("below a file", "missing", "there is no such file"),
        ("dangling link", "link-dangling", "the link leads to nothing"),
        ("link to itself", "link-loop", "the link leads to itself"),
    ],
)
@pytest.mark.timeout(10)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object], kind: str, fault: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NoInputError) as caught:
        read(in_the_place_of(Path("x"), kind))
    assert isinstance(caught.value, UnreadableError)
    assert (caught.value.fault, caught.value.code, caught.value.reason) == (fault, f"file-{fault}", says)
    assert caught.value.exit_code == ExitCode.NO_INPUT
    assert ImageError.of_file(caught.value).reason == says
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_is_read_whole_or_its_head(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"content")
    assert read_regular(path, 7) == b"content"
    assert read_head(path, 4) == b"cont"
    assert read_head(path, 100) == b"content"
    with open_regular(path) as file:
        assert file.readline() == b"content"


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnreadableError, match=r"the file has 1\.1e\+06 MB, over the 1 MB limit") as caught:
        read_regular(path, 1_000_000)
    assert caught.value.fault == "too-large"
    assert read_head(path, 2) == b"\0\0"


def test_links_are_followed_unless_they_may_not_be(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    (tmp_path / "link").symlink_to("x")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert read_regular(tmp_path / "link", 100) == b"content"
    for name in ("link", "dangling"):
        with pytest.raises(UnreadableError, match="it is a link") as caught:
            read_regular(tmp_path / name, 100, follow=False)
        assert caught.value.fault == "link-not-followed"


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.timeout(10)
def test_what_takes_the_place_of_a_file_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"content")
    real_open = os.open

    def swap(name: object, flags: int, *rest: object) -> int:
        path.unlink()
        if follow:
            os.mkfifo(path)
        else:
            path.symlink_to("/etc/passwd")
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(UnreadableError) as caught:
        read_regular(path, 100, follow=follow)
    assert caught.value.fault == ("not-regular" if follow else "link-not-followed")
