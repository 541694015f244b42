"""This project's own network files, and reading files at all."""

import os
import stat
from pathlib import Path

import pytest
import torch

from generator.config import GeneratorConfig, MappingConfig
from generator.errors import NetworkFileError
from generator.files.invert_format import network_bytes, save_loaded, save_network
from generator.files.reading import inspect, load
from generator.files.state import discriminator_shapes, generator_shapes
from generator.networks import Generator
from generator.stylegan2.config import ARCHITECTURES, DiscriminatorConfig, SynthesisConfig
from generator.stylegan2.discriminator import Discriminator
from tests.golden_data import GOLDEN
from tests.loaders import writers

GENERATORS = [
    GeneratorConfig(MappingConfig(5, 0, 6, 2), SynthesisConfig(6, 16, 3, 64, 8, architecture=architecture))
    for architecture in ARCHITECTURES
] + [
    GeneratorConfig(MappingConfig(5, 3, 6, 1, embed_dim=4), SynthesisConfig(6, 4, 1, channels=(7,), use_noise=False)),
    GeneratorConfig(MappingConfig(5, 3, 6, 3, layer_dim=9, label_mode="concat"), SynthesisConfig(6, 8, 4, 64, 8)),
]
DISCRIMINATORS = [DiscriminatorConfig(0, 16, 3, 64, 8, architecture=architecture) for architecture in ARCHITECTURES] + [
    DiscriminatorConfig(3, 4, 1, channels=(7,), architecture="skip", cmap_dim=5, mapping_layers=2, mbstd_channels=0),
    DiscriminatorConfig(3, 8, 4, 64, 8, label_mode="select", mbstd_channels=2, mapping_layers=0),
]


@pytest.mark.parametrize("index", range(5))
def test_shapes_are_those_of_the_networks(index: int) -> None:
    generator, discriminator = Generator(GENERATORS[index]), Discriminator(DISCRIMINATORS[index])
    found = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
    assert generator_shapes(GENERATORS[index]) == found
    found = {name: tuple(value.shape) for name, value in discriminator.state_dict().items()}
    assert discriminator_shapes(DISCRIMINATORS[index]) == found


@pytest.mark.parametrize("index", range(5))
def test_round_trip(index: int, tmp_path: Path) -> None:
    generator, discriminator = Generator(GENERATORS[index]), Discriminator(DISCRIMINATORS[index])
    path = tmp_path / "network.safetensors"
    save_network(path, generator, discriminator, settings={"b": [1.5, None], "a": "é"})
    network = load(path)
    assert network.generator.config == generator.config
    assert network.discriminator is not None
    assert network.discriminator.config == discriminator.config
    for loaded, original in ((network.generator, generator), (network.discriminator, discriminator)):
        for name, value in original.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
    assert network.provenance.settings == {"a": "é", "b": [1.5, None]}
    assert network.provenance.family == "invert"


@pytest.mark.parametrize(
    "name", ["nvidia_ada.pkl", "nvidia_tf.pkl", "nvidia_tf_stylegan1.pkl", "nvidia_stylegan3_r.pkl", "rosinality.pt"]
)
def test_conversion_is_byte_identical(name: str, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{i}.safetensors" for i in range(3))
    original = load(GOLDEN / name)
    save_loaded(first, original)
    save_loaded(second, load(GOLDEN / name))
    converted = load(first)
    save_loaded(third, converted)
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()
    was, now = original.provenance, converted.provenance
    assert (now.family, now.settings, now.weights_sha256) == (was.family, was.settings, was.weights_sha256)
    assert now.source_sha256 == was.sha256 != now.sha256
    z = torch.randn([2, original.generator.config.mapping.z_dim])
    with torch.no_grad():
        assert torch.equal(original.generator(z), converted.generator(z))


def test_a_computed_mean_keeps_its_hash(tmp_path: Path) -> None:
    """A training checkpoint without a mean latent: the hash is of the network with it."""
    arrays = writers.rosinality_generator(writers.golden("skip_resnet")[0])
    arrays["style.1.weight"] = arrays["style.2.weight"]
    path = tmp_path / "network.pt"
    torch.save({"g_ema": {key: torch.from_numpy(value.copy()) for key, value in arrays.items()}}, path)
    network = load(path)
    save_loaded(tmp_path / "converted", network)
    again = load(tmp_path / "converted").provenance
    assert again.weights_sha256 == network.provenance.weights_sha256
    assert network.generator.mapping.w_avg.abs().max() > 0


def test_reader_is_strict_about_its_own_files(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    content = network_bytes(Generator(GENERATORS[0]))
    for cut in (len(content) - 1, len(content) // 2, 100, 9):
        path.write_bytes(content[:cut])
        with pytest.raises(NetworkFileError, match=r"cut off|damaged|not where"):
            inspect(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(NetworkFileError, match="do not fill the file"):
        inspect(path)
    # the settings of another resolution than the tensors have
    path.write_bytes(content.replace(b'\\"img_resolution\\":16', b'\\"img_resolution\\":32'))
    with pytest.raises(NetworkFileError, match=r"lacks 'synthesis\.b32"):
        inspect(path)


def test_not_finite(tmp_path: Path) -> None:
    generator = Generator(GENERATORS[0])
    with torch.no_grad():
        generator.get_parameter("synthesis.b8.conv1.bias")[2] = float("nan")
    path = tmp_path / "network.safetensors"
    save_network(path, generator)
    with pytest.raises(NetworkFileError, match=r"'G\.synthesis\.b8\.conv1\.bias' holds numbers that are not finite"):
        load(path)


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.safetensors"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        save_network(path, Generator(GENERATORS[0]))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_network(path, Generator(GENERATORS[0]))
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def refusal(path: Path) -> str:
    with pytest.raises(NetworkFileError) as caught:
        inspect(path)
    return str(caught.value)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "missing")
    assert "it is a folder, not a file" in refusal(tmp_path)
    assert "its name holds a zero byte" in refusal(tmp_path / "a\0b")
    os.mkfifo(tmp_path / "pipe")
    assert "it is a pipe, socket or device" in refusal(tmp_path / "pipe")
    assert "it is a pipe, socket or device" in refusal(Path("/dev/zero"))


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large"
    for size, says in ((5 << 30, "over the 4295 MB limit"), (3 << 30, "zero bytes")):
        with open(path, "wb") as file:
            file.truncate(size)
        assert says in refusal(path)


def test_the_hash_is_of_the_bytes_that_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is opened once: what is put in its place meanwhile is not seen."""
    path = tmp_path / "network"
    content = (GOLDEN / "nvidia_tf.pkl").read_bytes()
    path.write_bytes(content)
    expected = inspect(path).sha256
    from generator.files import reading

    original = reading.read_state

    def replaced(data: memoryview) -> object:
        other = tmp_path / "other"
        other.write_bytes(b"other")
        os.replace(other, path)
        return original(data)

    monkeypatch.setattr(reading, "read_state", replaced)
    assert inspect(path).sha256 == expected
    assert path.read_bytes() == b"other"
