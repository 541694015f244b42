"""The spectrum of dG/dw and what each resolution adds."""

import numpy as np
import pytest
import torch

from generator.layers import freeze
from invert.errors import UsageError
from invert.metrics.jacobian import effective_rank, jacobian
from invert.metrics.request import Request, open_subject
from invert.metrics.settings import MeasureSettings
from invert.metrics.table import Chosen
from tests.golden_data import GOLDEN, Arrays, load_networks


def test_singular_values_are_the_published_ones() -> None:
    arrays, generator = Arrays("path_length_and_jacobian"), load_networks("skip_resnet")[1].double()
    freeze(generator)
    maps = generator.synthesis.noise_maps("const", 1)
    with torch.inference_mode():
        for row, w in enumerate(arrays["jac_w"]):
            found = jacobian(generator, w, maps)
            assert torch.allclose(torch.linalg.svdvals(found), arrays["jac_singular_values"][row], rtol=1e-9)
            assert found.square().sum().item() == pytest.approx(arrays["jac_frobenius_squared"][row].item(), rel=1e-12)


def test_the_derivative_is_the_difference_of_images() -> None:
    generator = load_networks("resnet_skip")[1].double()
    freeze(generator)
    w = torch.randn(generator.config.mapping.w_dim, dtype=torch.float64)
    maps = generator.synthesis.noise_maps("none", 1)
    with torch.inference_mode():
        found = jacobian(generator, w, maps)[:, 5]
        step = torch.zeros_like(w)
        step[5] = 1e-6
        sides = [
            generator.synthesis(generator.broadcast(at[None]), "none", dtype=torch.float64).flatten()
            for at in (w + step, w - step)
        ]
    assert torch.allclose(found, (sides[0] - sides[1]) / 2e-6, rtol=1e-5, atol=1e-7)


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(np.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3.0)
    assert effective_rank(np.array([[1.0, 0.0], [5.0, 5.0]])) == pytest.approx([1.0, 2.0])


def request_for(kind: str, network: str, **settings: object) -> Request:
    subject = open_subject(GOLDEN / network, lambda _: None)
    return Request(Chosen(kind), subject, MeasureSettings(**settings), keep=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["nvidia_ada.pkl", "nvidia_tf_stylegan1.pkl"])
def test_the_path_length_belongs_to_the_spectrum(network: str) -> None:
    found = request_for("jacobian", network, samples=2).measure()
    spectra = found.arrays["spectra"]
    assert spectra.shape[0] == 2
    assert (np.diff(spectra) <= 0).all()
    # E |J'y|^2 of y ~ N(0, I) is the sum of squares; the mean length is a little less
    frobenius, length = found.values["frobenius"], found.values["path_length"]
    assert frobenius is not None
    assert length is not None
    assert 0.8 * frobenius < length < 1.05 * frobenius
    assert found.value == pytest.approx(effective_rank(spectra).mean())
    assert found.protocol["samples"] == 2


def test_a_resolution_without_colours_has_no_share() -> None:
    request = request_for("resolutions", "nvidia_ada.pkl", samples=32)
    block = request.generator.synthesis.get_submodule("b8.torgb")
    with torch.no_grad():
        block.weight.zero_()
    found = request.measure()
    assert found.values["8 px"] == pytest.approx(0, abs=1e-6)
    assert sum(value or 0 for value in found.values.values()) == pytest.approx(1)


def test_a_generator_without_colours_at_each_resolution_has_no_shares() -> None:
    with pytest.raises(UsageError, match="stylegan generator"):
        request_for("resolutions", "nvidia_tf_stylegan1.pkl").measure()
