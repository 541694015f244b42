"""`invert train-encoder` as a user types it, and the projections that start from what it makes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import invert as package
from invert.api import encoders
from invert.images.target import read_target
from invert.projection.encoder_settings import EncoderSettings
from invert.projection.encoders import read_encoder
from invert.store.npz import read_projection
from tests.cli.conftest import ROOT, Invert

QUICK = ("--steps", 4, "--batch", 4, "--width", 8, "--threads", 1, "--quiet")
PROJECT = ("--lpips", "alex", "--threads", 1, "--quiet", "--noise", "fixed")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, network: Path) -> Path:
    """A folder with a network and its encoder; not to be changed."""
    from invert.cli.main import main

    folder = tmp_path_factory.mktemp("encoder")
    shutil.copy(network, folder / "net.pkl")
    assert main([str(part) for part in ("train-encoder", folder / "net.pkl", *QUICK)]) == 0
    return folder


def test_it_lies_beside_the_network_and_says_what_it_is(case: Path, invert: Invert) -> None:
    path = case / "net.encoder.safetensors"
    found = read_encoder(path)
    info = json.loads(invert("info", case / "net.pkl", "--json").out)
    assert found.weights_sha256 == info["weights_sha256"]
    assert found.trained["steps"] == 4
    assert sorted(one.name for one in case.iterdir()) == ["net.encoder.safetensors", "net.pkl"]
    assert found.network(torch.zeros([2, 3, 32, 32])).shape == (2, 24)


def test_settings_that_are_not_given_are_those_of_an_encoder(network: Path) -> None:
    from invert.commands.train_encoder import train_encoder

    given = train_encoder.make_context("train-encoder", [str(network)]).params
    assert EncoderSettings(**{name: given[name] for name in vars(EncoderSettings())}) == EncoderSettings()


def test_projections_start_from_it(case: Path, invert: Invert, image: Callable[..., Path], tmp_path: Path) -> None:
    one, out = image("one.png"), tmp_path / "out"
    command = ("project", one, "--network", case / "net.pkl", "--out", out, *PROJECT)
    result = invert(*command, "--preset", "fast", "--steps", 0)
    assert result.code == 0, result.err
    fast = read_projection(out / "one.npz")
    assert list(fast.method["encoder"]) == ["sha256"]
    encoder = read_encoder(case / "net.encoder.safetensors")
    with torch.no_grad():
        told = encoder.network(read_target(one, 32, 3).pixels)
    np.testing.assert_allclose(fast.w, told.numpy(), atol=1e-5)
    for start in ("encoder", case / "net.encoder.safetensors"):
        assert invert(*command, "--start", start, "--steps", 0, "--overwrite").code == 0
        found = read_projection(out / "one.npz")
        np.testing.assert_array_equal(found.w, fast.w)
        assert found.method["preset"] == "paper"
    assert invert(*command, "--start", "encoder", "--space", "w+", "--steps", 2, "--overwrite").code == 0
    assert read_projection(out / "one.npz").w.shape == (8, 24)
    result = invert("attribute", one, "--network", case / "net.pkl", "--preset", "fast", "--quiet")
    assert (result.code, "--start encoder is no evidence" in result.err) == (2, True)


def test_encoders_that_cannot_be_used(
    case: Path, invert: Invert, image: Callable[..., Path], network: Path, tmp_path: Path
) -> None:
    one = image("one.png")
    lonely = shutil.copy(network, tmp_path / "lonely.pkl")
    result = invert("project", one, "--network", lonely, "--preset", "fast", "--out", tmp_path / "out", *PROJECT)
    assert result.code == 2
    assert "there is no encoder of this network. Make one: invert train-encoder" in result.err
    other = ROOT / "data" / "networks" / "A.safetensors"
    command = ("project", one, "--network", other, "--out", tmp_path / "out", *PROJECT)
    result = invert(*command, "--start", case / "net.encoder.safetensors")
    assert (result.code, "is the encoder of another network" in result.err) == (2, True)
    result = invert(*command, "--start", other)
    assert (result.code, "is no encoder, or damaged" in result.err) == (5, True)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((case / "net.encoder.safetensors").read_bytes()[:-100])
    assert invert(*command, "--start", cut).code == 5
    result = invert("train-encoder", case / "net.pkl", *QUICK)
    assert (result.code, "exists already" in result.err) == (2, True)


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    case: Path, invert: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "_EVERY", 2)
    out, settings = tmp_path / "a.safetensors", {"steps": 4, "batch": 4, "width": 8, "threads": 1}

    def stop(record: object) -> None:
        if record.step == 3:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        package.train_encoder(case / "net.pkl", out, on_step=stop, **settings)
    assert not out.exists()
    state = tmp_path / "a.safetensors.state"
    other = invert("train-encoder", case / "net.pkl", "-o", out, *QUICK, "--seed", 5)
    assert (other.code, "is of a training with other settings" in other.err) == (2, True)
    messages: list[str] = []
    steps: list[int] = []
    package.train_encoder(
        case / "net.pkl",
        out,
        on_step=lambda record: steps.append(record.step),
        on_message=messages.append,
        **settings,
    )
    assert steps == [3, 4]
    assert messages == ["resumed after step 2"]
    assert out.read_bytes() == (case / "net.encoder.safetensors").read_bytes()
    assert not state.exists()
    state.write_bytes(b"rubbish" * 9)
    damaged = invert("train-encoder", case / "net.pkl", "-o", out, *QUICK, "--overwrite", "--steps", 1)
    assert damaged.code == 0, damaged.err


@pytest.mark.slow
def test_it_learns(case: Path, tmp_path: Path) -> None:
    errors: list[float] = []
    package.train_encoder(
        ROOT / "data" / "networks" / "A.safetensors",
        tmp_path / "a.safetensors",
        steps=24,
        batch=16,
        width=16,
        on_step=lambda record: errors.append(record.w_error),
    )
    assert np.mean(errors[-8:]) < 0.9 * errors[0]
