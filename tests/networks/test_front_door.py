"""`import generator`: what it offers, and that it costs nothing before it is used."""

import subprocess
import sys
from pathlib import Path

import generator
from generator.networks import Generator
from tests.loaders.writers import GOLDEN


def test_every_public_name_is_there_and_no_other() -> None:
    for name in generator.__all__:
        assert callable(getattr(generator, name))
        assert name in dir(generator)
    assert not hasattr(generator, "lod")


def test_importing_it_imports_nothing_heavy() -> None:
    program = "import sys, generator; sys.exit(bool({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_a_file_is_inspected_without_torch() -> None:
    (path, *_) = sorted(GOLDEN.glob("*.pkl"))
    program = "import sys, generator; generator.inspect(sys.argv[1]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program, path], timeout=60).returncode == 0


def test_a_network_is_loaded_and_saved(tmp_path: Path) -> None:
    (path, *_) = sorted(GOLDEN.glob("*.pkl"))
    network = generator.load(path)
    assert isinstance(network.generator, Generator)
    copy = tmp_path / "network.safetensors"
    generator.save(copy, network.generator, network.discriminator)
    assert generator.load(copy).provenance.weights_sha256 == network.provenance.weights_sha256
