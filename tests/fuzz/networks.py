"""Files of networks: published ones and our own."""

import io
import json
import zipfile
from pathlib import Path
from random import Random

from tests.fuzz import mutation
from tests.fuzz.files import FIXTURES, GOLDEN, golden


def read_network(data: bytes, _: Path) -> object:
    from generator.files.reading import build_discriminator, build_generator, read_state

    state = read_state(memoryview(data))
    # What is accepted has to make networks, and records that can be written.
    build_generator(state)
    build_discriminator(state)
    return json.dumps(state.settings).encode(), state.weights_sha256(), state.family.encode()


def pickles() -> list[bytes]:
    from tests.loaders import writers

    return [
        writers.ada(),
        writers.tf(),
        *golden("nvidia_ada.pkl", "nvidia_tf_stylegan1.pkl", "nvidia_stylegan3_t.pkl")(),
    ]


def torch_files() -> list[bytes]:
    import torch

    stream = io.BytesIO()
    state = torch.load(GOLDEN / "rosinality.pt", weights_only=False)
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return [(GOLDEN / "rosinality.pt").read_bytes(), stream.getvalue()]


def changed_torch_pickle(random: Random, data: bytes) -> bytes:
    """Change the pickle inside a zip of torch.save, or the object in its older stream."""
    if data[:2] != b"PK":
        return mutation.pickle(random, data)
    source = zipfile.ZipFile(io.BytesIO(data))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith("data.pkl"):
                content = mutation.pickle(random, content)
            target.writestr(member.filename, content)
    return stream.getvalue()


def own_networks() -> list[bytes]:
    from generator.files.invert_format import network_bytes
    from generator.networks import Generator
    from generator.stylegan2.discriminator import Discriminator
    from tests.loaders.test_own_format import DISCRIMINATORS, GENERATORS

    pairs = zip(GENERATORS[:3], DISCRIMINATORS[:3], strict=True)
    made = [network_bytes(Generator(g), Discriminator(d), settings={"a": 1}) for g, d in pairs]
    return [*made, (FIXTURES / "run" / "network.safetensors").read_bytes()]
