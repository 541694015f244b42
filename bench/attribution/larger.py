"""What preset exact takes with untrained networks of larger images, beside the Adam steps of preset paper."""

import dataclasses
import multiprocessing
import resource
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.attribution.document import Text
from bench.attribution.laboratory import Laboratory
from bench.populations import NETWORKS
from generator.config import GeneratorConfig, MappingConfig
from generator.files.invert_format import save_network
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert.durable import ensure_folder
from invert.images.target import target_of
from invert.projection.config import ProjectConfig, with_defaults
from invert.projection.latents import seed_latent
from invert.projection.projector import Projection
from invert.projection.session import open_session
from invert.projection.synthesis import synthesise_image
from invert.report.page import Table

__all__ = ["add_larger"]

TRAINED = "faces"
_SEED = 71_000_000  # of the first image
_LATENTS = 512
_WIDTH, _MOST = 4096, 128  # channels: so many by the side, at most
_CONTRAST = 0.3  # of untrained weights to colour, without which most of an image is cut off at black and white
_BANK = 200  # samples: what a start takes grows by no more of them
_MEGABYTE = 1024  # kilobytes


@dataclass(frozen=True)
class _Cost:
    """What one method took, on a mean of the images.

    Attributes:
        iterations: Jacobians, rounds of 25 gradients, or Adam steps.
        passes: Images that the network synthesised; a direction of a Jacobian counts as one, and so does a gradient.
        seconds: Processor time.
        megabytes: Peak memory of the process, all of it.
        rms: Root of the mean squared difference that is left, in levels: the largest of all images.
        median: The median of them.
        converged: Share of the images whose search came to its end; None where a method has none.
    """

    iterations: float
    passes: float
    seconds: float
    megabytes: float
    rms: float
    median: float
    converged: float | None = None


class _Passes:
    """Counts how many images and derivatives a network synthesises."""

    def __init__(self, generator: Generator) -> None:
        self.count = 0
        synthesis: Any = generator.synthesis
        carry = synthesis.carry

        def counted_carry(ws: Any, noise: Any) -> Any:
            self.count += len(ws.value) + (0 if ws.tangents is None else len(ws.tangents))
            return carry(ws, noise)

        def after(_: Any, __: Any, image: torch.Tensor) -> None:
            self.count += len(image)
            if image.requires_grad:
                image.register_hook(self._backward)  # type: ignore[no-untyped-call]

        synthesis.carry = counted_carry
        synthesis.register_forward_hook(after)

    def _backward(self, gradient: torch.Tensor) -> None:
        self.count += len(gradient)


def _write_network(path: Path, side: int) -> None:
    torch.manual_seed(side)
    synthesis = SynthesisConfig(_LATENTS, side, channel_base=_WIDTH, channel_max=_MOST, img_channels=3)
    generator = Generator(GeneratorConfig(MappingConfig(_LATENTS, 0, _LATENTS, 8), synthesis))
    with torch.no_grad():
        for name, values in generator.named_parameters():
            if name.endswith("torgb.weight"):
                values.mul_(_CONTRAST)
    ensure_folder(path.parent)
    save_network(path, generator.eval())


def _measure(path: Path, settings: dict[str, Any], images: int) -> dict[str, Any]:
    """Project images of a network in a process of its own."""
    config = ProjectConfig(**with_defaults(settings), threads=1, device="cpu", batch=1)
    session = open_session(path, config)
    generator = session.network.generator.eval()
    targets = []
    for seed in range(_SEED, _SEED + images):
        with torch.inference_mode():
            ws = generator.mapping_ws(seed_latent(seed, generator.config.mapping.z_dim))
        array = synthesise_image(generator, ws, "const", seed)
        targets.append(target_of(array, session.resolution, session.channels, name=str(seed)))
    projector = session.projector()
    passes = _Passes(projector.generator)
    began = time.process_time()
    found = [event for event in projector.run(targets) if isinstance(event, Projection)]
    seconds = (time.process_time() - began) / images
    rms = [float(np.sqrt(np.square(one.image.astype(np.float64) - one.target.array).mean())) for one in found]
    explained = [one.explanation for one in found if one.explanation is not None]
    iterations = float(np.mean([one.iterations for one in explained])) if explained else float(config.steps)
    converged = float(np.mean([one.stopped == "converged" for one in explained])) if explained else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MEGABYTE
    cost = _Cost(iterations, passes.count / images, seconds, peak, max(rms), float(np.median(rms)), converged)
    return dataclasses.asdict(cost)


def _alone(path: Path, settings: dict[str, Any], images: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, path, settings, images).result()


def add_larger(text: Text, laboratory: Laboratory, sides: Iterable[int], images: int, steps: Sequence[int]) -> None:
    """Add what images of larger networks take.

    Args:
        text: Where it is added.
        laboratory: The work folder.
        sides: Sides of the networks' images in pixels.
        images: Images of each.
        steps: Adam steps of preset paper, each a row.
    """
    text.say(
        f"Images of the colour network {TRAINED}, which was trained, and of untrained ones with {_LATENTS} latents,",
        f"{images} of each, one thread. The latter's weights to colour are times {_CONTRAST:g}, so that images are not",
        "cut off at black and white. Preset exact is told stored noise and no processing; preset paper has the first",
        "image alone. Iterations are Jacobians up to 64 px, rounds of 25 gradients above, and Adam steps of preset",
        "paper; passes are images synthesised, each direction of a Jacobian and gradient counted as one. Seconds of a",
        "processor and passes are those of an image, memory is the peak of the whole process. rms is what is left of",
        "the image, in levels; rounding alone would leave 0.",
    )
    rows = []
    networks = {f"{TRAINED}, 64 px": NETWORKS / f"{TRAINED}.safetensors"}
    networks |= {f"{side} px": laboratory.work / "untrained" / f"{side}.safetensors" for side in sides}
    for name, path in networks.items():
        if not path.exists():
            _write_network(path, int(path.stem))
        cases: dict[str, dict[str, Any]] = {"exact": {"preset": "exact", "noise": "fixed", "bank": _BANK}}
        cases |= {f"paper, {number} steps": {"preset": "paper", "steps": number} for number in steps}
        for preset, settings in cases.items():
            count = images if preset == "exact" else 1
            key = f"larger {path.stem} {preset.replace(',', '')}"
            make = partial(_alone, path, settings, count)
            cost = _Cost(**laboratory.kept(key, {"images": count, **settings}, make))
            converged = "-" if cost.converged is None else f"{100 * cost.converged:.0f} %"
            shown = (f"{cost.iterations:.0f}", f"{cost.passes:.0f}", f"{cost.seconds:.1f}", f"{cost.megabytes:.0f}")
            rows.append((name, preset, *shown, f"{cost.median:.2f}", f"{cost.rms:.2f}", converged))
    header = ("network", "preset", "iterations", "passes", "s", "MB", "rms, median", "rms, most", "converged")
    text.table(Table(rows, header))
