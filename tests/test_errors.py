"""Messages are one safe line each, and every error has its code."""

import json
import os
import pickle
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invert import errors
from invert.errors import ImageCode, ImageError, display_path


def test_exit_codes_are_what_the_documentation_says() -> None:
    codes = {
        errors.InvertError: 1,
        errors.UsageError: 2,
        errors.NetworkError: 4,
        errors.NoInputError: 5,
        errors.ImageError: 5,
        errors.OutputError: 6,
        errors.BusyError: 7,
        errors.NumericError: 8,
    }
    assert {kind: int(kind.exit_code) for kind in codes} == codes
    assert [int(errors.ExitCode[name]) for name in ("OK", "PARTIAL", "SIGHUP", "SIGINT", "SIGTERM")] == [
        0,
        3,
        129,
        130,
        143,
    ]
    assert len({kind.code for kind in codes}) == len(codes)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.UsageError("--steps is -1"), "--steps is -1"),
        (errors.UsageError("--steps is -1", advice="Use 1 or more."), "--steps is -1. Use 1 or more."),
        (errors.InvertError("it is odd", path="x"), "file 'x': it is odd"),
        (errors.NoInputError("there is no image", path="dir"), "input 'dir': there is no image"),
        (
            errors.NetworkError("cut off", path=b"x.pkl", advice="Copy it again."),
            "network 'x.pkl': cut off. Copy it again.",
        ),
        (errors.NumericError("w is not finite"), "w is not finite"),
    ],
)
def test_messages(error: errors.InvertError, message: str) -> None:
    assert str(error) == message


def test_errors_travel_between_processes_and_into_json() -> None:
    error = ImageError("cut off", path=Path("caf\udce9.png"), advice="Copy it again.", code="image-truncated")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (ImageError, str(error), "image-truncated")
    record = json.loads(json.dumps(error.record()))
    assert record["path"] == "caf\udce9.png"
    assert (record["code"], record["reason"], record["message"]) == ("image-truncated", "cut off", str(error))


def test_links_left_out_by_rule_are_no_failures() -> None:
    assert {code for code in get_args(ImageCode) if ImageError("", code=code).by_rule} == {
        "image-link-loop",
        "image-link-not-followed",
        "image-own-sheet",
    }


def test_names_are_shown_escaped() -> None:
    error = ImageError("the file is empty", path="a\n\x1b[2J\u202e'\udcff.png", code="image-empty", advice="Look.")
    assert str(error) == r"image 'a\n\x1b[2J\u202e\'\xff.png': the file is empty. Look."


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("plain/é 😀.png", "plain/é 😀.png"),
        (b"caf\xe9", r"caf\xe9"),
        ("a\\n", r"a\\n"),
        ("\x85\u2028\u2066\U000e0001", r"\x85\u2028\u2066\U000e0001"),
        (Path("x") / "y", "x/y"),
    ],
)
def test_display_path(path: str | bytes | Path, shown: str) -> None:
    assert display_path(path) == shown


@given(st.text(max_size=400) | st.binary(max_size=400).map(os.fsdecode))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_display_path_is_always_one_safe_short_line(path: str) -> None:
    shown = display_path(path)
    assert shown.isprintable()
    assert len(shown) <= 200
    shown.encode()


def test_long_names_keep_their_end() -> None:
    shown = display_path("/start/" + "\n" * 300 + "/the end.png")
    assert shown.startswith(r"/start/\n")
    assert shown.endswith(r"\n/the end.png")
    assert "..." in shown
    assert 195 < len(shown) <= 200
