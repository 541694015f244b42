"""Files and folders are expanded in a fixed order, and no link or pipe holds the search up."""

import os
from pathlib import Path

import pytest

from invert.errors import ImageError
from invert.images.scan import scan
from invert.images.target import read_target
from tests.image_factory import encode, image, save


def codes_and_names(items: object) -> list[tuple[str, str]]:
    return [
        (item.code, Path(str(item.path)).name) if isinstance(item, ImageError) else ("", item.name)  # type: ignore[attr-defined]
        for item in items  # type: ignore[attr-defined]
    ]


def tree(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_scan_takes_images_in_a_fixed_order(tmp_path: Path) -> None:
    tree(tmp_path, "b.PNG", "a/z.jpg", "a/b.webp", "c.jpeg", "B.bmp", "notes.txt", "é.png", "a.png")
    found = [path.relative_to(tmp_path).as_posix() for path in scan([tmp_path]) if isinstance(path, Path)]
    assert found == ["B.bmp", "a/b.webp", "a/z.jpg", "a.png", "b.PNG", "c.jpeg", "é.png"]
    assert list(scan([tmp_path])) == list(scan([tmp_path]))


def test_what_looks_like_an_image_is_taken_or_told_of(tmp_path: Path) -> None:
    tree(tmp_path, "a.tiff", "b.GIF", "c.ppm", "d.jp2", "e.ICO", "f.tga", "g.jxl", "h.psd", "i.dng", "j.svg", "k.pdf")
    assert codes_and_names(scan([tmp_path])) == [
        *(("", name) for name in ("a.tiff", "b.GIF", "c.ppm")),
        *(("image-format", name) for name in ("d.jp2", "e.ICO", "f.tga", "g.jxl", "h.psd", "i.dng")),
    ]
    assert not any(item.by_rule for item in scan([tmp_path]) if isinstance(item, ImageError))


def test_scan_leaves_out_what_systems_strew(tmp_path: Path) -> None:
    tree(tmp_path, "x.png", "._x.png", ".hidden.png", ".thumbs/a.png", "Thumbs.db", "desktop.ini", "__MACOSX/x.png")
    assert codes_and_names(scan([tmp_path])) == [("", "x.png")]
    assert codes_and_names(scan([tmp_path / ".hidden.png", tmp_path / "Thumbs.db"])) == [
        ("", ".hidden.png"),
        ("", "Thumbs.db"),
    ]


def test_scan_keeps_the_order_and_the_repeats_of_the_user(tmp_path: Path) -> None:
    tree(tmp_path, "b.png", "a.png", "d/c.png")
    given_ = [tmp_path / "b.png", tmp_path / "a.png", tmp_path / "d", tmp_path / "b.png"]
    assert codes_and_names(scan(given_)) == [("", "b.png"), ("", "a.png"), ("", "c.png"), ("", "b.png")]


def test_scan_reports_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    assert codes_and_names(scan([tmp_path, tmp_path / "no.png", ""])) == [
        ("image-link-dangling", "dangling.png"),
        ("image-link-loop", "self.png"),
        ("image-missing", "no.png"),
        ("image-missing", ""),
    ]


def test_scan_of_nothing(tmp_path: Path) -> None:
    assert list(scan([tmp_path])) == []
    assert list(scan([])) == []


@pytest.mark.timeout(60)
def test_scan_ends_where_links_run_in_circles(tmp_path: Path) -> None:
    tree(tmp_path, "root/a/x.png", "outside/y.png")
    (tmp_path / "root/a/up").symlink_to("..")
    (tmp_path / "root/a/here").symlink_to(".")
    (tmp_path / "root/out").symlink_to("../outside")
    (tmp_path / "outside/back").symlink_to("../root")
    (tmp_path / "root/again").symlink_to("../outside")
    stay = codes_and_names(scan([tmp_path / "root"]))
    assert [name for code, name in stay if not code] == ["x.png"]
    assert {code for code, _ in stay if code} == {"image-link-loop", "image-link-not-followed"}
    follow = list(scan([tmp_path / "root"], follow=True))
    assert [name for code, name in codes_and_names(follow) if not code] == ["x.png", "y.png"]
    assert all(item.by_rule for item in follow if isinstance(item, ImageError))


@pytest.mark.timeout(60)
def test_scan_cannot_be_multiplied_by_links(tmp_path: Path) -> None:
    """Each of 30 folders links twice to the next: 2^30 ways to one image."""
    root = tmp_path / "root"
    root.mkdir()
    for index in range(30):
        (tmp_path / f"d{index}").mkdir()
        for name in "ab":
            (tmp_path / f"d{index}" / name).symlink_to(f"../d{index + 1}")
    tree(tmp_path, "d30/x.png")
    (root / "start").symlink_to("../d0")
    assert [name for code, name in codes_and_names(scan([root], follow=True)) if not code] == ["x.png"]


def test_links_to_files_inside_and_outside(tmp_path: Path) -> None:
    tree(tmp_path, "root/x.png", "rootless/y.png")
    (tmp_path / "root/in.png").symlink_to("x.png")
    (tmp_path / "root/out.png").symlink_to("../rootless/y.png")
    assert codes_and_names(scan([tmp_path / "root"])) == [
        ("", "in.png"),
        ("image-link-not-followed", "out.png"),
        ("", "x.png"),
    ]
    assert [name for _, name in codes_and_names(scan([tmp_path / "root"], follow=True))] == [
        "in.png",
        "out.png",
        "x.png",
    ]
    # What the user names is followed.
    (tmp_path / "shortcut").symlink_to("root")
    assert codes_and_names(scan([tmp_path / "shortcut"]))[0] == ("", "in.png")
    assert codes_and_names(scan([tmp_path / "root/out.png"])) == [("", "out.png")]


@pytest.mark.timeout(60)
def test_scan_reports_pipes_and_opens_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    os.mkfifo(tmp_path / "x.txt")
    (tmp_path / "y.png").symlink_to("/dev/zero")
    assert codes_and_names(scan([tmp_path], follow=True)) == [
        ("image-not-regular", "x.png"),
        ("image-not-regular", "y.png"),
    ]


def test_scan_goes_deeper_than_python_may_recurse(tmp_path: Path) -> None:
    folders = [tmp_path / "d"]
    for _ in range(1200):
        folders.append(folders[-1] / "d")
    try:
        for folder in folders:
            folder.mkdir()
        (folders[-1] / "x.png").touch()
        assert codes_and_names(scan([tmp_path])) == [("", "x.png")]
    finally:
        # By hand: pytest's own cleaning up does recurse.
        (folders[-1] / "x.png").unlink(missing_ok=True)
        for folder in reversed(folders):
            if folder.exists():
                folder.rmdir()


def test_scan_of_100000_names_streams_and_asks_nothing_per_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        def __init__(self, index: int) -> None:
            self.name = f"{index * 7919 % 100_000:06d}.png"
            self.path = f"{tmp_path}/{self.name}"

        def is_symlink(self) -> bool:
            return False

        def is_dir(self) -> bool:
            return False

        def is_file(self) -> bool:
            return True

    class Listing(list[Entry]):
        def __enter__(self) -> "Listing":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    stats: list[object] = []
    real_stat = os.stat

    def counted(path: object, **options: object) -> os.stat_result:
        stats.append(path)
        return real_stat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "scandir", lambda _: Listing(map(Entry, range(100_000))))
    monkeypatch.setattr(os, "stat", counted)
    items = scan([tmp_path])
    assert next(items) == tmp_path / "000000.png"
    count = 1 + sum(1 for _ in items)
    monkeypatch.undo()
    assert count == 100_000
    assert len(stats) <= 4


def test_same_content_and_same_name_are_both_kept(tmp_path: Path) -> None:
    data = encode(image())
    for folder in "ab":
        (tmp_path / folder).mkdir()
        save(tmp_path / folder, data)
    first, second = (read_target(path, 16, 3) for path in scan([tmp_path]) if isinstance(path, Path))
    assert first.path != second.path
    assert (first.name, first.file_sha256, first.pixel_sha256) == (second.name, second.file_sha256, second.pixel_sha256)
