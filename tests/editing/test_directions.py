"""Directions in W: found where they were planted, kept whole, and refused where they do not belong."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import METADATA_KEY, save_network
from generator.files.reading import LoadedNetwork, load
from generator.networks import Generator
from generator.stylegan.config import StyleGANSynthesisConfig
from invert.editing.directions import Directions, check_network, choose_directions, read_directions
from invert.editing.discovery import Labels, find_directions, hyperplane, principal_directions, style_weights
from invert.errors import NetworkError, NoInputError, UsageError, network_errors
from invert.projection.latents import sample_w
from tests.metrics.test_separability import labelled as labelled  # a fixture
from tests.sheets.conftest import loaded as loaded  # a fixture

W_DIM, STYLES = 24, 8


@pytest.fixture(scope="module")
def sefa(network: Path) -> Directions:
    return find_directions(load(network), "sefa", count=3, samples=200)


@pytest.fixture
def written(sefa: Directions, tmp_path: Path) -> Path:
    sefa.save(tmp_path / "sefa.safetensors")
    return tmp_path / "sefa.safetensors"


def test_each_layer_is_known_by_its_style(loaded: LoadedNetwork) -> None:
    found = style_weights(loaded.generator)
    assert [style for style, _ in found] == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7]
    synthesis: Any = loaded.generator.synthesis
    assert torch.equal(found[0][1], synthesis.b4.conv1.affine.weight)
    assert torch.equal(found[-1][1], synthesis.b32.torgb.affine.weight)


def test_the_first_family_has_style_weights_too_unless_its_styles_are_off(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"w_dim": 6, "img_resolution": 8, "channel_base": 64, "channel_max": 6}
    for use_styles in (True, False):
        normalisation = "instance" if use_styles else "pixel"
        synthesis = StyleGANSynthesisConfig(**sizes, input="latent", use_styles=use_styles, normalisation=normalisation)
        generator = Generator(GeneratorConfig(MappingConfig(6, 0, 6, 1), synthesis)).eval()
        found = style_weights(generator)
        assert [style for style, _ in found] == ([0, 1, 2, 3] if use_styles else [])
    path = tmp_path / "plain.safetensors"
    save_network(path, generator)
    with pytest.raises(UsageError, match="no style weights"):
        find_directions(load(path), "sefa", samples=100)


def test_principal_directions_are_those_that_were_planted() -> None:
    random = np.random.RandomState(0)
    planted = np.linalg.qr(random.randn(6, 6))[0][:2]
    rows = random.randn(4000, 2) * [5, 2] @ planted + 0.1 * random.randn(4000, 6)
    found, values = principal_directions(torch.from_numpy(rows), 2)
    np.testing.assert_allclose(np.abs((found.numpy() * planted).sum(axis=1)), 1, atol=1e-2)
    np.testing.assert_allclose(values[:2] / 4000, [25, 4], rtol=0.1)
    assert all(row[np.abs(row).argmax()] > 0 for row in found.numpy())
    assert len(principal_directions(torch.from_numpy(rows), 99)[0]) == 6


def test_sefa_finds_what_the_style_weights_amplify_most(sefa: Directions, loaded: LoadedNetwork) -> None:
    assert sefa.names == ("sefa 0", "sefa 1", "sefa 2")
    np.testing.assert_allclose(sefa.vectors @ sefa.vectors.T, np.eye(3), atol=1e-5)
    rows = torch.cat([weight for _, weight in style_weights(loaded.generator)])
    rows = rows / rows.norm(dim=1, keepdim=True)
    energies = np.square(rows.numpy() @ sefa.vectors.T).sum(axis=0)
    np.testing.assert_allclose(energies, sefa.strengths, rtol=1e-4)
    others = np.random.RandomState(0).randn(W_DIM, 200)
    assert np.square(rows.numpy() @ (others / np.linalg.norm(others, axis=0))).sum(axis=0).max() < energies[0]
    w = sample_w(loaded.generator, 200, seed=0).numpy()
    np.testing.assert_allclose((w @ sefa.vectors.T).std(axis=0, ddof=1), sefa.deviations, rtol=1e-4)


def test_some_styles_alone_have_other_directions(sefa: Directions, loaded: LoadedNetwork) -> None:
    some = find_directions(loaded, "sefa", count=3, styles=[2, 1], samples=200)
    assert some.styles == (1, 2)
    assert np.abs(some.vectors @ sefa.vectors.T).max() < 0.999
    with pytest.raises(UsageError, match="style 8: the network has 8 styles, 0 to 7"):
        find_directions(loaded, "sefa", styles=[0, 8], samples=200)


def test_pca_has_the_shares_of_the_variance(loaded: LoadedNetwork) -> None:
    found = find_directions(loaded, "pca", count=99, samples=500)
    assert len(found) == W_DIM
    assert float(found.strengths.sum()) == pytest.approx(1, abs=1e-5)
    assert (np.diff(found.strengths) <= 1e-9).all()
    variances = np.square(found.deviations)
    np.testing.assert_allclose(variances / variances.sum(), found.strengths, atol=1e-5)


def test_a_hyperplane_finds_the_attribute() -> None:
    random = np.random.RandomState(0)
    latents, normal = random.randn(1000, 12), random.randn(12)
    normal /= np.linalg.norm(normal)
    found = hyperplane(latents, latents @ normal > 0.5)
    assert found is not None
    assert found.normal @ normal > 0.97
    assert found.accuracy > 0.9
    assert hyperplane(latents, latents[:, 0] < 100) is None


def test_directions_from_given_labels(loaded: LoadedNetwork, tmp_path: Path) -> None:
    z = np.random.RandomState(0).randn(600, 16).astype(np.float32)
    with torch.inference_mode():
        w = loaded.generator.mapping(torch.from_numpy(z), None).double().numpy()
    logits = (w - w.mean(axis=0)) @ np.eye(W_DIM)[:, 5]
    probabilities = np.stack([1 / (1 + np.exp(-9 * logits)), np.full(600, 0.9)], axis=1)
    np.savez(tmp_path / "labels.npz", z=z, probabilities=probabilities, names=["large fifth", "always"])
    warnings: list[str] = []
    found = find_directions(
        loaded, "labels", samples=500, labels=Labels(tmp_path / "labels.npz"), on_warning=warnings.append
    )
    assert found.names == ("large fifth",)
    assert found.strengths[0] > 0.9
    assert found.settings["labels"] == "labels.npz"
    assert "'always': nearly all samples are alike in it" in warnings[0]
    warnings.clear()
    chosen = Labels(tmp_path / "labels.npz", attributes="large fifth")
    assert (
        find_directions(loaded, "labels", samples=500, labels=chosen, on_warning=warnings.append).names == found.names
    )
    assert not warnings
    above, below = ((w @ found.vectors[0])[logits > 0].mean(), (w @ found.vectors[0])[logits < 0].mean())
    assert above > below
    with pytest.raises(UsageError, match="need labels"):
        find_directions(loaded, "labels", samples=500)


@pytest.mark.slow
def test_directions_from_a_labelled_data_set(loaded: LoadedNetwork, labelled: Path) -> None:
    steps: list[str] = []
    labels = Labels(labelled, 0.3, on_progress=lambda what, *_: steps.append(what))
    found = find_directions(loaded, "labels", samples=300, labels=labels)
    assert found.names == ("bright",)
    assert found.settings["attributes"] == {"bright": {"held_out_accuracy": 1.0}}
    assert "classifier of bright" in steps


def test_a_file_keeps_everything(sefa: Directions, written: Path) -> None:
    again = read_directions(written)
    for field in dataclasses.fields(Directions):
        one, other = getattr(sefa, field.name), getattr(again, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name
    assert again.to_bytes() == written.read_bytes()


@pytest.mark.parametrize(
    ("which", "names"),
    [(None, "012"), ("1", "1"), (2, "2"), ("0-1", "01"), ("sefa 2", "2"), ([2, 0], "20")],
)
def test_some_are_chosen(sefa: Directions, which: Any, names: str) -> None:
    chosen = sefa.choose(which)
    assert chosen.names == tuple(f"sefa {name}" for name in names)
    assert (chosen.vectors == sefa.vectors[list(map(int, names))]).all()
    assert len(chosen.deviations) == len(chosen.strengths) == len(names)


@pytest.mark.parametrize("which", ["3", "1-3", "2-1", "smile", -1, []])
def test_what_is_not_there_is_not_chosen(sefa: Directions, which: Any) -> None:
    with pytest.raises(UsageError, match="there is no direction"):
        sefa.choose(which)


def other(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Change the description or the tensors of a file."""

    def changed(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA_KEY])
        tensors: dict[str, Any] = {
            "vectors": np.eye(3, W_DIM, dtype=np.float32),
            "deviations": np.ones(3, np.float32),
            "strengths": np.ones(3, np.float32),
        }
        change(about, tensors)
        return save(tensors, {METADATA_KEY: json.dumps(about)})

    return changed


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda data: data[:-4],
    "an image": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "not finite": other(lambda about, tensors: tensors.update(vectors=np.full([3, W_DIM], np.nan, np.float32))),
    "too few lengths": other(lambda about, tensors: tensors.update(deviations=np.ones(2, np.float32))),
    "one more tensor": other(lambda about, tensors: tensors.update(more=np.ones(2, np.float32))),
    "a tensor less": other(lambda about, tensors: tensors.pop("vectors")),
    "two alike": other(lambda about, tensors: about.update(names=["a", "b", "a"])),
    "names that are numbers": other(lambda about, tensors: about.update(names=[1, 2, 3])),
    "no network": other(lambda about, tensors: about.update(network=[])),
    "a network of endless styles": other(lambda about, tensors: about["network"].update(num_ws=1 << 60)),
    "a style that is not there": other(lambda about, tensors: about.update(styles=[99])),
    "styles that are text": other(lambda about, tensors: about.update(styles="0-3")),
    "another version": other(lambda about, tensors: about.update(version=2)),
    "another format": other(lambda about, tensors: about.update(format="invert-network")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(written: Path, name: str) -> None:
    written.write_bytes(DAMAGE[name](written.read_bytes()))
    with pytest.raises(NoInputError, match=r"sefa.safetensors': (holds no|is no file of) directions") as caught:
        read_directions(written)
    assert "\n" not in str(caught.value)
    assert caught.value.code == "directions-damaged"


def test_directions_of_another_network(sefa: Directions, loaded: LoadedNetwork, written: Path, tmp_path: Path) -> None:
    warnings: list[str] = []
    check_network(sefa, loaded, None, warnings.append)
    save_network(tmp_path / "converted.safetensors", loaded.generator, source_sha256=loaded.provenance.sha256)
    check_network(sefa, load(tmp_path / "converted.safetensors"), None, warnings.append)
    assert warnings == []
    sibling = dataclasses.replace(loaded.provenance, weights_sha256="5" * 64, sha256="6" * 64, source_sha256="6" * 64)
    assert len(choose_directions(f"{written}:1", dataclasses.replace(loaded, provenance=sibling), warnings.append)) == 1
    assert "sefa.safetensors': found in another network (weights " in warnings[0]
    narrow = dataclasses.replace(sefa, vectors=sefa.vectors[:, :16])
    with pytest.raises(NoInputError, match=r"have size 16, w of network '.*' 24. Name the network that they were"):
        check_network(narrow, loaded, written, warnings.append)


def test_directions_are_no_network(written: Path) -> None:
    reason = "directions to edit along, not a network; name them with --direction"
    with pytest.raises(NetworkError, match=reason), network_errors(written):
        load(written)


def test_a_name_with_a_colon(sefa: Directions, loaded: LoadedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "a:1.safetensors"
    sefa.save(path)
    assert len(choose_directions(str(path), loaded, print)) == 3
    assert choose_directions(f"{path}:sefa 1", loaded, print).names == ("sefa 1",)
    with pytest.raises(UsageError, match=r"a:1.safetensors': there is no direction 'smile'. There are sefa 0"):
        choose_directions(f"{path}:smile", loaded, print)
