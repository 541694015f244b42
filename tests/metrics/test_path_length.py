"""Path lengths: the published numbers, closed forms, and what must not change them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generator.networks import Generator
from invert.metrics.parts import Parts
from invert.metrics.path_length import Pairs, compared, path_images, path_of, slerp, spread_mean
from invert.metrics.request import Request, open_subject
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import Chosen
from invert.projection.perceptual import Perceptual
from tests.golden_data import GOLDEN, Arrays, load_networks

NETWORK = GOLDEN / "nvidia_ada.pkl"


@pytest.fixture(scope="module")
def golden() -> tuple[Arrays, Generator]:
    return Arrays("path_length_and_jacobian"), load_networks("skip_resnet")[1].double()


@pytest.fixture(scope="module")
def perceptual() -> Perceptual:
    return Perceptual("vgg")


@pytest.mark.parametrize("kind", ["ppl-zfull", "ppl-zend", "ppl-wfull", "ppl-wend"])
@pytest.mark.parametrize("crop", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_distances_of_pairs_are_the_published_ones(
    kind: str, crop: bool, golden: tuple[Arrays, Generator], perceptual: Perceptual
) -> None:
    arrays, generator = golden
    path, epsilon, pairs = path_of(kind), float(arrays["eps"]), 3
    t = arrays["t"][:pairs, None] * path.full
    with torch.inference_mode():
        images = path_images(generator, path, (arrays["z0"][:pairs], arrays["z1"][:pairs]), t, epsilon)
        one, other = (compared(image, crop) for image in images)
        found = perceptual.distance(one, perceptual.prepare(other, torch.float64))[0] / epsilon**2
    name = f"d_{path.space}_{'full' if path.full else 'end'}{'_crop' if crop else ''}"
    assert found.dtype == torch.float64
    assert torch.allclose(found, arrays[name][:pairs], rtol=1e-8)


def test_the_mean_leaves_out_what_lies_beyond_the_percentiles() -> None:
    distances = np.concatenate([np.arange(1.0, 200.0), [1e9]])  # 200 values
    # the 1st percentile, lower: the second value; the 99th, higher: the last but one
    assert spread_mean(distances) == pytest.approx(np.arange(2.0, 200.0).mean())
    assert spread_mean(np.array([3.0])) == 3.0


def test_a_great_circle_keeps_its_length_and_its_speed() -> None:
    a, b = torch.randn(2, 4, 8, dtype=torch.float64)
    middle = slerp(a, b, torch.full([4, 1], 0.5, dtype=torch.float64))
    assert torch.allclose(middle.norm(dim=1), torch.ones(4, dtype=torch.float64))
    unit = torch.nn.functional.normalize
    assert torch.allclose(middle, unit(unit(a, dim=1) + unit(b, dim=1), dim=1))
    assert torch.allclose(slerp(a, b, torch.zeros(4, 1, dtype=torch.float64)), unit(a, dim=1))


def test_a_linear_generator_has_the_length_of_its_matrix() -> None:
    """With G(w) = A w and d = |x - y|^2 the distance over epsilon^2 is |A (w1 - w0)|^2, wherever on the path."""
    rng = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 6, generator=rng, dtype=torch.float64)

    class Linear(torch.nn.Module):
        def mapping_ws(self, z: torch.Tensor, labels: None, psi: float) -> torch.Tensor:
            return z[:, None]

        def synthesis(self, ws: torch.Tensor, noise: str, dtype: torch.dtype) -> torch.Tensor:
            return ws[:, 0] @ matrix.T

    ends = torch.randn(2, 5, 6, generator=rng, dtype=torch.float64)
    t, epsilon = torch.rand(5, 1, generator=rng, dtype=torch.float64), 1e-4
    one, other = path_images(Linear(), path_of("ppl-wfull"), tuple(ends), t, epsilon)  # type: ignore[arg-type]
    expected = ((ends[1] - ends[0]) @ matrix.T).square().sum(dim=1)
    assert torch.allclose((one - other).square().sum(dim=1) / epsilon**2, expected, rtol=1e-9)


def test_the_crop_is_the_box_of_aligned_faces_and_large_images_are_averaged() -> None:
    rows = torch.arange(32.0)[:, None].expand(32, 32)
    images = torch.stack([rows, rows.T])[None]
    cropped = compared(images, crop=True)
    assert cropped.shape == (1, 2, 16, 16)
    assert cropped[0, 0, :, 0].tolist() == list(range(12, 28))  # 3/8 to 7/8
    assert cropped[0, 1, 0].tolist() == list(range(8, 24))  # 2/8 to 6/8
    assert compared(torch.rand(1, 1, 1024, 1024), crop=False).shape[-1] == 256
    assert compared(torch.rand(1, 1, 1024, 1024), crop=True).shape[-1] == 128


def request_for(**settings: object) -> Request:
    subject = open_subject(NETWORK, lambda _: None)
    return Request(Chosen("ppl-wend"), subject, MeasureSettings(**{"pairs": 10, **settings}), keep=False)  # type: ignore[arg-type]


def test_pairs_do_not_depend_on_how_many_are_computed_together() -> None:
    request = request_for()
    pairs = Pairs(request, request.generator.double(), path_of("ppl-wfull"), 0, 4)
    with torch.inference_mode():
        together = pairs.images(slice(0, 4))
        alone = pairs.images(slice(2, 3))
    assert torch.allclose(together[0][2:3], alone[0], atol=1e-12)
    assert not torch.allclose(together[0][1:2], together[0][2:3], atol=1e-2)


@pytest.mark.slow
def test_a_smaller_epsilon_gives_the_same_length_and_float32_nearly() -> None:
    measured = {
        key: request_for(**changes).measure().value
        for key, changes in (
            ("usual", {}),
            ("half", {"epsilon": 5e-5}),
            ("single", {"precision": "float32"}),
        )
    }
    usual = measured["usual"]
    assert usual is not None
    assert measured["half"] == pytest.approx(usual, rel=1e-3)
    assert measured["single"] == pytest.approx(usual, rel=0.05)


def test_parts_that_were_kept_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path))
    calls = []

    def get(about: str, keep: bool = True) -> None:
        def compute() -> np.ndarray:
            calls.append(about)
            return np.zeros(3)

        Parts({"about": about}, device="cpu", keep=keep).get({"first": 0}, compute, np.float64, (3,))

    get("a")
    get("a")
    get("b")
    get("c", keep=False)
    get("c", keep=False)
    assert calls == ["a", "b", "c", "c"]
