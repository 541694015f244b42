"""The files made by the published codes: every family gives the published images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generator.files.reading import load
from tests.golden_data import GOLDEN

TOLERANCE = 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "nvidia_ada.pkl",
        "nvidia_tf.pkl",
        "nvidia_tf_stylegan1.pkl",
        "nvidia_stylegan3_t.pkl",
        "nvidia_stylegan3_r.pkl",
        "rosinality.pt",
    ],
)
@torch.no_grad()
def test_images(name: str) -> None:
    network = load(GOLDEN / name)
    with np.load(GOLDEN / f"{Path(name).stem}.expect.npz", allow_pickle=False) as file:
        expected = {key: torch.from_numpy(value) for key, value in file.items()}
    ws = network.generator.mapping_ws(expected["z"])
    wanted = expected["ws"] if "ws" in expected else expected["w"][:, None].expand_as(ws)
    torch.testing.assert_close(ws, wanted, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(network.generator.synthesis(ws, "const"), expected["img"], atol=TOLERANCE, rtol=0)
    if "logits" in expected:
        assert network.discriminator is not None
        logits = network.discriminator(expected["img"])
        torch.testing.assert_close(logits, expected["logits"], atol=TOLERANCE, rtol=0)
    else:
        assert network.discriminator is None


def test_provenance() -> None:
    found = load(GOLDEN / "nvidia_ada.pkl").provenance
    assert found.family == "stylegan2-ada-pytorch"
    assert found.sha256 == found.source_sha256 != found.weights_sha256
    assert found.settings["G"]["synthesis_kwargs"]["channel_max"] == 16
    assert found.warnings == []


def test_loading_leaves_the_random_stream_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(GOLDEN / "nvidia_ada.pkl")
    assert torch.equal(torch.rand(3), expected)


def test_networks_are_ready_to_use() -> None:
    network = load(GOLDEN / "nvidia_ada.pkl")
    assert not network.generator.training
    assert all(parameter.is_contiguous() for parameter in network.generator.parameters())
