"""The report of attributions in a real browser: on a phone, light, dark and on paper, without a word of complaint."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.attribution.attribution_case import image, images, networks, report, verdict
from tests.test_page import Browse, Visit
from tests.test_page import browse as browse  # a fixture

PAPER = {"light": (255, 255, 255), "dark": (18, 22, 27)}
IMAGE_NAME = "<img src=x onerror=alert(1)>.png"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def page() -> bytes:
    """Return a report with every kind of verdict and a hostile name, decided by the evidence."""
    hostile = image(IMAGE_NAME, verdict([-8.0, 0.0], "evidence"), channels=4)
    return report([hostile, *images(2, "evidence")], networks(2, "evidence"), command=f"invert '{IMAGE_NAME}'")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")], ids=str)
def test_looks(browse: Browse, page: bytes, tmp_path: Path, width: int, scheme: str) -> None:
    shot = tmp_path / "shot.png"
    preferred = {"dark": 0, "light": 1}[scheme]
    visit = browse(
        page,
        f"--screenshot={shot}",
        f"--window-size={width},3000",
        f"--blink-settings=preferredColorScheme={preferred}",
    )
    assert visit == Visit([], [])
    with Image.open(shot) as image:
        assert image.size == (width, 3000)
        seen = np.asarray(image.convert("RGB")).astype(int)
    away = np.abs(seen - PAPER[scheme]).sum(axis=2) > 6
    assert 0.1 < away.mean() < 0.9
    # Nothing is wider than the page: what was would reach into its margins.
    assert not away[:, :12].any()
    assert not away[:, -12:].any()


def test_prints(browse: Browse, page: bytes, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    # Who prefers dark pages still prints on white.
    flags = ("--no-pdf-header-footer", "--blink-settings=preferredColorScheme=0")
    assert browse(page, f"--print-to-pdf={paper}", *flags) == Visit([], [])
    data = paper.read_bytes()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 8 <= pages <= 30
