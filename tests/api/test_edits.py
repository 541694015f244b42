"""Editing with the functions of `import invert`, as a user calls them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import invert
from invert.errors import NoInputError, UsageError
from tests.sheets.conftest import loaded as loaded  # a fixture
from tests.sheets.sheet_case import write_npz

QUICK: dict[str, Any] = {"threads": 1, "device": "cpu"}

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture(scope="module")
def directions(network: Path) -> Any:
    return invert.find_directions(network, "pca", count=3, samples=200, device="cpu")


def same(one: Any, other: Any) -> bool:
    return bool((np.asarray(one) == np.asarray(other)).all())


def test_directions_are_found_kept_and_used(network: Path, directions: Any, tmp_path: Path) -> None:
    directions.save(tmp_path / "new" / "pca.safetensors")
    again = invert.open_directions(tmp_path / "new" / "pca.safetensors")
    assert again.names == directions.names == ("pca 0", "pca 1", "pca 2")
    edits = list(invert.edit(network, 5, again.choose("0-1"), [0, 1.5], **QUICK))
    assert [(one.direction, one.amount) for one in edits] == [
        ("pca 0", 0),
        ("pca 0", 1.5),
        ("pca 1", 0),
        ("pca 1", 1.5),
    ]
    (plain,) = invert.generate(network, [5], **QUICK)
    assert same(edits[0].image, plain)
    w = invert.read_latent(network, 5).w
    np.testing.assert_allclose(edits[1].w, w + 1.5 * again.deviations[0] * again.vectors[0], rtol=1e-5, atol=1e-6)
    spec = f"{tmp_path / 'new' / 'pca.safetensors'}:pca 1"
    (one,) = invert.edit(network, 5, [spec], [1.5], **QUICK)
    assert same(one.image, edits[3].image)
    (both,) = invert.edit(network, 5, [again.choose(0), spec], [1.5], together=True, **QUICK)
    assert both.direction == "pca 0 + pca 1"
    np.testing.assert_allclose(both.w - w, edits[1].w + edits[3].w - 2 * w, atol=1e-5)


def test_latents_of_files(network: Path, loaded: Any, directions: Any, tmp_path: Path) -> None:
    generator = loaded.generator
    w = np.random.RandomState(0).randn(generator.num_ws, 24).astype(np.float32)
    projected = write_npz(tmp_path / "plus.npz", w, loaded.provenance.sha256)
    found = invert.read_latent(network, projected)
    assert same(found.w, w)
    assert list(found.noise) == ["b4.conv1"]
    invert.write_projected_w(tmp_path / "projected_w.npz", found.w)
    other = invert.read_latent(network, tmp_path / "projected_w.npz")
    assert same(other.w, w)
    assert other.noise == {}
    (one,) = invert.edit(network, tmp_path / "projected_w.npz", directions.choose(0), [0], **QUICK)
    (image,) = invert.generate(network, [tmp_path / "projected_w.npz"], **QUICK)
    assert same(one.image, image)
    for wrong in (w[0], w.astype(int), w * np.nan):
        with pytest.raises(UsageError, match="is not finite w"):
            invert.write_projected_w(tmp_path / "x.npz", wrong)


def test_styles_are_mixed(network: Path) -> None:
    ((first, second),) = invert.mix(network, [0], [1, 2], range(8), **QUICK)
    images = list(invert.generate(network, [1, 2], **QUICK))
    assert same(first, images[0])
    assert same(second, images[1])
    with pytest.raises(UsageError, match="style 8: the network has 8 styles"):
        invert.mix(network, [0], [1], [8], **QUICK)


def test_images_on_the_way(network: Path, loaded: Any, tmp_path: Path) -> None:
    ends = list(invert.generate(network, [0, 5], truncation_psi=0.7, **QUICK))
    for space in (None, "w"):
        frames = list(invert.interpolate(network, [0, 5, 0], 3, space=space, truncation_psi=0.7, **QUICK))  # type: ignore[arg-type]
        assert len(frames) == 5
        assert [same(frames[i], ends[k]) for i, k in ((0, 0), (2, 1), (4, 0))] == [True] * 3
    w = np.zeros([1, 24], np.float32)
    projected = write_npz(tmp_path / "a.npz", w, loaded.provenance.sha256)
    frames = list(invert.interpolate(network, [projected, 5], 2, **QUICK))
    (image,) = invert.generate(network, [projected], **QUICK)
    assert same(frames[0], image)
    with pytest.raises(UsageError, match="has no z"):
        invert.interpolate(network, [projected, 5], space="z", **QUICK)


def test_mistakes(network: Path, directions: Any) -> None:
    cases: list[tuple[Any, str]] = [
        (lambda: invert.find_directions(network, "ica"), "method 'ica' is not one of sefa, pca, labels"),  # type: ignore[arg-type]
        (lambda: invert.edit(network, 5, directions, [np.nan]), "an amount is not finite"),
        (lambda: invert.edit(network, 5, directions, styles=[9]), "style 9: the network has 8 styles"),
        (
            lambda: invert.edit(network, 5, directions, psi=0.7),
            "there is no setting 'psi'. Settings are truncation_psi",
        ),
        (lambda: invert.edit(network, "gone.npz", directions), "there is no such file"),
        (lambda: invert.edit(network, 5, "gone.safetensors:0"), "there is no such file"),
        (lambda: invert.edit(network, 5, directions, noise="loud"), "noise 'loud' is not one of kept, fixed"),
        (lambda: invert.interpolate(network, [5]), "two latents and two steps"),
        (lambda: invert.interpolate(network, [5, 6], easing="fast"), "linear or smooth"),  # type: ignore[arg-type]
    ]
    for call, text in cases:
        with pytest.raises((UsageError, NoInputError)) as caught:
            call()
        assert text in str(caught.value)
