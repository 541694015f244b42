"""Time one generator and one discriminator pass, forward and backward, beside the plain way, with and without R1.

32 px, batch 32, channel_base 1024, channel_max 128. Plain: weights per image and one grouped convolution, portable
operators, contiguous layout.
"""

import argparse
import json
from collections.abc import Callable

import torch
from torch.nn import functional

from bench.machine import machine
from bench.side_by_side import measure_apart, median_seconds, prepare_kernels
from generator.config import DiscriminatorSettings, GeneratorConfig, MappingConfig, SynthesisSettings
from generator.networks import Generator, make_discriminator
from generator.stylegan.config import StyleGANDiscriminatorConfig, StyleGANSynthesisConfig
from generator.stylegan2.config import DiscriminatorConfig, SynthesisConfig
from generator.stylegan2.layers import ModulatedConv2d, ToRGB
from invert.projection.session import keep_freed_memory

BATCH = 32
NETWORKS: dict[str, tuple[SynthesisSettings, DiscriminatorSettings]] = {
    "StyleGAN2": (
        SynthesisConfig(img_resolution=32, channel_base=1024, channel_max=128),
        DiscriminatorConfig(0, 32, 3, 1024, 128),
    ),
    "StyleGAN": (
        StyleGANSynthesisConfig(img_resolution=32, channel_base=1024, channel_max=128, growing=False),
        StyleGANDiscriminatorConfig(0, 32, 3, 1024, 128, growing=False),
    ),
}
WAYS = ("plain", "ours")


def training_step(family: str, way: str, with_r1: bool) -> Callable[[int], object]:
    """Return one step of both networks, without the optimiser."""
    torch.manual_seed(0)
    synthesis, settings = NETWORKS[family]
    generator = Generator(GeneratorConfig(MappingConfig(), synthesis))
    discriminator = make_discriminator(settings)
    if way == "plain":
        for module in generator.modules():
            if isinstance(module, ModulatedConv2d | ToRGB):
                module.form = "per_sample"
        real = torch.randn([BATCH, 3, 32, 32])
    else:
        generator = generator.to(memory_format=torch.channels_last)
        discriminator = discriminator.to(memory_format=torch.channels_last)
        real = torch.randn([BATCH, 3, 32, 32]).contiguous(memory_format=torch.channels_last)
    parameters = [list(network.parameters()) for network in (generator, discriminator)]

    def step(index: int) -> None:
        z = torch.randn([BATCH, 512])
        fake = generator(z, noise="random")
        torch.autograd.grad(functional.softplus(-discriminator(fake)).mean(), parameters[0], allow_unused=True)
        images = real.detach().requires_grad_(with_r1)
        logits = discriminator(images)
        loss = functional.softplus(-logits).mean() + functional.softplus(discriminator(fake.detach())).mean()
        if with_r1:
            (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
            loss = loss + gradient.square().sum([1, 2, 3]).mean()
        torch.autograd.grad(loss, parameters[1])

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of timed steps per row and way")
    parser.add_argument("--measure", nargs=3, metavar=("FAMILY", "WAY", "R1"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        family, way, r1 = arguments.measure
        prepare_kernels(way == "ours")
        if way == "ours":
            keep_freed_memory()
        print(json.dumps({"seconds": median_seconds(training_step(family, way, r1 == "1"), arguments.budget)}))
        return
    print(
        f"Generator and discriminator, forward and backward, 32 px, batch {BATCH}; {torch.get_num_threads()} threads.\n"
    )
    print(f"{machine()}\n\n| case | plain, ms | ours, ms | share |")
    print("|---|---|---|---|")
    for family in NETWORKS:
        for name, r1 in (("without R1", "0"), ("with R1's double backward", "1")):
            plain, ours = (
                measure_apart("bench.training_step", [family, way, r1, "--budget", str(arguments.budget)])["seconds"]
                for way in WAYS
            )
            cells = (f"{family}, {name}", f"{plain * 1e3:.0f}", f"{ours * 1e3:.0f}", f"{ours / plain:.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
