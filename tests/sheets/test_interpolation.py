"""slerp and lerp, and the frames between latents."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from invert.sheets.interpolation import Strip, blend_maps, blend_motions, frames_between, slerp
from invert.sheets.sources import Source


def vectors(count: int, size: int = 16) -> list[Tensor]:
    return list(torch.randn([count, size], generator=torch.Generator().manual_seed(0)))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_slerp_begins_and_ends_at_the_directions() -> None:
    a, b = vectors(2)
    close(slerp(a, b, 0), a.double() / a.double().norm())
    close(slerp(a, b, 1), b.double() / b.double().norm())


@pytest.mark.parametrize("t", [0, 0.01, 0.3, 0.5, 0.99, 1])
def test_slerp_moves_evenly_on_the_unit_sphere(t: float) -> None:
    a, b = vectors(2)
    point = slerp(a, b, t)
    assert float(point.norm()) == pytest.approx(1, abs=1e-12)
    first, last = slerp(a, b, 0), slerp(a, b, 1)
    whole = math.acos(float(first @ last))
    assert math.acos(min(1.0, float(first @ point))) == pytest.approx(t * whole, abs=1e-7)


def test_slerp_at_half_is_the_normalised_mean() -> None:
    a, b = (v.double() for v in vectors(2))
    mean = a / a.norm() + b / b.norm()
    close(slerp(a, b, 0.5), mean / mean.norm())


def test_slerp_in_the_plane() -> None:
    close(
        slerp(torch.tensor([2.0, 0]), torch.tensor([0, 9.0]), 1 / 3),
        torch.tensor([0.75**0.5, 0.5], dtype=torch.float64),
    )


def test_slerp_of_near_and_same_directions() -> None:
    (a,) = (v.double() for v in vectors(1))
    close(slerp(a, 3 * a, 0.4), a / a.norm())
    near = a * (1 + 1e-13)
    assert slerp(a, near, 0.5).isfinite().all()


@pytest.mark.parametrize("b", [-1.0, 0.0, math.nan])
def test_slerp_without_a_way(b: float) -> None:
    (a,) = vectors(1)
    with pytest.raises(ValueError, match=r"opposite|no direction"):
        slerp(a, b * a, 0.5)


def sources(count: int) -> list[Source]:
    return [Source(str(i), v.expand(1, 3, -1) + i, v[None], i) for i, v in enumerate(vectors(count))]


def test_lerp_is_straight_and_its_keys_are_exact() -> None:
    first, last = sources(2)
    frames = list(frames_between([first, last], 5, "w", lambda z: z))
    assert [frame.t for frame in frames] == [0, 0.25, 0.5, 0.75, 1]
    assert frames[0].ws is first.ws
    assert frames[-1].ws is last.ws
    torch.testing.assert_close(frames[1].ws, 0.75 * first.ws + 0.25 * last.ws)


def test_z_is_mapped_with_its_length() -> None:
    first, last = sources(2)
    seen: list[Tensor] = []
    frames = list(frames_between([first, last], 3, "z", lambda z: seen.append(z) or z))  # type: ignore[func-returns-value]
    assert frames[0].ws is first.ws
    (z,) = seen
    assert (z.shape, z.dtype) == ((1, 16), torch.float32)
    assert first.z is not None
    assert last.z is not None
    assert float(z.norm()) == pytest.approx(float(first.z.norm() + last.z.norm()) / 2, rel=1e-6)


def test_every_key_is_passed_once() -> None:
    one, two, three = sources(3)
    frames = list(frames_between([one, two, three, one], 4, "w", lambda z: z))
    assert len(frames) == 10
    assert [frame.segment for frame in frames] == [0] * 4 + [1] * 3 + [2] * 3
    assert [frames[i].ws is key.ws for i, key in ((0, one), (3, two), (6, three), (9, one))] == [True] * 4
    assert len(list(frames_between([one, two], 2, "w", lambda z: z))) == 2


def test_a_smooth_way_is_slow_at_its_keys() -> None:
    first, last = sources(2)
    frames = list(frames_between([first, last], 5, "w", lambda z: z, easing="smooth"))
    assert [frame.t for frame in frames] == pytest.approx([0, 5 / 32, 0.5, 27 / 32, 1])
    torch.testing.assert_close(frames[1].ws, first.ws.lerp(last.ws, 5 / 32))
    strip = Strip(1, 5)
    for frame in frames:
        strip.add(frame, np.zeros([4, 4, 1], np.uint8))
    assert strip.grid(["a", "b"], "w").columns == ["0", "0.156", "0.5", "0.844", "1"]


def test_noise_maps_keep_their_roughness_on_the_way() -> None:
    first, last = sources(2)
    a, b = (np.random.RandomState(i).randn(64, 64).astype(np.float32) for i in range(2))
    frames = list(frames_between([first, last], 3, "w", lambda z: z, maps=[{"b64.conv1": a}, {"b64.conv1": b}]))
    maps = [frame.source.noise["b64.conv1"] for frame in frames]
    assert maps[0] is a
    assert maps[2] is b
    assert float(maps[1].std()) == pytest.approx(1, abs=0.05)
    assert maps[1].dtype == np.float32
    np.testing.assert_allclose(maps[1], (a + b) / 2**0.5, atol=1e-6)
    np.testing.assert_allclose(blend_maps({"x": a}, {"x": a}, 1)["x"], a)


def test_a_projection_has_no_z() -> None:
    one, two = sources(2)
    with pytest.raises(ValueError, match="no z"):
        list(frames_between([one, Source("p", two.ws, None, 0)], 3, "z", lambda z: z))


@pytest.mark.parametrize(("steps", "columns"), [(2, 2), (3, 3), (11, 11), (12, 11), (61, 11)])
def test_a_strip_shows_both_ends_of_each_segment(steps: int, columns: int) -> None:
    keys = sources(3)
    strip = Strip(2, steps)
    frames = list(frames_between(keys, steps, "w", lambda z: z))
    images: list[Any] = [torch.full([4, 4, 1], i, dtype=torch.uint8).numpy() for i in range(len(frames))]
    for frame, image in zip(frames, images, strict=True):
        strip.add(frame, image)
    grid = strip.grid(["a", "b", "c"], "w")
    assert [len(row) for row in grid.cells] == [columns] * 2
    assert grid.cells[0][0] is images[0]
    assert grid.cells[0][-1] is grid.cells[1][0] is images[steps - 1]
    assert grid.cells[1][-1] is images[-1]
    assert (grid.columns[0], grid.columns[-1], len(grid.columns)) == ("0", "1", columns)
    assert grid.rows == ["a\nto b", "b\nto c"]


def test_motions_change_evenly_between_two_latents() -> None:
    assert blend_motions(None, None, 0.5) is None
    assert blend_motions((0.2, 0.0, 10.0), None, 0.25) == pytest.approx((0.15, 0.0, 7.5))
    assert blend_motions((0.2, 0.0, 10.0), (0.4, -0.1, 30.0), 1.0) == pytest.approx((0.4, -0.1, 30.0))
