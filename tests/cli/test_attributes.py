"""Attributes of training images as a user makes, carries and trains on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generator import save
from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.datasets.training_images import open_images
from invert.errors import InvertError
from invert.metrics.classifiers import attributes_of
from invert.metrics.drawing import labels_of
from invert.metrics.request import Request, open_subject
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import choose
from invert.runs.meter import Plan, _prepare
from tests.cli.conftest import Invert
from tests.cli.train_case import SMALL, write_images

HAIR = ("bald", "bun", "curly")
SHORT = (*SMALL, "--kimg", 0.016)
"""Two steps."""


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """24 images with an attribute of three values and one that is known of half of them."""
    folder = write_images(tmp_path / "faces")
    names = [f"{index:02d}.png" for index in range(24)]
    content = {
        "labels": None,
        "attributes": {
            "hair": [[name, index % 3] for index, name in enumerate(names)],
            "glasses": [[name, index % 2] for index, name in enumerate(names[:12])],
        },
        "attribute_values": {"hair": HAIR},
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_a_data_set_carries_attributes_under_the_names_it_gives(faces: Path, invert: Invert, tmp_path: Path) -> None:
    (faces / "01.png").write_bytes(b"not an image")
    result = invert("dataset", faces, tmp_path / "faces.zip")
    assert result.code == 3
    assert "23 images, 16 x 16, 3 channels, no classes, 2 attributes; 1 skipped" in result.out
    images = open_images(tmp_path / "faces.zip")
    assert images.labels is None
    kept = [0, *range(2, 24)]
    assert images.attributes["hair"].tolist() == [index % 3 for index in kept]
    assert images.attributes["glasses"].tolist() == [index % 2 if index < 12 else -1 for index in kept]
    assert images.value_names == {"hair": HAIR}
    assert invert("dataset", tmp_path / "faces.zip", tmp_path / "again.zip").code == 0
    again = open_images(tmp_path / "again.zip")
    assert again.attributes["hair"].tolist() == images.attributes["hair"].tolist()
    assert invert("dataset", faces, tmp_path / "none.zip", "--labels", "none").code == 3
    assert open_images(tmp_path / "none.zip").attributes == {}


def test_labels_stay_what_they_are_beside_attributes(faces: Path) -> None:
    content = json.loads((faces / "dataset.json").read_text())
    content["labels"] = [[f"{index:02d}.png", index % 5] for index in range(24)]
    (faces / "dataset.json").write_text(json.dumps(content))
    images, hair = open_images(faces), open_images(faces, attribute="hair")
    assert images.labels is not None
    assert hair.labels is not None
    assert images.labels.tolist() == [index % 5 for index in range(24)]
    assert hair.labels.tolist() == [index % 3 for index in range(24)]
    assert (hair.classes, hair.class_names) == (3, HAIR)
    assert hair.fingerprint != images.fingerprint


def test_an_attribute_is_the_label_of_the_images_that_it_is_known_of(faces: Path) -> None:
    said: list[str] = []
    images = open_images(faces, attribute="glasses", on_message=said.append)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1] * 6
    assert images.class_names == ("not glasses", "glasses")
    assert said == ["12 of 24 images are left out: attribute 'glasses' says nothing of them"]
    np.testing.assert_array_equal(images.read([11]), open_images(faces).read([11]))


def test_each_named_value_is_an_attribute_of_its_own_for_separability(faces: Path) -> None:
    images = open_images(faces)
    found = {one.name: one.values.tolist() for one in attributes_of(images)}
    assert list(found) == ["hair bald", "hair bun", "hair curly", "glasses"]
    assert found["hair bun"] == [0, 1, 0] * 8
    assert found["glasses"] == [0, 1] * 6 + [-1] * 12
    assert [one.name for one in attributes_of(images, ["glasses"])] == ["glasses"]
    with pytest.raises(InvertError, match="no attribute 'skin'"):
        attributes_of(images, ["skin"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"attribute_values": {"skin": ["pale"]}}, "no lists of names by name of an attribute"),
        ({"attribute_values": {"hair": "bald"}}, "is not a list of names"),
        ({"attribute_values": {"hair": ["bald", "bun"]}}, "0 or 1"),
        ({"attribute_values": {"hair": [*HAIR, "fade"]}, "attributes": {"hair": [["00.png", 4]]}}, "0 to 3"),
        ({"attribute_values": {"hair": [*HAIR]}, "attributes": {"hair": [["00.png", True]]}}, "0 to 2"),
    ],
)
def test_damaged_attributes_are_refused(faces: Path, invert: Invert, changed: dict[str, Any], words: str) -> None:
    content = json.loads((faces / "dataset.json").read_text()) | changed
    (faces / "dataset.json").write_text(json.dumps(content))
    result = invert("dataset", faces, faces.parent / "out.zip")
    assert result.code == 5
    assert words in result.err


def test_snapshots_are_measured_with_the_attribute_s_labels(faces: Path, tmp_path: Path) -> None:
    content = json.loads((faces / "dataset.json").read_text())
    content["labels"] = [[f"{index:02d}.png", 2] for index in range(24)]  # as many classes, and others
    content["attributes"]["hair"] = [[f"{index:02d}.png", max(0, index - 21)] for index in range(24)]
    (faces / "dataset.json").write_text(json.dumps(content))
    mapping = MappingConfig(z_dim=8, c_dim=3, w_dim=8, num_layers=1)
    synthesis = SynthesisConfig(w_dim=8, img_resolution=16, img_channels=3, channel_base=64, channel_max=8)
    network = tmp_path / "network.safetensors"
    save(network, Generator(GeneratorConfig(mapping, synthesis)))
    subject = open_subject(network, print)
    (metric,) = metrics = choose("fd-vgg", None, against=True)
    images = open_subject(faces, print, attribute="hair")
    drawn = labels_of(Request(metric, subject, MeasureSettings(), images))
    assert drawn is not None
    assert np.bincount(drawn).tolist() == [22, 1, 1]
    with pytest.raises(InvertError, match="no attribute 'skin'"):
        _prepare(Plan(faces, "skin", metrics, 12, "cpu", 1))


@pytest.mark.slow
def test_training_on_an_attribute(faces: Path, invert: Invert, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = ("train", "--data", faces, "--out", run, *SHORT)
    result = invert(*train, "--attribute", "hair")
    assert result.code == 0, result.err
    record = json.loads((run / "settings.json").read_text())
    assert (record["settings"]["classes"], record["data"]["attribute"]) == (3, "hair")
    made = invert("generate", "--network", run / "network.safetensors", "--class", 2, "--seeds", 0, "--out", tmp_path)
    assert made.code == 0, made.err
    # Another attribute is another run.
    other = invert(*train, "--attribute", "glasses")
    assert (other.code, "--attribute: hair, now glasses" in other.err) == (2, True)
    assert "Name one of its attributes (hair, glasses) with --attribute." in invert(*train, "--cond").err
    refused = invert(*train, "--attribute", "skin", "--overwrite")
    assert refused.code == 2
    assert "no attribute 'skin'. There are: 'hair', 'glasses'." in refused.err
    assert "exclude each other" in invert(*train, "--attribute", "hair", "--cond").err
