"""Find the explanation of an image with the least Q, by Gauss-Newton steps with Levenberg-Marquardt damping.

References: Levenberg 1944; Marquardt 1963; Nocedal and Wright 2006, section 10.3.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from invert.projection.likelihood import ImageModel, Linearisation, Point, State, state_of

__all__ = ["minimise"]

_FIRST, _LEAST, _RATIO = 24.0, 0.5, 2.0
"""Deviation in levels that is added to the model's own at first, the least one, and by how much it falls each time.
Without it the first steps go to latents far from N(0, I), out of which no small steps lead."""

_FIRST_AT_LEAST = 8.0  # levels, however near the start is
_NO_MATTER = 0.25  # share of the model's own variance below which an added one is left out

_LADDER = 8  # dampings that are tried at once, each ten times the one before
_CHORDS = 5  # steps with one Jacobian, which costs as much as 24 images
_MORE_DAMPING = 1e3
_PATIENCE = 1  # idle iterations before the end: the Jacobian of the next one may help
_SHARES = (1.0, 0.3)  # of a step in latents and noise: damping does not shorten that in noise
_LEAST_GAIN = 1e-3


@torch.no_grad()
def minimise(model: ImageModel, start: Point, iterations: int) -> Iterator[State]:
    """Yield the state after each iteration, at least one; the last has a reason.

    Args:
        model: The image and the network, for one image.
        start: One candidate.
        iterations: How many Jacobians are taken at most.
    """
    state = state_of(model, start, 0)
    deviation = min(_FIRST, max(_FIRST_AT_LEAST, state.rms))
    damping, idle = 1.0, 0
    for number in range(1, iterations + 1):
        more = deviation**2
        if deviation < _LEAST or more < _NO_MATTER * model.expected_rms**2:
            more = 0.0
        before = float(model.q(state.point, more))
        if not math.isfinite(before):
            break
        point, q, damping = _improve(model, state.point, before, damping, more)
        idle = idle + 1 if not more and before - q <= _LEAST_GAIN * before else 0
        is_done = not more and (q <= model.pixels or idle > _PATIENCE)
        state = state_of(model, point, number, "converged" if is_done else "iterations" if number == iterations else "")
        yield state
        if state.reason:
            return
        # Where the image is met better than was allowed for, less is allowed.
        deviation = min(deviation / _RATIO, state.rms)
    yield state_of(model, state.point, state.iterations, "iterations" if iterations == 0 else "not-finite")


def _improve(model: ImageModel, point: Point, q: float, damping: float, more: float) -> tuple[Point, float, float]:
    """Return a better point, its Q and the damping that led there, from one Jacobian and a few images."""
    linear = model.linearise(point, more)
    if not bool(linear.latents.isfinite().all()):
        return point, q, damping
    steps = _Steps(linear)
    residual = linear.residual
    for chord in range(_CHORDS):
        dampings = damping * 10.0 ** torch.arange(-_LADDER // 2, _LADDER // 2, dtype=torch.float64)
        candidates = steps.candidates(point, residual, dampings)
        found = model.q(candidates, more).nan_to_num(torch.inf)
        best = int(found.argmin())
        if not found[best] < q:
            # the next Jacobian begins with shorter steps where this one led nowhere
            damping *= 1.0 if chord else _MORE_DAMPING
            break
        point, q, damping = candidates[best], float(found[best]), float(dampings[best % _LADDER])
        residual = model.residual(point, more)[0]
    return point, q, min(max(damping, 1e-6), 1e8)


class _Steps:
    """The steps that one linearisation leads to: one decomposition serves all dampings.

    Where the noise N of the image is unknown it is integrated out of the search for u: the residual has the covariance
    I + N'N there, and the most probable noise follows from u and what u leaves. The latents alone are damped.
    """

    def __init__(self, linear: Linearisation) -> None:
        self._noise = linear.noise
        self._jacobian = linear.latents  # [K, P]
        self._root: Tensor | None = None
        if linear.noise is not None:
            covariance = (linear.noise.T @ linear.noise).double()  # [P, P]
            covariance.diagonal().add_(1.0)
            self._root = torch.linalg.cholesky(covariance)
            self._jacobian = self._whiten(linear.latents.T).T
        identity = torch.eye(len(self._jacobian), dtype=torch.float64, device=self._jacobian.device)
        self._values, self._vectors = torch.linalg.eigh(self._jacobian @ self._jacobian.T + identity)

    def candidates(self, point: Point, residual: Tensor, dampings: Tensor) -> Point:
        """Return a candidate for each damping `[L]`: (J'J + I + damping I) step = J'r - u, by the residual `[P]`."""
        if self._noise is not None and point.noise is not None:
            # as if there were no noise yet, to be found as a whole
            residual = residual + (point.noise[0].float() @ self._noise).double()
        residual = self._whiten(residual[:, None])[:, 0]
        downhill = (self._jacobian @ residual - point.u[0]) @ self._vectors
        steps = (downhill / (self._values + dampings.to(downhill)[:, None])) @ self._vectors.T  # [L, K]
        if self._noise is None or self._root is None or point.noise is None:
            return Point(point.u + steps)
        left = residual - steps @ self._jacobian  # [L, P]
        left = torch.linalg.solve_triangular(self._root.T, left.T, upper=True)  # [P, L]
        noise = (self._noise @ left.float()).T.double() - point.noise
        return Point(
            torch.cat([point.u + share * steps for share in _SHARES]),
            torch.cat([point.noise + share * noise for share in _SHARES]),
        )

    def _whiten(self, columns: Tensor) -> Tensor:
        """Return columns `[P, N]` by the root of the covariance."""
        return columns if self._root is None else torch.linalg.solve_triangular(self._root, columns, upper=False)
