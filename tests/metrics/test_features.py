"""Distances between features: closed forms, torch-fidelity's own numbers, bad input."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from safetensors.torch import save_file

import invert
from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import network_bytes
from generator.files.reading import load
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.errors import InvertError
from invert.metrics import features
from invert.metrics import weights as known_weights
from invert.metrics.drawing import Drawing
from invert.metrics.features import fidelity, register
from invert.metrics.result import Measured
from invert.metrics.table import choose
from invert.projection.perceptual import Perceptual
from tests.golden_data import GOLDEN

NETWORK = GOLDEN / "nvidia_ada.pkl"  # 32 px, 3 channels
QUICK: dict[str, Any] = {"device": "cpu", "threads": 1}

pytestmark = pytest.mark.usefixtures("threads")


def folder(path: Path, count: int, *, seed: int, side: int = 32, channels: int = 3, low: int = 0) -> Path:
    path.mkdir()
    rng = np.random.RandomState(seed)
    for index in range(count):
        pixels = rng.randint(low, 256, [side // 8, side // 8, channels], np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels.squeeze()).save(path / f"{index:03d}.png")
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("images")
    return folder(root / "a", 24, seed=0), folder(root / "b", 20, seed=1, low=60)


def measured(*arguments: Any, **others: Any) -> dict[str, Measured]:
    return {one.metric: one for one in invert.measure(*arguments, **{**QUICK, **others})}


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    library = fidelity("metric_fid")
    # exact moments: a whitened sample, moved and scaled
    sample = np.random.RandomState(0).randn(400, 3)
    sample = (sample - sample.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(sample, rowvar=False))).T
    scales, shift = np.array([1.0, 2.0, 0.5]), np.array([0.0, 3.0, 4.0])
    statistics = [library.fid_features_to_statistics(torch.from_numpy(x)) for x in (sample, sample * scales + shift)]
    found = library.fid_statistics_to_metric(*statistics, verbose=False)[library.KEY_METRIC_FID]
    assert found == pytest.approx(25 + np.square(scales - 1).sum(), rel=1e-9)


@pytest.mark.slow
def test_two_folders_have_the_numbers_of_torch_fidelity(folders: tuple[Path, Path]) -> None:
    found = measured(folders[0], "fd-vgg,kid-vgg,pr-vgg", against=folders[1])
    register()
    expected = torch_fidelity.calculate_metrics(
        input1=str(folders[0]),
        input2=str(folders[1]),
        feature_extractor="invert-vgg",
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=20,
        rng_seed=0,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    pairs = {
        "frechet_inception_distance": found["fd-vgg"].value,
        "kernel_inception_distance_mean": found["kid-vgg"].value,
        "precision": found["pr-vgg"].values["precision"],
        "recall": found["pr-vgg"].values["recall"],
    }
    for name, value in pairs.items():
        assert value == pytest.approx(expected[name], rel=1e-6), name
    protocol = found["fd-vgg"].protocol
    assert (protocol["images"], protocol["against_images"]) == (24, 20)
    assert protocol["features"] == "invert-vgg/relu4_3"
    bundled = Path(invert.__file__).parent / "weights" / "lpips_vgg.safetensors"
    assert protocol["features_sha256"] == hashlib.sha256(bundled.read_bytes()).hexdigest()
    json.dumps(found["fd-vgg"].record(), allow_nan=False)


def test_images_are_nowhere_from_themselves_and_the_kernel_distance_may_be_negative(
    folders: tuple[Path, Path],
) -> None:
    said: list[str] = []
    found = measured(folders[0], "fd-alex,kid-alex,pr-alex", against=folders[0], on_warning=said.append)
    distance, kernel = found["fd-alex"].value, found["kid-alex"].value
    assert distance == pytest.approx(0, abs=1e-3)
    assert kernel is not None
    assert kernel < 0
    assert found["pr-alex"].values["precision"] == found["pr-alex"].values["recall"] == 1
    assert [line for line in said if "24 images is too large" in line]


def test_features_are_kept_by_the_pixels_they_are_of(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))
    copy = folder(tmp_path / "copy", 20, seed=1, low=60)
    first = measured(NETWORK, "fd-alex", against=folders[1], images=20)
    monkeypatch.setattr(Perceptual, "features", None)  # nothing is computed any more
    again = measured(NETWORK, "fd-alex", against=copy, images=20)
    assert first["fd-alex"].value == again["fd-alex"].value
    monkeypatch.undo()
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path / "cache"))
    # the same names and sizes, other pixels
    changed = np.asarray(Image.open(copy / "003.png")).copy()
    changed[:16] = 0
    Image.fromarray(changed).save(copy / "003.png")
    other = measured(NETWORK, "fd-alex", against=copy, images=20)
    assert other["fd-alex"].value != first["fd-alex"].value


def test_samples_follow_the_seed_and_truncation(folders: tuple[Path, Path]) -> None:
    def value(**settings: Any) -> float | None:
        found = measured(NETWORK, "fd-alex", against=folders[1], images=20, keep=False, **settings)
        return found["fd-alex"].value

    assert value() == value()
    assert len({value(), value(seed=1), value(psi=0.5)}) == 3


def test_labels_of_a_conditional_network_are_drawn_from_the_data(tmp_path: Path) -> None:
    synthesis = SynthesisConfig(w_dim=8, img_resolution=32, img_channels=3, channel_base=64, channel_max=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(GeneratorConfig(MappingConfig(8, 3, 8, 1), synthesis))
    network, images = tmp_path / "conditional.safetensors", folder(tmp_path / "images", 12, seed=0)
    network.write_bytes(network_bytes(generator, settings={}))
    labels = [[f"{index:03d}.png", 2 if index % 4 else 0] for index in range(12)]  # none of class 1
    (images / "dataset.json").write_text(json.dumps({"labels": labels}))
    found = measured(network, "fd-alex", against=images, images=12)["fd-alex"]
    assert found.protocol["labels"] == "as in the data set"
    alone = measured(network, "pr-alex", against=network, images=12)["pr-alex"]
    assert alone.protocol["labels"] == "each class alike"
    drawn = Drawing(generator, 0, np.array([row[1] for row in labels])).labels(400)
    assert drawn is not None
    assert drawn.mean(dim=0).tolist() == pytest.approx([0.25, 0, 0.75], abs=0.08)


def test_a_file_of_weights_gives_features_of_its_own(folders: tuple[Path, Path], tmp_path: Path) -> None:
    own = Perceptual("alex")
    names = own.backbone_shapes()
    state = dict(zip(names, own.model.net.state_dict().values(), strict=True))
    path, changed = tmp_path / "same.safetensors", tmp_path / "changed.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    save_file({name: (value * 1.5).contiguous() for name, value in state.items()}, changed)

    def value(name: str, file: Path | None = None) -> float | None:
        return measured(folders[0], name, against=folders[1], features=file)[name].value

    assert value("fd-file", path) == pytest.approx(value("fd-alex"), rel=1e-6)
    assert value("fd-file", changed) != pytest.approx(value("fd-alex"), rel=1e-2)


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("few", "metrics-few", "there are 5 images"),
        ("grey", "metrics-shape", "1 channel"),
        ("large", "metrics-shape", "64 px"),
        ("inception", "weights-missing", known_weights.INCEPTION.sha256),
        ("other weights", "weights-other", "sha256"),
        ("pickle", "features-file", "no safetensors"),
        ("foreign", "features-file", "features.0.weight"),
        ("nowhere", "no-input", "no such file"),
    ],
)
def test_bad_input_is_named(
    case: str, code: str, words: str, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVERT_WEIGHTS", raising=False)
    against, name, more = folders[1], "fd-alex", dict[str, Any]()
    if case == "few":
        against = folder(tmp_path / "few", 5, seed=0)
    elif case == "grey":
        against = folder(tmp_path / "grey", 20, seed=0, channels=1)
    elif case == "large":
        against = folder(tmp_path / "large", 20, seed=0, side=64)
    elif case == "nowhere":
        against = tmp_path / "nowhere"
    elif case == "inception":
        name = "fid"
    else:
        file = tmp_path / known_weights.INCEPTION.names[0]
        file.write_bytes(b"\x80\x02}q\x00.")
        if case == "foreign":
            save_file({"a": torch.zeros(1)}, file)
        name, more = ("fid", {"weights": tmp_path}) if case == "other weights" else ("fd", {"features": file})
    with pytest.raises(InvertError, match=words) as caught:
        measured(NETWORK, name, against=against, images=20, **more)
    assert caught.value.code == code


def test_a_network_without_finite_weights_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    generator = load(NETWORK).generator
    with torch.no_grad():
        generator.synthesis.get_submodule("b8.torgb").weight[0] = torch.nan
    path = tmp_path / "nan.safetensors"
    path.write_bytes(network_bytes(generator, settings={}))
    with pytest.raises(InvertError, match="finite"):
        measured(path, "fd-alex", against=folders[0])


@pytest.mark.long
def test_inception_is_the_users_own_file(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random weights in place of the published ones, whose hash they are said to have."""
    library = fidelity("feature_extractor_inceptionv3")
    with monkeypatch.context() as patch, torch.random.fork_rng():
        patch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        random = library.FeatureExtractorInceptionV3("random", ["2048"])
    path = tmp_path / known_weights.INCEPTION.names[1]
    torch.save(random.state_dict(), path)
    data = path.read_bytes()
    renamed = dataclasses.replace(known_weights.INCEPTION, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    monkeypatch.setattr(features, "INCEPTION", renamed)
    monkeypatch.setenv("INVERT_WEIGHTS", str(tmp_path))
    found = measured(folders[0], "fid,kid,pr,is", against=folders[1], images=10)
    assert list(found) == ["fid", "kid", "pr", "is"]
    assert found["fid"].protocol["features"] == "inception-v3-compat/2048"
    assert found["fid"].protocol["features_sha256"] == renamed.sha256
    score = found["is"].value
    assert score is not None
    assert score >= 1


def test_names_of_papers_are_for_features_of_papers() -> None:
    def names(text: str | None, features: str | None = None, against: bool = True) -> list[str]:
        return [one.name for one in choose(text, features, against)]

    assert names(None) == ["fd-vgg", "kid-vgg", "pr-vgg"]
    assert names(None, against=False) == ["ppl-wend"]
    assert names("fid,kid,pr,is") == ["fid", "kid", "pr", "is"]
    assert names("fid,kid", "vgg") == ["fd-vgg", "kid-vgg"]
    assert names("fid,fid,ppl-zend,fd-alex", "file") == ["fd-file", "ppl-zend", "fd-alex"]
    for text, against in (("fid", False), ("quality", True), ("is-vgg", True), ("fd-file", True), ("ppl-vgg", True)):
        with pytest.raises(InvertError):
            names(text, against=against)
