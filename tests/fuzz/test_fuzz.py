"""Changed files of every format give nothing but the error trees: no other exception, no signal, no hang, no bomb."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import Fuzzing, made
from tests.fuzz.formats import FORMATS


@pytest.mark.slow
def test_changed_files_are_refused_or_read(tmp_path: Path) -> None:
    """Twenty seconds; `make fuzz` takes an hour."""
    fuzzing = Fuzzing(list(FORMATS), 0, 20.0, tmp_path)
    fuzzing.run()
    assert fuzzing.findings == []
    tried = {name for (name, _), count in fuzzing.counts.items() if count}
    assert tried == FORMATS.keys(), fuzzing.table()


def test_inputs_are_the_same_each_time() -> None:
    for name in ("png", "idx", "labels", "manifest"):
        assert made(name, 1, 3) == made(name, 1, 3) != made(name, 1, 4)
