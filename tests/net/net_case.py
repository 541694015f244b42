"""The runs that the net records and repeats, how they are started, and how two outcomes are compared.

The net knows the command line and the file formats and as little as it can of the Python behind them, so that
modules may move without it.
"""

import contextlib
import hashlib
import io
import json
import platform
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.numpy import load_file

from invert.cli.main import main

ROOT = Path(__file__).parent.parent.parent
FIXTURES = Path(__file__).parent / "fixtures"
WRITTEN = FIXTURES / "version-0.1.0"
"""Files that version 0.1.0 wrote; they stay readable for ever."""

Arrays = dict[str, np.ndarray[Any, Any]]

IMAGES = ("A/seed0011.png", "real/01.png", "B/seed0001.png", "A/seed0002.png")
EIGHT = (*IMAGES, "A/seed0003.png", "B/seed0009.png", "real/04.png", "real/05.png")
ALONE = ("--threads", 1, "--device", "cpu")

PROJECTIONS = {
    f"{network}-{preset}-batch{batch}": (network, preset, batch)
    for network in ("A", "stylegan")
    for preset in ("paper", "official", "verdict")
    for batch in (1, 4)
}
"""Six steps: long enough for every stage of a schedule, too short for rounding to grow into another result."""

TRAININGS = {
    "stylegan2": ("--config", "tiny", "--batch", 8, "--set", "r1_interval=4", "--set", "path_length_interval=2"),
    "stylegan": (
        *("--config", "stylegan-small", "--batch", 8, "--mapping-layers", 2),
        *("--set", "growing_start=8", "--set", "growing_stage_kimg=0.064", "--set", "growing_fade_kimg=0.064"),
    ),
}
"""Runs of 16 px, the second one growing from 8 px on the way."""

NARROW = ("--set", "z_dim=8", "--set", "w_dim=8", "--set", "channel_base=64", "--set", "channel_max=8")
ATTRIBUTIONS = {"A": IMAGES, "stylegan": IMAGES[:2]}


def invert(*arguments: object) -> list[dict[str, Any]]:
    """Run a command in this process, in the project's folder; return its JSON Lines. The only way to the program."""
    threads = torch.get_num_threads()
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*map(str, arguments), "--json"])
    finally:
        torch.set_num_threads(threads)
    assert code == 0, err.getvalue()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def samples(names: tuple[str, ...]) -> list[str]:
    """Return the paths of sample images, from the project's folder."""
    return [f"data/samples/{name}" for name in names]


def network_file(name: str) -> str:
    return f"data/networks/{name}.safetensors"


def projection(case: str, folder: Path) -> list[object]:
    """Return the command of a projection to a folder."""
    network, preset, batch = PROJECTIONS[case]
    return [
        *("project", *samples(IMAGES[:batch]), "--network", network_file(network), "--preset", preset, "--out", folder),
        *("--steps", 6, "--seed", 7, "--batch", batch, *ALONE, "-q"),
    ]


def latents(file: Path, names: tuple[str, ...] = EIGHT) -> list[object]:
    """Return the command of a projection to an HDF5 file that keeps everything."""
    return [
        *("project", *samples(names), "--network", network_file("A"), "--preset", "paper", "--out", file),
        *("--steps", 6, "--seed", 7, "--batch", 4, *ALONE, "-q", "--save-noise", "float32", "--save-images"),
    ]


def unfinished(file: Path) -> list[object]:
    """Return the command of the projection whose work folder was kept when it was killed."""
    return [
        *("project", *samples(EIGHT), "--network", network_file("A"), "--preset", "verdict", "--out", file),
        *("--steps", 6, "--seed", 7, "--batch", 1, *ALONE, "-q"),
    ]


def training(case: str, folder: Path, kimg: float) -> list[object]:
    """Return the command of a training run."""
    return [
        *("train", "--data", (WRITTEN / "images16.zip").relative_to(ROOT), "--out", folder, *TRAININGS[case], *NARROW, "--seed", 3),
        *("--kimg", kimg, "--tick-kimg", 0.048, "--snapshot-kimg", 0.096, *ALONE, "-q"),
    ]


def attribution(network: str, *more: object) -> list[object]:
    """Return the command of the verdicts on sample images."""
    images = samples(ATTRIBUTIONS[network])
    return ["attribute", "--network", network_file(network), *images, "--batch", 4, "--seed", 0, *ALONE, "-q", *more]


def projected(folder: Path) -> Arrays:
    """Return the numbers of every projection in a folder."""
    arrays: Arrays = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as content:
            for name in content.files:
                if name in ("w", "distance", "layer_distances", "step_loss") or name.startswith("noise/"):
                    arrays[f"{path.stem}/{name}"] = content[name]
    return arrays


COLUMNS = (
    *("w", "distance", "layer_distances", "curve", "index", "original_size", "pixel_sha256", "sha256", "restart"),
    *("status", "name_bytes", "name_offsets", "target", "reconstruction"),
)


def columns(file: Path) -> Arrays:
    """Return the values of the columns of a file of latents. Schema 1; a later schema may call for another reading."""
    with h5py.File(file) as content:
        names = [*COLUMNS, *(f"noise/{name}" for name in content["noise"])]
        return {name: np.asarray(content[name]) for name in names}


def content_digest(file: Path) -> tuple[int, str]:
    """Return the version of the schema and the digest of the content."""
    with h5py.File(file) as content:
        return int(content.attrs["schema_version"]), bytes(content.attrs["content_sha256"]).decode()


def trained(folder: Path) -> Arrays:
    """Return the weights that a training run ended with, and the numbers of its log."""
    arrays: Arrays = {f"weights/{name}": value for name, value in load_file(folder / "network.safetensors").items()}
    for line in (folder / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        for group in ("losses", "scores"):
            for name, value in record[group].items():
                if value is not None:
                    arrays[f"log/{record['images']}/{name}"] = np.float64(value)
    return arrays


def judged(records: list[dict[str, Any]]) -> tuple[list[Any], Arrays]:
    """Return what verdicts say and the numbers that they rest on."""
    said, numbers = [], {}
    for record in records:
        if "verdict" not in record:
            continue
        name = Path(record["path"]).stem
        said.append([record["path"], record["verdict"], record["networks"], record["pixel_sha256"]])
        for network, distance in record["distances"].items():
            numbers[f"{name}/{network}/distance"] = np.float64(distance)
        for finding in record["findings"]:
            key = f"{name}/{finding['network']}"
            said.append([finding["network_sha256"], finding["outcome"], finding["decides"]])
            for group in ("lpips", "evidence", "measured"):
                for field, value in (finding[group] or {}).items():
                    if isinstance(value, bool) or not isinstance(value, float):
                        said.append([group, field, value])
                    else:
                        numbers[f"{key}/{group}/{field}"] = np.float64(value)
    return said, numbers


def machine() -> dict[str, Any]:
    """Return all that decides how this machine rounds: where it is the same, the net asks for the same bits."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else platform.processor()
    processor = {}
    for field in ("model name", "cpu family", "model", "stepping", "cache size", "flags"):
        match = re.search(rf"^{field}\s*:\s*(.*)$", text, re.M)
        processor[field] = match[1] if match else text[:200]
    processor["flags"] = hashlib.sha256(" ".join(sorted(processor["flags"].split())).encode()).hexdigest()[:16]
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "kernels": "portable",
        "threads": 1,
        "processor": processor,
    }


def machine_name() -> str:
    return hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:16]


def digests(arrays: Arrays) -> dict[str, str]:
    """Return one sha256 for all arrays of a kind: all noise maps, all weights, the w of all images ..."""
    sums: dict[str, Any] = {}
    for name, value in sorted(arrays.items()):
        kind = next((part for part in ("weights", "log", "noise") if f"{part}/" in name), name.split("/")[-1])
        content = name.encode() + b"\0" + value.dtype.str.encode() + np.ascontiguousarray(value).tobytes()
        sums.setdefault(kind, hashlib.sha256()).update(content)
    return {kind: digest.hexdigest() for kind, digest in sums.items()}


def recorded_digests() -> dict[str, Any]:
    """Return what was recorded of machines: {name: {"machine": ..., "digests": {case: {kind: sha256}}}}."""
    path = FIXTURES / "digests.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def recorded_arrays(case: str) -> Arrays:
    """Return the values recorded of a case."""
    with np.load(FIXTURES / "arrays.npz", allow_pickle=False) as content:
        return {name.removeprefix(f"{case}|"): content[name] for name in content.files if name.startswith(f"{case}|")}


def assert_unchanged(case: str, arrays: Arrays, expected: Arrays | None = None) -> None:
    """Assert that a run ended as recorded.

    To the bit where this machine's digests were recorded (same processor, PyTorch and kernels). Another processor
    rounds otherwise, and Adam makes a whole step of a gradient that is nearly zero whichever sign rounding leaves it,
    so elsewhere the arrays must agree within TOLERANCES: at least four times what differed between AVX-512, AVX2 and
    no vector instructions at all.
    """
    expected = recorded_arrays(case) if expected is None else expected
    assert sorted(arrays) == sorted(expected)
    arrays = {name: np.asarray(arrays[name]).reshape(value.shape) for name, value in expected.items()}
    here = recorded_digests().get(machine_name(), {}).get("digests", {}).get(case)
    if here is not None:
        assert digests(arrays) == here
    for name, value in expected.items():
        if value.dtype.kind != "f":
            assert np.array_equal(arrays[name], value), name
            continue
        assert np.isfinite(arrays[name]).all(), name
        difference, allowed = distance(arrays[name], value), tolerance(case, name)
        assert difference <= allowed, (name, difference, allowed)


def distance(value: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """Return the root of the mean squared difference, relative to the array's own."""
    value, expected = np.asarray(value, np.float64), np.asarray(expected, np.float64)
    return float(np.sqrt(np.mean((value - expected) ** 2)) / (np.sqrt(np.mean(expected**2)) + 1e-6))


def tolerance(case: str, name: str) -> float:
    """Return by how much an array may differ on another processor."""
    return 0.05
