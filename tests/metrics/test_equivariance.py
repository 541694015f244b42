"""EQ-T and EQ-R: images are moved rightly, and networks are told apart by how they follow a motion."""

import math
from pathlib import Path

import pytest
import torch

from generator.motion import inverse_motion
from invert.errors import UsageError
from invert.metrics.equivariance import _moved
from invert.metrics.request import Request, open_subject
from invert.metrics.result import Measured
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import Chosen
from tests.cli.test_stylegan3 import written
from tests.golden_data import GOLDEN


def waves(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (5 * x + 3 * y).sin() + (4 * y - 7 * x).cos()


@pytest.mark.parametrize(
    ("motion", "tolerance"),
    [((0.125, -0.0625, 0.0), 1e-9), ((0.013, 0.1, 0.0), 1e-2), ((0.0, 0.0, 90.0), 1e-9), ((0.0, 0.0, 27.0), 1.5e-2)],
)
def test_images_are_moved_as_the_plane_is(motion: tuple[float, float, float], tolerance: float) -> None:
    side = 32
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    angle = math.radians(motion[2])
    # counter-clockwise as one sees it, with y downwards
    back_x, back_y = x - motion[0], y - motion[1]
    from_x = math.cos(angle) * back_x - math.sin(angle) * back_y
    from_y = math.sin(angle) * back_x + math.cos(angle) * back_y
    moved, known = _moved(waves(x, y)[None, None], inverse_motion(torch.tensor([motion], dtype=torch.float64)), 0)
    assert 0.4 < known.double().mean() < 1.001
    assert (moved[0, 0] - waves(from_x, from_y))[known[0]].abs().max() < tolerance


def measured(network: Path, kind: str) -> Measured:
    request = Request(Chosen(kind), open_subject(network, lambda _: None), MeasureSettings(samples=6), keep=False)
    return request.measure()


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    rotating = {"conv_kernel": 1, "use_radial_filters": True}
    return {"t": written(folder / "t.safetensors"), "r": written(folder / "r.safetensors", **rotating)}


def test_both_follow_shifts_and_one_follows_rotations(networks: dict[str, Path]) -> None:
    found = {(name, kind): measured(path, kind) for name, path in networks.items() for kind in ("eqt-int", "eqr")}
    psnr = {key: one.values["psnr"] or 0.0 for key, one in found.items()}
    assert min(psnr["t", "eqt-int"], psnr["r", "eqt-int"]) > 35
    assert psnr["r", "eqr"] > psnr["t", "eqr"] + 6
    assert found["t", "eqr"].protocol["samples"] == 6
    assert measured(networks["t"], "eqt-frac").values["psnr"] == pytest.approx(psnr["t", "eqt-int"], abs=25)


def test_other_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="eqr moves the input of a StyleGAN3 network, and this network is a 'skip'"):
        measured(GOLDEN / "nvidia_ada.pkl", "eqr")
