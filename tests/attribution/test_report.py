"""The report of attributions: every verdict with its sentences, and nothing that goes in comes out as markup."""

import base64
import dataclasses
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from invert.attribution.candidate import Candidate
from invert.attribution.promise import rate_sentence, ratio_sentence
from invert.attribution.report import panels, summary
from invert.attribution.verdict import Outcome
from tests.attribution.attribution_case import (
    COMMAND,
    DATE,
    KINDS,
    calibrations,
    image,
    images,
    networks,
    report,
    verdict,
)
from tests.test_page import Reader

HOSTILE = [
    "<img src=x onerror=alert(1)>.png",
    '"><svg onload=alert(1)>.png',
    "javascript:alert(1)",
    "</title></style><script>alert(1)</script>",
    os.fsdecode(b"\xff\xfe latin \xe9.png"),
    "\x1b[31mred\x1b]0;title\x07.png",
    "\u202egnp.exe",
    "&lt;b&gt;' onmouseover='x",
    "a\nb\r\n.png",
    "-rf $(x) `y` $x^{",
]

# All that a report is made of: a browser is given no other element and no other attribute.
ALLOWED = {
    "html": {"lang"},
    "head": set(),
    "meta": {"charset", "name", "content", "http-equiv"},
    "link": {"rel", "href"},
    "title": set(),
    "style": set(),
    "body": set(),
    "header": set(),
    "main": set(),
    "nav": {"aria-label"},
    "section": {"id"},
    "h1": set(),
    "h2": set(),
    "p": {"class"},
    "ul": set(),
    "li": set(),
    "a": {"href"},
    "div": {"class", "role", "tabindex", "aria-label"},
    "table": set(),
    "caption": set(),
    "thead": set(),
    "tbody": set(),
    "tr": set(),
    "th": {"scope", "class"},
    "td": {"class"},
    "figure": {"class"},
    "figcaption": set(),
    "img": {"class", "src", "alt", "width", "height"},
}


def check_allowed(page: Reader) -> None:
    page.check_inert()
    for tag, attributes in page.tags:
        assert set(attributes) <= ALLOWED[tag], tag


def shown(page: Reader, alt: str) -> list["np.typing.NDArray[np.uint8]"]:
    """Return the pixels of the images whose description has these words."""
    found = []
    for entry in page.all("img"):
        if alt in str(entry["alt"]):
            data = base64.b64decode(str(entry["src"]).partition(",")[2])
            with Image.open(io.BytesIO(data)) as opened:
                found.append(np.asarray(opened))
    return found


def cells(page: bytes, row: int) -> list[str]:
    """Return the cells of a row of the summary."""
    body = page.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    line = [line for line in body.splitlines() if line.startswith("<tr>")][row]
    return [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", line)]


def test_every_kind_of_verdict_has_its_sentences() -> None:
    some = images()
    outcomes = {one.verdict.outcome for one in some if one.verdict is not None}
    assert outcomes == set(Outcome)
    page = Reader(report(some))
    check_allowed(page)
    assert "7 images: 2 attributed, 1 none of these, 3 cannot tell, 1 not read" in page.text
    for one in some:
        if one.verdict is None:
            continue
        assert f"Verdict: {one.verdict.text}." in page.text
        assert str(one.path) in page.text
        for finding, calibration in zip(one.verdict.findings, calibrations(), strict=True):
            assert ratio_sentence(finding, calibration) in page.text
            assert f"{finding.network} alone, by the LPIPS distance: {finding.outcome}" in page.text
            assert finding.reason in page.text
    for name, calibration in zip("AB", calibrations(), strict=True):
        assert page.text.count(rate_sentence(calibration, name, share=2)) == 1 + len(KINDS)
    assert "cannot tell: cannot separate A from B" in page.text
    assert "it measures like neither its own images nor others" in page.text
    assert "its own images and others measure like this" in page.text
    assert "Not read: the file is cut off." in page.text


def test_summary_has_what_was_found_and_leads_there() -> None:
    found = verdict([-8.0], "evidence")
    page = report([image("a.png", found, count=1)], networks(1, "evidence"))
    reading = found.findings[0].evidence
    assert reading is not None
    score, threshold = f"{reading.score:.2f}", f"{reading.threshold:.2f}"
    assert cells(page, 0)[:6] == ["1. a.png", "attributed to A", "0.0003", "below", score, threshold]
    assert cells(page, 0)[6:] == [f"{reading.p0:.4f}", f"{reading.p1:.3f}", f"{reading.ratio:.0f}"]
    several = report(images())
    assert cells(several, 1)[:3] == ["1. samples/of A.png", "attributed to A", "B"]
    assert cells(several, 12) == ["7. samples/cut.png", "not read", *["-"] * 7]
    sections = {part["id"] for part in Reader(several).all("section")}
    links = {str(link["href"]) for link in Reader(several).all("a")}
    assert links == {f"#{name}" for name in sections}
    assert '<a href="#s2">1. samples/of A.png</a>' in several.decode()
    assert '<section id="s2">\n<h2>1. samples/of A.png</h2>' in several.decode()


def test_a_rate_of_ones_own_is_the_one_that_is_stated() -> None:
    found = verdict([-8.0, 0.0])
    of = [dataclasses.replace(one, rate=0.05) for one in networks()]
    assert "At most 5 % (shared by 2 candidates)" in Reader(report([image("a", found)], of)).text


@pytest.mark.parametrize("score", ["lpips", "evidence"])
def test_each_score_has_its_place_once(score: str) -> None:
    page = Reader(report([image("a", verdict([-8.0, 0.0], score))], networks(2, score)))
    figures = [one["alt"] for one in page.all("img") if one.get("class") == "for-light"]
    assert len(figures) == (2 if score == "lpips" else 4)
    assert page.text.count("This score decides.") == 2
    assert page.text.count("The LPIPS rule, for comparison.") == (0 if score == "lpips" else 2)
    assert "LPIPS distance 0.0003, below the threshold" in page.text
    assert "LPIPS distance 1.0000, not below the threshold" in page.text


def test_images_are_drawn_among_those_of_their_own_complexity() -> None:
    simple, complex_ = (verdict([-8.0], bins=2, complexity=value) for value in (0.1, 0.9))
    places = panels.plot_all_places([calibrations(bins=2)[0]], [simple, None, complex_, simple])
    assert [list(place) for place in places] == [[(0, "lpips")], [], [(0, "lpips")], [(0, "lpips")]]
    assert places[0] == places[3] != places[2]


def test_histograms_are_those_that_the_p_values_count_in(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def look(populations: dict[str, "np.typing.NDArray[np.float64]"], places: list[object], **_: object) -> list[None]:
        seen.update(populations)
        return [None for _ in places]

    monkeypatch.setattr("invert.report.histograms.plot_places", look)
    found = verdict([-2.9])
    panels.plot_all_places([calibrations()[0]], [found])
    reading = found.findings[0].lpips
    assert reading is not None
    value = np.exp(reading.score)
    assert reading.p1 == (1 + (seen["of its own"] >= value).sum()) / (1 + len(seen["of its own"]))
    others = [seen["of real"], seen["of sibling"]]
    assert reading.p0 == max((1 + (scores <= value).sum()) / (1 + len(scores)) for scores in others)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_any_channels(channels: int) -> None:
    one = image("a.png", verdict([-8.0]), count=1, channels=channels)
    page = Reader(report([one], networks(1)))
    check_allowed(page)
    (answer,) = one.answers
    given, reconstruction = answer.target.array, answer.reconstruction
    (target,), (made,), (map_,) = (shown(page, alt) for alt in ("The image", "What A makes", "differ"))
    if channels == 4:
        alpha = given[..., 3:] / 255
        np.testing.assert_allclose(target, given[..., :3] * alpha, atol=1)
    else:
        np.testing.assert_array_equal(target, given.squeeze())
        np.testing.assert_array_equal(made, reconstruction.squeeze())
    difference = np.abs(given.astype(int) - reconstruction)
    if channels == 4:
        difference = np.maximum(difference[..., :3], difference[..., 3:])
    np.testing.assert_array_equal(map_, np.minimum(255, panels.AMPLIFIED * difference).squeeze())
    assert f"Difference, {panels.AMPLIFIED} times" in page.text


def test_large_images_are_reduced() -> None:
    large = image("large.png", verdict([-8.0]), count=1, size=1024)
    page = Reader(report([large], networks(1)))
    assert [one.shape[0] for one in shown(page, "The image")] == [panels.SHOWN]
    assert len(shown(page, "differ")) == 1
    assert "large.png" in page.text
    assert len(report([large], networks(1))) < 1_000_000


def test_networks_of_different_sizes_are_each_compared_with_what_they_were_given() -> None:
    large, small = image("a.png", verdict([-8.0, -3.5]), size=64), image("a.png", verdict([-8.0, -3.5]))
    answers = (large.answers[0], small.answers[1])
    page = Reader(report([dataclasses.replace(large, answers=answers)], networks(2)))
    assert [one.shape[0] for one in shown(page, "The image")] == [64, 32]
    for map_, answer in zip(shown(page, "differ"), answers, strict=True):
        difference = np.abs(answer.target.array.astype(int) - answer.reconstruction)
        np.testing.assert_array_equal(map_, np.minimum(255, panels.AMPLIFIED * difference).squeeze())


def test_no_calibration_no_verdict() -> None:
    without = [Candidate("A", Path("A.pkl"), "a" * 64)]
    page = Reader(report([image("a.png", None, count=1)], without))
    check_allowed(page)
    assert "No verdict" in page.text
    assert "1 image: 1 no verdict" in page.text
    assert "There is no calibration of A" in page.text
    assert not [one for one in page.all("img") if one.get("class")]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"upsampled": True}, "smaller than the network's 32 px"),
        ({"status": "diverged"}, "diverged"),
        ({"complexity": 9.0}, "more complex than every image"),
    ],
    ids=["small", "diverged", "complex"],
)
def test_refusals_have_their_reason(values: dict[str, Any], reason: str) -> None:
    page = Reader(report([image("a.png", verdict([-8.0], **values), count=1)], networks(1)))
    assert re.search(f"Verdict: cannot tell: [^.]*{reason}", page.text)


def test_what_it_takes_to_repeat_it() -> None:
    page = Reader(report(images()))
    assert COMMAND in page.text
    for word in (
        "a" * 64,
        "b" * 64,
        "seed",
        "nets/A.safetensors",
        "nets/A.calibration.json",
        "0.1.0",
        "caa" * 21,
        DATE,
    ):
        assert word in page.text
    assert page.text.count("method digest") == len(calibrations())  # one thing has this name
    for calibration in calibrations():
        assert calibration.digest in page.text
        for population in (calibration.own, *calibration.others):
            assert population.sha256 in page.text


def test_a_long_command_is_whole() -> None:
    words = ["invert", "attribute", *(f"'images of mine/{number:06}.png'" for number in range(1000))]
    page = report([image("a.png", None, count=1)], networks(1), command=" ".join(words))
    lines = re.findall(r'<p class="code">(.*?)</p>', page.decode())
    assert len(lines) > 10
    assert all(line.endswith(" \\") for line in lines[:-1])
    joined = "".join(line.removesuffix("\\") for line in lines).replace("&#x27;", "'")
    assert joined == " ".join(words)


def test_hostile_names_and_values_change_nothing() -> None:
    found = verdict([-8.0, 0.0])
    plain = Reader(report([image(f"{number}.png", found) for number, _ in enumerate(HOSTILE)]))
    bad = Candidate(HOSTILE[0], Path(HOSTILE[1]), HOSTILE[2], calibrations()[0], Path(HOSTILE[3]))
    values = {"settings": {f"key{n}": HOSTILE[n % 10] for n in range(4)}, "software": {HOSTILE[1]: HOSTILE[0]}}
    page = Reader(report([image(name, found) for name in HOSTILE], [bad, networks()[1]], **values))
    check_allowed(page)
    assert [name for name, _ in page.tags] == [name for name, _ in plain.tags]
    assert "<img src=x onerror=alert(1)>.png" in page.text
    assert all(character.isprintable() or character == "\n" for character in page.text)


def test_same_arguments_same_bytes() -> None:
    assert report(images()) == report(images())


def test_with_many_images_the_rest_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("page", "summary"):
        monkeypatch.setattr(f"invert.attribution.report.{module}.MAX_IMAGES", 15)
    found = verdict([-8.0])
    page = report([image(f"{n}.png", found, count=1) for n in range(40)], networks(1))
    reader = Reader(page)
    assert len(reader.all("section")) == 1 + 15 + 5
    assert "The first 15 images have a section each; 25 more are only in this table." in reader.text
    assert cells(page, 39)[0] == "40. 39.png"
    assert '<a href="#s16">15. 14.png</a>' in page.decode()
    assert "40. 39.png</a>" not in page.decode()
    assert "15. 14.png</a></li>" not in page.decode()  # so many would drown the other links


def test_size_is_bounded() -> None:
    assert summary.MAX_IMAGES == 200
    found = verdict([-8.0, 0.0], "evidence")
    page = report([image(f"{n}.png", found, seed=n) for n in range(20)], networks(2, "evidence"))
    assert len(page) / 20 < 300_000
