"""Hypotheses of one image: seed, class, truncation and noise, each synthesised and compared through the processing.

Nearness names no seed. A hypothesis is accepted where the image that it synthesises is the image in question within
rounding, and that of every other seed is not: no statistics are involved, so nothing has to be calibrated.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from generator.ops.dual import Dual
from invert.projection.synthesis import random_maps, stream_maps
from invert.seeds.recovered import Maps, View
from invert.seeds.sweep import Shortlist, map_seeds

__all__ = ["NOISES", "Hypothesis", "Ranked", "accepted", "likeliest", "rank", "round_psi"]

NOISES = ("fixed", "stream", "random", "zero")
"""Noise that is tried, as `invert generate --noise` has it."""

_LARGEST_PSI, _LEAST_PSI = 2.0, 0.02
_LIMIT = 1.5
"""Mean square of the whitened difference up to which it is rounding: 0.6 levels where nothing happened to the image."""

_MARGIN = 60.0
"""By how much -2 log of the likelihood of the next seed is more at least: a million seeds and all else that is tried
make a difference of 40 by chance."""

_SMALL = 64  # px
_TRIED = {True: (8, 128), False: (2, 16)}
"""Seeds of which images are synthesised, of small and of large images: more only where a few do not hold the one."""

_LEFT = 6  # seeds that are tried with each noise and cutoff
_TURNS = 3  # Gauss-Newton steps in psi
_AT_ONCE = {True: 64, False: 4}  # images synthesised together
_AS_GOOD = 9.0  # what -2 log of the likelihood may lose by each digit fewer of psi, by plainer noise or processing
_DIGITS = range(1, 7)  # of psi


@dataclass(frozen=True)
class Hypothesis:
    """How an image may have been generated.

    Attributes:
        seed: Of z, and of noise that is drawn.
        class_index: Class of a conditional network.
        psi: Truncation psi.
        cutoff: How many styles are truncated; None for all.
        noise: One of `NOISES`; empty for the noise that the projection recovered.
        misfit: Mean square of the whitened difference; see `invert.seeds.recovered.View.whiten`.
    """

    seed: int
    class_index: int | None
    psi: float
    cutoff: int | None = None
    noise: str = ""
    misfit: float = float("inf")


@dataclass(frozen=True, eq=False)
class Ranked:
    """The seeds of a shortlist, the likeliest first.

    Attributes:
        hypotheses: With the psi and the misfit that the image's own response to w predicts.
    """

    hypotheses: list[Hypothesis]


@torch.no_grad()
def rank(view: View, shortlist: Shortlist, classes: Sequence[int | None]) -> Ranked:
    """Rank seeds by the image difference that is predicted, to first order, at the best psi of each.

    Args:
        view: The image.
        shortlist: The seeds.
        classes: The classes that its numbers stand for.
    """
    rows, left = view.response()
    w_avg = view.generator.mapping.w_avg
    found = torch.empty([len(shortlist.seeds), len(w_avg)], device=w_avg.device)
    for number, class_index in enumerate(classes):
        chosen = shortlist.classes == number
        if bool(chosen.any()):
            found[chosen.to(found.device)] = map_seeds(view.generator, shortlist.seeds[chosen], class_index)
    shown = (found - w_avg) @ rows.T  # [K, Q]
    wanted = (view.w - w_avg) @ rows.T - left  # what psi shown has to be
    psi = (shown @ wanted) / shown.square().sum(dim=1).clamp_min(1e-30)
    psi = psi.clamp(-_LARGEST_PSI, _LARGEST_PSI)
    misfits = (psi[:, None] * shown - wanted).square().sum(dim=1) / view.image.numel()
    order = torch.argsort(misfits, stable=True)
    return Ranked(
        [
            Hypothesis(
                int(shortlist.seeds[row]), classes[int(shortlist.classes[row])], float(psi[row]), None, "", float(one)
            )
            for row, one in zip(order.tolist(), misfits[order].tolist(), strict=True)
        ]
    )


class _Trial:
    """Synthesises hypotheses of one image and fits their psi."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._is_small = view.image.shape[-1] <= _SMALL
        self._kept: dict[str, Maps] = {}

    def fitted(self, hypotheses: Sequence[Hypothesis], turns: int = _TURNS) -> list[Hypothesis]:
        """Return hypotheses with their best psi and the misfit there, the best first."""
        done: list[Hypothesis] = []
        for first in range(0, len(hypotheses), _AT_ONCE[self._is_small]):
            done += self._fit(hypotheses[first : first + _AT_ONCE[self._is_small]], turns)
        return sorted(done, key=lambda one: one.misfit)

    def _fit(self, group: Sequence[Hypothesis], turns: int) -> list[Hypothesis]:
        view, generator = self._view, self._view.generator
        w_avg = generator.mapping.w_avg
        w = torch.empty([len(group), len(w_avg)], device=w_avg.device)
        for class_index in {one.class_index for one in group}:
            rows = [row for row, one in enumerate(group) if one.class_index == class_index]
            w[rows] = map_seeds(generator, torch.tensor([group[row].seed for row in rows]), class_index)
        ws = generator.broadcast(w)
        counts = [generator.num_ws if one.cutoff is None else one.cutoff for one in group]
        truncated = torch.arange(generator.num_ws) < torch.tensor(counts)[:, None]  # [N, num_ws]
        changes = torch.where(truncated.to(w.device)[:, :, None], ws - w_avg, 0.0)
        maps = self._maps(group)
        psi = torch.tensor([one.psi for one in group], device=w.device)
        best_psi, best = psi, torch.full_like(psi, torch.inf)
        for turn in range(turns + 1):
            styles = ws + (psi - 1)[:, None, None] * changes
            difference, slopes = view.compare(Dual(styles, None if turn == turns else changes), maps)
            misfits = difference.square().mean(dim=1).float().nan_to_num(torch.inf)
            best_psi, best = torch.where(misfits < best, psi, best_psi), torch.minimum(misfits, best)
            if slopes is not None:
                step = (slopes * difference).sum(dim=1) / slopes.square().sum(dim=1).clamp_min(1e-30)
                psi = (psi - step.to(psi)).clamp(-_LARGEST_PSI, _LARGEST_PSI)
        return [
            dataclasses.replace(one, psi=float(p), misfit=float(m))
            for one, p, m in zip(group, best_psi.tolist(), best.tolist(), strict=True)
        ]

    def _maps(self, group: Sequence[Hypothesis]) -> Maps:
        each = [self._maps_of(one) for one in group]
        return {name: torch.cat([maps[name] for maps in each]) for name in self._view.generator.synthesis.noise_sizes}

    def _maps_of(self, one: Hypothesis) -> Maps:
        match one.noise:
            case "":
                return self._view.maps
            case "stream":
                return stream_maps(self._view.generator, one.seed)
            case "random":
                return random_maps(self._view.generator, one.seed)
        if one.noise not in self._kept:
            self._kept[one.noise] = self._view.kept_maps("const" if one.noise == "fixed" else "none")
        return self._kept[one.noise]


@torch.no_grad()
def likeliest(view: View, ranked: Ranked) -> tuple[View, list[Hypothesis]]:
    """Synthesise the seeds that rank first, and return the best hypothesis of each that was looked at, the best first.

    The seeds are compared with the noise that was recovered, then the best of them with every noise, and with every
    cutoff where no seed is met without. A slight blur or move that the search took for what is really other noise is
    found out here, where the noise is known: the plainer processing counts where it explains the image as well.

    Returns:
        The image, with the processing that counts, and the hypotheses.
    """
    found, plain = _synthesised(view, ranked), view.plainer()
    if plain is None:
        return view, found
    others = _synthesised(plain, ranked, has_cutoffs=False)
    is_as_good = plain.loss(others[0].misfit) <= view.loss(found[0].misfit) + _AS_GOOD
    return (plain, others) if is_as_good else (view, found)


def _synthesised(view: View, ranked: Ranked, *, has_cutoffs: bool = True) -> list[Hypothesis]:
    trial = _Trial(view)
    few: list[Hypothesis] = []
    found: list[Hypothesis] = []
    for tried in _TRIED[view.image.shape[-1] <= _SMALL]:
        few = trial.fitted(ranked.hypotheses[:tried], turns=1)[:_LEFT]  # their psi is nearly right already
        found = trial.fitted([dataclasses.replace(one, noise=noise) for one in few for noise in _noises(view)])
        if _is_met(found):
            return _one_each(found, view.image.numel())
    if not has_cutoffs:
        return _one_each(found, view.image.numel())
    cut = trial.fitted([dataclasses.replace(one, cutoff=cutoff) for one in few for cutoff in _cutoffs(view)])
    found += trial.fitted([dataclasses.replace(one, noise=noise) for one in cut[:_LEFT] for noise in _noises(view)])
    return _one_each(found, view.image.numel())


def _noises(view: View) -> Sequence[str]:
    return NOISES if view.generator.synthesis.noise_sizes else NOISES[:1]


def _cutoffs(view: View) -> Iterable[int]:
    return range(1, view.generator.num_ws)


def _is_met(found: Sequence[Hypothesis]) -> bool:
    return bool(found) and found[0].misfit <= _LIMIT


def _one_each(found: Sequence[Hypothesis], pixels: int) -> list[Hypothesis]:
    """Return the best hypothesis of each seed, the best first; among those that explain as well the plainest."""
    groups: dict[tuple[int, int | None], list[Hypothesis]] = {}
    for one in found:
        groups.setdefault((one.seed, one.class_index), []).append(one)
    chosen = []
    for group in groups.values():
        best = min(one.misfit for one in group)
        as_good = [one for one in group if (one.misfit - best) * pixels <= _AS_GOOD]
        chosen.append(min(as_good, key=lambda one: (one.cutoff is not None, NOISES.index(one.noise), one.misfit)))
    return sorted(chosen, key=lambda one: one.misfit)


def accepted(view: View, found: Sequence[Hypothesis]) -> bool:
    """Tell whether the first of some hypotheses, one of each seed, is how the image was generated."""
    if not _is_met(found) or abs(found[0].psi) < _LEAST_PSI:
        return False
    others = [one.misfit for one in found[1:]]
    return not others or (min(others) - found[0].misfit) * view.image.numel() >= _MARGIN


@torch.no_grad()
def round_psi(view: View, hypothesis: Hypothesis) -> Hypothesis:
    """Return a hypothesis with as few digits of psi as explain the image: people write few.

    Each digit more has to explain it better by `_AS_GOOD`.
    """
    tried = [dataclasses.replace(hypothesis, psi=round(hypothesis.psi, digits)) for digits in _DIGITS]
    trial, pixels = _Trial(view), view.image.numel()
    misfits = [trial.fitted([one], turns=0)[0].misfit for one in tried]
    best = min(range(len(tried)), key=lambda place: misfits[place] * pixels + place * _AS_GOOD)
    return dataclasses.replace(tried[best], misfit=misfits[best])
