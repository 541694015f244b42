"""`python -m bench.whole_commands` on two images and a step."""

import pytest

from bench import whole_commands


@pytest.mark.long
def test_it_times_what_a_user_types(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(whole_commands, "_LARGE", 32)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole_commands.main(["--images", "2", "--steps", "1", "--large-steps", "1", "--rounds", "1"])
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.splitlines() if row.startswith("|")][2:]
    ways = [(row[0].partition(",")[0], row[1]) for row in rows]
    assert ways == [
        ("2 images of 32 px", "plain"),
        ("2 images of 32 px", "to .h5"),
        ("2 images of 32 px", "to a folder"),
        ("2 images of 32 px", "to .h5, --batch 32"),
        ("one image of 32 px", "plain"),
        ("one image of 32 px", "to a folder"),
    ]
    for what, _, seconds, per_hour, share in rows:
        images = 2 if what.startswith("2") else 1
        assert float(per_hour) == pytest.approx(images / float(seconds) * 3600, rel=0.6)
        assert float(share) > 0
