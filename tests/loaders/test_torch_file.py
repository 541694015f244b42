"""Files of torch.save: both containers, every element type, views of storages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import NetworkFileError
from generator.files.checkpoints import Network
from generator.files.pickles.reader import Interpretation
from generator.files.pickles.records import NamespaceRecord, ObjectRecord
from generator.files.pickles.torch_file import read_stream, read_zip

DTYPES = [
    torch.float32, torch.float16, torch.bfloat16, torch.float64,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def saved(path: Path, content: Any, zipped: bool) -> Interpretation:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    data = memoryview(path.read_bytes())
    return read_zip(data) if zipped else read_stream(data)


@pytest.mark.parametrize("zipped", [False, True])
def test_element_types(tmp_path: Path, zipped: bool) -> None:
    tensors = {str(dtype): (torch.arange(12) - 3).to(dtype).reshape(3, 4) for dtype in DTYPES}
    found = saved(tmp_path / "file", tensors, zipped).value
    for key, value in tensors.items():
        assert found[key].kind == key.removeprefix("torch.")
        expected = value.float() if value.dtype == torch.bfloat16 else value
        np.testing.assert_array_equal(found[key].array(), expected.numpy())


@pytest.mark.parametrize("zipped", [False, True])
def test_views_share_a_storage(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0)
    views = {
        "slice": base[3:9], "transposed": base.reshape(4, 6).T, "strided": base[::5], "one": base[7],
        "empty": base[:0], "again": base[3:9], "permuted": base.reshape(2, 3, 4).permute(2, 0, 1),
    }  # fmt: skip
    found = saved(tmp_path / "file", views, zipped).value
    for key, value in views.items():
        np.testing.assert_array_equal(found[key].array(), value.numpy())
    assert len({id(record.storage) for record in found.values()}) == 1


@pytest.mark.parametrize("zipped", [False, True])
def test_state_and_settings(tmp_path: Path, zipped: bool) -> None:
    import argparse

    content = {
        "state": torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.PReLU()).state_dict(),
        "args": argparse.Namespace(size=32, name="x", flags=[True, None]),
        "size": torch.Size([1, 2]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    found = saved(tmp_path / "file", content, zipped)
    assert list(found.value["state"]) == ["0.weight", "0.bias", "1.weight"]
    assert isinstance(found.value["args"], NamespaceRecord)
    assert found.value["args"].values == {"size": 32, "name": "x", "flags": [True, None]}
    assert found.value["size"] == (1, 2)
    assert "argparse.Namespace" in found.globals_asked


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.filterwarnings("ignore:.*source code.*:UserWarning")
def test_whole_modules_are_records(tmp_path: Path, zipped: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.PReLU())
    found = saved(tmp_path / "file", module, zipped)
    assert isinstance(found.value, ObjectRecord)
    assert str(found.value.name) == "torch.nn.modules.container.Sequential"
    tensors = Network((), found.value).tensors
    assert tensors.keys() == module.state_dict().keys()
    np.testing.assert_array_equal(tensors["0.weight"].array(), module.state_dict()["0.weight"].numpy())
    assert found.has_source == (not zipped)


def test_every_member_is_held_against_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "file"
    saved(path, {"a": torch.arange(100.0)}, True)
    content = bytearray(path.read_bytes())
    at = content.index(np.float32(50).tobytes())
    content[at] ^= 1
    with pytest.raises(NetworkFileError, match=r"'file/data/0' in the zip file does not match its checksum"):
        read_zip(memoryview(content))
