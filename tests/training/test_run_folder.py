"""The folder and the log of a training run: what is begun, refused, found again and removed."""

import hashlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from generator.errors import NetworkFileError
from generator.training.state import state_bytes
from invert.errors import BusyError, ExitCode, OutputError, UsageError
from invert.runs.folder import RunFolder, StateError, lock_run, open_run_folder, record_of
from invert.runs.log import TickLog

DATA = {"path": "a", "fingerprint": "f" * 64, "images": 3}


def record(**changes: Any) -> dict[str, Any]:
    return record_of({"batch": 8, "seed": 0, **changes}, DATA)


def begin(
    folder: Path, now: dict[str, Any] | None = None, *, overwrite: bool = False, resume: bool = False
) -> RunFolder:
    with lock_run(folder):
        return open_run_folder(folder, now or record(), overwrite=overwrite, resume=resume)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def state(images: int) -> bytes:
    return state_bytes({"images": torch.tensor(images)})


def test_settings_are_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    begin(folder)
    content = (folder / "settings.json").read_bytes()
    written = json.loads(content)
    assert written["settings"] == {"batch": 8, "seed": 0}
    assert written["data"] == DATA
    assert written["software"]["torch"] == torch.__version__
    begin(folder, record_of({"batch": 8, "seed": 0}, {**DATA, "path": "moved"}), resume=True)
    assert (folder / "settings.json").read_bytes() == content
    assert visible(folder) == ["settings.json"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(UsageError, match=r"seed: 0, now 1.*--overwrite"):
        begin(tmp_path, record(seed=1))
    with pytest.raises(UsageError, match="mirror"):
        begin(tmp_path, record(mirror=True))
    with pytest.raises(UsageError, match=r"data: f+.*now other"):
        begin(tmp_path, record_of({"batch": 8, "seed": 0}, {**DATA, "fingerprint": "other"}))


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        begin(tmp_path, resume=True)
    assert visible(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_of_others_are_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "network.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError, match="not empty and not a training run"):
        begin(tmp_path, overwrite=overwrite)
    for content in ("[]", '{"format": "other", "version": 1}'):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(UsageError, match="belongs to no training run"):
            begin(tmp_path, overwrite=overwrite)
        assert (tmp_path / "settings.json").read_text() == content
    assert (tmp_path / "network.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000, '{"version": 1, "version": 1}'])
def test_settings_that_cannot_be_read_are_not_ours(tmp_path: Path, content: str) -> None:
    begin(tmp_path).save_state(8, state(8))
    (tmp_path / "settings.json").write_text(content, encoding="latin-1")
    before = visible(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"settings\.json': is damaged.* Choose another --out"):
            begin(tmp_path, overwrite=overwrite)
    assert visible(tmp_path) == before
    assert (tmp_path / "settings.json").read_bytes() == content.encode("latin-1")


def test_settings_of_another_version_are_refused_until_overwritten(tmp_path: Path) -> None:
    begin(tmp_path).save_state(8, state(8))
    (tmp_path / "settings.json").write_text(json.dumps({**record(), "version": 99}))
    with pytest.raises(UsageError, match=r"settings\.json.*--overwrite"):
        begin(tmp_path)
    begin(tmp_path, overwrite=True)
    assert visible(tmp_path) == ["settings.json"]
    begin(tmp_path, resume=True)


def test_overwriting_removes_what_runs_write_and_nothing_else(tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.save_state(8, state(8))
    events = tmp_path / "tensorboard"
    events.mkdir()
    for name in (
        "network.safetensors",
        "network-000000008.safetensors",
        "fakes-000000008.png",
        "reals.png",
        "log.jsonl",
    ):
        run.write(name, b"old")
    (events / "events.out.tfevents.1.host.2.0").write_bytes(b"old")
    run.note_growing()
    for name in ("log.jsonl", "tensorboard/events.out.tfevents.1.host.2.0"):
        with open(tmp_path / name, "ab") as file:
            file.write(b"and more")
    mine = ["notes.txt", "reals-of-mine.png", "my.safetensors", "tensorboard/mine"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    begin(tmp_path, record(seed=1), overwrite=True)
    assert visible(tmp_path) == ["my.safetensors", "notes.txt", "reals-of-mine.png", "settings.json", "tensorboard"]
    assert visible(events) == ["mine"]
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["seed"] == 1


def test_overwriting_keeps_what_was_put_in_the_place_of_ours(tmp_path: Path) -> None:
    """Of what a run lists, only the content that it wrote is removed: names alone say nothing."""
    run = begin(tmp_path)
    for name in ("fakes-000000000.png", "fakes-000000008.png", "network.safetensors", "log.jsonl"):
        run.write(name, b"old")
    (tmp_path / "fakes-000000000.png").write_bytes(b"a holiday")
    (tmp_path / "log.jsonl").write_bytes(b"a diary")
    (tmp_path / "fakes-000000008.png").unlink()
    (tmp_path / "fakes-000000008.png").symlink_to("fakes-000000000.png")
    (tmp_path / "network-000000099.safetensors").write_bytes(b"mine")
    (tmp_path / "thesis.txt").write_bytes(b"mine")
    record_path = tmp_path / ".files.json"
    listed = json.loads(record_path.read_bytes())
    listed["files"]["thesis.txt"] = [[4, hashlib.sha256(b"mine").hexdigest()]]
    listed["files"]["../elsewhere.png"] = listed["files"]["thesis.txt"]
    record_path.write_text(json.dumps(listed))
    begin(tmp_path, record(seed=1), overwrite=True)
    kept = ["fakes-000000000.png", "fakes-000000008.png", "log.jsonl", "network-000000099.safetensors"]
    assert visible(tmp_path) == [*kept, "settings.json", "thesis.txt"]


def test_states_of_a_run_without_a_record_are_removed(tmp_path: Path) -> None:
    """Runs of earlier versions have none; their states have checksums of their own."""
    begin(tmp_path).save_state(8, state(8))
    (tmp_path / ".files.json").unlink()
    (tmp_path / "state-mine.safetensors").write_bytes(b"mine")
    assert begin(tmp_path, record(seed=1), overwrite=True).newest_state() == (None, [])
    assert visible(tmp_path) == ["settings.json", "state-mine.safetensors"]


def test_a_state_of_another_run_is_refused_by_its_name(tmp_path: Path) -> None:
    def check(_: object) -> None:
        raise NetworkFileError("damaged: it is not a state of this run, 'a' is unknown")

    run = begin(tmp_path)
    run.save_state(8, state(8))
    with pytest.raises(
        StateError, match=r"^training state '.*state-000000000008.safetensors': damaged: .* Remove"
    ) as caught:
        run.newest_state(check=check)
    assert caught.value.exit_code == ExitCode.NETWORK == 4
    found, (complaint,) = run.newest_state(limit=10)
    assert found is None
    assert "over the" in complaint


def test_two_states_are_kept_and_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    run = begin(tmp_path)
    assert run.newest_state() == (None, [])
    for images in (8, 16, 24):
        run.save_state(images, state(images))
    names = ["state-000000000016.safetensors", "state-000000000024.safetensors"]
    assert [name for name in visible(tmp_path) if name.startswith("state")] == names
    assert run.newest_state() == ({"images": torch.tensor(24)}, [])
    newest = tmp_path / names[1]
    newest.write_bytes(newest.read_bytes()[:-1])
    found, (complaint,) = run.newest_state()
    assert found == {"images": torch.tensor(16)}
    assert str(newest) in complaint
    assert "damaged" in complaint
    older = tmp_path / names[0]
    older.unlink()
    older.mkdir()
    found, complaints = run.newest_state()
    assert found is None
    assert len(complaints) == 2


def test_what_a_killed_process_left_half_written_goes_away(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / ".invert-0123.tmp").write_bytes(b"half")
    (tmp_path / ".mine").write_bytes(b"mine")
    begin(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".mine", "settings.json"]


def test_a_run_belongs_to_one_process(tmp_path: Path) -> None:
    with lock_run(tmp_path / "run"), pytest.raises(BusyError, match="in use by process"):
        begin(tmp_path / "run" / ".." / "run")
    begin(tmp_path / "run")


def test_last_snapshot(tmp_path: Path) -> None:
    run = begin(tmp_path)
    assert run.last_snapshot() == "there is no snapshot yet"
    run.write("network.safetensors", b"")
    assert run.last_snapshot() == f"the last good snapshot is '{tmp_path / 'network.safetensors'}'"


def tick(number: int, **more: Any) -> dict[str, Any]:
    return {"tick": number, "images": 100 * number, "losses": {"generator": number / 2, "r1": None}, **more}


@pytest.fixture
def without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is not installed."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def write_log(folder: Path, *records: dict[str, Any], images: int = 0) -> None:
    log = TickLog(folder, images)
    for one in records:
        log.add(one)
    log.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]


@pytest.mark.usefixtures("without_events")
def test_log_is_one_record_a_line_and_goes_on(tmp_path: Path) -> None:
    assert TickLog(tmp_path, 0).last == {}
    write_log(tmp_path, tick(1), tick(2))
    assert read_log(tmp_path) == [tick(1), tick(2)]
    assert TickLog(tmp_path, 200).last == tick(2)
    write_log(tmp_path, tick(3), images=200)
    assert read_log(tmp_path) == [tick(1), tick(2), tick(3)]
    assert visible(tmp_path) == ["log.jsonl"]


@pytest.mark.usefixtures("without_events")
def test_records_of_work_that_is_done_again_are_dropped(tmp_path: Path) -> None:
    write_log(tmp_path, tick(1), tick(2), tick(3), tick(4))
    assert TickLog(tmp_path, 250).last == tick(2)
    assert read_log(tmp_path) == [tick(1), tick(2)]
    assert TickLog(tmp_path, 0).last == {}
    assert read_log(tmp_path) == []


@pytest.mark.usefixtures("without_events")
def test_records_of_ticks_that_were_cut_short_are_dropped(tmp_path: Path) -> None:
    write_log(tmp_path, tick(1), tick(2, partial=True))
    assert TickLog(tmp_path, 200).last == tick(1)
    assert read_log(tmp_path) == [tick(1)]


@pytest.mark.usefixtures("without_events")
@pytest.mark.parametrize(
    "end",
    [
        b'{"tick": 3, "ima',
        b"\xff\xfe",
        b"5\n",
        b"[]\n",
        b'{"images": "many"}\n',
        b'{"tick": 3}\n',
        b"\0" * 50,
        b"[" * 99_999,
    ],
    ids=["cut", "no text", "number", "list", "text", "no images", "zeros", "deep"],
)
def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path, end: bytes) -> None:
    write_log(tmp_path, tick(1), tick(2))
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(end)
    log = TickLog(tmp_path, 10**9)
    assert log.last == tick(2)
    log.add(tick(3))
    assert read_log(tmp_path) == [tick(1), tick(2), tick(3)]


@pytest.mark.usefixtures("without_events")
def test_numbers_that_are_none_never_get_into_the_log(tmp_path: Path) -> None:
    log = TickLog(tmp_path, 0)
    with pytest.raises(ValueError, match="JSON"):
        log.add(tick(1, speed=float("nan")))
    assert read_log(tmp_path) == []


@pytest.mark.usefixtures("without_events")
def test_a_log_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    log = TickLog(tmp_path, 0)
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"log\.jsonl"):
        log.add(tick(1))
    with pytest.raises(OutputError, match=r"log\.jsonl"):
        TickLog(tmp_path, 0)


def test_events_follow_the_log(tmp_path: Path) -> None:
    """TensorBoard shows what the log says, also after a run was resumed further back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of that library
        pytest.importorskip("torch.utils.tensorboard")
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_log(tmp_path, tick(1), tick(2), tick(3), tick(4, partial=True))
    write_log(tmp_path, tick(3, again=True), tick(4), tick(5, partial=True), images=200)
    write_log(tmp_path, tick(5), images=500)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["losses/generator", "again"]
    shown = [(event.step, event.value) for event in events.Scalars("losses/generator")]
    assert shown == [(one["images"], one["losses"]["generator"]) for one in read_log(tmp_path)]
    assert [step for step, _ in shown] == [100, 200, 300, 400, 500]
