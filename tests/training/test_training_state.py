"""Training states as bytes: what comes back, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from generator.errors import NetworkFileError
from generator.files.invert_format import network_bytes
from generator.networks import Generator
from generator.training.state import state_bytes, state_from_bytes
from tests.training.training_case import is_same, tiny, trained


def some() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "images": torch.tensor(1 << 40),
        "G.weight": torch.randn([4, 3, 3, 3], generator=rng).contiguous(memory_format=torch.channels_last),
        "losses": torch.randn([6, 2], generator=rng, dtype=torch.float64),
        "nothing": torch.zeros([0]),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


def test_round_trip() -> None:
    tensors = some()
    content = state_bytes(tensors)
    back = state_from_bytes(content)
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        assert back[name].dtype == value.dtype
        torch.testing.assert_close(back[name], value, rtol=0, atol=0, equal_nan=True)
    assert state_bytes(dict(reversed(some().items()))) == content, "the same tensors give the same bytes"
    assert state_bytes(back) == content


def test_state_of_a_trainer() -> None:
    trainer = trained(tiny(), 3)
    content = state_bytes(trainer.state())
    back = state_from_bytes(content)
    assert is_same(back, trainer.state())
    assert len(content) < 8e6


def test_cut_off_anywhere() -> None:
    content = state_bytes(some())
    for length in [*range(0, len(content) - 1, 37), len(content) - 1]:
        with pytest.raises(NetworkFileError, match="damaged"):
            state_from_bytes(content[:length])
    with pytest.raises(NetworkFileError):
        state_from_bytes(content + b"\0")


def test_any_flipped_bit_is_seen() -> None:
    content = state_bytes(some())
    size = int.from_bytes(content[:8], "little")
    tensors = some()
    for place in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        try:
            back = state_from_bytes(bytes(damaged))
        except NetworkFileError:
            continue
        # a flip in the padding or the spelling of the header may leave its meaning as it was
        assert place < 8 + size
        for name, value in tensors.items():
            torch.testing.assert_close(back[name], value, rtol=0, atol=0, equal_nan=True)


def other_version() -> bytes:
    return save({"a": torch.zeros([1])}, {"invert": json.dumps({"format": "invert-training-state", "version": 2})})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 8,
        b"hello, this is not a state",
        b"PK\x03\x04" + bytes(100),
        (3).to_bytes(8, "little") + b"[1]",
        (2).to_bytes(8, "little") + b"{}",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        save({"a": torch.zeros([3])}),
        save({"a": torch.zeros([3])}, {"invert": "{}"}),
        save({"a": torch.zeros([3])}, {"invert": "[]"}),
        save({"a": torch.zeros([3])}, {"invert": "no JSON"}),
        other_version(),
    ],
    ids=[
        "empty",
        "zeros",
        "huge header",
        "text",
        "zip",
        "list",
        "no metadata",
        "deep",
        "plain safetensors",
        "no format",
        "a list",
        "no JSON",
        "newer",
    ],
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(NetworkFileError):
        state_from_bytes(content)


def test_a_network_is_no_state() -> None:
    with pytest.raises(NetworkFileError, match="unsupported"):
        state_from_bytes(network_bytes(Generator(tiny().generator_config())))
