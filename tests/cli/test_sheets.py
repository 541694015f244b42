"""`invert mix`, `truncate`, `noise` and `interpolate` as a user runs them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generator.files.invert_format import save_network
from generator.files.reading import LoadedNetwork, load
from tests.cli.conftest import Invert
from tests.golden_data import load_networks
from tests.sheets.conftest import loaded as loaded  # a fixture
from tests.sheets.sheet_case import write_h5, write_npz
from tests.sheets.test_layout import places

COMMANDS: dict[str, tuple[object, ...]] = {
    "mix": ("--rows", "0,1", "--cols", "2-4", "--styles", "0-3"),
    "truncate": ("--seeds", "0-1", "--psi", "1,0,-1"),
    "noise": ("--seed", "3", "--count", 3, "--shown", 2),
    "interpolate": ("--from", 0, "--to", "5", "--steps", 4),
}
LATENT_OPTION = {"mix": "--rows", "truncate": "--seeds", "noise": "--seed", "interpolate": "--from"}

Synthesise = Callable[..., Any]


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def sheet(invert: Invert, network: Path, tmp_path: Path) -> Invert:
    """Run a command with arguments that it is content with, and more; with `--scale 1`."""

    def run(command: str, *arguments: object) -> Any:
        common = ("--network", network, "--out", tmp_path / "sheet.png", "--scale", 1)
        return invert(command, *common, *COMMANDS[command], *arguments)

    return run


@pytest.fixture
def generated(invert: Invert, network: Path, tmp_path: Path) -> Synthesise:
    """Return the image of `invert generate`."""

    def synthesise(seed: object, *arguments: object) -> Any:
        out = tmp_path / "generated.png"
        found = invert("generate", "--network", network, "--seeds", seed, "--out", out, "--overwrite", *arguments)
        assert found.code == 0, found.err
        return pixels(out)

    return synthesise


@pytest.mark.parametrize("command", COMMANDS)
def test_one_line_and_one_file(sheet: Invert, tmp_path: Path, command: str) -> None:
    result = sheet(command)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1].endswith(f" in {tmp_path / 'sheet.png'}")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    again = (tmp_path / "sheet.png").read_bytes()
    assert sheet(command, "--overwrite").code == 0
    assert (tmp_path / "sheet.png").read_bytes() == again


@pytest.mark.parametrize("command", COMMANDS)
def test_json(sheet: Invert, tmp_path: Path, command: str) -> None:
    (summary,) = sheet(command, "--json").records()
    assert (summary["type"], summary["code"], summary["out"]) == ("summary", "done", str(tmp_path / "sheet.png"))


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_over_unasked(sheet: Invert, tmp_path: Path, command: str) -> None:
    (tmp_path / "sheet.png").write_bytes(b"mine")
    result = sheet(command)
    assert result.code == 2
    assert "sheet.png': exists already. Add --overwrite" in result.err
    assert (tmp_path / "sheet.png").read_bytes() == b"mine"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("latent", ["", "a", "3-1", "-", "x.h5", "4294967296"])
def test_bad_latents(sheet: Invert, tmp_path: Path, command: str, latent: str) -> None:
    result = sheet(command, f"{LATENT_OPTION[command]}={latent}")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert LATENT_OPTION[command] in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_projections(sheet: Invert, loaded: LoadedNetwork, tmp_path: Path, command: str) -> None:
    (tmp_path / "in").mkdir()
    w = np.random.RandomState(0).randn(1, loaded.generator.config.mapping.w_dim).astype(np.float32)
    for latent in (
        write_npz(tmp_path / "in" / "photo.npz", w, loaded.provenance.sha256),
        f"{write_h5(tmp_path / 'in' / 'latents.h5', loaded)}:3",
    ):
        result = sheet(command, LATENT_OPTION[command], latent, "--overwrite", "--json")
        assert (result.code, result.err) == (0, "")
        assert Path(str(latent)).name in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_projections_that_do_not_fit(sheet: Invert, loaded: LoadedNetwork, tmp_path: Path, command: str) -> None:
    (tmp_path / "in").mkdir()
    option = LATENT_OPTION[command]
    size = loaded.generator.config.mapping.w_dim
    other_size = write_npz(tmp_path / "in" / "a.npz", np.zeros([1, size + 1], np.float32))
    result = sheet(command, option, other_size)
    assert result.code == 5
    assert f"a.npz': its w has size {size + 1}" in result.err
    cut = write_npz(tmp_path / "in" / "b.npz", np.zeros([1, size], np.float32))
    cut.write_bytes(cut.read_bytes()[:500])
    result = sheet(command, option, cut)
    assert (result.code, result.err.count("\n")) == (5, 1)
    rows = write_h5(tmp_path / "in" / "c.h5", loaded)
    result = sheet(command, option, f"{rows}:9")
    assert result.code == 2
    assert "there are 4 rows" in result.err
    assert not (tmp_path / "sheet.png").exists()
    other_network = write_npz(tmp_path / "in" / "d.npz", np.zeros([1, size], np.float32), "7" * 64)
    result = sheet(command, option, other_network)
    assert result.code == 0
    assert "invert: warning: latents '" in result.err
    assert "d.npz': found in another network (sha256 777777777777...)" in result.err


def test_mixed_images_lie_between_their_sources(sheet: Invert, generated: Synthesise, tmp_path: Path) -> None:
    assert sheet("mix").code == 0
    found = pixels(tmp_path / "sheet.png")
    left = [places(found, generated(seed)) for seed in (0, 1)]
    top = [places(found, generated(seed)) for seed in (2, 3, 4)]
    assert [len(place) for place in left + top] == [1] * 5
    assert sheet("mix", "--styles", "0-7", "--overwrite").code == 0
    found = pixels(tmp_path / "sheet.png")
    for (column, *_), seed in zip(top, (2, 3, 4), strict=True):
        # The source above, and once more in each row.
        assert {x for _, x in places(found, generated(seed))} == {column[1]}
        assert len(places(found, generated(seed))) == 3


def test_bands_of_the_paper_in_one_sheet(
    invert: Invert, network: Path, sheet: Invert, generated: Synthesise, tmp_path: Path
) -> None:
    out = tmp_path / "bands.png"
    common = ("mix", "--network", network, "--rows", "0", "--cols", "2,3", "--scale", 1, "--out", out)
    result = invert(*common, "--json")
    assert result.code == 0, result.err
    (summary,) = result.records()
    assert summary["bands"] == {"coarse": [0, 1], "middle": [2, 3], "fine": [4, 5, 6, 7]}
    assert summary["images"] == 6
    assert len(places(pixels(out), generated(0))) == len(places(pixels(out), generated(2))) == 3
    assert invert(*common, "--overwrite").out == f"mixed 1 x 2 images x 3 bands of styles in {out}\n"


def test_styles_that_are_not_there(sheet: Invert, loaded: LoadedNetwork) -> None:
    count = loaded.generator.num_ws
    result = sheet("mix", "--styles", f"0,{count}")
    assert result.code == 2
    assert f"--styles {count}: the network has {count} styles, 0 to {count - 1}" in result.err
    assert sheet("mix", "--styles", "x").code == 2


def test_truncations_are_those_of_generate(sheet: Invert, generated: Synthesise, tmp_path: Path) -> None:
    assert sheet("truncate", "--psi", "-0.5,0.7,1,0").code == 0
    found = pixels(tmp_path / "sheet.png")
    for psi in (-0.5, 0.7, 1):
        assert len(places(found, generated(1, "--psi", psi))) == 1
    assert len(places(found, generated(1, "--psi", 0))) == 2  # the mean, of both
    assert sheet("truncate", "--psi", "0", "--cutoff", 3, "--overwrite").code == 0
    assert len(places(pixels(tmp_path / "sheet.png"), generated(1, "--psi", 0, "--cutoff", 3))) == 1


@pytest.mark.parametrize("psi", ["", "1,,2", "nan", "1,inf", "1e999", "x"])
def test_bad_truncations(sheet: Invert, psi: str) -> None:
    result = sheet("truncate", f"--psi={psi}")
    assert result.code == 2
    assert "--psi" in result.err


def test_cutoff_beyond_the_network(sheet: Invert) -> None:
    result = sheet("truncate", "--cutoff", 99)
    assert result.code == 2
    assert "--cutoff 99: the network has" in result.err
    assert sheet("mix", "--psi", "nan").code == 2


def test_realisations_are_those_of_generate(sheet: Invert, generated: Synthesise, tmp_path: Path) -> None:
    assert sheet("noise", "--seed", 0, "--shown", 1, "--json").code == 0
    found = pixels(tmp_path / "sheet.png")
    # The realisation, and the same as the one with noise in all inputs.
    assert len(places(found, generated(0, "--noise", "random"))) == 2
    assert len(places(found, generated(0, "--noise", "none"))) == 1


def test_noise_in_numbers(sheet: Invert, loaded: LoadedNetwork) -> None:
    result = sheet("noise", "--count", 20, "--coarse", 4, "--json")
    (summary,) = result.records()
    assert summary["coarse"] == ["b4.conv1"]
    assert len(summary["fine"]) == len(loaded.generator.synthesis.noise_sizes) - 1
    mean = summary["deviation_mean"]
    assert mean["all"] > mean["fine only"] > 0
    assert mean["coarse only"] > 0
    assert (mean["none"], summary["deviation_largest"]["none"]) == (0, 0)
    lines = sheet("noise", "--overwrite").out.splitlines()
    assert [line[:12].strip() for line in lines[:5]] == ["noise in", "all", "none", "fine only", "coarse only"]


def test_a_part_is_shown_enlarged(sheet: Invert, generated: Synthesise, tmp_path: Path) -> None:
    assert sheet("noise", "--seed", 0, "--shown", 1, "--zoom", "8,0,16").code == 0
    part = generated(0, "--noise", "random")[:16, 8:24].repeat(2, axis=0).repeat(2, axis=1)
    assert len(places(pixels(tmp_path / "sheet.png"), part)) == 1
    for zoom, text in (("8,0", "is not X,Y,SIDE"), ("30,0,16", "--zoom 30,0,16: images have 32 px")):
        result = sheet("noise", "--zoom", zoom, "--overwrite")
        assert (result.code, text in result.err) == (2, True)


def test_one_latent_for_noise(sheet: Invert) -> None:
    result = sheet("noise", "--seed", "1-2")
    assert result.code == 2
    assert "is 2 latents, one is asked for" in result.err


def test_frames_and_strip(sheet: Invert, generated: Synthesise, tmp_path: Path) -> None:
    result = sheet("interpolate", "--frames", tmp_path / "frames", "--json")
    assert result.code == 0, result.err
    *events, summary = result.records()
    assert [event["t"] for event in events] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert (summary["frames"], summary["space"], summary["keys"]) == (4, "z", ["seed 0", "seed 5"])
    names = sorted((tmp_path / "frames").iterdir())
    assert [str(name) for name in names] == [event["path"] for event in events]
    frames = [pixels(name) for name in names]
    assert (frames[0] == generated(0)).all()
    assert (frames[-1] == generated(5)).all()
    found = pixels(tmp_path / "sheet.png")
    assert [len(places(found, frame)) for frame in frames] == [1] * 4
    result = sheet("interpolate", "--frames", tmp_path / "frames", "--out", tmp_path / "other.png")
    assert result.code == 2
    assert "frame00000.png': exists already" in result.err


def test_frames_of_a_longer_way_go(invert: Invert, network: Path, tmp_path: Path) -> None:
    common = ("interpolate", "--network", network, "--keys", "0,5", "--frames", tmp_path / "frames")
    assert invert(*common, "--steps", 6).code == 0
    (tmp_path / "frames" / "mine.png").write_bytes(b"")
    assert invert(*common, "--steps", 3, "--overwrite").code == 0
    found = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert found == ["frame00000.png", "frame00001.png", "frame00002.png", "mine.png"]


def test_keys_and_spaces(invert: Invert, network: Path, tmp_path: Path) -> None:
    common = ("interpolate", "--network", network, "--keys", "0,5,0", "--steps", 3)
    for space in ("z", "w"):
        assert invert(*common, "--space", space, "--frames", tmp_path / space).code == 0
        assert len(list((tmp_path / space).iterdir())) == 5
    z, w = ([pixels(tmp_path / space / f"frame0000{i}.png") for i in range(5)] for space in "zw")
    assert [(z[i] == w[i]).all() for i in (0, 2, 4)] == [True] * 3
    assert (z[0] == z[4]).all()
    assert (z[1] != w[1]).any()


def test_a_way_needs_its_ends(invert: Invert, network: Path, tmp_path: Path) -> None:
    common = ("interpolate", "--network", network, "--out", tmp_path / "a.png")
    for arguments in ((), ("--from", 1), ("--to", 1), ("--keys", "1,2", "--from", 3)):
        result = invert(*common, *arguments)
        assert result.code == 2
        assert "a way needs --from and --to, or --keys alone" in result.err
    assert "a way needs two" in invert(*common, "--keys", "1").err
    result = invert("interpolate", "--network", network, "--keys", "1,2")
    assert result.code == 2
    assert "no output was named" in result.err


def test_projections_have_no_z(sheet: Invert, loaded: LoadedNetwork, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "latents.h5", loaded)
    result = sheet("interpolate", "--to", f"{path}:1", "--space", "z")
    assert result.code == 2
    assert "a projection is found in W and has no z. Use --space w." in result.err
    (summary,) = sheet("interpolate", "--to", f"{path}:1", "--json").records()
    assert summary["space"] == "w"


def test_video_without_its_package(sheet: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    result = sheet("interpolate", "--video", tmp_path / "a.mp4")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.endswith("is not installed. Install it with: pip install 'invert[video]'.")
    assert not list(tmp_path.iterdir())


def test_video(sheet: Invert, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    arguments = ("--video", path, "--frames", tmp_path / "frames", "--scale", 4, "--rate", 12)
    result = sheet("interpolate", *arguments)
    assert result.code == 0, result.err
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert stream.average_rate == 12
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert [frame.shape for frame in frames] == [(128, 128, 3)] * 4
    for i, frame in enumerate(frames):
        found = pixels(tmp_path / "frames" / f"frame{i:05d}.png").repeat(4, axis=0).repeat(4, axis=1)
        # Colours are coded at half the resolution, and lossily; what matters is that it is this image.
        assert np.abs(frame.mean(axis=2) - found.mean(axis=2)).mean() < 8
    assert sheet("interpolate", "--out", tmp_path / "b.png", *arguments[:2]).code == 2
    assert "does not end in .mp4" in sheet("interpolate", "--out", tmp_path / "b.png", "--video", "a.avi").err


def test_classes(invert: Invert, tmp_path: Path) -> None:
    path = tmp_path / "conditional.safetensors"
    save_network(path, load_networks("conditional")[1])
    for command, arguments in COMMANDS.items():
        common = (command, "--network", path, *arguments, "--overwrite", "--out")
        result = invert(*common, tmp_path / "none.png")
        assert result.code == 2
        assert "Choose one with --class" in result.err
        for index in (0, 1):
            result = invert(*common, tmp_path / f"{index}.png", "--class", index)
            assert result.code == 0, result.err
        assert (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()
        assert invert(*common, tmp_path / "far.png", "--class", 999).code == 2


def test_projections_of_a_conditional_network_need_no_class(invert: Invert, tmp_path: Path) -> None:
    path = tmp_path / "conditional.safetensors"
    save_network(path, load_networks("conditional")[1])
    latents = write_h5(tmp_path / "latents.h5", load(path))
    common = ("truncate", "--network", path, "--seeds", f"{latents}:0-1", "--psi", "1,0")
    assert invert(*common, "--out", tmp_path / "a.png").code == 0


def test_a_network_without_noise_inputs(invert: Invert, tmp_path: Path) -> None:
    from generator.config import GeneratorConfig, MappingConfig
    from generator.networks import Generator
    from generator.stylegan2.config import SynthesisConfig

    synthesis = SynthesisConfig(8, 16, img_channels=1, channel_base=64, channel_max=8, use_noise=False)
    path = tmp_path / "plain.safetensors"
    save_network(path, Generator(GeneratorConfig(MappingConfig(8, 0, 8, 1), synthesis)))
    for command, arguments in COMMANDS.items():
        result = invert(command, "--network", path, *arguments, "--out", tmp_path / f"{command}.png")
        assert result.code == (2 if command == "noise" else 0), result.err
    assert (
        "has no noise inputs" in invert("noise", "--network", path, *COMMANDS["noise"], "--out", tmp_path / "a.png").err
    )


def test_sheets_that_are_too_large(sheet: Invert) -> None:
    result = sheet("mix", "--rows", "0-999", "--cols", "0-999", "--scale", 4)
    assert result.code == 2
    assert "would have" in result.err
    assert "Ask for fewer, or a smaller --scale." in result.err


def test_other_suffixes_and_places(sheet: Invert, tmp_path: Path) -> None:
    assert "does not end in .png" in sheet("mix", "--out", tmp_path / "a.jpg").err
    assert sheet("mix", "--out", tmp_path / "new" / "folder" / "a.png").code == 0
    (tmp_path / "file").touch()
    assert sheet("mix", "--out", tmp_path / "file" / "a.png").code == 6


def test_an_error_in_the_middle_leaves_nothing(sheet: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    assert sheet("mix").code == 6
    assert not list(tmp_path.iterdir())
