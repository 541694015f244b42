"""Lists of latents as a user writes them."""

from pathlib import Path

import pytest

from invert.sheets.references import ProjectedLatent, Seed, parse_references


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", [Seed(5)]),
        ("1, 5,7-9", [Seed(1), Seed(5), Seed(7), Seed(8), Seed(9)]),
        ("3,1,3", [Seed(3), Seed(1), Seed(3)]),
        ("4294967295", [Seed(4294967295)]),
        ("a.npz", [ProjectedLatent(Path("a.npz"))]),
        ("b/A.NPZ,2", [ProjectedLatent(Path("b/A.NPZ")), Seed(2)]),
        ("x.h5:3", [ProjectedLatent(Path("x.h5"), 3)]),
        ("x.h5:0-1,7", [ProjectedLatent(Path("x.h5"), 0), ProjectedLatent(Path("x.h5"), 1), Seed(7)]),
        ("a:1.h5:2", [ProjectedLatent(Path("a:1.h5"), 2)]),
    ],
)
def test_lists(text: str, expected: list[object]) -> None:
    assert list(parse_references(text)) == expected


def test_a_file_with_a_comma_in_its_name_can_be_given_alone(tmp_path: Path) -> None:
    path = tmp_path / "1,2.npz"
    path.touch()
    assert parse_references(str(path)) == (ProjectedLatent(path),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is none of seeds"),
        ("a", "is none of seeds"),
        ("1,,2", "is none of seeds"),
        ("-1", "is none of seeds"),
        ("1-", "is none of seeds"),
        ("٣", "is none of seeds"),
        ("3-1", "does not run upwards"),
        ("4294967296", "not below 2^32"),
        ("0-4294967295", "more than 10000 latents"),
        ("0-5000,0-5000", "more than 10000 latents"),
        ("x.h5", "name a row, such as x.h5:0"),
        ("x.h5:", "is none of seeds"),
        ("x.h5:-1", "is none of seeds"),
        ("x.h5:4-2", "does not run upwards"),
        ("x.h5:0-99999", "more than 10000 latents"),
        ("a\x1b[2J\nb", "a\\x1b[2J\\nb"),
    ],
)
def test_what_is_no_list(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_references(text)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
