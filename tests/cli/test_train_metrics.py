"""`invert train --metrics`: what is measured of each snapshot."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from generator import save
from generator.config import GeneratorConfig, MappingConfig
from generator.networks import Generator
from generator.stylegan2.config import SynthesisConfig
from invert import measure
from invert.errors import InvertError
from invert.metrics.table import choose
from invert.runs.files import WrittenFiles
from invert.runs.folder import RunFolder
from invert.runs.history import read_history
from invert.runs.meter import Meter, Plan, _prepare, _told
from invert.runs.snapshots import Snapshot, best_of, encode_snapshots, read_snapshots
from tests.cli.conftest import Invert
from tests.cli.train_case import SMALL, assert_same_end
from tests.cli.train_case import images as images  # a fixture
from tests.cli.train_case import run as run  # a fixture

SHORT = (*SMALL, "--kimg", 0.016, "--snapshot-kimg", 0.008, "--tick-kimg", 0.008)
"""Two steps, each with a snapshot."""

METRICS = ("--metrics", "fd-vgg,pr-vgg", "--metrics-images", 12)


@pytest.mark.long
def test_snapshots_are_measured_the_best_is_kept_and_no_bit_of_the_training_changes(
    invert: Invert, images: Path, run: Path, tmp_path: Path
) -> None:
    def train(folder: Path, *more: object) -> None:
        found = invert("train", "--data", images, "--out", folder, *SHORT, *more)
        assert found.code == 0, found.err

    plain = tmp_path / "plain"
    train(plain, "--quiet")
    found = invert("train", "--data", images, "--out", run, *SHORT, *METRICS)
    assert found.code == 0, found.err
    assert_same_end(run, plain)
    assert "network-000000008.safetensors: fd-vgg" in found.err
    first, last = read_snapshots(run)
    assert (first.images, last.images) == (8, 16)
    assert first.protocol["fd-vgg"]["images"] == 12
    best = best_of([first, last])
    assert best is not None
    assert (run / "network-best.safetensors").read_bytes() == (run / best[0].network).read_bytes()
    assert found.out.splitlines()[1].startswith("best by fd-vgg")

    page = invert("train-report", run)
    assert page.code == 0
    assert "The best snapshot by fd-vgg" in (run / "report.html").read_text()
    assert [one.images for one in read_history(run).measured] == [8, 16]
    # what --overwrite may remove
    assert {"metrics.jsonl", "network-best.safetensors"} < {path.name for path in WrittenFiles(run).recorded()}


@pytest.mark.slow
def test_the_process_measures_what_the_command_does(images: Path, tmp_path: Path) -> None:
    network = tmp_path / "network-000000100.safetensors"
    save(network, new_generator())
    plan = Plan(images, None, choose("fd-vgg,pr-vgg", None, against=True), 12, "cpu", 1)
    found = _prepare(plan)(network)
    expected = list(measure(network, "fd-vgg,pr-vgg", against=images, images=12, device="cpu", threads=1))
    assert [one["values"] for one in found] == [one.values for one in expected]
    assert found[0]["protocol"] == expected[0].protocol
    json.dumps(found, allow_nan=False)
    # what cannot be measured is an error that can be sent to the process that trains
    broken = tmp_path / "network-000000200.safetensors"
    broken.write_bytes(b"no network")
    with pytest.raises(InvertError) as caught:
        _prepare(plan)(broken)
    assert str(pickle.loads(pickle.dumps(_told(caught.value)))) == str(caught.value)
    assert "ValueError: of numpy" in str(_told(ValueError("of numpy")))


def new_generator() -> Generator:
    """A generator of 16 px, as the images are."""
    synthesis = SynthesisConfig(w_dim=8, img_resolution=16, img_channels=3, channel_base=64, channel_max=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Generator(GeneratorConfig(MappingConfig(8, 0, 8, 1), synthesis))


def test_what_is_missing_is_measured_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def measure(self: Meter, path: Path, stop: object) -> Snapshot | None:
        seen = int(path.stem.split("-")[1])
        measured.append(seen)
        if seen == 300:
            return None  # as one that grows still
        asked = {"asked": {"images": self._plan.images}}
        return Snapshot(seen, {"fd-vgg": {"distance": abs(seen - 190.0)}}, {"fd-vgg": "distance"}, asked)

    monkeypatch.setattr(Meter, "_start", lambda _: None)
    monkeypatch.setattr(Meter, "_receive", lambda *_: None)
    monkeypatch.setattr(Meter, "_measure", measure)
    for seen in (100, 200, 300, 400, 500):
        (tmp_path / f"network-{seen:09d}.safetensors").write_bytes(b"%d" % seen)

    def catch_up(images: int, each: int = 12) -> list[int]:
        measured.clear()
        plan = Plan(tmp_path, None, choose("fd-vgg", None, against=True), each, "cpu", 1)
        list(Meter(RunFolder(tmp_path), plan, lambda _: None).catch_up(images, lambda: False))
        return list(measured)

    assert catch_up(200) == [100, 200]
    assert (tmp_path / "network-best.safetensors").read_bytes() == b"200"
    assert catch_up(400) == [300, 400]
    assert [one.images for one in read_snapshots(tmp_path)] == [100, 200, 400]
    assert (tmp_path / "network-best.safetensors").read_bytes() == b"200"
    (tmp_path / "network-000000200.safetensors").unlink()
    assert catch_up(400) == [300]
    assert catch_up(400, each=20) == [100, 300, 400]  # other numbers of images cannot be compared
    assert (tmp_path / "network-best.safetensors").read_bytes() == b"100"


def snapshot(images: int, metric: str, value: float | None, name: str = "distance") -> Snapshot:
    return Snapshot(images, {metric: {name: value}}, {metric: name}, {})


def test_the_best_is_the_lowest_distance_or_the_highest_score() -> None:
    distances = [snapshot(100, "fd-vgg", 3.0), snapshot(200, "fd-vgg", 1.0), snapshot(300, "fd-vgg", None)]
    scores = [snapshot(100, "pr-vgg", 0.2, "f_score"), snapshot(200, "pr-vgg", 0.1, "f_score")]
    for snapshots, seen in ((distances, 200), (scores, 100)):
        best = best_of(snapshots)
        assert best is not None
        assert best[0].images == seen
    assert best_of([]) is None
    assert best_of(distances[2:]) is None


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    good = snapshot(100, "fd-vgg", 3.0)
    lines = [
        encode_snapshots([good]),
        b'{"images": -1, "main": {}, "metrics": {}}\n',
        b'{"images": 5, "main": {}, "metrics": []}\n',
        b'{"images": 7, "main": {"fd-vgg": "distance"}, "metrics": {"fd-vgg": {"distance": NaN}}}\n',
        json.dumps({"images": 9, "main": {}, "metrics": {"<script>": {"x": 1}}}).encode() + b"\n",
        b'{"images": 10, "mai',
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines))
    found = read_snapshots(tmp_path)
    assert [one.images for one in found] == [9, 100]
    assert found[0].metrics == {}
    assert found[1] == good


@pytest.mark.parametrize(
    ("names", "words"), [("beauty", "there is no metric"), ("fid", "6726825d"), ("separability", "separability")]
)
def test_what_cannot_be_measured_is_refused_before_training(
    names: str, words: str, invert: Invert, images: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVERT_WEIGHTS", raising=False)
    if names == "fid":  # what its process would say

        def refuse(self: object, _: object) -> None:
            raise InvertError("6726825d")

        monkeypatch.setattr(Meter, "_receive", refuse)
        monkeypatch.setattr(Meter, "_start", lambda _: None)
    found = invert("train", "--data", images, "--out", run, *SMALL, "--metrics", names)
    assert found.code != 0
    assert words in found.err
    assert not list(run.glob("network*")) if run.exists() else True
