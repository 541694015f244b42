"""Linear separability of attributes whose separability is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import invert
from generator.files.reading import load
from invert.datasets.training_images import open_images
from invert.errors import InvertError
from invert.metrics.classifiers import attributes_of
from invert.metrics.result import Measured
from invert.metrics.separability import conditional_entropy, hyperplane_entropy
from tests.golden_data import GOLDEN

NETWORK = GOLDEN / "nvidia_ada.pkl"  # 32 px, 3 channels, z 16
QUICK: dict[str, Any] = {"device": "cpu", "threads": 1}

pytestmark = pytest.mark.usefixtures("threads")


def separability(labels: Path, network: Path = NETWORK, **settings: Any) -> Measured:
    (found,) = invert.measure(network, "separability", labels=labels, **{**QUICK, **settings})
    return found


def test_the_entropy_is_that_of_the_joint_table() -> None:
    predicted = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1], bool)
    quarter = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert conditional_entropy(predicted, labels) == pytest.approx(quarter / 2)
    assert conditional_entropy(labels, labels) == 0
    assert hyperplane_entropy(np.zeros([4, 2]), np.ones(4, bool)) == (0.0, True)


@pytest.mark.slow
def test_what_a_hyperplane_tells_has_one_and_what_nothing_tells_two(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    z = rng.randn(3000, 16).astype(np.float32)
    generator = load(NETWORK).generator
    with torch.no_grad():
        w = generator.mapping(torch.from_numpy(z)).numpy()
    sigmoid = 1 / (1 + np.exp(-np.stack([z[:, 3], 100 * (w[:, 0] - np.median(w[:, 0])), rng.randn(3000)], 1)))

    def score(*columns: int) -> Measured:
        path = tmp_path / f"{columns}.npz"
        np.savez(path, z=z, probabilities=sigmoid[:, columns], names=[f"number {column}" for column in columns])
        return separability(path)

    in_z, in_w, nowhere = score(0), score(1), score(2)
    assert in_z.values["z"] == pytest.approx(1, abs=0.02)
    assert in_w.values["w"] == pytest.approx(1, abs=0.02)
    assert nowhere.values["z"] == pytest.approx(2, abs=0.05)
    assert nowhere.values["w"] == pytest.approx(2, abs=0.05)
    both = score(0, 2)
    assert both.values["z"] == pytest.approx(2, abs=0.06)  # e to the sum of the entropies
    assert both.protocol["kept"] == 1500
    assert both.values["entropy z number 2"] == pytest.approx(np.log(2), abs=0.03)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark images, with the attribute, and with classes that say the same."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.RandomState(0)
    names, bright = [f"{index:02d}.png" for index in range(60)], rng.rand(60) > 0.5
    for name, high in zip(names, bright, strict=True):
        pixels = rng.randint(128 if high else 0, 256 if high else 128, [32, 32, 3], np.uint8)
        Image.fromarray(pixels).save(folder / name)
    pairs = [[name, int(high)] for name, high in zip(names, bright, strict=True)]
    content = {"labels": pairs, "attributes": {"bright": pairs[:-5]}}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_classes_count_one_against_the_rest_and_attributes_by_themselves(labelled: Path, tmp_path: Path) -> None:
    images = open_images(labelled)
    (bright,) = attributes_of(images)
    assert images.labels is not None
    assert bright.name == "bright"
    assert (bright.values[:-5] == images.labels[:-5]).all()
    assert (bright.values[-5:] == -1).all()
    images.attributes = {}
    first, second = attributes_of(images)
    assert (first.name, second.name) == ("class 0", "class 1")
    assert (first.values == 1 - second.values).all()


@pytest.mark.slow
def test_classifiers_are_trained_once_and_label_samples(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path))
    steps: list[str] = []
    settings = {"samples": 64, "classifier_kimg": 0.3, "on_progress": lambda what, *_: steps.append(what)}
    found = separability(labelled, **settings)
    assert found.protocol["attributes"] == {"bright": {"held_out_accuracy": 1.0}}
    z = found.values["z"]
    assert z is not None
    assert 1 <= z <= 2
    assert "classifier of bright" in steps
    steps.clear()
    again = separability(labelled, **settings)
    assert again.values == found.values
    assert "classifier of bright" not in steps


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": np.zeros([30, 16])}, "lacks"),
        ({"z": np.zeros([30, 8]), "probabilities": np.zeros(30)}, "z_dim 16"),
        ({"z": np.zeros([30, 16]), "probabilities": np.full(30, 2.0)}, "out of"),
        ({"z": np.full([30, 16], np.nan), "probabilities": np.zeros(30)}, "not finite"),
        ({"z": np.zeros([30, 16]), "probabilities": np.zeros([30, 2]), "names": ["a", "a"]}, "one name"),
        ({"z": np.array([None]), "probabilities": np.zeros(1)}, "plain"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    np.savez(path, **arrays)
    with pytest.raises(InvertError) as caught:
        separability(path)
    if "plain" not in words:  # what an .npz of objects is called is the reader's affair
        assert words in str(caught.value)
    assert caught.value.exit_code in (2, 5)


def test_a_data_set_without_labels_or_with_damaged_attributes_is_refused(labelled: Path, tmp_path: Path) -> None:
    plain, damaged = tmp_path / "plain", tmp_path / "damaged"
    for folder in (plain, damaged):
        folder.mkdir()
        for index in range(12):
            Image.fromarray(np.full([32, 32, 3], index, np.uint8)).save(folder / f"{index:02d}.png")
    with pytest.raises(InvertError, match="neither labels nor attributes"):
        separability(plain)
    (damaged / "dataset.json").write_text('{"labels": null, "attributes": {"bright": [["00.png", 2]]}}')
    with pytest.raises(InvertError, match="0 or 1"):
        separability(damaged)
    (damaged / "dataset.json").write_text('{"labels": null, "attributes": {"bright": [["00.png", 1]]}}')
    with pytest.raises(InvertError, match="have it not"):
        separability(damaged)
