"""Find the explanation of an image with the least Q, by Gauss-Newton steps with Levenberg-Marquardt damping.

A Jacobian costs as much as a hundred images. So each serves several steps, and is corrected after each by what the step
has shown (Broyden 1965); and a search that leads nowhere ends early, as that for the image of another origin does.

References: Levenberg 1944; Marquardt 1963; Broyden 1965; Nocedal and Wright 2006, sections 10.3 and 11.1.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from invert.projection.likelihood import ImageModel, Linearisation, Point, Slopes, State, state_of

__all__ = ["minimise"]

_FIRST, _LEAST, _RATIO, _RATIO_WITH_NOISE = 24.0, 0.5, 1.5, 3.0
"""Deviation in levels that is added to the model's own at first, the least one, and by how much it falls each time.
Without it the first steps go to latents far from N(0, I), out of which no small steps lead."""

_FIRST_AT_LEAST = 8.0  # levels, however near the start is
_ROUGH = 0.4  # share of the difference below which no deviation falls at once where noise is searched
_NO_MATTER = 0.25  # share of the model's own variance below which an added one is left out

_LADDER = 6  # dampings that are tried at once, each ten times the one before
_CHORDS = 6  # steps with one Jacobian
_TRIAL, _HOPELESS = 2, 0.85  # after so many of them, the share of the difference that is too much left to go on
_MORE_DAMPING = 1e3
_SHARES = (1.0, 0.3)  # of a step in latents and noise: damping does not shorten that in noise
_LEAST_GAIN = 1e-3

_EXPLAINED = 1.3  # times as large as the number of pixels: Q of an image that is explained
_PATIENCE = 2  # stalls before the end: the Jacobian of the next iteration may help
_STALLED = ((8.0, 0.95, 1), (12.0, 0.75, 1), (math.inf, 0.75, 2))
"""Up to which whitened difference, which share of it an iteration leaves at least where the search has stalled, and for
how many that counts: the way of an own image may be long at its end, but not at its beginning."""

_STALLED_IN_ROUGH = ((12.0, 0.85, 1), (math.inf, 0.75, 2))
"""The same where so much is expected to differ, as after a compression, that the last of the way does not matter."""

_ROUGH_LEVELS = 2.0  # root mean squared difference in levels that is expected there, at least

_STALLED_WITH_NOISE = ((12.0, 0.85, 1), (math.inf, 0.7, 2))
"""The same where noise is searched, which can explain much: such a search begins near its end, and is dear."""


@torch.no_grad()
def minimise(model: ImageModel, state: State, iterations: int, slopes: Slopes | None = None) -> Iterator[State]:
    """Yield the state after each iteration, at least one; the last has a reason.

    Args:
        model: The image and the network, for one image.
        state: Where the search begins.
        iterations: How many Jacobians are taken at most.
        slopes: Those of the start, where they are known.
    """
    search = _Search(model, state, min(_FIRST, max(_FIRST_AT_LEAST, state.rms)))
    state = replace(state, iterations=0)
    rows = _STALLED_IN_ROUGH if model.expected_rms >= _ROUGH_LEVELS else _STALLED
    rows = rows if model.maps is not None else _STALLED_WITH_NOISE
    idle = stalls = 0
    for number in range(1, iterations + 1):
        before = search.difference
        if not math.isfinite(before):
            break
        gain = search.go(slopes)
        slopes = None
        is_explained = search.q <= _EXPLAINED * model.pixels
        idle = idle + 1 if not search.more and gain <= _LEAST_GAIN else 0
        _, share, weight = next(row for row in rows if not search.difference > row[0])
        stalls = stalls + weight if search.difference > share * before else 0
        reason = "iterations" if number == iterations else ""
        if stalls >= _PATIENCE:
            reason = "stalled"
        if is_explained or idle >= _PATIENCE:
            reason = "converged"
        state = state_of(model, search.point, number, reason)
        yield state
        if reason:
            return
    yield replace(state, reason="iterations" if iterations == 0 else "not-finite")


class _Search:
    """Where a search is, and the variance that is added to the model's own there."""

    def __init__(self, model: ImageModel, state: State, deviation: float) -> None:
        self._model, self.point, self._residual = model, state.point, state.residual
        self._deviation, self._damping = deviation, 1.0

    @property
    def more(self) -> float:
        """The variance that is added, in squared levels."""
        more = self._deviation**2
        return 0.0 if self._deviation < _LEAST or more < _NO_MATTER * self._model.expected_rms**2 else more

    @property
    def difference(self) -> float:
        """Root mean square of the whitened residual: about 1 at the truth."""
        return float((self._residual * self._model.scale()).square().mean().sqrt())

    @property
    def q(self) -> float:
        """Q without what is added."""
        return self._q(0.0)

    def _q(self, more: float) -> float:
        return self._model.q_of(self._residual, self.point, more)

    def go(self, slopes: Slopes | None) -> float:
        """Take the steps of one Jacobian, and return the share of Q that they won, at the last variance added."""
        linear = self._model.linearise(self.point, slopes)
        if not bool(linear.unknowns.isfinite().all()):
            return 0.0
        steps, began = _Steps(linear), self.difference
        gain = 0.0
        for chord in range(_CHORDS):
            more = self.more
            before = self._q(more)
            if not self._step(steps, more):
                # the next Jacobian begins with shorter steps where this one led nowhere
                self._damping = min(self._damping * (1.0 if chord else _MORE_DAMPING), 1e8)
                break
            gain = 1 - self._q(more) / before
            if chord == _TRIAL - 1 and self.difference > _HOPELESS * began:
                break
            if not more and (gain <= _LEAST_GAIN or self.q <= _EXPLAINED * self._model.pixels):
                break
            if linear.noise is None:
                self._fall()  # with unknown noise another variance takes a decomposition as dear as the Jacobian
        if linear.noise is not None:
            self._fall()
        return gain

    def _fall(self) -> None:
        """Add less; where the image is met better than was allowed for, as little as that."""
        rms = float(self._residual.square().mean().sqrt())
        if self._model.maps is not None:
            self._deviation = min(self._deviation / _RATIO, rms)
        else:
            # in many dimensions the first steps are rough: what is left of them must not count as certain
            fallen = max(self._deviation / _RATIO_WITH_NOISE, _ROUGH * rms)
            self._deviation = min(self._deviation, rms, fallen)

    def _step(self, steps: "_Steps", more: float) -> bool:
        """Take the best of the steps by several dampings, if one is better than none."""
        model, scale = self._model, self._model.scale(more)
        dampings = self._damping * 10.0 ** torch.arange(-(_LADDER // 2), _LADDER // 2, dtype=torch.float64)
        candidates = steps.candidates(self.point, self._residual, dampings, scale)
        residuals = model.difference(candidates)
        found = (residuals * scale).square().sum(dim=1) + model.prior(candidates)
        best = int(found.nan_to_num(torch.inf).argmin())
        if not float(found[best]) < self._q(more):
            return False
        point = candidates[best]
        steps.learn(self.point, point, self._residual - residuals[best])
        self.point, self._residual = point, residuals[best]
        self._damping = min(max(float(dampings[best % _LADDER]), 1e-6), 1e8)
        return True


class _Steps:
    """The steps that one linearisation leads to: one decomposition serves all dampings.

    Where the noise N of the image is unknown it is integrated out of the search for u: the whitened residual has the
    covariance I + N'N there, and the most probable noise follows from u and what it leaves. Latents alone are damped.
    """

    def __init__(self, linear: Linearisation) -> None:
        self._noise = linear.noise  # [M, P]
        self._unknowns = linear.unknowns.clone()  # [K, P]
        self._rooted: tuple[Tensor, Tensor] | None = None  # a scale and the root of its covariance

    def candidates(self, point: Point, residual: Tensor, dampings: Tensor, scale: Tensor) -> Point:
        """Return a candidate for each damping `[L]`: (J'J + I + damping I) step = J'r - u, by the residual `[P]`."""
        root = self._root(scale)
        jacobian = _by_root(root, (self._unknowns * scale).T).T
        identity = torch.eye(len(jacobian), dtype=torch.float64, device=jacobian.device)
        values, vectors = torch.linalg.eigh(jacobian @ jacobian.T + identity)
        residual = residual * scale
        noise = None if self._noise is None else self._noise * scale.float()
        if noise is not None and point.noise is not None:
            # as if there were no noise yet, to be found as a whole
            residual = residual + (point.noise[0].float() @ noise).double()
        residual = _by_root(root, residual[:, None])[:, 0]
        downhill = (jacobian @ residual - point.u[0]) @ vectors
        steps = (downhill / (values + dampings.to(downhill)[:, None])) @ vectors.T  # [L, K]
        if noise is None or root is None or point.noise is None:
            return Point(point.u + steps)
        left = residual - steps @ jacobian  # [L, P]
        left = torch.linalg.solve_triangular(root.T, left.T, upper=True)  # [P, L]
        change = (noise @ left.float()).T.double() - point.noise
        return Point(
            torch.cat([point.u + share * steps for share in _SHARES]),
            torch.cat([point.noise + share * change for share in _SHARES]),
        )

    def learn(self, before: Point, after: Point, change: Tensor) -> None:
        """Correct the Jacobian by how much the residual `[P]` has fallen on the way from one candidate to another."""
        step = (after.u - before.u)[0]
        if self._noise is not None and before.noise is not None and after.noise is not None:
            change = change - ((after.noise - before.noise)[0].float() @ self._noise).double()
        error = change - step @ self._unknowns
        length = step.square().sum()
        if bool(length > 0):
            self._unknowns += torch.outer(step / length, error)

    def _root(self, scale: Tensor) -> Tensor | None:
        if self._noise is None:
            return None
        if self._rooted is None or not torch.equal(self._rooted[0], scale):
            noise = self._noise * scale.float()
            covariance = (noise.T @ noise).double()  # [P, P]
            covariance.diagonal().add_(1.0)
            self._rooted = scale, torch.linalg.cholesky(covariance)
        return self._rooted[1]


def _by_root(root: Tensor | None, columns: Tensor) -> Tensor:
    """Return columns `[P, N]` by the root of the covariance."""
    return columns if root is None else torch.linalg.solve_triangular(root, columns, upper=False)
