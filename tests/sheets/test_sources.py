"""Latents of seeds and of projections, whole or damaged."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.files.reading import LoadedNetwork
from invert.errors import NoInputError, UsageError
from invert.hdf5.reading import open_latents
from invert.sheets.references import parse_references
from invert.sheets.sources import Source, find_sources
from tests.sheets.sheet_case import write_h5, write_npz

Find = Callable[..., list[Source]]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def find(loaded: LoadedNetwork, warnings: list[str]) -> Find:
    return lambda text: find_sources(parse_references(str(text)), loaded, None, warnings.append)


@pytest.fixture
def w(loaded: LoadedNetwork) -> Any:
    return np.random.RandomState(1).randn(1, loaded.generator.config.mapping.w_dim).astype(np.float32)


def test_a_seed_is_the_latent_of_the_published_code(find: Find, loaded: LoadedNetwork) -> None:
    first, second = find("3,8")
    z = torch.from_numpy(np.random.RandomState(8).randn(1, 16)).float()
    assert (first.label, second.label, second.seed) == ("seed 3", "seed 8", 8)
    assert second.z is not None
    torch.testing.assert_close(second.z, z, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(second.ws, loaded.generator.mapping_ws(z), rtol=0, atol=0)


def test_an_npz(find: Find, loaded: LoadedNetwork, warnings: list[str], w: Any, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", w, loaded.provenance.sha256)
    (source,) = find(path)
    assert (source.label, source.z, source.seed, warnings) == ("a.npz", None, 0, [])
    assert source.ws.shape == (1, loaded.generator.num_ws, w.shape[1])
    assert (source.ws.numpy() == w[:, None]).all()


def test_rows_of_hdf5(find: Find, loaded: LoadedNetwork, warnings: list[str], tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", loaded)
    sources = find(f"{path}:2-3,{path}:0")
    assert [source.label for source in sources] == ["a.h5:2", "a.h5:3", "a.h5:0"]
    assert warnings == []
    with open_latents(path) as latents:
        assert (sources[1].ws[0, 0].numpy() == latents[3].w[0]).all()


def test_another_network_is_said_once_a_file(
    find: Find, loaded: LoadedNetwork, warnings: list[str], w: Any, tmp_path: Path
) -> None:
    one = write_npz(tmp_path / "a.npz", w, "5" * 64)
    other = write_h5(tmp_path / "b.h5", loaded, weights_sha256="6" * 64)
    find(f"{one},{one},{other}:0-2")
    assert len(warnings) == 2
    assert "a.npz': found in another network (sha256 555555555555...)" in warnings[0]
    assert "b.h5': found in another network (weights 666666666666...)" in warnings[1]


def test_another_size_of_w(find: Find, loaded: LoadedNetwork, tmp_path: Path) -> None:
    size = loaded.generator.config.mapping.w_dim
    one = write_npz(tmp_path / "a.npz", np.zeros([1, 7], np.float32))
    other = write_h5(tmp_path / "b.h5", loaded, w_dim=9)
    for text, given in ((one, 7), (f"{other}:1", 9)):
        with pytest.raises(NoInputError, match=rf"its w has size {given}, that of network '.*' {size}") as caught:
            find(text)
        assert caught.value.exit_code == 5


def test_a_row_that_is_not_there(find: Find, loaded: LoadedNetwork, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", loaded)
    with pytest.raises(UsageError, match=r"a.h5': row 4: there are 4 rows, counted from 0"):
        find(f"{path}:0,{path}:4")


@pytest.mark.parametrize("name", ["gone.npz", "gone.h5:0", "gone.txt:0"])
def test_no_such_file(find: Find, tmp_path: Path, name: str) -> None:
    with pytest.raises(NoInputError, match=r"gone.*there is no such file"):
        find(tmp_path / name)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def member(data: bytes, name: str, content: bytes) -> bytes:
    """Put something else in the place of an array."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename == f"{name}.npy" else old.read(info))
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def headed(header: str) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def shaped(shape: str) -> bytes:
    return headed(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}")


def flipped(data: bytes) -> bytes:
    """Change a bit of the first array."""
    place = data.index(b"\x93NUMPY") + 130
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-30],
    "a flipped bit": flipped,
    "an array alone": lambda _: npy(np.zeros([1, 16], np.float32)),
    "a pickle": lambda _: b"cos\nsystem\n(S'true'\ntR.",
    "another npz": lambda _: npz(samples=np.zeros([1, 16], np.int32)),
    "objects": lambda data: member(data, "w", npy(np.array([{}], object))),
    "an endless array": lambda data: member(data, "w", shaped("(1, 99999999999999)")),
    "a negative shape": lambda data: member(data, "w", shaped("(-1, 16)")),
    "a header that is code": lambda data: member(data, "w", headed("__import__('os').system('true')")),
    "a record that is a list": lambda data: member(data, "method", npy(np.str_(json.dumps([1])))),
    "a record nested deeply": lambda data: member(data, "method", npy(np.str_("[" * 100_000))),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_and_hostile_npz(find: Find, w: Any, tmp_path: Path, name: str) -> None:
    path = write_npz(tmp_path / "a.npz", w)
    path.write_bytes(DAMAGE[name](path.read_bytes()))
    with pytest.raises(NoInputError, match=r"a.npz': is no projection, or damaged"):
        find(path)


def test_a_bomb(find: Find, w: Any, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", w)
    path.write_bytes(member(path.read_bytes(), "step_loss", npy(np.zeros(1 << 20, np.float32))))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(NoInputError, match=r"is no projection, or damaged"):
        find(path)


def test_a_pipe_is_not_waited_for(find: Find, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(NoInputError, match=r"it is a pipe, socket or device, not a file"):
        find(tmp_path / "a.npz")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_w_that_is_not_finite(find: Find, w: Any, tmp_path: Path, bad: float) -> None:
    w[0, 3] = bad
    with pytest.raises(NoInputError, match=r"is no projection, or damaged"):
        find(write_npz(tmp_path / "a.npz", w))


def test_a_w_of_another_type(find: Find, w: Any, tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"is no projection, or damaged"):
        find(write_npz(tmp_path / "a.npz", w.astype(np.float64)))
