"""What a command does not ask for is as the output has it: on another machine, and with another count of images."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from invert.batch import run
from invert.batch.images import Found
from invert.batch.job import Job
from invert.batch.outputs import RunOutput
from invert.batch.run import open_run
from invert.errors import UsageError
from invert.hdf5.reading import open_latents
from invert.projection import process
from invert.projection.config import ProjectConfig
from invert.projection.session import Records, Session
from invert.store.protocol import Nowhere
from tests.cli.batch_case import write_images
from tests.cli.conftest import Invert

SHORT = ("--steps", 2, "--lpips", "alex", "-q")


@pytest.fixture
def project(invert: Invert, network: Path) -> Invert:
    """Run `invert project` on the small network; batch and threads are left to it."""
    return lambda *arguments: invert("project", *SHORT, "--network", network, *arguments)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, threads: None) -> Callable[[int], None]:
    """Go to a machine of so many processors."""

    def change(count: int) -> None:
        monkeypatch.setattr(process, "processors", lambda: count)
        torch.set_num_threads(count)

    return change


def run_record(out: Path) -> dict[str, Any]:
    with open_latents(out) as latents:
        return latents.manifest.run


def test_another_image_changes_no_number(project: Invert, tmp_path: Path) -> None:
    write_images(tmp_path / "images", 9)
    for count, out in ((1, "one"), (9, "nine"), (2, "two.h5")):
        some = tmp_path / f"some{count}"
        some.mkdir()
        for path in sorted((tmp_path / "images").rglob("*.png"))[:count]:
            shutil.copy(path, some)
        assert project(some, "--out", tmp_path / out).code == 0
    path = tmp_path / "one" / "000.npz"
    assert path.read_bytes() == (tmp_path / "nine" / "000.npz").read_bytes()
    with np.load(path) as alone, h5py.File(tmp_path / "two.h5") as file:
        assert np.array_equal(alone["w"], file["w"][0])
        assert float(alone["distance"]) == float(file["distance"][0])


def test_images_are_added_on_another_machine(project: Invert, tmp_path: Path, machine: Callable[[int], None]) -> None:
    images, out = write_images(tmp_path / "images", 2), tmp_path / "a.h5"
    machine(2)
    # A batch as earlier versions chose it, from how many images there were.
    assert project(images, "--out", out, "--batch", 2).code == 0
    machine(1)
    write_images(tmp_path / "images", 4)
    result = project(images, "--out", out)
    assert (result.code, result.err) == (0, "")
    assert (run_record(out)["batch"], run_record(out)["threads"]) == (2, 2)
    refused = project(images, "--out", out, "--threads", 1)
    assert refused.code == 2
    assert "threads: 2, now 1" in refused.err
    assert "batch" not in refused.err


def test_the_first_shard_settles_it_for_the_others(
    project: Invert, tmp_path: Path, machine: Callable[[int], None]
) -> None:
    images, out = write_images(tmp_path / "images", 4), tmp_path / "a.h5"
    machine(2)
    assert project(images, "--out", out, "--shard", "1/2", "--batch", 4).code == 0
    machine(3)
    assert project(images, "--out", out, "--shard", "2/2").code == 0
    refused = project(images, "--out", out, "--shard", "2/2", "--batch", 2)
    assert refused.code == 2
    assert "batch: 4, now 2" in refused.err
    assert project(images, "--out", out).code == 0
    assert (run_record(out)["batch"], run_record(out)["threads"]) == (4, 2)


def test_a_folder_keeps_its_batch(project: Invert, tmp_path: Path, machine: Callable[[int], None]) -> None:
    images = write_images(tmp_path / "images", 1)
    machine(2)
    assert project(images, "--out", tmp_path / "out", "--batch", 3).code == 0
    machine(1)
    write_images(tmp_path / "images", 2)
    assert project(images, "--out", tmp_path / "out").code == 0
    first, second = ((tmp_path / "out" / f"00{number}.npz") for number in range(2))
    with np.load(first) as one, np.load(second) as two:
        assert str(one["run"]) == str(two["run"])
        assert '"batch": 3' in str(two["run"])


def test_a_shard_that_begins_in_the_same_moment(network: Path, monkeypatch: pytest.MonkeyPatch, threads: None) -> None:
    """Between the look at the record and the beginning of the journal another shard has written its own."""
    other = Records({}, {"batch": 5, "threads": 3, "device": "cpu (x)"})

    class Raced(RunOutput):
        written_by_another: Records | None = None

        def resumed(self) -> Records | None:
            return self.written_by_another

        def begin(self, session: Session, found: Found) -> Nowhere:
            self.written_by_another = other
            if session.run["batch"] != 5:
                raise UsageError("was begun with other settings", code="settings-differ")
            return Nowhere()

    monkeypatch.setattr(run, "open_output", lambda *_: contextlib.nullcontext(Raced()))

    def begin(**settings: Any) -> dict[str, Any]:
        job = Job(network, ProjectConfig(lpips="alex", steps=1, **settings))
        with open_run(job, lambda _: Found([b"a"], [], 1)) as begun:
            return begun.session.run

    settled = begin()
    assert (settled["batch"], settled["threads"]) == (5, 3)
    with pytest.raises(UsageError, match="other settings"):
        begin(batch=2)
