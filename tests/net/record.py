"""Record what must not change: `python -m tests.net.record`.

With no argument, the digests of this machine are added, after the values were found to agree with those recorded.
`--all` writes everything anew, with the version that is checked out: only when a number was changed on purpose.
The files in version-0.1.0 are what that version wrote and are never written again; `--written` made them.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["INVERT_NATIVE"] = "0"  # as tests/conftest.py says; before anything imports the kernels
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from tests.net import net_case as net


def outcomes(folder: Path) -> tuple[dict[str, net.Arrays], dict[str, Any]]:
    """Return the arrays and the texts of every case, worked out now."""
    results: dict[str, net.Arrays] = {}
    texts: dict[str, Any] = {"methods": {}, "verdicts": {}}
    for case in net.PROJECTIONS:
        net.invert(*net.projection(case, folder / case))
        results[case] = net.projected(folder / case)
        texts["methods"][case] = net.method_digest(folder / case)
    net.invert(*net.latents(folder / "eight.h5"))
    results["latents"] = net.columns(folder / "eight.h5")
    for case in net.TRAININGS:
        net.invert(*net.training(case, folder / f"run-{case}", 0.2))
        results[f"training-{case}"] = net.trained(folder / f"run-{case}")
    for case in net.ATTRIBUTIONS:
        records = net.invert(*net.attribution(case))
        texts["verdicts"][case], results[f"verdicts-{case}"] = net.judged(records)
    return results, texts


def write_digests(recorded: dict[str, Any]) -> None:
    (net.FIXTURES / "digests.json").write_text(json.dumps(recorded, indent=1) + "\n")


def write_written(folder: Path) -> None:
    """Write the files that stay readable for ever."""
    shutil.rmtree(net.WRITTEN, ignore_errors=True)
    net.WRITTEN.mkdir(parents=True)
    net.invert("dataset", "data/samples/training", net.WRITTEN / "images16.zip", "--resolution", 16)
    net.invert(*net.latents(net.WRITTEN / "latents.h5"))
    net.invert(*net.projection("A-paper-batch4", net.WRITTEN / "projections"))
    net.invert(*net.training("stylegan2", net.WRITTEN / "run", 0.1))
    for name in ("A", "B", "real"):
        (folder / name).mkdir()
        for path in sorted((net.ROOT / "data/samples" / name).glob("*.png"))[:24]:
            shutil.copy(path, folder / name)
    net.invert(
        *("calibrate", "--network", net.network_file("A"), "--real", folder / "real", "--other", folder / "B"),
        *("--count", 24, "--fpr", 0.25, "--steps", 6, "--bank", 256, "--batch", 8, "--workers", 1, *net.ALONE, "-q"),
        *("-o", net.WRITTEN / "calibration.json"),
    )
    command = [sys.executable, "-m", "invert", *map(str, net.unfinished(net.WRITTEN / "unfinished.h5")), "--json"]
    with subprocess.Popen(command, cwd=net.ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not (net.WRITTEN / "unfinished.h5").exists()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["INVERT_CACHE"] = str(folder / "cache")
        if "--written" in sys.argv:
            write_written(folder)
        results, texts = outcomes(folder)
        if "--all" in sys.argv:
            arrays = {f"{case}|{name}": value for case, content in results.items() for name, value in content.items()}
            np.savez_compressed(net.FIXTURES / "arrays.npz", **arrays)
            (net.FIXTURES / "texts.json").write_text(json.dumps(texts, indent=1) + "\n")
            recorded = {}
        else:
            recorded = net.recorded_digests()
            recorded.pop(net.machine_name(), None)
            write_digests(recorded)
            assert texts == net.recorded_texts()
            for case, content in results.items():
                net.assert_unchanged(case, content)
        found = {case: net.digests(content) for case, content in results.items()}
        recorded[net.machine_name()] = {"machine": net.machine(), "digests": found}
        write_digests(recorded)


if __name__ == "__main__":
    main()
