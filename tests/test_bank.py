"""The bank of samples that optimisations start from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generator.files.reading import load
from generator.layers import freeze
from generator.networks import Generator
from invert.projection import start
from invert.projection.latents import LatentStatistics, Targets, kept_statistics, latent_statistics
from invert.projection.perceptual import Perceptual
from invert.projection.start import BankStart, bank_size, load_bank, thumbnail
from tests.golden_data import load_networks

ROOT = Path(__file__).parent.parent


@pytest.fixture
def generator() -> Generator:
    found: Generator = load_networks("skip_resnet")[1]
    return found.requires_grad_(False).eval()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "banks"


def test_a_larger_bank_begins_with_a_smaller_one(generator: Generator, cache: Path) -> None:
    small = load_bank(generator, "ab", 100)
    messages: list[str] = []
    large = load_bank(generator, "ab", 700, on_message=messages.append)
    np.testing.assert_array_equal(large.w[:100], small.w)
    np.testing.assert_array_equal(large.thumbnails[:100], small.thumbnails)
    assert [path.name for path in sorted(cache.glob("*/*"))] == ["0000.npz", "0001.npz"]
    assert messages == ["generating samples 501 to 1000 of 700 to start from"]
    assert len(np.unique(large.w, axis=0)) == 700


def test_what_is_kept_is_used_and_what_is_damaged_is_drawn_again(generator: Generator, cache: Path) -> None:
    first = load_bank(generator, "ab", 50)
    (piece,) = cache.glob("*/*")
    time = piece.stat().st_mtime_ns
    load_bank(generator, "ab", 60)
    assert piece.stat().st_mtime_ns == time
    for content in (b"", piece.read_bytes()[:-100], b"PK"):
        piece.write_bytes(content)
        again = load_bank(generator, "ab", 50)
        np.testing.assert_array_equal(again.w, first.w)
        assert piece.stat().st_size > 1000


def test_a_network_that_was_used_before_gives_the_same(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept serves every later process, so that it must not depend on what a network went through."""
    monkeypatch.setattr(start, "_PIECE", 60)
    found = []
    for used in (False, True):
        monkeypatch.setenv("INVERT_CACHE", str(tmp_path / f"cache{used}"))
        generator = load(ROOT / "data" / "networks" / "A.safetensors").generator.requires_grad_(False).eval()
        if used:
            freeze(generator.to(memory_format=torch.channels_last))
        found.append(load_bank(generator, "ab", 60))
    np.testing.assert_array_equal(found[0].thumbnails, found[1].thumbnails)
    np.testing.assert_array_equal(found[0].w, found[1].w)


def test_without_a_place_to_keep_it(generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "file"))
    assert len(load_bank(generator, "ab", 10).w) == 10


def test_a_sample_is_its_own_start() -> None:
    generator = load(ROOT / "data" / "networks" / "A.safetensors").generator.eval()
    samples = load_bank(generator, "ab", 200)
    start = BankStart(samples, generator, Perceptual("alex"))
    statistics = latent_statistics(generator, samples=1000)
    chosen = torch.from_numpy(samples.w[[3, 141, 59]])
    with torch.no_grad():
        targets = generator.synthesis(generator.broadcast(chosen), "const").clamp(-1, 1)
    found = start(statistics, Targets(targets, ()), 0)
    torch.testing.assert_close(found[:, 0], chosen)
    second = start(statistics, Targets(targets, ()), 1)
    assert (second != found).any(dim=1).all()
    torch.testing.assert_close(start(statistics, Targets(targets[1:2], ()), 0)[0], found[1])


def test_thumbnails_are_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_THUMBNAIL", 2)
    image = torch.tensor([[[[-1.0, 1.0, 0, 0], [1, -1, 0, 0], [1, 1, -1, -1], [1, 1, -1, -1]]]])
    np.testing.assert_array_equal(thumbnail(image), [[[[128, 128], [255, 0]]]])


def test_sizes_fall_with_resolution() -> None:
    sizes = [bank_size(side) for side in (4, 32, 64, 128, 256, 512, 1024)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] == 4000
    assert min(sizes) >= 100


def test_statistics_of_w_are_kept_by_network_class_and_arithmetic(generator: Generator, cache: Path) -> None:
    def kept(weights: str = "ab", arithmetic: str = "cpu", seed: int = 1) -> LatentStatistics:
        given = {"samples": 50, "seed": seed, "class_index": None}
        return kept_statistics(generator, weights_sha256=weights, arithmetic=arithmetic, **given)

    first = kept()
    expected = latent_statistics(generator, samples=50, seed=1)
    assert torch.equal(first.centre, expected.centre)
    assert first.deviation == expected.deviation
    folder = cache.parent / "statistics"
    (path,) = folder.iterdir()
    content, time = path.read_bytes(), path.stat().st_mtime_ns
    again = kept()
    assert torch.equal(again.centre, first.centre)
    assert (again.deviation, path.stat().st_mtime_ns) == (first.deviation, time)
    for damaged in (b"", content[:-100], b"PK"):
        path.write_bytes(damaged)
        assert torch.equal(kept().centre, first.centre)
        assert path.read_bytes() == content
    kept("cd"), kept(arithmetic="cuda"), kept(seed=2)
    assert len(list(folder.iterdir())) == 4


def test_a_cache_that_others_can_write_to_is_not_read(generator: Generator, cache: Path) -> None:
    load_bank(generator, "ab", 10)
    (piece,) = cache.glob("*/*")
    piece.write_bytes(b"")
    cache.parent.chmod(0o777)
    assert len(load_bank(generator, "ab", 10).w) == 10
    assert piece.read_bytes() == b""
