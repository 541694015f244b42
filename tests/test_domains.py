"""The two domains in colour: what `bench.domains` makes of npm packages, and of the snapshots of runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.domains.curves import KEPT, distances, plot
from bench.domains.emoji import write_emoji
from bench.domains.faces import PACKAGES, write_faces
from bench.domains.packages import missing
from bench.domains.populations import SAMPLES, write_held_out, write_processed
from invert.datasets.training_images import open_images
from invert.runs.history import Tick


def test_emoji_lie_on_white_with_their_category_and_tone(tmp_path: Path) -> None:
    package = tmp_path / "package"
    images = package / "img" / "google" / "64"
    images.mkdir(parents=True)
    pixels = np.zeros([64, 64, 4], np.uint8)
    pixels[16:48, 16:48] = (200, 10, 30, 255)
    for name in ("grin", "hand", "hand-1f3fb", "hands-1f3ff-1f3fb"):
        Image.fromarray(pixels).save(images / f"{name}.png")
    tones = {tone: {"image": f"{name}.png", "has_img_google": True} for tone, name in (("1F3FB", "hand-1f3fb"),)}
    tones["1F3FF-1F3FB"] = {"image": "hands-1f3ff-1f3fb.png", "has_img_google": True}
    tones["1F3FC"] = {"image": "gone.png", "has_img_google": False}
    records = [
        {"image": "hand.png", "category": "People", "has_img_google": True, "skin_variations": tones},
        {"image": "grin.png", "category": "Faces", "has_img_google": True},
        {"image": "apple-alone.png", "category": "Faces", "has_img_google": False},
    ]
    (package / "emoji.json").write_text(json.dumps(records))
    assert write_emoji(tmp_path / "out" / "emoji.zip", package).images == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["emoji.zip"]
    found = open_images(tmp_path / "out" / "emoji.zip")
    assert (found.channels, found.class_names) == (3, ("Faces", "People"))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1, 1]
    assert found.attributes["skin-tone"].tolist() == [-1, 0, -1, 4]
    first = found.read([0])[0]
    assert first[:, 0, 0].tolist() == [255, 255, 255]
    assert first[:, 20, 20].tolist() == [200, 10, 30]


@pytest.mark.slow
@pytest.mark.skipif(bool(missing(*PACKAGES)), reason=str(missing(*PACKAGES)))
def test_attributes_of_faces_are_those_of_the_images(tmp_path: Path) -> None:
    assert write_faces(tmp_path / "faces.zip", 0, 60).attributes == 10
    images = open_images(tmp_path / "faces.zip")
    pixels, names, values = images.read(range(60)), images.value_names, images.attributes
    assert (images.resolution, images.channels) == (64, 3)
    for index in range(60):
        background = names["background"][values["background"][index]]
        assert "#" + bytes(pixels[index, :, 0, 0].tolist()).hex() == background
        colours = {"#" + bytes(colour).hex() for colour in pixels[index].reshape(3, -1).T.tolist()}
        assert names["clothes-colour"][values["clothes-colour"][index]] in colours
        assert names["skin"][values["skin"][index]] in colours
    bare = np.isin(np.array(names["hair"])[values["hair"]], ["bald", "cap", "beanie"]) & (values["facial-hair"] == 0)
    assert bare.any()
    assert ((values["hair-colour"] == -1) == bare).all()
    # A seed gives its image whatever the others are.
    write_faces(tmp_path / "later.zip", 40, 2)
    later = open_images(tmp_path / "later.zip")
    np.testing.assert_array_equal(later.read([0, 1]), pixels[40:42])
    assert later.attributes["hair"].tolist() == values["hair"][40:42].tolist()


@pytest.mark.slow
def test_curves_measure_what_is_new_and_show_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for seen in (2000, 4000):
        (run / f"network-{seen:09d}.safetensors").touch()
    (run / KEPT).write_text(json.dumps({"data.zip, 50 images": {"2000": 300.0, "9000": 1.0}}))
    measured: list[Path] = []

    class Measured:
        value = 100.0

    def measure(path: Path, *_: object, **settings: object) -> list[Measured]:
        assert settings["images"] == 50
        measured.append(path)
        return [Measured()]

    monkeypatch.setattr("invert.measure", measure, raising=False)
    for _ in range(2):
        assert distances(run, Path("data.zip"), 50, 1) == {2000: 300.0, 4000: 100.0}
    assert [path.name for path in measured] == ["network-000004000.safetensors"]
    ticks = tuple(Tick(seen, {"augment_p": p}, None, None) for seen, p in ((2000, 0.0), (4000, 0.2)))
    plot(tmp_path / "figure.png", {"plain": ({2000: 300.0}, ()), "ada": ({2000: 310.0, 4000: 90.0}, ticks)}, "title")
    with Image.open(tmp_path / "figure.png") as figure:
        assert len(figure.convert("RGB").getcolors(1 << 20) or []) > 10


def test_held_out_faces_are_those_of_the_zip_and_each_processing_has_one_of_each_kind(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, [8, 64, 64, 3], np.uint8)
    (tmp_path / "drawn").mkdir()
    for index, image in enumerate(drawn):
        Image.fromarray(image).save(tmp_path / "drawn" / f"{index}.png")
    for name in SAMPLES:
        write_held_out(tmp_path / name, tmp_path / "drawn", 2, 5)
    assert np.array_equal([_opened(path) for path in sorted((tmp_path / "faces").iterdir())], drawn[2:7])
    write_processed(tmp_path)
    found = {path.name: _opened(path) for path in (tmp_path / "faces-processed").iterdir()}
    kinds = ("blurred", "compressed", "cropped", "reduced", "scaled")
    suffixes = {"compressed": "jpg"}
    assert set(found) == {f"{kind}-{name}.{suffixes.get(kind, 'png')}" for kind in kinds for name in SAMPLES}
    assert {name for name, image in found.items() if image.size == (32, 32)} == {
        f"reduced-{one}.png" for one in SAMPLES
    }
    assert all(image.size in ((32, 32), (64, 64)) and image.mode == "RGB" for image in found.values())


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()
