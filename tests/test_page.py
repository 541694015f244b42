"""The HTML page: nothing that goes in comes out as markup, and a browser asks for nothing and complains of nothing."""

import base64
import functools
import hashlib
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from invert.images.decoding import to_png_bytes
from invert.report.page import Block, Figure, Gallery, Paragraph, Section, Table, is_page, render_page

HOSTILE = "</title></style><img src=x onerror=alert(1)><script>alert(2)</script>\"'& \u202e\x00\x1b[31m\ud800"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9" fill="red"/></svg>'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Where Chromium asks for the time and for updates on its own account.
BROWSERS_OWN = (".google.com", ".googleapis.com", ".gvt1.com")

# Attributes that carry an address, and the only ones that a page may have.
ADDRESSES = {"src", "srcset", "href", "action", "data", "poster", "background", "formaction", "ping"}


def png(width: int = 8, height: int = 8, shade: int = 200) -> bytes:
    return to_png_bytes(np.full([height, width, 3], shade, np.uint8))


class Reader(HTMLParser):
    """A page as a parser sees it."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def check_inert(self) -> None:
        """Hold the page to what it promises: no script, no style but its own, no address but data: and its parts."""
        assert not {"script", "iframe", "object", "embed", "form", "base", "svg", "audio", "video", "input"} & {
            name for name, _ in self.tags
        }
        for _, attributes in self.tags:
            assert "style" not in attributes
            assert not any(name.startswith("on") for name in attributes)
            for name in ADDRESSES & set(attributes):
                assert (attributes[name] or "").startswith(("data:image/", "#", "data:,"))


class Visit(NamedTuple):
    """What a browser asked the server for besides the page, and what it wrote to the console."""

    requests: list[str]
    console: list[str]


Browse = Callable[..., Visit]


def _run_chromium(page: bytes, profile: Path, *flags: str) -> Visit:
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not str(self.headers["Host"]).endswith(BROWSERS_OWN):
                requests.append(self.path)
            self.send_response(200 if self.path == "/page" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            if self.path == "/page":
                self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=functools.partial(server.serve_forever, 0.05), daemon=True).start()
        port = server.server_address[1]
        command = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-features=NetworkTimeServiceQuerying,OptimizationHints,MediaRouter",
            "--no-first-run",
            "--no-proxy-server",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
            # Whatever host a page asks for, the request comes here.
            f"--host-resolver-rules=MAP * 127.0.0.1:{port}",
            *flags,
            f"http://127.0.0.1:{port}/page",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, errors="replace")
        server.shutdown()
    assert requests.count("/page") == 1, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Visit([path for path in requests if path != "/page"], console)


@pytest.fixture(scope="session")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    """Open a page in Chromium: `browse(page, *flags)`."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    profile = tmp_path_factory.mktemp("chromium")
    return lambda page, *flags: _run_chromium(page, profile, *(flags or ("--dump-dom",)))


def example(*blocks: Block) -> bytes:
    return render_page("A page", [Section("One", blocks)])


def hostile_page() -> bytes:
    figure = Figure(png(), HOSTILE, HOSTILE)
    table = Table([[HOSTILE, HOSTILE]], [HOSTILE, "b"], HOSTILE)
    blocks = [Paragraph(HOSTILE), Paragraph(HOSTILE, notice=True), table, figure, Gallery([figure])]
    return render_page(HOSTILE, [Section(HOSTILE, blocks)] * 3, lead=HOSTILE)


def test_same_input_same_bytes() -> None:
    assert hostile_page() == hostile_page()


def test_hostile_text_stays_text() -> None:
    page = Reader(hostile_page())
    page.check_inert()
    harmless = Reader(hostile_page().replace(b"onerror", b"ignored"))
    assert [name for name, _ in page.tags] == [name for name, _ in harmless.tags]
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "\\u202e\\u0000\\u001b[31m\\ud800" in page.text
    assert all(character.isprintable() or character == "\n" for character in page.text)
    assert len(page.all("img")) == 6


def test_policy_allows_the_own_style_and_nothing_else() -> None:
    page = example(Paragraph("text"))
    (policy,) = [
        str(tag["content"]) for tag in Reader(page).all("meta") if tag.get("http-equiv") == "Content-Security-Policy"
    ]
    (style,) = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    directives = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert directives == {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "style-src": [f"'sha256-{digest}'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    # The policy binds only what comes after it.
    assert page.index(b"Content-Security-Policy") < page.index(b"<link") < page.index(b"<style>")


def test_figures_are_inside_the_page() -> None:
    data, dark = png(shade=1), png(shade=2)
    page = Reader(example(Figure(data, "what it shows", "caption", dark), Figure(SVG, "plotted")))
    page.check_inert()
    light, other, svg = page.all("img")
    assert light["src"] == "data:image/png;base64," + base64.b64encode(data).decode()
    assert other["src"] == "data:image/png;base64," + base64.b64encode(dark).decode()
    assert svg["src"] == "data:image/svg+xml;base64," + base64.b64encode(SVG).decode()
    assert (light["alt"], other["alt"], svg["alt"]) == ("what it shows", "what it shows", "plotted")
    assert "caption" in page.text


@pytest.mark.parametrize(
    ("width", "shown", "kind"), [(32, 512, "pixels"), (200, 400, "pixels"), (384, 384, "grid"), (2048, 2048, "large")]
)
def test_small_images_are_enlarged_by_a_whole_factor(width: int, shown: int, kind: str) -> None:
    page = Reader(example(Figure(png(width, 16), "grid", pixels=True)))
    (image,) = page.all("img")
    assert (image["width"], image["height"]) == (str(shown), str(16 * shown // width))
    assert kind in str(page.all("figure")[0]["class"])


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<html>", png()[:20]])
def test_no_other_figures(data: bytes) -> None:
    with pytest.raises(ValueError, match="figure"):
        example(Figure(data, "what"))


def test_tables() -> None:
    page = Reader(example(Table([["a", "1.5"], ["b", "-2"]], ["name", "number"], "of things")))
    assert [cell.get("scope") for cell in page.all("th")] == ["col", "col", "row", "row"]
    assert [cell.get("class") for cell in page.all("td")] == ["n", "n"]
    assert [cell.get("class") for cell in Reader(example(Table([["a", "1"]]))).all("td")] == [None]
    example(Table([]))
    example(Table([["a"], ["b", "c", "d"]], ["one"]))


def test_long_text_is_cut() -> None:
    page = Reader(example(Paragraph("x" * 1_000_000)))
    assert len(page.text) < 10_000
    assert "more characters" in page.text


def test_sections_are_linked_where_there_are_many() -> None:
    assert not Reader(render_page("t", [Section("a", []), Section("b", [])])).all("a")
    page = Reader(render_page("t", [Section(name, []) for name in "abc"]))
    assert [link["href"] for link in page.all("a")] == ["#" + str(part["id"]) for part in page.all("section")]


def test_own_pages_are_known() -> None:
    assert is_page(example()[:1024])
    assert not any(map(is_page, [b"", b"<!doctype html>\n<p>", b"x" + example()]))


def test_browser_asks_for_nothing_and_complains_of_nothing(browse: Browse) -> None:
    bad = b'<!doctype html><img src="http://elsewhere.example/spy.png"><script>console.error("seen")</script>'
    control = browse(bad)
    assert "/spy.png" in control.requests
    assert any("seen" in line for line in control.console)
    assert browse(hostile_page()) == Visit([], [])


def test_browser_applies_the_style(browse: Browse, tmp_path: Path) -> None:
    page = example(Paragraph("text"), Figure(png(64, 64, 250), "light", "", png(64, 64, 5)), Figure(SVG, "svg"))
    means = {}
    for name, scheme in (("dark", 0), ("light", 1)):
        shot = tmp_path / f"{name}.png"
        visit = browse(
            page,
            f"--screenshot={shot}",
            "--window-size=390,700",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        assert visit == Visit([], [])
        with Image.open(shot) as image:
            means[name] = np.asarray(image.convert("L")).mean()
    assert means["light"] > 200
    assert means["dark"] < 60
