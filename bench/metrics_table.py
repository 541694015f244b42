"""The table of docs/metrics.md: what `invert metrics` says of the networks that come with the project.

    python -m bench.metrics_table --real fashion32.zip [--images 50000] [--pairs 50000] [--samples 200000]
        [--precision float64] [--classifier-kimg 30] [--work DIR] [NETWORK ...]
    python -m bench.metrics_table --real fashion32.zip --scaling 1000,2000,4000,8000

REAL is the training set with its labels, made by `invert dataset`. Each figure is a line of DIR/results.jsonl as soon
as it is measured: the same command again measures what is missing (parts of a figure are in the cache), and prints the
table as Markdown. `--scaling` measures time and memory of fd-vgg by numbers of images instead, each in a process of its
own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import invert
from bench.machine import machine
from invert.metrics.report import comparison
from invert.metrics.result import Measured
from invert.metrics.table import metric_of

ROOT = Path(__file__).parent.parent
NETWORKS = tuple(f"data/networks/{name}.safetensors" for name in ("A", "B", "stylegan", "stylegan2"))
METRICS = (
    *("fd-vgg", "kid-vgg", "pr-vgg", "jacobian", "separability"),
    *("ppl-zfull", "ppl-zend", "ppl-wfull", "ppl-wend"),
)


def settings_of(metric: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that a metric depends on."""
    if metric_of(metric).features:
        return {"images": options.images, "against": options.real}
    if metric == "separability":
        return {"samples": options.samples, "classifier_kimg": options.classifier_kimg, "labels": options.real}
    if metric == "jacobian":
        return {"samples": options.jacobians}
    return {"pairs": options.pairs, "precision": options.precision}


def measured(options: argparse.Namespace) -> Iterator[Measured]:
    """Yield every figure, measured now or before."""
    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    results = work / "results.jsonl"
    known: dict[str, dict[str, Any]] = {}
    if results.exists():
        for line in results.read_text().splitlines():
            record = json.loads(line)
            known[record["key"]] = record
    for network in options.networks or NETWORKS:
        for metric in METRICS:
            settings = settings_of(metric, options)
            key = json.dumps([network, metric, settings])
            if key not in known:
                began = time.monotonic()
                (found,) = invert.measure(
                    network, metric, on_progress=_progress, on_warning=_tell, threads=options.threads, **settings
                )
                known[key] = {"key": key, **found.record(), "seconds": round(time.monotonic() - began, 1)}
                with results.open("a") as file:
                    file.write(json.dumps(known[key]) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            names = ("path", "metric", "main", "values", "protocol")
            yield Measured(**{name: known[key][name] for name in names})


_last = [0.0]


def _progress(what: str, done: int, total: int) -> None:
    if time.monotonic() - _last[0] > 30:
        _last[0] = time.monotonic()
        _tell(f"{what}, {done} of {total}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def print_table(results: list[Measured]) -> None:
    """Print a row for each figure and a column for each network."""
    header, rows = comparison(results)
    names = [Path(row[0]).stem for row in rows]
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for number, column in enumerate(header[1:], 1):
        print(f"| {column} | {' | '.join(row[number] for row in rows)} |")


def scaling(options: argparse.Namespace) -> None:
    """Print time and memory by the number of images."""
    print(f"{machine()}\n\n| images of each kind | s | of processor | MB |\n|---|---|---|---|")
    for count in options.scaling.split(","):
        program = (
            "import invert, sys\n"
            "list(invert.measure(sys.argv[1], 'fd-vgg', against=sys.argv[2], images=int(sys.argv[3]), keep=False,"
            " threads=int(sys.argv[4]) or None))"
        )
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        # Against another network, so that nothing of either side is in the cache.
        command = [sys.executable, "-c", program, NETWORKS[0], NETWORKS[1], count, str(options.threads or 0)]
        subprocess.run(command, cwd=ROOT, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"| {count} | {time.monotonic() - began:.0f} | {used:.0f} | {after.ru_maxrss / 1024:.0f} |", flush=True)


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="by default A, B, stylegan and stylegan2")
    parser.add_argument("--real", required=True, metavar="DATA")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--samples", type=int, default=200_000, help="of separability")
    parser.add_argument("--jacobians", type=int, default=16)
    parser.add_argument("--precision", default="float64", help="of path lengths")
    parser.add_argument("--classifier-kimg", type=float, default=30.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--work", default="runs/metrics", metavar="DIR")
    parser.add_argument("--scaling", metavar="LIST", help="numbers of images")
    options = parser.parse_args()
    if options.scaling:
        scaling(options)
    else:
        print_table(list(measured(options)))


if __name__ == "__main__":
    main()
