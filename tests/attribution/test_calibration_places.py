"""Which calibration decides: found in a known order, named, and never one that somebody else could have put there."""

import dataclasses
import json
from pathlib import Path

import pytest

from invert.attribution.calibration_file import CalibrationError, CalibrationFile, encode_calibration
from invert.attribution.calibration_places import cached_path, find_calibrations, warn_of_several
from invert.attribution.settings import CalibrationSettings
from tests.attribution.calibration_case import NETWORK, calibration

SHA = str(NETWORK["sha256"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nobody else can write to."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("INVERT_CACHE", str(folder))
    (folder / "calibrations").mkdir(parents=True, mode=0o700)
    return folder


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    made = calibration(count=60, settings=CalibrationSettings(score="lpips", rate=0.2))
    return [encode_calibration(one) for one in (made, dataclasses.replace(made, tool="1"))]


def find(folder: Path, *given: Path) -> tuple[list[CalibrationFile], list[str]]:
    said: list[str] = []
    found = find_calibrations(folder / "net.pkl", SHA, given, said.append)
    warn_of_several("net", found, said.append)
    return found, said


def in_cache() -> Path:
    path = cached_path(SHA)
    assert path is not None
    return path


def test_one_of_another_preset_is_no_rival(tmp_path: Path, contents: list[bytes]) -> None:
    (tmp_path / "net.calibration.json").write_bytes(contents[0])
    record = json.loads(contents[0])
    other = calibration(count=60, settings=CalibrationSettings(score="lpips", rate=0.2))
    other = dataclasses.replace(other, method={**record["method"], "preset": "paper"})
    in_cache().write_bytes(encode_calibration(other))
    found, said = find(tmp_path)
    assert ([one.calibration.method["preset"] for one in found], said) == (["verdict", "paper"], [])


def test_one_of_another_network_is_passed_over_if_it_is_whole(tmp_path: Path, contents: list[bytes]) -> None:
    beside = tmp_path / "other.calibration.json"
    made = calibration(count=60, settings=CalibrationSettings(score="lpips", rate=0.2))
    data = encode_calibration(dataclasses.replace(made, network={**NETWORK, "sha256": "0" * 64}))
    beside.write_bytes(data)
    in_cache().write_bytes(contents[0])
    assert [one.path for one in find(tmp_path, beside, in_cache())[0]] == [in_cache()]
    beside.write_bytes(data.replace(b'"left_out": 0', b'"left_out": 1', 1))
    assert beside.read_bytes() != data
    with pytest.raises(CalibrationError, match="was changed after it was written"):
        find(tmp_path, beside, in_cache())


def test_two_that_differ_are_both_named(tmp_path: Path, contents: list[bytes]) -> None:
    beside = tmp_path / "net.calibration.json"
    beside.write_bytes(contents[0])
    in_cache().write_bytes(contents[0])
    found, said = find(tmp_path)
    assert ([one.path for one in found], said) == ([beside], [])  # the same twice is one
    in_cache().write_bytes(contents[1])
    found, (warning,) = find(tmp_path)
    assert [one.path for one in found] == [beside, in_cache()]
    used, _, other = warning.partition(" is used, not ")
    assert str(beside) in used
    assert found[0].sha256[:16] in used
    assert found[1].sha256[:16] in other
    # One that was named is used without a look at others.
    found, said = find(tmp_path, in_cache())
    assert ([one.path for one in found], said) == ([in_cache()], [])


@pytest.mark.parametrize("mode", [0o770, 0o707], ids=["group", "anybody"])
@pytest.mark.parametrize("place", ["", "calibrations"], ids=["cache", "calibrations"])
def test_a_cache_that_others_can_write_to_is_not_read(
    tmp_path: Path, cache: Path, contents: list[bytes], place: str, mode: int
) -> None:
    in_cache().write_bytes(contents[0])
    assert len(find(tmp_path)[0]) == 1
    (cache / place).chmod(mode)
    found, (warning,) = find(tmp_path)
    assert not found
    assert "is not read: others can write to" in warning


def test_a_cache_of_somebody_else_is_not_read(
    tmp_path: Path, contents: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache().write_bytes(contents[0])
    owner = in_cache().stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    if owner:
        assert "belongs to somebody else" in find(tmp_path)[1][0]
    else:  # the administrator's files are read: there is nothing to be done against him
        assert find(tmp_path)[0]
