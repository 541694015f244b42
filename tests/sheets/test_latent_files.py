"""Latents of other programs, in each layout that is met, and what only looks like them."""

import collections
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.files.reading import LoadedNetwork
from invert.errors import NoInputError, UsageError
from invert.sheets.references import parse_references
from invert.sheets.sources import Source, find_sources
from invert.store.latent_files import projected_w, read_other_latents

Write = Callable[[Path], object]


@pytest.fixture
def wide(loaded: LoadedNetwork) -> Any:
    """Three latents in W+."""
    generator = loaded.generator
    return np.random.RandomState(1).randn(3, generator.num_ws, generator.config.mapping.w_dim).astype(np.float32)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def find(loaded: LoadedNetwork, warnings: list[str]) -> Callable[..., list[Source]]:
    return lambda text: find_sources(parse_references(str(text)), loaded, None, warnings.append)


def save_torch(value: object, path: Path, **options: Any) -> None:
    torch.save(value, path, **options)


def test_every_layout_gives_the_same_styles(find: Any, wide: Any, tmp_path: Path, warnings: list[str]) -> None:
    one, tensor = wide[1], torch.from_numpy(wide)
    layouts: dict[str, tuple[Write, str]] = {
        "projected_w.npz": (lambda path: path.write_bytes(projected_w(wide[1:2])), ""),
        "flat.npz": (lambda path: np.savez(path, w=one), ""),
        "compressed.npz": (lambda path: np.savez_compressed(path, latents=wide), ":1"),
        "by_name.npz": (lambda path: np.savez(path, first=wide[0], second=wide[1:2]), ":1"),
        "latents.pt": (lambda path: torch.save(tensor, path), ":1"),
        "legacy.pt": (lambda path: save_torch(tensor, path, _use_new_zipfile_serialization=False), ":1"),
        "pivot.pt": (lambda path: torch.save(tensor[1:2], path), ""),
        "parameter.pt": (lambda path: torch.save(torch.nn.Parameter(tensor[1:2]), path), ""),
        "list.pt": (lambda path: torch.save([tensor[0], tensor[1]], path), ":1"),
        "named.pt": (lambda path: torch.save({"latents": tensor.double()}, path), ":1"),
        "images.pt": (lambda path: torch.save(collections.OrderedDict(a=tensor[0], b=tensor[1]), path), ":1"),
        "one.npy": (lambda path: np.save(path, one), ""),
        "many.npy": (lambda path: np.save(path, wide.astype(np.float64)), ":1"),
    }
    for name, (write, row) in layouts.items():
        write(tmp_path / name)
        (source,) = find(f"{tmp_path / name}{row}")
        assert source.label == name + row
        np.testing.assert_array_equal(source.ws[0].numpy(), one, err_msg=name)
    assert warnings == []


def test_latents_of_one_style_each(find: Any, wide: Any, loaded: LoadedNetwork, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=wide[:, :1])
    np.save(tmp_path / "w.npy", wide[:, 0])
    for name in ("w.npz", "w.npy"):
        sources = find(f"{tmp_path / name}:0-2")
        assert [source.ws.shape[1] for source in sources] == [loaded.generator.num_ws] * 3
        for source, latent in zip(sources, wide, strict=True):
            assert (source.ws[0].numpy() == latent[0]).all()


def test_noise_maps_of_rosinality(
    find: Any, wide: Any, loaded: LoadedNetwork, tmp_path: Path, warnings: list[str]
) -> None:
    sizes = loaded.generator.synthesis.noise_sizes
    maps = [torch.randn([1, 1, r, r]) for r in sizes.values()]
    entry = {"img": torch.zeros([3, 8, 8]), "latent": torch.from_numpy(wide[0]), "noise": maps}
    torch.save({"a.png": entry, "b.png": entry}, tmp_path / "a.pt")
    first, second = find(f"{tmp_path / 'a.pt'}:0-1")
    assert list(second.noise) == list(sizes)
    assert all((first.noise[name] == one[0, 0].numpy()).all() for name, one in zip(sizes, maps, strict=True))
    assert warnings == []
    torch.save({"a.png": {**entry, "noise": maps[:2]}}, tmp_path / "b.pt")
    (source,) = find(tmp_path / "b.pt")
    assert not source.noise
    assert "b.pt': its 2 noise maps are not the network's 7; those stored in the network are taken" in warnings[0]


def test_rows_that_are_not_there(find: Any, wide: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", wide)
    with pytest.raises(UsageError, match=r"a.npy': holds 3 latents. Name one of them, such as a.npy:0."):
        find(tmp_path / "a.npy")
    with pytest.raises(UsageError, match=r"row 3: there are 3 latents, counted from 0"):
        find(f"{tmp_path / 'a.npy'}:3")


def test_latents_of_another_network(find: Any, tmp_path: Path) -> None:
    for shape, text in (
        ((1, 18, 512), "18 styles of size 512"),
        ((1, 1, 512), "size 512"),
        ((2, 3, 24), "3 styles of"),
    ):
        np.savez(tmp_path / "a.npz", w=np.zeros(shape, np.float32))
        with pytest.raises(NoInputError, match=rf"a.npz': its w has {text}.*network '.*' .*24") as caught:
            find(f"{tmp_path / 'a.npz'}:0")
        assert caught.value.code == "latents-other-network"


def hyperstyle(path: Path) -> None:
    np.save(path, np.array({"a.png": np.zeros([18, 512])}, object), allow_pickle=True)


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("evil",))


HOSTILE: dict[str, tuple[str, Write, str]] = {
    "objects": ("a.npy", hyperstyle, "never unpickled; save the arrays in it with numpy.savez"),
    "a program": ("a.pt", lambda path: path.write_bytes(pickle.dumps(Evil())), "refused"),
    "text": ("a.pt", lambda path: path.write_text("latents"), "a text file"),
    "nothing": ("a.pt", lambda path: path.write_bytes(b""), "the file is empty"),
    "an empty list": ("a.pt", lambda path: torch.save([], path), "holds no latents"),
    "a number": ("a.pt", lambda path: torch.save(3, path), "a torch file of something else"),
    "whole numbers": ("a.npy", lambda path: np.save(path, np.zeros([1, 24], np.int64)), "is no latent"),
    "an image": ("a.pt", lambda path: torch.save(torch.zeros([1, 3, 8, 8]), path), "is no latent"),
    "not finite": ("a.npy", lambda path: np.save(path, np.full([1, 24], np.nan, np.float32)), "not finite"),
    "too large": ("a.npy", lambda path: np.save(path, np.full([1, 24], 1e300)), "not finite"),
    "cut off": ("a.npy", lambda path: path.write_bytes(cut(np.zeros([1, 24]))), "other bytes than it says"),
}


def cut(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()[:-8]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_holds_no_latents(find: Any, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, write, text = HOSTILE[name]
    write(tmp_path / file)
    with pytest.raises(NoInputError, match=text) as caught:
        find(tmp_path / file)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_what_is_written_is_read_again(wide: Any, tmp_path: Path) -> None:
    (tmp_path / "projected_w.npz").write_bytes(projected_w(wide))
    with np.load(tmp_path / "projected_w.npz") as arrays:
        assert list(arrays) == ["w"]
        assert (arrays["w"].dtype, arrays["w"].shape) == (np.float32, wide.shape)
    found = read_other_latents(tmp_path / "projected_w.npz", wide.shape[1])
    assert found is not None
    assert all((one.w == latent).all() for one, latent in zip(found, wide, strict=True))
