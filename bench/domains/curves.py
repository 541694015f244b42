"""Quality of training runs over time: fd-vgg of their snapshots in one figure, with the p of augmentation below.

    python -m bench.domains.curves runs/emoji runs/emoji-ada --against runs/emoji64.zip --out docs/emoji-ada.png

It works on whatever snapshots there are, of runs that are still going too. What was measured is kept, so that the same
command measures new snapshots alone. Distances are comparable within one figure: they depend on the number of images.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import invert
from invert.durable import write_atomic
from invert.report.theme import LIGHT, styled
from invert.runs.history import Tick, read_history
from invert.runs.snapshots import snapshot_files

KEPT = "fd-vgg.json"
"""In the folder of a run: distances by what they were measured against and by snapshot."""


def distances(run: Path, against: Path, images: int, threads: int | None) -> dict[int, float]:
    """Return the fd-vgg of a run's snapshots by how many images training had seen; measures those that are new."""
    kept: dict[str, dict[str, float]] = json.loads((run / KEPT).read_text()) if (run / KEPT).is_file() else {}
    known = kept.setdefault(f"{against.name}, {images} images", {})
    files = snapshot_files(run)
    for seen, path in files.items():
        if str(seen) in known:
            continue
        (measured,) = invert.measure(path, "fd-vgg", against=against, images=images, threads=threads, device="cpu")
        if measured.value is not None:
            known[str(seen)] = measured.value
            write_atomic(run / KEPT, json.dumps(kept, indent=1).encode())
    return {seen: known[str(seen)] for seen in files if str(seen) in known}


def minutes(ticks: tuple[Tick, ...], seen: int) -> float:
    """Return how long training had taken when it had seen so many images, as its log says."""
    return max((tick.measures.get("seconds", 0.0) for tick in ticks if tick.images <= seen), default=0.0) / 60


def plot(out: Path, runs: Mapping[str, tuple[dict[int, float], tuple[Tick, ...]]], title: str) -> None:
    """Write the figure: a curve for each run, and below them p where a run is augmented.

    Args:
        out: The PNG.
        runs: Distances by images seen, and the log, by name of the run.
        title: What the distance is between.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    with styled(LIGHT):
        figure = Figure(figsize=(7, 4.6), dpi=110, layout="constrained", facecolor="white")
        is_augmented = any("augment_p" in tick.measures for _, ticks in runs.values() for tick in ticks)
        rows = figure.subplots(
            1 + is_augmented, 1, sharex=True, squeeze=False, height_ratios=[3, 1][: 1 + is_augmented]
        )
        above, lowest = rows[0, 0], rows[-1, 0]
        for number, (name, (found, ticks)) in enumerate(runs.items()):
            colour = LIGHT.curves[number % len(LIGHT.curves)]
            kimg = [seen / 1000 for seen in found]
            above.plot(kimg, list(found.values()), color=colour, label=name, marker="o", markersize=3)
            p = [(tick.images / 1000, tick.measures["augment_p"]) for tick in ticks if "augment_p" in tick.measures]
            if is_augmented:
                lowest.plot([at for at, _ in p], [value for _, value in p], color=colour)
        above.set_yscale("log")
        above.yaxis.set_major_formatter(ScalarFormatter())
        above.yaxis.set_minor_formatter(ScalarFormatter())
        above.set_ylabel("fd-vgg")
        above.set_title(title)
        above.legend()
        if is_augmented:
            lowest.set_ylabel("p")
            lowest.set_ylim(0, None)
        lowest.set_xlabel("thousand images seen")
        figure.savefig(out, facecolor="white")


def main() -> None:
    """Print the table and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--against", type=Path, required=True, metavar="DATA")
    parser.add_argument("--images", type=int, default=2000, help="samples, and the most images of DATA")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = {}
    print("| run | kimg | minutes | fd-vgg |\n|---|---|---|---|")
    for run in arguments.runs:
        ticks = read_history(run).ticks
        measured = distances(run, arguments.against, arguments.images, arguments.threads)
        for seen, value in measured.items():
            print(f"| {run.name} | {seen / 1000:g} | {minutes(ticks, seen):.0f} | {value:.2f} |", flush=True)
        found[run.name] = (measured, ticks)
    plot(arguments.out, found, f"{arguments.images} samples against {arguments.against.name}")


if __name__ == "__main__":
    main()
