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
import subprocess
import sys
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
ATTRIBUTIONS = {
    "A": ("A", IMAGES),
    "stylegan": ("stylegan", IMAGES[:2]),
    "stylegan2": ("stylegan2", IMAGES[:2]),
    "calibration": ("A", IMAGES),
}
"""Which network is asked of which images; the last one by the calibration that is kept here."""


def invert(*arguments: object) -> list[dict[str, Any]]:
    """Run a command in the project's folder; return its JSON Lines. The only way to the program.

    In this process, unless a test has loaded the native kernels here, which round otherwise.
    """
    command = [*map(str, arguments), "--json"]
    if native_kernels():
        program = [sys.executable, "-m", "invert", *command]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        code, out, err = here(command)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def native_kernels() -> bool:
    """Return whether this process has loaded kernels beside the portable ones."""
    operator = "invert::bias_act"
    dispatch: Any = torch._C
    return bool(
        dispatch._dispatch_has_kernel(operator) and dispatch._dispatch_has_kernel_for_dispatch_key(operator, "CPU")
    )


def here(command: list[str]) -> tuple[int, str, str]:
    """Run a command in this process; return its code, stdout and stderr."""
    threads = torch.get_num_threads()
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(command)
    finally:
        torch.set_num_threads(threads)
    return code, out.getvalue(), err.getvalue()


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
    data = (WRITTEN / "images16.zip").relative_to(ROOT)
    return [
        *("train", "--data", data, "--out", folder, "--seed", 3, *TRAININGS[case], *NARROW),
        *("--kimg", kimg, "--tick-kimg", 0.048, "--snapshot-kimg", 0.096, *ALONE, "-q"),
    ]


def attribution(case: str) -> list[object]:
    """Return the command of the verdicts on sample images."""
    network, images = ATTRIBUTIONS[case]
    more: tuple[object, ...] = ("--calibration", WRITTEN / "calibration.json") if case == "calibration" else ()
    if case == "A":
        more = ("--preset", "verdict")
    command = ("attribute", "--network", network_file(network), *samples(images), *more)
    return [*command, "--batch", 4, "--seed", 0, *ALONE, "-q"]


def projected(folder: Path) -> Arrays:
    """Return the numbers of every projection in a folder."""
    arrays: Arrays = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as content:
            for name in content.files:
                if name in ("w", "distance", "layer_distances", "step_loss") or name.startswith("noise/"):
                    arrays[f"{path.stem}/{name}"] = content[name]
    return arrays


def method_digest(folder: Path) -> str:
    """Return the digest of the method of the projections in a folder."""
    with np.load(next(folder.glob("*.npz")), allow_pickle=False) as content:
        return str(content["method_digest"])


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


def kind(name: str) -> str:
    """Return what an array is compared with: all noise maps, all weights, the w of all images ... together."""
    return next((part for part in ("weights", "log", "noise") if f"{part}/" in name), name.split("/")[-1])


def digests(arrays: Arrays) -> dict[str, str]:
    """Return one sha256 for all arrays of a kind."""
    sums: dict[str, Any] = {}
    for name, value in sorted(arrays.items()):
        content = name.encode() + b"\0" + value.dtype.str.encode() + np.ascontiguousarray(value).tobytes()
        sums.setdefault(kind(name), hashlib.sha256()).update(content)
    return {name: digest.hexdigest() for name, digest in sums.items()}


def recorded_digests() -> dict[str, Any]:
    """Return what was recorded of machines: {name: {"machine": ..., "digests": {case: {kind: sha256}}}}."""
    path = FIXTURES / "digests.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def recorded_texts() -> dict[str, Any]:
    """Return the digests of methods and what verdicts say, as recorded."""
    content: dict[str, Any] = json.loads((FIXTURES / "texts.json").read_text())
    return content


def recorded_arrays(case: str) -> Arrays:
    """Return the values recorded of a case."""
    with np.load(FIXTURES / "arrays.npz", allow_pickle=False) as content:
        return {name.removeprefix(f"{case}|"): content[name] for name in content.files if name.startswith(f"{case}|")}


TOLERANCES = {
    "noise": 1e-4,
    "complexity": 1e-6,
    "threshold": 1e-9,
    "log": 0.1,
    "weights": 0.1,
    "start": 1e-3,
}
OTHERWISE = 0.5


def assert_unchanged(case: str, arrays: Arrays, *, to_the_bit: bool = True) -> None:
    """Assert that a run ended as recorded.

    Args:
        case: Name of what was recorded.
        arrays: What the run ended with.
        to_the_bit: Whether this machine's digests are looked at; a run that another version began rounded otherwise.

    To the bit where this machine's digests were recorded (same processor, PyTorch and kernels). Another processor
    rounds otherwise, and ReLU and Adam make much of it (a gradient that is nearly zero moves w by a whole step,
    whatever its sign), so elsewhere the first two steps must agree closely and what six make of them roughly: the
    tolerances are at least three times what differed between AVX-512 and no vector instructions at all.
    """
    expected = recorded_arrays(case)
    assert sorted(arrays) == sorted(expected)
    arrays = {name: np.asarray(arrays[name]).reshape(value.shape) for name, value in expected.items()}
    here = recorded_digests().get(machine_name(), {}).get("digests", {}).get(case)
    if here is not None and to_the_bit:
        assert digests(arrays) == here
    for name, value in expected.items():
        if value.dtype.kind != "f" and name != "reconstruction":
            assert np.array_equal(arrays[name], value), name
    for name, difference in differences(arrays, expected).items():
        assert difference <= TOLERANCES.get(name, OTHERWISE), (name, difference)


def differences(arrays: Arrays, expected: Arrays) -> dict[str, float]:
    """Return the root of the mean squared difference of each kind of array, relative to the arrays' own."""
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    for name, value in expected.items():
        if value.dtype.kind == "f" or name == "reconstruction":
            pairs.setdefault(kind(name), []).append((arrays[name].ravel(), value.ravel()))
            if kind(name) in ("step_loss", "curve"):
                pairs.setdefault("start", []).append((arrays[name][..., :2].ravel(), value[..., :2].ravel()))
    found = {}
    for name, parts in pairs.items():
        ours, theirs = (np.concatenate(side).astype(np.float64) for side in zip(*parts, strict=True))
        found[name] = float(np.sqrt(np.mean((ours - theirs) ** 2) / (np.mean(theirs**2) + 1e-12)))
    assert np.isfinite(list(found.values())).all(), found
    return found
