"""Find the explanation of an image with the least Q by L-BFGS, where a Jacobian would be too large.

Whitened latents are what makes this fast enough: all of them have about the same scale.

Reference: Liu and Nocedal 1989; Nocedal and Wright 2006, algorithm 3.5 (strong Wolfe conditions).
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from invert.projection.likelihood import ImageModel, Point, State, state_of

__all__ = ["minimise"]

_ROUND = 25  # gradients in what counts as one iteration
_HISTORY = 40
_COARSE = 64  # px; larger images are compared at this size first
_COARSE_SHARE = 1 / 3  # of the iterations
_LEAST_GAIN = 1e-3


def minimise(model: ImageModel, state: State, iterations: int) -> Iterator[State]:
    """Yield the state after each iteration, at least one; the last has a reason.

    Args:
        model: The image and the network, for one image.
        state: Where the search begins.
        iterations: How many rounds of 25 gradients there are at most.
    """
    best = replace(state, iterations=0, reason="")
    if not math.isfinite(best.q) or iterations == 0:
        yield replace(best, reason="iterations" if math.isfinite(best.q) else "not-finite")
        return
    side = model.image.shape[-1]
    coarse = int(iterations * _COARSE_SHARE) if side > _COARSE else 0
    search = _Search(model, state.point, _COARSE if coarse else None)
    for number in range(iterations):
        if coarse and number == coarse:
            search = _Search(model, search.point, None)
        search.go()
        state = state_of(model, search.point, number + 1)
        has_failed = not math.isfinite(state.q)
        idle = number >= coarse and state.q <= model.pixels
        idle |= number > coarse and best.q - state.q <= _LEAST_GAIN * best.q
        reason = "not-finite" if has_failed else "converged" if idle else ""
        if not reason and number == iterations - 1:
            reason = "iterations"
        # the coarse comparison may go uphill in the fine one
        if not has_failed and (state.q < best.q or number < coarse):
            best = state
        yield replace(best, iterations=number + 1, reason=reason)
        if reason:
            return


class _Search:
    """A search by gradients of Q, at full size or of the image averaged down."""

    def __init__(self, model: ImageModel, start: Point, side: int | None) -> None:
        self._model, self._side = model, side
        self._parameters = [start.u.detach().clone().requires_grad_(True)]
        if start.noise is not None:
            self._parameters.append(start.noise.detach().clone().requires_grad_(True))
        self._lbfgs = torch.optim.LBFGS(
            self._parameters,
            max_iter=_ROUND,
            max_eval=_ROUND,
            history_size=_HISTORY,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )

    @property
    def point(self) -> Point:
        """Where the search is."""
        found = [parameter.detach().clone() for parameter in self._parameters]
        return Point(found[0], found[1] if len(found) > 1 else None)

    def go(self) -> None:
        """Take a round of gradients."""
        self._lbfgs.step(self._closure)  # type: ignore[no-untyped-call]

    def _closure(self) -> Tensor:
        self._lbfgs.zero_grad()
        point = Point(self._parameters[0], self._parameters[1] if len(self._parameters) > 1 else None)
        with torch.enable_grad():
            q = self._model.q(point) if self._side is None else self._model.coarse_q(point, self._side)
            # of the order of one, as the first step length of the method expects
            loss = q.sum() / self._model.pixels
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
