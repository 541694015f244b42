"""How many own images are named by their seed, and whether any other image is."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.attribution.cells import ROWS
from bench.attribution.document import Text, at_least, counted
from bench.attribution.laboratory import NETWORK, Laboratory
from bench.exact_inversion import SEED
from bench.populations import CALIBRATION, TESTS
from generator.layers import freeze
from generator.networks import Generator
from generator.ops.seeded_normal import seeded_normal
from invert.api import SEED_DEFAULTS, find_seeds
from invert.attribution.evaluation_rules import Share
from invert.attribution.perturbations import apply, parse_perturbations
from invert.attribution.settings import UNPROCESSED
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import to_png_bytes
from invert.projection.latents import seed_latent
from invert.projection.processing import Processing
from invert.projection.synthesis import synthesise_image
from invert.report.page import Table
from invert.seeds.recovered import Recovered, View
from invert.seeds.search import search
from invert.seeds.sweep import map_seeds, shared_metric

__all__ = ["Naming", "add_naming", "fresh_seeds"]

_Image = NDArray[np.uint8]

KINDS = ((1.0, "fixed"), (0.7, "fixed"), (1.0, "stream"), (0.7, "stream"))
"""Truncation and noise that images are generated with: stored, or TensorFlow's from the stream of the seed."""

PROCESSINGS = (UNPROCESSED, *(one for row in ROWS for one in row.processings if one != UNPROCESSED and "+" not in one))
_NAMED, _NAMED_PROCESSED = at_least(0.99), at_least(0.95)

_USED = 1300  # seeds from each first one that calibrated or tested something
_TRIED_SEED, _TRIED, _TRIED_BELOW = 1, 400, 100_000  # images that the search was tried on when it was written
_DRAW_SEED = 16

_FAR_SEED = 1 << 31  # of random directions: far from all that are searched
_AT_ONCE = 4096  # seeds that are mapped together
_FAR_AT_ONCE = 2000  # directions that are compared with them at once
_SYNTHESISED = 64  # images at once
_METRIC = 8  # images whose responses the metric is the mean of


@dataclass(frozen=True)
class Naming:
    """How much is searched.

    Attributes:
        maximum: How many seeds are tried.
        images: Own images as they are, and images of B and real ones.
        processed: Own images after each processing.
        directions: Images of random w that are searched for like any others.
        far: Random w that are compared with the seed whose w is nearest.
    """

    maximum: int
    images: int
    processed: int
    directions: int
    far: int


@dataclass(frozen=True)
class _Own:
    image: _Image
    seed: int
    psi: float
    noise: str


def fresh_seeds(count: int, maximum: int) -> list[int]:
    """Return different seeds below a maximum from which nothing was calibrated, tested or tried."""
    tried = set(np.random.RandomState(_TRIED_SEED).randint(_TRIED_BELOW, size=_TRIED).tolist())
    firsts = [0, SEED, *(one[1] for one in CALIBRATION.values()), *(one[1] for one in TESTS.values())]
    found: dict[int, None] = {}
    stream = np.random.RandomState(_DRAW_SEED)
    while len(found) < count:
        seed = int(stream.randint(maximum))
        if seed not in tried and not any(first <= seed < first + _USED for first in firsts):
            found[seed] = None
    return list(found)


def _own_images(generator: Generator, count: int, maximum: int) -> Iterator[_Own]:
    for number, seed in enumerate(fresh_seeds(count, maximum)):
        psi, noise = KINDS[number % len(KINDS)]
        with torch.inference_mode():
            ws = generator.mapping_ws(seed_latent(seed, generator.config.mapping.z_dim), truncation_psi=psi)
        yield _Own(synthesise_image(generator, ws, noise, seed), seed, psi, noise)


def _searched(laboratory: Laboratory, images: Sequence[Path], name: str, maximum: int) -> list[list[Any] | None]:
    """Return seed, psi and noise that each image is named by; None where it is not named.

    Projections are kept: they take most of the time, and know nothing of seeds.
    """
    latents = laboratory.work / "seeds" / f"{name}.h5"
    settings = [part for key, value in SEED_DEFAULTS.items() for part in (f"--{key}", str(value))]
    keep = [
        "--save-noise",
        "float32",
        "--save-images",
        "--workers",
        str(laboratory.workers),
        "--threads",
        "1",
        "--quiet",
    ]
    command = [sys.executable, "-m", "invert", "project", "--network", NETWORK, *settings, *keep, "--out", latents]
    subprocess.run([*map(str, command), "--", *map(str, images)], check=True)
    found: dict[str, list[Any] | None] = {}
    for answer in find_seeds([latents], laboratory.network, maximum=maximum, threads=1):
        named = answer.named
        found[answer.path.stem] = None if named is None else [named.seed, named.truncation_psi, named.noise]
    return [found[path.stem] for path in images]


def _write_own(laboratory: Laboratory, own: Sequence[_Own], processing: str) -> list[Path]:
    """Write own images after a processing, and return where."""
    (perturbation,) = parse_perturbations(processing)
    folder = ensure_folder(laboratory.work / "seeds" / f"own-{processing.replace(':', '-')}")
    paths = []
    for number, one in enumerate(own):
        paths.append(folder / f"{number:03d}.png")
        write_atomic(paths[-1], to_png_bytes(apply(one.image, perturbation, f"seed/{one.seed}")))
    return paths


def add_naming(text: Text, laboratory: Laboratory, asked: Naming) -> None:
    """Add how many images are named."""
    generator = laboratory.network.generator.eval()
    text.say(
        f"Seeds spread below {asked.maximum:,}, all of which are searched; a quarter of the images each has psi 1 and",
        "0.7 and stored noise and that of the seed's stream, which an answer has to name too.",
        "What happened to an image is not told to the search.",
    )
    rows = []
    own = list(_own_images(generator, max(asked.images, asked.processed), asked.maximum))
    for processing in PROCESSINGS:
        mine = own[: asked.images if processing == UNPROCESSED else asked.processed]
        paths = _write_own(laboratory, mine, processing)
        key = f"seeds own {processing.replace(':', '-')}"
        settings = {"maximum": asked.maximum, "images": len(mine)}
        answers = laboratory.kept(
            key, settings, partial(_searched, laboratory, paths, paths[0].parent.name, asked.maximum)
        )
        told = [[one.seed, one.psi, one.noise] for one in mine]
        right = [answer == its for answer, its in zip(answers, told, strict=True)]
        wrong = counted(a is not None and a[0] != its[0] for a, its in zip(answers, told, strict=True))
        kinds = [
            counted(hit for hit, one in zip(right, mine, strict=True) if (one.psi, one.noise) == kind) for kind in KINDS
        ]
        aim = _NAMED if processing == UNPROCESSED else _NAMED_PROCESSED
        share = counted(right)
        each = [f"{one.count} of {one.total}" for one in kinds]
        rows.append((processing, str(len(mine)), str(share), aim.beside(share), str(wrong.count), *each))
    names = [f"psi {psi:g}, {noise}" for psi, noise in KINDS]
    text.table(Table(rows, ("processing", "n", "named rightly", "aim", "another seed", *names), "Own images"))
    _add_others(text, laboratory, asked)


def _add_others(text: Text, laboratory: Laboratory, asked: Naming) -> None:
    rows = []
    for name in ("B", "real"):

        def make(name: str = name) -> Any:
            paths = sorted(laboratory.images(name, UNPROCESSED, asked.images).glob("*.png"))[: asked.images]
            return _searched(laboratory, paths, name, asked.maximum)

        answers = laboratory.kept(f"seeds {name}", {"maximum": asked.maximum, "images": asked.images}, make)
        rows.append((name, counted(one is not None for one in answers)))
    settings = {"maximum": asked.maximum, "directions": asked.directions}
    named = laboratory.kept("seeds directions", settings, lambda: _directions(laboratory, asked))
    rows.append(("A from random w, stored noise", Share(named, asked.directions)))
    shown = [
        (name, str(share.total), str(share), "none: " + ("met" if not share.count else "missed"))
        for name, share in rows
    ]
    text.table(Table(shown, ("images of", "n", "named", "aim"), "Images that no seed gives"))
    if asked.far:
        settings = {"maximum": asked.maximum, "far": asked.far}
        rms = laboratory.kept("seeds far", settings, lambda: _far(laboratory, asked))
        text.say(
            f"Of {asked.far:,} further images from random w, each beside that of the one seed below {asked.maximum:,}",
            f"whose w is nearest in direction, with its best psi: the least difference is {rms:.2f} levels rms; a seed",
            "is named up to 0.60.",
        )


def _random_w(generator: Generator, first: int, count: int) -> torch.Tensor:
    z = seeded_normal(torch.arange(_FAR_SEED + first, _FAR_SEED + first + count), generator.config.mapping.z_dim)
    w: torch.Tensor = generator.mapping(z, None)
    return w


def _recovered(generator: Generator, w: torch.Tensor) -> Iterator[Recovered]:
    """Yield what a perfect projection of the images of w `[N, w_dim]` would recover."""
    maps = generator.synthesis.noise_maps("const", 1)
    noise = {name: value[0, 0].numpy() for name, value in maps.items() if value is not None}
    nothing = Processing()
    expected = nothing.variance(1, generator.config.synthesis.img_resolution) ** 0.5
    for number, row in enumerate(w):
        image = synthesise_image(generator, generator.broadcast(row[None]), "fixed", 0)
        image = np.atleast_3d(image)
        yield Recovered(Path(str(number)), image, row[None].numpy(), noise, nothing, expected, expected)


@torch.no_grad()
def _directions(laboratory: Laboratory, asked: Naming) -> int:
    """Return how many images of random w are named: as if their projections were perfect."""
    generator = laboratory.network.generator.eval()
    freeze(generator)
    named = 0
    for first in range(0, asked.directions, _FAR_AT_ONCE):
        w = _random_w(generator, first, min(_FAR_AT_ONCE, asked.directions - first))
        found = list(_recovered(generator, w))
        named += sum(one.named is not None for one in search(generator, found, asked.maximum))
    return named


@torch.no_grad()
def _far(laboratory: Laboratory, asked: Naming) -> float:
    """Return the least rms difference, in levels, between images of random w and of the seeds nearest to them."""
    generator = laboratory.network.generator.eval()
    freeze(generator)
    w_avg = generator.mapping.w_avg
    directions = _random_w(generator, asked.directions, asked.far) - w_avg
    views = [View(generator, one) for one in _recovered(generator, directions[:_METRIC] + w_avg)]
    root = shared_metric(views).to(w_avg)
    shown = directions @ root
    wanted = shown / shown.norm(dim=1, keepdim=True)
    best = torch.full([asked.far], -1.0)
    seeds = torch.zeros([asked.far], dtype=torch.int64)
    for first in range(0, asked.maximum, _AT_ONCE):
        numbers = torch.arange(first, min(first + _AT_ONCE, asked.maximum))
        found = (map_seeds(generator, numbers, None) - w_avg) @ root
        found /= found.norm(dim=1, keepdim=True)
        for start in range(0, asked.far, _FAR_AT_ONCE):
            rows = slice(start, start + _FAR_AT_ONCE)
            near, places = (wanted[rows] @ found.T).max(dim=1)
            is_better = near > best[rows]
            seeds[rows] = torch.where(is_better, numbers[places], seeds[rows])
            best[rows] = torch.maximum(near, best[rows])
    least = float("inf")
    for start in range(0, asked.far, _SYNTHESISED):
        rows = slice(start, start + _SYNTHESISED)
        its = map_seeds(generator, seeds[rows], None) - w_avg
        seen = its @ root
        psi = (seen * shown[rows]).sum(dim=1, keepdim=True) / seen.square().sum(dim=1, keepdim=True)
        pair = [_levels(generator, w_avg + step) for step in (psi * its, directions[rows])]
        least = min(least, float((pair[0] - pair[1]).square().mean(dim=(1, 2, 3)).min().sqrt()))
    return least


def _levels(generator: Generator, w: torch.Tensor) -> torch.Tensor:
    """Return the images of w `[N, w_dim]` in levels, with stored noise."""
    image: torch.Tensor = generator.synthesis(generator.broadcast(w), generator.synthesis.noise_maps("const", 1))
    return (image * 127.5 + 127.5).clamp(0, 255)
