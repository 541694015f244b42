"""The folder in which native kernels are kept: where it is, whose it may be, and what lies damaged in it."""

import os
import subprocess
from pathlib import Path

import pytest

from generator.cache import cache_folder
from tests.ops.build_case import Tiny, go, needs_compiler


@needs_compiler
def test_damaged_library_is_built_again(tiny: Tiny) -> None:
    path = tiny.ensure().cpu.path
    assert path is not None
    # The loaded file must not change under this process: the damaged one is another file.
    damaged = tiny.folder / "damaged"
    damaged.write_bytes(path.read_bytes()[:2000])
    damaged.replace(path)
    result = tiny.ensure()
    assert result.cpu.loaded
    assert "damaged" in tiny.told[0]
    assert tiny.calls == 4
    assert path.stat().st_size > 2000
    assert tiny.ensure() == result
    assert tiny.calls == 4


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_cache_that_others_can_write_to_is_refused(tiny: Tiny, mode: int) -> None:
    tiny.cache.mkdir()
    tiny.cache.chmod(mode)
    assert tiny.ensure().cpu.code == "unsafe-cache"
    assert f"'{tiny.cache}'" in tiny.told[0]
    assert list(tiny.cache.iterdir()) == []


def test_cache_of_somebody_else_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.cache.mkdir(mode=0o700)
    real = os.stat(tiny.cache)
    if real.st_uid == 0:
        os.chown(tiny.cache, 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: real.st_uid + 1)
    assert tiny.ensure().cpu.code == "unsafe-cache"
    assert "somebody else" in tiny.told[0]


def test_cache_that_is_a_file(tiny: Tiny) -> None:
    tiny.cache.write_text("")
    assert tiny.ensure().cpu.code == "no-cache"
    assert str(tiny.cache) in tiny.told[0]


def test_read_only_home(tiny: Tiny, children: list[subprocess.Popen[str]]) -> None:
    tiny.folder.chmod(0o755)
    for parent in tiny.folder.parents[:2]:
        parent.chmod(0o755)
    home = tiny.folder / "home"
    home.mkdir(mode=0o555)
    child = tiny.child("as-nobody", INVERT_CACHE="", XDG_CACHE_HOME="", HOME=str(home))
    children.append(child)
    go([child])
    output, _ = child.communicate(timeout=240)
    assert "result: no-cache portable\n" in output
    assert output.count("message:") == 1
    assert "Permission denied" in output
    assert "INVERT_CACHE" in output


def test_no_home(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("INVERT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    assert tiny.ensure().cpu.code == "no-cache"
    assert "INVERT_CACHE" in tiny.told[0]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("INVERT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("/home/ann/.cache/invert")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/ann/.cache/invert")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/cache")
    assert cache_folder() == Path("/big/cache/invert")
    monkeypatch.setenv("INVERT_CACHE", "/mine")
    assert cache_folder() == Path("/mine")
