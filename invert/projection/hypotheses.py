"""Explanations of one image that compete: what happened to it, and which noise it was synthesised with.

All of them begin at one place with one Jacobian of the network, which costs as much as everything else that is asked of
them at first; those that do best go on.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from invert.projection import gauss_newton, quasi_newton
from invert.projection.likelihood import ImageModel, Point, Slopes, State, state_of
from invert.projection.processing import Processing

__all__ = ["JACOBIAN_SIDE", "UNKNOWN", "Contest", "Hypothesis"]

_EXPLAINED, _EXPLAINED_BY_NOISE = 3.0, 1.5
"""Where Q is at most this many times what it is at the truth, nothing else is tried; the latter where noise was added:
by a little more of that nearly everything could be explained."""

_LEAVES = 0.6  # share of the difference after an iteration, above which the others are tried before more is spent
_HOPEFUL = 0.7  # the same, above which another start is not tried
_FINALISTS = 2  # hypotheses that go on
_CLOSE = 1.5  # times the best's annealed Q up to which another goes on too
_ALIKE = 0.1  # share of the best's annealed Q, and of the image's numbers, by which doubts may differ to count as alike
_DRAWS = 8  # of noise maps, which show what other noise can make of an image
_BEYOND_NOISE = 1.5  # times as large as that: a difference for which other noise can be no explanation
_BEYOND_NOISE_OF_JPEG = 1.1  # the same after a compression, which hides most of the noise
_BEYOND_HOPE = 2.0  # the same, from which on a search with given noise that does not gain much is given up
_GAINS = 0.6  # share of the difference before, below which an iteration gains much
_COMPARED = 4.0  # deviation in levels that is added to each model's own to compare searches that are not at their end

UNKNOWN = "random"
"""The kind of noise whose maps are searched."""

JACOBIAN_SIDE = 64
"""Side in pixels above which a Jacobian takes longer than the gradients that replace it."""

_JOINT_PIXELS = 4096  # numbers of an image whose covariance, with unknown noise, is still decomposed


@dataclass(eq=False)
class Hypothesis:
    """One explanation, and how far the search for its latents has come.

    Attributes:
        model: The image as it would have come about.
        state: Where the search is.
        restart: Number of the start that it began at.
        number: Number of the processing among those that compete.
        began: Root mean squared difference in levels at the start.
        start: The start.
        rms: Root mean squared difference in levels after each iteration.
        reach: Root mean squared difference that other noise makes, where that was asked.
    """

    model: ImageModel
    state: State
    restart: int
    number: int
    began: float
    start: Point
    rms: list[float] = field(default_factory=list)
    reach: float | None = None

    @property
    def explains(self) -> bool:
        """Whether there is nothing left to look for."""
        enough = _EXPLAINED_BY_NOISE if self.model.processing.is_noisy else _EXPLAINED
        return self.state.q <= enough * (self.model.pixels + self.model.whitening.size)

    @property
    def is_open(self) -> bool:
        """Whether the search has not come to its end."""
        return not self.state.reason

    @property
    def is_hopeful(self) -> bool:
        """Whether the search has come nearer to the image at all."""
        return min(self.rms, default=self.began) < _HOPEFUL * self.began

    @property
    def doubt(self) -> float:
        """How unlikely it is beside others of the same image; the search need not be at its end."""
        return self.model.score(self.annealed_q, _COMPARED**2)

    @property
    def annealed_q(self) -> float:
        """Q with a variance that levels searches which are not at their end."""
        return self.model.q_of(self.state.residual, self.state.point, _COMPARED**2)

    @property
    def processing(self) -> Processing:
        """What happened to the image, as far as the search has come."""
        return self.model.processing_at(self.state.point)

    def go(self, iterations: int, last: int, slopes: Slopes | None = None) -> Iterator[State]:
        """Search on, and yield the states.

        Args:
            iterations: How many more there are now, at most.
            last: How many there are in all.
            slopes: Those of the place where it is, where they are known.
        """
        done = self.state.iterations
        for state in _minimise(self.model, self.state, min(iterations, last - done), slopes):
            reason = state.reason
            if reason == "iterations" and done + state.iterations < last:
                reason = ""  # it may go on
            self.state = replace(state, iterations=done + state.iterations, reason=reason)
            self.rms.append(state.rms)
            yield self.state


def _minimise(model: ImageModel, state: State, iterations: int, slopes: Slopes | None) -> Iterator[State]:
    """Search by Jacobians where they can be paid for, else by gradients."""
    if affords_jacobians(model):
        return gauss_newton.minimise(model, state, iterations, slopes)
    return quasi_newton.minimise(model, state, iterations)


def affords_jacobians(model: ImageModel) -> bool:
    """Tell whether Jacobians of an image can be paid for."""
    return model.image.shape[-1] <= JACOBIAN_SIDE and (model.maps is not None or model.pixels <= _JOINT_PIXELS)


class Contest:
    """The hypotheses on one image.

    Args:
        make: Returns the model of a processing, by its number, and a kind of noise.
        processings: How many processings compete; the likeliest is number 0.
        noises: Kinds of noise that compete: known ones, and "random" for maps that are searched.
        iterations: How many there are of each hypothesis at most.
        scout: Known noise by which processings are compared where only unknown noise is asked for.
        start: Returns latents `[1, K]` to begin at for a processing and the number of the restart.
        restarts: How many starts there are where nothing explains the image; the second is left out where it would
            be the first.

    Attributes:
        found: All that compete for being the answer, as far as they were searched.
    """

    def __init__(
        self,
        make: Callable[[int, str], ImageModel],
        processings: int,
        noises: Sequence[str],
        iterations: int,
        scout: str,
        start: Callable[[Processing, int], Tensor],
        restarts: int,
    ) -> None:
        self._make, self._processings, self._noises, self._scout = make, processings, noises, scout
        self._iterations, self._start, self._restarts = iterations, start, restarts
        self._known = [kind for kind in noises if kind != UNKNOWN]
        self._noisy: set[tuple[int, int]] = set()  # processing and restart of what was searched together with noise
        self.found: list[Hypothesis] = []

    def search(self) -> Iterator[Hypothesis]:
        """Yield hypotheses, each after each of its iterations, until one explains the image or none has any hope."""
        last: list[Hypothesis] = []
        for restart in range(self._restarts):
            # all from one place at first, then the one that did best from a place of its own, where it has another
            if restart == 1 and last[0].processing.coarse().text == self._make(0, self._scout).processing.coarse().text:
                continue
            tried: list[Hypothesis] = []
            for kind in self._known or [self._scout]:
                yield from self._compete(kind, last[:1], restart, tried)
                if self._is_over:
                    return
            last = _ranked(tried)
            if UNKNOWN in self._noises:
                # noise that was added is explained by the network's own as well
                left = [one for one in last if (one.number, restart) not in self._noisy]
                for one in _near(left):
                    yield from self._with_noise(one)
                    if self._is_over:
                        return
        if not self.found:
            # nothing had hope with the noise that was only to compare by: one answer there must be
            yield from self._with_noise(last[0], iterations=1)

    @property
    def _is_over(self) -> bool:
        return bool(self.found) and self.found[-1].explains and not self.found[-1].is_open

    def _compete(
        self, kind: str, again: Sequence[Hypothesis], restart: int, tried: list[Hypothesis]
    ) -> Iterator[Hypothesis]:
        """Search with known noise: the likeliest processing to the end if that looks well, else the best of all."""
        numbers = [one.number for one in again] or range(self._processings)
        model = self._make(numbers[0], kind)
        start = self._start(again[0].processing if again else model.processing, restart)
        slopes = model.slopes(Point(start)) if affords_jacobians(model) else None
        mine: list[Hypothesis] = []
        may_be_noisy = any(self._make(number, kind).processing.is_noisy for number in numbers)
        for number in numbers:
            model = self._make(number, kind)
            # what is left at the end of a search may be noise that was added
            goes_on = bool(mine) and not mine[0].is_open and _adds_noise(mine[0].model, model)
            at = mine[0].model.latents(mine[0].state.point) if goes_on else start
            one = _begin(model, at, restart, number)
            mine.append(one)
            tried.append(one)
            yield from self._go(one, self._iterations if len(numbers) == 1 else 1, None if goes_on else slopes)
            if len(mine) == 1 and one.rms[-1] < _LEAVES * one.began and not self._is_over:
                yield from self._go(one, self._iterations)
                if not self._is_over and UNKNOWN in self._noises and not may_be_noisy:
                    yield from self._with_noise(one)
            if self._is_over:
                return
        for one in _near([one for one in _ranked(mine) if one.is_open and one.is_hopeful]):
            yield from self._go(one, self._iterations)
            if self._is_over:
                return

    def _go(self, one: Hypothesis, iterations: int, slopes: Slopes | None = None) -> Iterator[Hypothesis]:
        """Search on; what is only to compare by is no answer."""
        for _ in one.go(iterations, self._iterations, slopes):
            if one.model.maps is None or self._known:
                self.found = [*(other for other in self.found if other is not one), one]
                yield one
            if one.model.maps is not None and self._is_hopeless(one):
                one.state = replace(one.state, reason="stalled")
                return

    def _is_hopeless(self, one: Hypothesis) -> bool:
        """Tell whether a search has come to where neither more of it nor other noise will explain the image."""
        if (
            not one.is_open
            or len(one.rms) < 2
            or one.rms[-1] < _GAINS * one.rms[-2]
            or not affords_jacobians(one.model)
        ):
            return False
        if one.reach is None:
            one.reach = _noise_reach(self._make(one.number, UNKNOWN), one)
        return one.reach > 0 and one.rms[-1] > math.hypot(_BEYOND_HOPE * one.reach, one.model.expected_rms)

    def _with_noise(self, before: Hypothesis, iterations: int | None = None) -> Iterator[Hypothesis]:
        """Search latents and noise together, from where the search with known noise has come to."""
        self._noisy.add((before.number, before.restart))
        model = self._make(before.number, UNKNOWN)
        reach = _noise_reach(model, before)
        beyond = _BEYOND_NOISE if model.processing.jpeg is None else _BEYOND_NOISE_OF_JPEG
        if before.state.rms > math.hypot(beyond * reach, model.expected_rms) and not iterations:
            return
        one = _begin(model, before.state.point.u, before.restart, before.number)
        yield from self._go(one, iterations or self._iterations)


def _near(ranked: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Return the best of ranked hypotheses, and what comes close to it."""
    return [one for one in ranked if one.annealed_q <= _CLOSE * ranked[0].annealed_q][:_FINALISTS]


def _ranked(tried: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Return hypotheses, the least doubtful first; of those that are about alike the simplest."""
    doubts = {one: one.doubt for one in tried}
    least = min(doubts.values())
    alike = _ALIKE * (min(tried, key=doubts.__getitem__).annealed_q + tried[0].model.pixels)
    return sorted(tried, key=lambda one: (max(0.0, doubts[one] - least - alike), one.number))


@torch.no_grad()
def _noise_reach(model: ImageModel, before: Hypothesis) -> float:
    """Return the root mean squared difference, in levels, that other noise makes where a search has come to."""
    point = before.state.point
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn([_DRAWS, model.noise_numbers], generator=rng, dtype=torch.float64).to(point.u.device)
    # of a large network each by itself: all together would take as much memory as so many images
    pieces = torch.split(noise, _DRAWS if affords_jacobians(model) else 1)
    others = torch.cat([model.expected(Point(point.u.expand(len(piece), -1), piece)) for piece in pieces])
    return float((others - before.model.expected(point)).square().mean().sqrt())


def _adds_noise(before: ImageModel, after: ImageModel) -> bool:
    """Tell whether two models of an image differ by noise that was added."""
    is_alike = before.processing.coarse().text == after.processing.coarse().text
    return is_alike and after.processing.is_noisy and not before.processing.is_noisy


def _begin(model: ImageModel, u: Tensor, restart: int, number: int) -> Hypothesis:
    """Return a hypothesis that begins at latents `[1, K]`, with or without the values of the processing."""
    more = u.new_zeros([1, model.unknowns - u.shape[1]])
    noise = None if model.maps is not None else u.new_zeros([1, model.noise_numbers])
    start = Point(torch.cat([u, more], dim=1), noise)
    state = state_of(model, start, 0)
    return Hypothesis(model, state, restart, number, state.rms, start)
