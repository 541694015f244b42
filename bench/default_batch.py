"""What a batch gains: processor time of a projection step per image, and what one image costs in a padded batch.

    python -m bench.default_batch [--side 32] [--rounds 5]

It is what `invert.projection.session.default_batch` rests on. The step is that of preset paper. Batches take turns, so
that what else the machine does counts for all of them alike, and the fastest turn of each counts. Processor time is
that of all threads: it says what a batch costs also where other programs take a share of the cores.
"""

import argparse
import time

import torch

from bench.machine import machine
from bench.projection_step import network, ours
from bench.side_by_side import prepare_kernels
from generator.stylegan2.config import SynthesisConfig
from invert.projection.perceptual import Perceptual
from invert.projection.session import default_batch, keep_freed_memory

SIDES = {  # with the batches that are timed, and the width of the network: config E from 64 px up
    32: ((1, 2, 4, 8, 16, 32), 2048),
    64: ((1, 2, 4, 8, 16, 32), 16384),
    128: ((1, 2, 4, 8), 16384),
    256: ((1, 2, 4, 8), 16384),
}


def seconds_of(side: int, rounds: int) -> dict[int, tuple[float, float]]:
    """Return the processor seconds and the wall seconds of a step, by batch."""
    batches, width = SIDES[side]
    perceptual = Perceptual()
    steps = {}
    for batch in batches:
        targets = torch.rand([batch, 3, side, side], generator=torch.Generator().manual_seed(1)) * 2 - 1
        steps[batch] = ours(network(SynthesisConfig(img_resolution=side, channel_base=width)), perceptual, targets)
        steps[batch](0)
    found = dict.fromkeys(batches, (float("inf"), float("inf")))
    number = 0
    for _ in range(rounds):
        for batch, step in steps.items():
            number += 1
            wall, used = time.perf_counter(), time.process_time()
            step(number)
            taken = time.process_time() - used, time.perf_counter() - wall
            found[batch] = min(found[batch][0], taken[0]), min(found[batch][1], taken[1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, action="append", choices=tuple(SIDES), help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    prepare_kernels(True)
    print(f"{machine()}\n\nMilliseconds of one step.\n")
    print("| px | batch | processor, per image | of batch 1 | wall, per image | wall, one image padded | default |")
    print("|---|---|---|---|---|---|---|")
    for side in arguments.side or SIDES:
        found = seconds_of(side, arguments.rounds)
        for batch, (used, wall) in found.items():
            share = used / batch / found[1][0]
            cells = [str(side), str(batch), f"{used / batch * 1e3:.1f}", f"{share:.2f}"]
            cells += [f"{wall / batch * 1e3:.1f}", f"{wall * 1e3:.1f}"]
            print(f"| {' | '.join(cells)} | {'yes' if batch == default_batch(side, 'cpu') else ''} |", flush=True)


if __name__ == "__main__":
    main()
