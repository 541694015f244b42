"""Verdicts by preset exact, on images after processings, as a user runs them.

The search itself takes seconds an image (`tests/test_exact.py`). Here a stand-in tells images apart by how bright they
are, and finds out what is plain to see: whether corners are black, or the file is small.
"""

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generator.files.invert_format import save_network
from invert.attribution.calibration_file import read_calibration
from invert.attribution.perturbations import apply, parse_perturbations
from invert.images.target import Target
from invert.projection.config import ProjectConfig
from invert.projection.projector import Explanation, Projection
from invert.projection.session import open_session
from invert.projection.start import SampleBank
from tests.cli.conftest import Invert
from tests.test_projection import tiny

SIDE = 16
PROCESSINGS = "none reduce:0.5 jpeg:75"
QUICK = ("--preset", "exact", "--lpips", "vgg", "--bank", 20, "--threads", 1, "--workers", 1, "--quiet")


class StandIn:
    """A projector of preset exact that looks at images instead of searching."""

    batch = 1

    def __init__(
        self, generator: Any, perceptual: Any, config: ProjectConfig, *, bank: SampleBank, device: str
    ) -> None:
        self.generator, self._bank = generator, bank
        assert config.is_exact

    def run(self, targets: Any) -> Iterator[Projection]:
        return map(self._project, targets)

    def _project(self, target: Target) -> Projection:
        levels = target.array[..., 0].astype(float)
        bright = math.exp((levels.mean() - 140) / 15)
        is_black = not levels.any()
        explanation = Explanation(
            q=math.nan if is_black else levels.size * (1e-3 + bright),
            misfit=levels.size * (1e-3 + bright) / 2,
            latent_norm=1.0 + bright,
            noise_norm=0.0,
            rms=math.nan if is_black else 0.3 + bright,
            expected_rms=0.3,
            iterations=3,
            stopped="saturated" if is_black else "converged",
            noise_kind="stored",
            processing=self._found(target),
        )
        nearest = self._bank.w[:1]
        image = np.zeros_like(target.array)
        curve = np.full(14, np.nan, np.float32)
        layers = np.full(5, 0.1, np.float32)
        return Projection(target, nearest, {}, 0.5, layers, curve, image, "ok", 0, explanation, image)

    @staticmethod
    def _found(target: Target) -> str:
        if target.upsampled:
            return "resize:0.5"
        return "rotate:45" if not target.array[[0, 0, -1, -1], [0, -1, 0, -1]].any() else "none"


@pytest.fixture(autouse=True)
def stand_in(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVERT_CACHE", str(tmp_path_factory.getbasetemp() / "processed-cache"))
    monkeypatch.setattr("invert.projection.session.ExactProjector", StandIn)


def write(folder: Path, count: int, seed: int) -> Path:
    """Write images that are brighter than those of the network."""
    folder.mkdir(parents=True)
    random = np.random.RandomState(seed)
    for number in range(count):
        Image.fromarray(random.randint(180, 255, [SIDE, SIDE], np.uint8)).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its calibration, and the images that it was made with; not to be changed."""
    import invert as package

    folder = tmp_path_factory.mktemp("case")
    save_network(folder / "net.safetensors", tiny(img_resolution=SIDE, img_channels=1))
    write(folder / "real", 17, seed=1)
    write(folder / "sibling", 17, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INVERT_CACHE", str(tmp_path_factory.getbasetemp() / "processed-cache"))
        patch.setattr("invert.projection.session.ExactProjector", StandIn)
        # Shares with which a few images are enough for every group; a rate of 40 % takes six for the threshold.
        package.calibrate(
            folder / "net.safetensors",
            folder / "real",
            {"sibling": folder / "sibling"},
            out=folder / "net.calibration.json",
            count=17,
            rate=0.4,
            fit_share=0.4,
            threshold_share=0.4,
            processing=PROCESSINGS,
            preset="exact",
            lpips="vgg",
            bank=20,
            threads=1,
        )
    return folder


@pytest.fixture(scope="module")
def images(case: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the network and others, after what is calibrated and what is not."""
    import invert as package

    folder = tmp_path_factory.mktemp("images")
    (own,) = package.generate(package.load(case / "net.safetensors"), [7])
    write(folder / "noise", 1, seed=3)
    foreign = np.asarray(Image.open(folder / "noise" / "000.png"))[:, :, None]
    shutil.rmtree(folder / "noise")
    for name, array in (("own", own), ("foreign", foreign)):
        for key in ("none", "reduce:0.5", "rotate:45"):
            (perturbation,) = parse_perturbations(key)
            found = apply(array, perturbation)[..., 0]
            Image.fromarray(found).save(folder / f"{name}-{key.partition(':')[0]}.png")
    Image.fromarray(own[..., 0]).save(folder / "own.jpg", quality=75)
    Image.fromarray(own[..., 0]).save(folder / "own.webp", quality=75)
    Image.fromarray(np.zeros([SIDE, SIDE], np.uint8)).save(folder / "black.png")
    return folder


def judged(invert: Invert, case: Path, *arguments: object) -> dict[str, dict[str, Any]]:
    result = invert("attribute", "--network", case / "net.safetensors", "--threads", 1, "--json", *arguments)
    assert result.code == 0, result.err
    return {Path(one["path"]).name: one for one in result.records() if one["type"] == "image"}


def test_a_calibration_has_every_population_after_each_processing(case: Path) -> None:
    record = json.loads((case / "net.calibration.json").read_bytes())
    assert record["method"]["noise"] == "both"
    assert record["method"]["processing"] == "auto"
    assert record["settings"]["threshold_share"] == 0.4
    populations = [(one["name"], one["processing"], one["count"]) for one in record["populations"]]
    assert populations[:3] == [("own", key, 17) for key in PROCESSINGS.split()]
    assert populations[3:] == [(name, key, 17) for key in PROCESSINGS.split() for name in ("real", "sibling")]
    assert set(record["groups"]["evidence"]) == {"none", "resize/small"}
    assert all(one["is_judged"] and one["own_images"] for one in record["groups"]["evidence"].values())
    assert record["held_out"]["evidence"]["own after jpeg:75"]["of"] > 0
    assert not (case / "net.calibration.json.work").exists()


def test_each_image_is_judged_by_what_happened_to_it(invert: Invert, case: Path, images: Path) -> None:
    found = judged(invert, case, images)
    for name in ("own-none.png", "own-reduce.png"):
        assert found[name]["verdict"] == "attributed", name
    for name in ("foreign-none.png", "foreign-reduce.png"):
        too_few = "none of its own images measures like this, but 11 are too few to rule it out"
        assert found[name]["reason"] == too_few, name
    for name in ("own-rotate.png", "foreign-rotate.png"):
        assert found[name]["verdict"] == "cannot tell"
        assert found[name]["reason"] == "nothing in the calibration was processed like this (found: rotate)"
    assert found["black.png"]["reason"].startswith("it is all black and white")
    # A JPEG file is like the images that were compressed for the calibration; a WebP file is like none of them.
    assert (found["own.jpg"]["verdict"], found["own.jpg"]["reason"]) == ("attributed", "")
    assert "it is a WEBP image" in found["own.webp"]["reason"]
    (finding,) = found["own-reduce.png"]["findings"]
    assert finding["explained"]["processing"] == "resize:0.5"
    assert finding["explained"]["expected_rms"] == 0.3
    assert finding["group"] == finding["evidence"]["threshold_group"] == "resize/small"
    assert 0 < finding["evidence"]["p0_alike"] <= 1
    assert finding["measured"]["q"] == pytest.approx(math.log(finding["explained"]["q"]), abs=1e-5)
    assert found["own-reduce.png"]["findings"][0]["evidence"]["below"]


def test_what_was_found_is_in_every_output(invert: Invert, case: Path, images: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    asked = ("attribute", "--network", case / "net.safetensors", "--threads", 1, "--quiet", images / "own-reduce.png")
    result = invert(*asked, "--report", report)
    header, line = result.out.splitlines()[:2]
    assert header.split()[-5:] == ["Q", "rms", "expected", "found", "image"]
    assert "resize:0.5" in line
    assert "0.30" in line
    promise = "real (7), sibling (7), after each of none, reduce:0.5, jpeg:75, whichever it is, are attributed"
    assert promise in result.out
    assert "with 95% confidence for all of them together" in result.out
    page = report.read_text()
    assert "compared with images of the group" in page
    assert "rms that is expected" in page
    (row,) = csv.DictReader(io.StringIO(invert(*asked, "--csv").out))
    assert row["net: processing"] == "resize:0.5"
    assert row["net: group"] == "resize/small"
    assert float(row["net: expected_rms"]) == 0.3


def test_without_a_calibration_there_is_what_was_found(
    invert: Invert, case: Path, images: Path, tmp_path: Path
) -> None:
    shutil.copy(case / "net.safetensors", tmp_path / "bare.safetensors")
    asked = ("attribute", "--network", tmp_path / "bare.safetensors", *QUICK[:6], "--threads", 1)
    result = invert(*asked, images / "own-reduce.png")
    assert "invert calibrate --network" in result.err
    assert "--preset exact" in result.err
    assert "--processing" not in result.err
    assert result.out.splitlines()[0].split() == ["distance", "Q", "rms", "expected", "found", "image"]
    (record,) = [one for one in invert(*asked, images / "own-reduce.png", "--json").records() if one["type"] == "image"]
    assert record["explained"]["bare"]["processing"] == "resize:0.5"
    # The defaults of verdicts: both kinds of noise, and whatever happened to the image.
    session = open_session(case / "net.safetensors", ProjectConfig(preset="exact", steps=3, lpips="vgg"))
    assert (session.config.noise, session.config.processing) == ("optimise", "none")


def test_finished_projections_are_judged_as_the_images_are(
    invert: Invert, case: Path, images: Path, tmp_path: Path
) -> None:
    chosen = [images / f"{name}.png" for name in ("own-none", "foreign-reduce", "black")]
    method = ("--noise", "both", "--processing", "auto", *QUICK[:6], "--threads", 1, "--quiet")
    out = tmp_path / "latents.h5"
    project = ("project", *chosen, "--network", case / "net.safetensors", "--save-images", "--out", out, *method)
    assert invert(*project).code == 0
    direct, finished = (judged(invert, case, *paths) for paths in (chosen, [out]))
    assert {name: one["verdict"] for name, one in finished.items()} == {
        name: one["verdict"] for name, one in direct.items()
    }
    assert finished["foreign-reduce.png"]["findings"][0]["group"] == "resize/small"
    assert finished["black.png"]["reason"] == direct["black.png"]["reason"]


@pytest.mark.slow
def test_what_was_measured_is_used_again(invert: Invert, case: Path, tmp_path: Path) -> None:
    base = ("calibrate", "--network", case / "net.safetensors", "--real", case / "real", *QUICK[:-1])
    few = (*base, "--processing", "none reduce:0.5", "--count", 34, "--fpr", 0.4)
    taken = invert(*few, "-o", tmp_path / "taken.json", "--from", case / "net.calibration.json")
    assert taken.code == 0, taken.err
    assert "17 of 17 measurements of real after reduce:0.5 are reused" in taken.err
    assert "a rate of 0.4 needs 6 images of each population" in taken.err
    assert "after each of 2 processings, 102 projections: none, reduce:0.5" in taken.err
    shards = [invert(*few, "-o", tmp_path / "shared.json", "--shard", f"{number}/2") for number in (1, 2)]
    assert [one.code for one in shards] == [0, 0]
    assert invert(*few, "-o", tmp_path / "shared.json").code == 0
    assert (tmp_path / "taken.json").read_bytes() == (tmp_path / "shared.json").read_bytes()
    made = read_calibration(tmp_path / "taken.json")
    assert [one.label for one in made.owns] == ["own", "own after reduce:0.5"]


@pytest.mark.slow
def test_small_images_and_those_scaled_back_are_both_used_again(invert: Invert, case: Path, tmp_path: Path) -> None:
    both = ("calibrate", "--network", case / "net.safetensors", "--real", case / "real", *QUICK[:-1])
    both = (*both, "--processing", "resize:0.5 reduce:0.5", "--count", 34, "--fpr", 0.4)
    assert invert(*both, "-o", tmp_path / "first.json").code == 0
    again = invert(*both, "-o", tmp_path / "again.json", "--from", tmp_path / "first.json")
    assert again.code == 0, again.err
    for processing in ("resize:0.5", "reduce:0.5"):
        assert f"17 of 17 measurements of real after {processing} are reused" in again.err
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "again.json").read_bytes()


def test_processings_that_cannot_be_calibrated_are_refused(invert: Invert, case: Path, tmp_path: Path) -> None:
    base = ("calibrate", "--network", case / "net.safetensors", "--real", case / "real", "-o", tmp_path / "a.json")
    for more, text in (
        (("--processing", "jpeg:75"), "Add --preset exact"),
        (("--preset", "exact", "--processing", "melt:3"), "'melt:3' is none of none, jpeg:VALUE"),
        (("--preset", "exact", "--processing", ""), "names nothing"),
        (("--preset", "exact"), "needs 343 images"),
    ):
        result = invert(*base, *more)
        assert result.code == 2
        assert text in result.err
    assert "after each of 16 processings" in result.err


@pytest.mark.slow
def test_a_calibration_is_evaluated_after_processings(invert: Invert, case: Path, tmp_path: Path) -> None:
    import invert as package

    (tmp_path / "own").mkdir()
    network = package.load(case / "net.safetensors")
    for number, one in enumerate(package.generate(network, range(20, 24))):
        Image.fromarray(one[..., 0]).save(tmp_path / "own" / f"{number}.png")
    write(tmp_path / "real", 4, seed=5)
    asked = ("evaluate", "--network", case / "net.safetensors", "--positive", tmp_path / "own", "--threads", 1)
    asked = (*asked, "--negative", f"real={tmp_path / 'real'}", "--workers", 1)
    result = invert(*asked, "--perturb", "none reduce:0.5 rotate:45", "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    found = {one["perturbation"]: one["verdicts"] for one in result.records()[-1]["evaluations"]}
    assert list(found) == ["none", "reduce:0.5", "rotate:45"]
    assert found["reduce:0.5"]["own"]["attributed"] == 4
    assert found["rotate:45"]["own"]["cannot tell"] == 4
    assert (tmp_path / "out" / "histograms.png").exists()
