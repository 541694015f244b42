"""Attacks on the exact verdict with its own gradient, and how often they succeed.

A forger has a real image and changes each of its numbers by at most a few levels, so that the network explains it: of
all images within the bound it looks for the one with the least Q, over latents (and noise) x with a hinge,

    min over x of  sum(max(0, |G(x) - y| - bound)^2) / variance + |x|^2,    and takes  clip(G(x), y - bound, y + bound).

An evader has an image of the network and looks for one within the bound that the network explains as badly as can be:
up the gradient of the least Q, 2 r / variance by the envelope theorem, where r is what the best latents leave. Changes
as rough as r look like noise, which the method knows; smooth ones are of no processing that it knows.

Reference: Madry et al. 2018 (projected gradient).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from bench.attribution.cells import EXACT, share_of
from bench.attribution.document import Text, counted
from bench.attribution.laboratory import Laboratory
from bench.attribution.sealed import SEALED
from generator.layers import freeze
from generator.networks import Generator
from invert.attribution.settings import OWN
from invert.attribution.verdict import Finding, Outcome
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import to_png_bytes
from invert.images.target import target_of
from invert.projection import gauss_newton
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.likelihood import ImageModel, Point, state_of
from invert.projection.processing import Processing
from invert.projection.projector import Projection
from invert.projection.session import open_session
from invert.projection.whitening import Whitening, measure_whitening
from invert.report.page import Table

__all__ = ["ATTACKS", "Attack", "Attacker", "add_attacks"]

_Image = NDArray[np.uint8]

_ANNEALED = (64.0, 4.0, 0.0)  # variances in squared levels that are added to the model's own, one after another
_HISTORY = 40
_ROUNDS, _ITERATIONS = 8, 3  # of the evader, and Gauss-Newton iterations in each
_STEP = 0.5  # of the bound, that the evader goes in a round
_SMOOTH = 1.5  # px: sigma of the smooth evader's changes


class Attacker:
    """Change images within a bound, by the gradients of a network's Q.

    Args:
        generator: The network, which is frozen.
        bound: Largest change of a number, in whole levels.
        steps: Gradients that a forger takes, at most, at each of three variances.
    """

    def __init__(self, generator: Generator, bound: int, steps: int) -> None:
        self.generator, self.bound, self.steps = generator.eval(), bound, steps
        freeze(generator)
        self.whitening: Whitening = measure_whitening(generator)
        maps = generator.synthesis.noise_maps("const", 1)
        self._stored = {name: value for name, value in maps.items() if value is not None}

    def within(self, image: _Image, wanted: NDArray[np.float64]) -> _Image:
        """Return the image within the bound that is nearest to another."""
        low, high = image.astype(np.float64) - self.bound, image.astype(np.float64) + self.bound
        return np.clip(np.rint(np.clip(wanted, low, high)), 0, 255).astype(np.uint8)

    def model(self, image: _Image, *, is_noise_known: bool = True) -> ImageModel:
        """Return Q of an image that nothing happened to."""
        levels = torch.from_numpy(image.transpose(2, 0, 1).copy())
        maps = self._stored if is_noise_known else None
        return ImageModel(self.generator, self.whitening, levels, Processing(), maps)

    def blend(self, image: _Image, u: Tensor) -> _Image:
        """Move an image to its reconstruction, and no further than the bound."""
        return self.within(image, _array(self.model(image).expected(Point(u))))

    def forge(self, image: _Image, u: Tensor, *, is_noise_known: bool = True) -> _Image:
        """Move an image to what the network explains best within the bound.

        Args:
            image: uint8 `[H, W, C]`.
            u: Latents `[1, K]` to begin at.
            is_noise_known: Whether the maps stored in the network are taken; else they are searched too.
        """
        model = self.model(image, is_noise_known=is_noise_known)
        unknowns = [u]
        if not is_noise_known:
            u = self._least(self.model(image), [u])[0]
            unknowns = [u, torch.cat([maps.flatten() for maps in self._stored.values()])[None].double()]
        with torch.no_grad():
            return self.within(image, _array(model.expected(Point(*self._least(model, unknowns)))))

    def _least(self, model: ImageModel, start: Sequence[Tensor]) -> list[Tensor]:
        """Return the latents, and noise, of the least Q with a hinge."""
        unknowns = [one.clone().requires_grad_(True) for one in start]
        for more in _ANNEALED:
            variance = model.expected_rms**2 + more
            search = torch.optim.LBFGS(
                unknowns, max_iter=self.steps, history_size=_HISTORY, line_search_fn="strong_wolfe"
            )

            def loss(variance: float = variance, search: torch.optim.LBFGS = search) -> Tensor:
                search.zero_grad()
                point = Point(*unknowns)
                outside = ((model.image - model.expected(point)).abs().double() - self.bound).clamp_min(0)
                value = outside.square().sum() / variance + model.prior(point).sum()
                value.backward()  # type: ignore[no-untyped-call]
                return value

            search.step(loss)  # type: ignore[no-untyped-call]
        return [one.detach() for one in unknowns]

    @torch.no_grad()
    def evade(self, image: _Image, u: Tensor, *, smooth: float = 0.0) -> _Image:
        """Move an image to what the network explains worst within the bound.

        Args:
            image: uint8 `[H, W, C]`.
            u: Latents `[1, K]` that explain it.
            smooth: Sigma in pixels of a blur of each change; 0 for none.
        """
        stream = np.random.default_rng(int(image.sum()))
        change = self._scaled(stream.standard_normal(image.shape), smooth) * self.bound * _STEP
        for _ in range(_ROUNDS):
            moved = self.within(image, image + change)
            model = self.model(moved)
            *_, state = gauss_newton.minimise(model, state_of(model, Point(u), 0), _ITERATIONS)
            left = moved - _array(model.expected(state.point))
            change = np.clip(change + _STEP * self.bound * self._scaled(left, smooth), -self.bound, self.bound)
        return self.within(image, image + np.sign(change) * self.bound if not smooth else image + change)

    @staticmethod
    def _scaled(change: NDArray[np.float64], smooth: float) -> NDArray[np.float64]:
        """Return a change, blurred, whose numbers are of about 1."""
        if smooth:
            change = ndimage.gaussian_filter(change, (smooth, smooth, 0), mode="nearest")
        return np.tanh(change / max(1e-9, float(np.sqrt(np.square(change).mean()))))


def _array(images: Tensor) -> NDArray[np.float64]:
    return images.detach()[0].permute(1, 2, 0).double().numpy()


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        help: What it does.
        population: The sealed population whose images it changes.
        move: Changes one, which begins with the latents that preset exact finds.
    """

    help: str
    population: str
    move: Callable[[Attacker, _Image, Tensor], _Image]

    @property
    def is_forger(self) -> bool:
        """Whether it wants images to be attributed."""
        return self.population != OWN


ATTACKS = {
    "forger, blend": Attack("to the reconstruction", "real", Attacker.blend),
    "forger, stored noise": Attack("to the least Q", "real", Attacker.forge),
    "forger, random noise": Attack(
        "to the least Q, noise maps searched too",
        "real",
        lambda one, image, u: one.forge(image, u, is_noise_known=False),
    ),
    "evader": Attack("up the gradient of Q", OWN, Attacker.evade),
    "evader, smooth": Attack(
        "up the gradient of Q, smoothly", OWN, lambda one, image, u: one.evade(image, u, smooth=_SMOOTH)
    ),
}
"""All attacks by name."""


def add_attacks(text: Text, laboratory: Laboratory, count: int, bound: int, steps: int) -> None:
    """Add how often attacks succeed.

    Args:
        text: Where it is added.
        laboratory: The work folder.
        count: Images of each attack.
        bound: Largest change of a number, in levels.
        steps: Gradients of a forger, see `Attacker`.
    """
    attacker = Attacker(laboratory.network.generator, bound, steps)
    config = ProjectConfig(**with_defaults({"preset": EXACT, "noise": "fixed"}), threads=1, device="cpu")
    session = open_session(laboratory.network, config)

    def explain(image: _Image) -> Tensor:
        target = target_of(image[..., 0], session.resolution, session.channels, name="image")
        (found,) = (event for event in session.projector().run([target]) if isinstance(event, Projection))
        return attacker.whitening.u(torch.from_numpy(found.w))

    rows, forged = [], []
    for name, attack in ATTACKS.items():
        source = laboratory.images(attack.population, "none", count)
        slug = f"{name.replace(', ', '-').replace(' ', '-')}-{bound}-{steps}"
        folder = ensure_folder(laboratory.work / "attacked" / slug)
        changes = list(_attacked(laboratory, explain, attacker, attack, source, folder, count))
        method = laboratory.methods[EXACT]
        before = laboratory.findings(EXACT, attack.population, count)
        after = [
            method.judge(one) for one in laboratory.measure(EXACT, method.config, folder, f"attacked/{slug}", count)
        ]
        won = [(one.outcome is Outcome.ATTRIBUTED) == attack.is_forger for one in after]
        if attack.is_forger:
            forged.append(won)
        outcomes = [str(sum(one.outcome is outcome for one in after)) for outcome in Outcome]
        rows.append(
            (
                f"{name}: {attack.help}",
                SEALED[attack.population].source,
                f"{max(change.max() for change in changes):.0f}",
                f"{np.median([np.sqrt(np.square(change).mean()) for change in changes]):.1f}",
                f"{_rms(before):.1f}",
                f"{_rms(after):.1f}",
                str(share_of(Outcome.ATTRIBUTED, before)),
                str(counted(won)),
                *outcomes,
            )
        )
    text.say(
        f"{count} sealed images of each attack, changed by at most {bound} levels in each number. A forger takes up to",
        f"{len(_ANNEALED) * steps} gradients of Q, and as many more where noise is searched; an evader {_ROUNDS}, each",
        "at the best latents. The attacker knows the network and the method, and the verdict is that of everything",
        "asked. A forger wins where the image is attributed to A, an evader where it is not.",
    )
    header = ("attack", "images of", "largest change", "rms change", "rms left before", "after", "attributed before")
    text.table(Table(rows, (*header, "attack won", *map(str, Outcome)), "Attacks"))
    best = counted(any(tries) for tries in zip(*forged, strict=True))
    text.say(f"Real images that one of the {len(forged)} forgers has attributed: {best} of {best.total}.")


def _rms(found: list[Finding]) -> float:
    explained = [one.measurement.explained for one in found]
    return float(np.median([one.rms for one in explained if one is not None]))


def _attacked(
    laboratory: Laboratory,
    explain: Callable[[_Image], Tensor],
    attacker: Attacker,
    attack: Attack,
    source: Path,
    folder: Path,
    count: int,
) -> Iterator[NDArray[np.float64]]:
    """Write the attacked images that are not there yet, and yield by how much each was changed."""
    for path in sorted(source.glob("*.png"))[:count]:
        image = np.atleast_3d(np.asarray(Image.open(path)))
        if not (folder / path.name).exists():
            moved = attack.move(attacker, image, explain(image))
            write_atomic(folder / path.name, to_png_bytes(moved))
            laboratory.say(f"{folder.name}: {path.name}")
        moved = np.atleast_3d(np.asarray(Image.open(folder / path.name)))
        yield np.abs(moved.astype(np.float64) - image)
