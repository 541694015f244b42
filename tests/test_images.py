"""Images become targets as documented: values, files, names."""

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invert.errors import ImageError
from invert.images.decoding import ImagePolicy, decode_image, to_png_bytes
from invert.images.scan import scan
from invert.images.target import pixel_sha256, read_target, safe_name
from tests.image_factory import encode, image, read_bytes, run_unprivileged, save

# Values


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_images_keep_every_pixel(tmp_path: Path, kind: str, options: dict[str, object]) -> None:
    source = image()
    target = read_bytes(tmp_path, encode(source, kind, **options))
    np.testing.assert_array_equal(target.array, source)
    assert target.warnings == ()
    assert not target.upsampled
    assert target.original_size == (16, 16)


def test_pixels_are_in_minus_one_to_one_channels_first(tmp_path: Path) -> None:
    source = image()
    source[0, 0], source[0, 1] = (0, 0, 0), (255, 255, 255)
    pixels = read_bytes(tmp_path, encode(source)).pixels
    assert tuple(pixels.shape) == (1, 3, 16, 16)
    assert pixels.is_contiguous()
    assert pixels[0, :, 0, 0].tolist() == [-1, -1, -1]
    assert pixels[0, :, 0, 1].tolist() == [1, 1, 1]
    expected = source.astype(np.float64).transpose(2, 0, 1)[None] / 127.5 - 1
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-7)


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    path = save(tmp_path, encode(image()))
    program = (
        "import sys, invert.images.target, invert.durable\n"
        "invert.images.target.read_target(sys.argv[1], 16, 3)\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_jpeg_is_close_and_its_rows_are_not_mixed_up(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 16, dtype=np.uint8)[:, None, None], (16, 16, 3))
    target = read_bytes(tmp_path, encode(np.ascontiguousarray(ramp), "JPEG", quality=95))
    assert np.abs(target.array.astype(int) - ramp).max() <= 6


def test_crop_and_resize_follow_the_official_order(tmp_path: Path) -> None:
    source = image(51, 70)
    target = read_bytes(tmp_path, encode(source))
    opened = Image.fromarray(source)
    size = min(opened.size)
    box = ((70 - size) // 2, (51 - size) // 2, (70 + size) // 2, (51 + size) // 2)
    expected = np.asarray(opened.crop(box).resize((16, 16), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(target.array, expected)
    assert target.original_size == (70, 51)
    assert target.warnings == ("70 x 51 is not square: the 51 x 51 in the centre are kept",)


def test_odd_crop_is_exact_when_nothing_is_resized(tmp_path: Path) -> None:
    source = image(16, 21)
    np.testing.assert_array_equal(read_bytes(tmp_path, encode(source)).array, source[:, 2:18])


def test_small_image_is_enlarged_and_marked(tmp_path: Path) -> None:
    target = read_bytes(tmp_path, encode(image(12, 12)))
    assert target.upsampled
    assert target.array.shape == (16, 16, 3)
    assert "12 x 12 is enlarged to the network's 16 x 16" in target.warnings


def test_hashes(tmp_path: Path) -> None:
    source = image()
    data = encode(source)
    target = read_bytes(tmp_path, data)
    assert target.file_sha256 == hashlib.sha256(data).hexdigest()
    assert target.pixel_sha256 == hashlib.sha256(b"uint8 16x16x3\n" + source.tobytes()).hexdigest()
    tall, wide = image(8, 32), image(32, 8).reshape(8, 32, 3).reshape(32, 8, 3)
    assert pixel_sha256(tall) != pixel_sha256(wide)


def test_targets_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    target = read_bytes(tmp_path, encode(image()))
    with pytest.raises(ValueError, match="read-only"):
        target.array[0] = 0


# Files


def test_wrong_extension_is_read_by_content_with_a_note(tmp_path: Path) -> None:
    source = image()
    target = read_target(save(tmp_path, encode(source), "x.jpg"), 16, 3)
    np.testing.assert_array_equal(target.array, source)
    assert target.notes == ("it is called .jpg but is PNG",)
    assert read_target(save(tmp_path, encode(source), "x.download"), 16, 3).notes == ()


@pytest.mark.parametrize("kind", ["fifo", "socket", "/dev/zero", "/dev/null", "folder"])
@pytest.mark.timeout(60)
def test_special_files_are_refused_at_once(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(kind if kind.startswith("/") else "x.png")
    listener = socket.socket(socket.AF_UNIX)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        listener.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(ImageError) as caught:
        read_target(path, 16, 3)
    listener.close()
    assert caught.value.code == "image-not-regular"


@pytest.mark.timeout(60)
def test_pipe_that_replaces_a_file_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, encode(image()))
    real_open = os.open

    def swap(name: object, flags: int, *rest: object) -> int:
        path.unlink()
        os.mkfifo(path)
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(ImageError) as caught:
        read_target(path, 16, 3)
    assert caught.value.code == "image-not-regular"


def test_missing_dangling_and_changing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, code in (
        ("no.png", "image-missing"),
        ("link.png", "image-link-dangling"),
        ("loop.png", "image-unreadable"),
    ):
        with pytest.raises(ImageError) as caught:
            read_target(tmp_path / name, 16, 3)
        assert caught.value.code == code
    path = save(tmp_path, encode(image()))
    found = list(scan([tmp_path]))
    assert path in found
    path.unlink()
    with pytest.raises(ImageError) as caught:
        read_target(path, 16, 3)
    assert caught.value.code == "image-missing"


def test_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, encode(image()))
    real_fstat, calls = os.fstat, []

    def fstat(descriptor: int) -> os.stat_result:
        calls.append(descriptor)
        if len(calls) == 2:
            with path.open("ab") as other:
                other.write(b"more")
        return real_fstat(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(ImageError) as caught:
        read_target(path, 16, 3)
    assert caught.value.code == "image-changed"


def test_hash_shows_that_a_file_changed_since(tmp_path: Path) -> None:
    before = read_bytes(tmp_path, encode(image(seed=1)))
    after = read_bytes(tmp_path, encode(image(seed=2)))
    assert before.path == after.path
    assert before.file_sha256 != after.file_sha256
    assert before.pixel_sha256 != after.pixel_sha256


NOBODY_CHILD = """
import sys
from invert.images.scan import scan
from invert.images.target import read_target
from invert.errors import ImageError
for item in scan([sys.argv[1]]):
    if isinstance(item, ImageError):
        print(item.code)
        continue
    try:
        read_target(item, 16, 3)
        print("read")
    except ImageError as error:
        print(error.code, error)
"""


def test_file_and_folder_without_permission_are_reported() -> None:
    # A folder of its own: pytest's are closed to the other user that root has to become.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        save(folder, encode(image()), "a.png").chmod(0)
        (folder / "b").mkdir(0)
        save(folder, encode(image()), "c.png")
        result = run_unprivileged(NOBODY_CHILD, name)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("image-unreadable")
    assert "no permission to read it" in lines[0]
    assert lines[1:] == ["image-folder-unreadable", "read"]


# Names


NAMES = [
    b"caf\xe9.png",
    b"new\nline.png",
    b"tab\there.png",
    b"\x1b[2J\x1b]52;c;aGk=\x07.png",
    b"-rf.png",
    b"--help.png",
    "😀👩‍🚀.png".encode(),
    "\u202egnp.exe.png".encode(),
    "שלום.png".encode(),
    b"trailing .png",
    b" leading.png",
    b'quote\'s "x".png',
    b"<img src=x onerror=alert(1)>.png",
    b"back\\slash.png",
    b"x" * 251 + b".png",
    "é".encode() * 125 + b".png",
    "caf\u00e9.png".encode(),
    "cafe\u0301.png".encode(),
    b"CON.png",
    b"...png",
]


def test_names_of_all_kinds_are_read_and_keep_their_bytes(tmp_path: Path) -> None:
    data = encode(image())
    folder = os.fsencode(tmp_path)
    for name in NAMES:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(data)
    found = list(scan([tmp_path]))
    visible = [name for name in NAMES if not name.startswith(b".")]
    assert [os.fsencode(path.name) for path in found if isinstance(path, Path)] == sorted(visible)
    for path in found:
        assert isinstance(path, Path)
        target = read_target(path, 16, 3)
        assert target.path == path
        assert target.name.isprintable()
        assert target.name.encode()
        assert not set(target.name) & set('\\/:*?"<>|')
        assert target.name[0] not in "-. "
        assert len(target.name.encode()) <= 160
        (tmp_path / f"{target.name}-0123abcd.npz").touch()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.png", "a"),
        ("a.b.png", "a.b"),
        ("-rf.png", "_rf"),
        ("../x/.hidden.png", "_hidden"),
        ("a\nb.png", "a_b"),
        ("caf\udce9.png", "caf_"),
        ("é.png", "é"),
        ("x . .png", "x"),
        (". .png", "_"),
        ("x" * 500 + ".png", "x" * 160),
        ("é" * 81 + ".png", "é" * 80),
    ],
)
def test_safe_name(name: str, safe: str) -> None:
    assert safe_name(name) == safe


# Policy and output


def test_policy_record_names_what_decides_pixels_and_no_limits() -> None:
    record = ImagePolicy().record()
    assert record["version"] == 2
    assert record == ImagePolicy(max_pixels=1, max_bytes=1, min_size=1, formats=("PNG",)).record()
    assert record != ImagePolicy(alpha="white").record()


@pytest.mark.parametrize(
    "wrong", [{"alpha": "pink"}, {"max_pixels": 0}, {"min_size": 0}, {"formats": ()}, {"formats": ("JP2",)}]
)
def test_policy_is_validated(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="|".join(wrong)):
        ImagePolicy(**wrong)


def test_channels_are_validated() -> None:
    with pytest.raises(ValueError, match="channels is 2"):
        decode_image(encode(image()), 2)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_bytes_round_trip_and_repeat(tmp_path: Path, channels: int) -> None:
    source = image(channels=channels).reshape(16, 16, channels)
    data = to_png_bytes(source)
    assert data == to_png_bytes(source.copy())
    np.testing.assert_array_equal(read_bytes(tmp_path, data, channels=channels).array, source)
    kinds = [data[i + 4 : i + 8] for i in range(8, len(data)) if data[i + 4 : i + 8] in (b"tEXt", b"tIME", b"eXIf")]
    assert kinds == []


def test_png_bytes_refuses_other_arrays() -> None:
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            to_png_bytes(wrong)
