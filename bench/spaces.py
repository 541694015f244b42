"""What each space, tuning and an encoder reach, beside a plain loop: the table of LPIPS, PSNR and seconds.

    python -m bench.spaces WORK [--images 32] [--tuned 8] [--threads 1] [--methods w fast]
        [--network data/networks/A.safetensors] [--encoder-file A.encoder.safetensors]
        [--sibling data/networks/B.safetensors] [--real FOLDER]

Of each kind of images (the network's own samples, those of a sibling, real ones) the first N go through each method;
`--METHOD N` is another N for one method, 0 leaves it out. Every finished batch is kept in WORK, so that the same
command resumes, and other numbers of images take the batches that are there. `invert train-encoder` makes the encoder.

Each method runs in a process of its own, with so many threads. Seconds are those of a batch divided by its images, of
the processor and by the clock, without start-up (reading the network, the mean of 10,000 w). LPIPS (VGG) and PSNR are
measured of 8-bit images, of all methods in one way.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.machine import machine
from bench.plain_projection import PlainProjection
from bench.populations import FASHION_MNIST, NETWORKS, TESTS, write_real, write_samples
from bench.spaces_figure import draw
from generator.files.reading import LoadedNetwork, load
from invert.batch.images import list_images, read_image
from invert.durable import ensure_folder, write_atomic
from invert.images.decoding import ImagePolicy, to_png_bytes
from invert.images.fidelity import fidelity
from invert.images.target import Target
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.encoders import encoder_path
from invert.projection.latents import latent_statistics
from invert.projection.perceptual import Perceptual
from invert.projection.projector import Projection
from invert.projection.session import open_session

_Image = NDArray[np.uint8]

KINDS = ("own", "sibling", "real")
SAMPLES = Path(__file__).parent.parent / "data" / "samples" / "real"


@dataclass(frozen=True)
class Lengths:
    """How many steps the methods make.

    Attributes:
        steps: In W and W+, and of the plain loop.
        tune: Of tuning.
        fast: From what the encoder tells.
    """

    steps: int = 1000
    tune: int = 350
    fast: int = 80


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        title: Its name in the table.
        settings: Those of `ProjectConfig` that it has; None for the plain loop.
    """

    title: Callable[[Lengths], str]
    settings: Callable[[Lengths], dict[str, Any]] | None

    @property
    def is_plain(self) -> bool:
        """Whether this is the plain loop, one image at a time."""
        return self.settings is None


METHODS = {
    "plain": Method(lambda n: f"plain loop in W, {n.steps} steps", None),
    "w": Method(lambda n: f"W, {n.steps} steps", lambda n: {"preset": "paper", "steps": n.steps}),
    "w+": Method(lambda n: f"W+, {n.steps} steps", lambda n: {"preset": "paper", "space": "w+", "steps": n.steps}),
    "tuned": Method(
        lambda n: f"W+, {n.steps} steps, and {n.tune} of tuning",
        lambda n: {"preset": "paper", "space": "w+", "steps": n.steps, "tune": n.tune},
    ),
    "encoder": Method(lambda n: "encoder alone", lambda n: {"preset": "fast", "steps": 0}),
    "fast": Method(lambda n: f"`fast`, {n.fast} steps", lambda n: {"preset": "fast", "steps": n.fast}),
}


@dataclass(frozen=True)
class Claim:
    """What is to hold between two methods, of the images that both have.

    Attributes:
        title: The claim.
        first: The method whose LPIPS is lower.
        second: The other one.
        share: Of the second one's processor seconds that the first may take; None for any.
    """

    title: str
    first: str
    second: str
    share: float | None = None

    def holds(self, distances: NDArray[np.float64], seconds: NDArray[np.float64]) -> bool:
        """Return whether it holds, of the medians of both `[2]`: at most equal where time is saved, else lower."""
        if self.share is None:
            return bool(distances[0] < distances[1])
        return bool(distances[0] <= distances[1] and seconds[0] <= self.share * seconds[1])


CLAIMS = (
    Claim("W+ comes nearer than W", "w+", "w"),
    Claim("tuning comes nearer than W+", "tuned", "w+"),
    Claim("`fast` comes at least as near as W in a tenth of its time", "fast", "w", share=0.1),
)


Measures = dict[str, list[float]]
"""What was measured of each image: "lpips", "psnr" in dB, and its share of its batch's seconds: "processor", "wall"."""


@dataclass(frozen=True)
class Experiment:
    """A network, images, and how they are measured.

    Attributes:
        work: The work folder.
        network: The network's file.
        sibling: A network whose samples are the sibling's images, or a folder or zip of them.
        real: A folder or zip of real images; None for the Fashion-MNIST test set.
        encoder: The encoder's file.
        counts: Images of each kind, by method.
        lengths: Steps.
        batch: Images that are projected together at most.
        threads: Of each process.
    """

    work: Path
    network: Path
    sibling: Path
    real: Path | None
    encoder: Path
    counts: dict[str, int]
    lengths: Lengths = Lengths()
    batch: int = 8
    threads: int = 1

    @cached_property
    def loaded(self) -> LoadedNetwork:
        """The network."""
        return load(self.network)

    @cached_property
    def targets(self) -> dict[str, list[Target]]:
        """The images of each kind, as many as the largest count."""
        return {kind: self._targets(kind, max(self.counts.values())) for kind in KINDS}

    def config(self, method: str) -> ProjectConfig | None:
        """Return a method's settings; None for the plain loop."""
        settings = METHODS[method].settings
        if settings is None:
            return None
        chosen = settings(self.lengths)
        if chosen["preset"] == "fast":
            chosen["start"] = str(self.encoder)
        batch = self.batch_of(method)
        return ProjectConfig(**with_defaults({**chosen, "batch": batch, "threads": self.threads, "device": "cpu"}))

    def batch_of(self, method: str) -> int:
        """Return how many images a method projects together: the most that leave none over."""
        count = self.counts[method]
        return 1 if METHODS[method].is_plain else max(n for n in range(1, self.batch + 1) if count % n == 0)

    def cells(self, method: str, kind: str) -> Iterator[tuple[Path, list[Target]]]:
        """Yield each batch of a method and a kind with the file of what is measured of it."""
        size = self.batch_of(method)
        for first in range(0, self.counts[method], size):
            batch = self.targets[kind][first : first + size]
            told = [self.config(method) or self.lengths.steps, self.threads, self.loaded.provenance.weights_sha256]
            if method in ("encoder", "fast"):
                config = self.config(method)
                told += [hashlib.sha256(self.encoder.read_bytes()).hexdigest(), config and config.constants]
            known = repr((method, told, [target.pixel_sha256 for target in batch]))
            digest = hashlib.sha256(known.encode()).hexdigest()[:12]
            yield self.work / "cells" / method / f"{kind}-{first:05d}-{digest}.json", batch

    def measure(self, method: str) -> None:
        """Measure what is missing of a method, and keep it; reconstructions lie beside it as images."""
        missing = [cell for kind in KINDS for cell in self.cells(method, kind) if not cell[0].exists()]
        if not missing:
            return
        project, perceptual = self._projection(method), Perceptual()
        for number, (path, batch) in enumerate(missing, 1):
            wall, processor = time.perf_counter(), time.process_time()
            images = project(batch)
            processor, wall = time.process_time() - processor, time.perf_counter() - wall
            found = [_compare(perceptual, image, target) for image, target in zip(images, batch, strict=True)]
            measures: Measures = {name: [one[i] for one in found] for i, name in enumerate(("lpips", "psnr"))}
            measures |= {"processor": [processor / len(batch)] * len(batch), "wall": [wall / len(batch)] * len(batch)}
            ensure_folder(path.parent / path.stem)
            for image, target in zip(images, batch, strict=True):
                write_atomic(path.parent / path.stem / f"{target.path.stem}.png", to_png_bytes(image))
            write_atomic(path, json.dumps(measures).encode())
            said = f"{wall:.1f} s, median LPIPS {np.median(measures['lpips']):.4f}"
            print(f"{method}, {path.stem}: {said}; batch {number} of {len(missing)}", file=sys.stderr, flush=True)

    def found(self, method: str, kind: str) -> Measures:
        """Return all that was measured of a method and a kind."""
        cells = [json.loads(path.read_text()) for path, _ in self.cells(method, kind)]
        return {name: [value for cell in cells for value in cell[name]] for name in cells[0]}

    def _projection(self, method: str) -> Callable[[Sequence[Target]], list[_Image]]:
        """Return what gives the reconstructions of a batch."""
        config = self.config(method)
        if config is not None:
            projector = open_session(self.loaded, config).projector()
            return lambda batch: [one.image for one in projector.run(batch) if isinstance(one, Projection)]
        torch.set_num_threads(self.threads)
        generator, perceptual = self.loaded.generator.eval().requires_grad_(False), Perceptual()
        statistics, steps = latent_statistics(generator), self.lengths.steps

        def loop(batch: Sequence[Target]) -> list[_Image]:
            (target,) = batch
            torch.manual_seed(0)
            projection = PlainProjection(generator, perceptual, target.pixels, statistics, steps)
            for index in range(steps):
                projection.step(index)
            return projection.images()

        return loop

    def _targets(self, kind: str, count: int) -> list[Target]:
        source, first = self.work / "images" / kind, TESTS["own"][1]
        network = {"own": self.network, "sibling": self.sibling}.get(kind)
        if network is not None and network.suffix != ".zip" and network.is_file():
            write_samples(source, network, first, count)
            paths = [source / f"seed{seed}.png" for seed in range(first, first + count)]
        elif kind == "real" and self.real is None and FASHION_MNIST.exists():
            part, first = TESTS["real"][:2]
            write_real(source, FASHION_MNIST, part, first, count)
            paths = [source / f"{index:05d}.png" for index in range(first, first + count)]
        else:
            paths = [network or self.real or SAMPLES]
        synthesis, targets = self.loaded.generator.config.synthesis, []
        for listed in list_images(paths):
            target = read_image(listed, synthesis.img_resolution, synthesis.img_channels, ImagePolicy(fit="crop"))
            if not isinstance(target, Target):
                raise target
            targets.append(target)
            if len(targets) == count:
                return targets
        raise SystemExit(f"{paths[0]}: {len(targets)} {kind} images, but {count} are wanted")


def _compare(perceptual: Perceptual, image: _Image, target: Target) -> tuple[float, float]:
    """Return LPIPS and PSNR between a reconstruction and its target."""
    scaled = torch.from_numpy(image.astype(np.float32) / np.float32(127.5) - np.float32(1)).permute(2, 0, 1)[None]
    with torch.no_grad():
        distances, _ = perceptual.distance(scaled, perceptual.prepare(target.pixels))
    return float(distances[0]), fidelity(image, target.array).psnr


def _quartiles(values: Sequence[float], form: str) -> str:
    low, middle, high = (format(value, form) for value in np.percentile(values, [25, 50, 75]))
    return f"{middle} ({low}, {high})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(row) for row in ([*head], *rows)]
    return "\n".join(f"| {line} |" for line in lines).replace("\n", f"\n|{'---|' * len(head)}\n", 1)


def report(experiment: Experiment) -> str:
    """Return the tables of what was measured."""
    found = {(method, kind): experiment.found(method, kind) for method in experiment.counts for kind in KINDS}

    def rows() -> Iterator[list[str]]:
        for (method, kind), one in found.items():
            plain = found.get(("plain", kind))
            share = np.median(one["processor"]) / np.median(plain["processor"]) if plain else np.nan
            yield [
                METHODS[method].title(experiment.lengths),
                kind,
                str(len(one["lpips"])),
                str(experiment.batch_of(method)),
                _quartiles(one["lpips"], ".4f"),
                _quartiles(one["psnr"], ".1f"),
                _quartiles(one["processor"], ".3g"),
                f"{np.median(one['wall']):.3g}",
                f"{share:.3f}" if plain else "",
            ]

    head = ["method", "images", "n", "batch", "LPIPS", "PSNR, dB", "processor s an image", "wall s", "of plain"]
    claims = list(_claims(found))
    return "\n\n".join([_table(head, rows()), *([_table(_CLAIM_HEAD, claims)] if claims else [])])


_CLAIM_HEAD = ("claim", "images", "pairs", "median LPIPS", "beside", "mean", "beside", "nearer in", "of its time", "")


def _claims(found: dict[tuple[str, str], Measures]) -> Iterator[list[str]]:
    """Yield a row for each claim and kind, and one for all kinds together, of the images that both methods have."""
    for claim in CLAIMS:
        if (claim.first, KINDS[0]) not in found or (claim.second, KINDS[0]) not in found:
            continue
        pairs: list[NDArray[np.float64]] = []
        for kind in (*KINDS, "all"):
            if kind == "all":
                both = np.concatenate(pairs, axis=2)
            else:
                one, other = found[claim.first, kind], found[claim.second, kind]
                n = min(len(one["lpips"]), len(other["lpips"]))
                both = np.array([[each["lpips"][:n], each["processor"][:n]] for each in (one, other)])
                pairs.append(both)
            distances, seconds = np.median(both, axis=2).T  # [2] each, of the first and the second method
            nearer = both[0, 0] < both[1, 0]
            cells = [claim.title, kind, str(nearer.size), f"{distances[0]:.4f}", f"{distances[1]:.4f}"]
            cells += [f"{mean:.4f}" for mean in both[:, 0].mean(axis=1)]
            cells += [f"{nearer.mean():.0%}", f"{seconds[0] / seconds[1]:.3f}"]
            yield [*cells, "holds" if claim.holds(distances, seconds) else "does not hold"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--network", type=Path, default=NETWORKS / "A.safetensors")
    parser.add_argument("--sibling", type=Path, default=NETWORKS / "B.safetensors", help="a network, folder or zip")
    parser.add_argument("--real", type=Path, help="a folder or zip; default: the Fashion-MNIST test set")
    parser.add_argument("--encoder-file", type=Path, help="default: the one beside the network")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--images", type=int, default=32, help="of each kind")
    for name in METHODS:
        parser.add_argument(f"--{name}", dest=f"count_{name}", type=int, metavar="N", help="of each kind, this method")
    for name, value in vars(Lengths()).items():
        option = name if name == "steps" else f"{name}-steps"
        parser.add_argument(f"--{option}", dest=f"length_{name}", type=int, default=value, metavar="N")
    parser.add_argument("--batch", type=int, default=8, help="images together at most; fewer where some would be over")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="also write images and what was made of them to this PNG")
    parser.add_argument("--measure", choices=tuple(METHODS), help=argparse.SUPPRESS)
    return parser


def apart(arguments: Sequence[str], method: str, threads: int) -> None:
    """Measure a method in a process of its own; the plain loop has no native kernels."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if METHODS[method].is_plain:
        environment["INVERT_NATIVE"] = "0"
    command = [sys.executable, "-m", "bench.spaces", *arguments, "--measure", method]
    subprocess.run(command, check=True, env=environment)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and print the tables."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    counts = {name: given[f"count_{name}"] for name in METHODS}
    counts = {name: given["images"] if n is None else n for name, n in counts.items() if name in given["methods"]}
    counts = {name: n for name, n in counts.items() if n > 0}
    lengths = Lengths(*(given[f"length_{name}"] for name in vars(Lengths())))
    encoder = given["encoder_file"] or encoder_path(given["network"])
    sources = (given["network"], given["sibling"], given["real"], encoder)
    experiment = Experiment(given["work"], *sources, counts, lengths, given["batch"], given["threads"])
    if given["measure"]:
        experiment.measure(given["measure"])
        return
    if not counts:
        parser.error("no images of any method are wanted")
    if {"encoder", "fast"} & set(counts) and not encoder.exists():
        parser.error(f"there is no {encoder}: invert train-encoder {given['network']} -o {encoder}")
    _ = experiment.targets  # all images are there before any of them is measured
    for method in counts:
        apart(arguments, method, given["threads"])
    torch.set_num_threads(given["threads"])
    print(f"{machine()}\n\nNetwork {given['network'].name}, {given['threads']} thread(s) in each process.\n")
    print(report(experiment))
    if given["figure"]:
        draw(experiment, given["figure"])


if __name__ == "__main__":
    main()
