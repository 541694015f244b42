"""StyleGAN3 files: those of the published code, and what is wrong with others."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import NetworkFileError
from generator.files import nvidia_torch
from generator.files.checkpoints import Checkpoint
from generator.files.pickles.reader import interpret
from generator.files.pickles.vocabularies import NVIDIA
from generator.files.reading import inspect, load
from generator.stylegan3.config import StyleGAN3SynthesisConfig
from generator.stylegan3.filters import down_filter, up_filter
from invert.cli.main import main
from tests.golden_data import GOLDEN

T, R = (GOLDEN / f"nvidia_stylegan3_{name}.pkl" for name in "tr")


@pytest.fixture(scope="module", params=[T, R], ids="tr")
def state(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    """Return what `state_dict` of the published module gives: with the filters."""
    generator = load(request.param).generator
    made = dict(generator.state_dict())
    config = generator.config.synthesis
    assert isinstance(config, StyleGAN3SynthesisConfig)
    for layer in config.layers[:-1]:
        for name, taps in (("up_filter", up_filter(layer)), ("down_filter", down_filter(layer))):
            made[f"synthesis.{layer.name}.{name}"] = torch.from_numpy(np.asarray(taps, np.float32))
    return made


def saved(folder: Path, value: Any) -> Path:
    stream = io.BytesIO()
    torch.save(value, stream)
    path = folder / "network.pt"
    path.write_bytes(stream.getvalue())
    return path


def test_a_state_dictionary_gives_the_same_network(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    found = inspect(saved(tmp_path, {"G_ema": state}))
    source = T if "synthesis.L0_36_16.down_filter" in state and state["synthesis.L0_36_16.down_filter"].ndim == 1 else R
    expected = inspect(source)
    assert found.weights_sha256 == expected.weights_sha256
    assert found.state.family == expected.state.family == "stylegan3"
    assert found.state.generator_config.synthesis.architecture == expected.state.generator_config.synthesis.architecture
    assert "the published ones are taken" in found.state.warnings[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda s: s["synthesis.L3_36_16.up_filter"].mul_(1.01),
            "'G_ema.synthesis.L3_36_16.up_filter' is not the filter",
        ),
        (lambda s: s.pop("synthesis.L3_36_16.up_filter"), "it lacks 'synthesis.L3_36_16.up_filter', of shape"),
        (lambda s: s.pop("synthesis.L2_36_16.bias"), "damaged: it lacks 'synthesis.L2_36_16.bias'"),
        (lambda s: s.update({"synthesis.L9_52_12.bias": torch.zeros(12)}), "(unsupported|damaged): "),
        (lambda s: s.update({"synthesis.L15_32_3.bias": torch.zeros(3)}), "(unsupported|damaged): "),
        (lambda s: s.update({"synthesis.extra": torch.zeros(3)}), "holds 'G_ema.synthesis.extra'"),
        (lambda s: s.update({"synthesis.input.freqs": torch.zeros(16, 3)}), "has shape"),
    ],
)
def test_a_changed_state_dictionary_is_refused(
    change: Any, says: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    changed = {name: value.clone() for name, value in state.items()}
    change(changed)
    with pytest.raises(NetworkFileError, match=says):
        inspect(saved(tmp_path, {"G_ema": changed}))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("num_critical", 3, "refused: its settings say .* its tensors say"),
        ("margin_size", 9, "L0_36_16.*, which its architecture does not have"),
        ("num_layers", 13, "refused: its settings disagree about 'num_layers'"),
        ("img_resolution", 64, "refused: its settings disagree about 'img_resolution'"),
        ("first_stopband", 4.3, "is not the filter that the settings of its layers give"),
        ("first_cutoff", 1e300, "unsupported: first_cutoff is 1e"),
    ],
)
def test_settings_that_contradict_the_tensors_are_refused(key: str, value: Any, says: str) -> None:
    content = memoryview(T.read_bytes())
    top: Any = interpret(content, NVIDIA).value
    top["G_ema"].state["_modules"]["synthesis"].state[key] = value
    with pytest.raises(NetworkFileError, match=says):
        nvidia_torch.read(Checkpoint(top), len(content))


def test_info_tells_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(R)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^family +stylegan3$", out, re.MULTILINE)
    assert re.search(r"^generator +stylegan3-r, [\d,]+ parameters$", out, re.MULTILINE)
    assert re.search(r"^noise maps +no$", out, re.MULTILINE)
    assert re.search(r"^discriminator +resnet, ", out, re.MULTILINE)
