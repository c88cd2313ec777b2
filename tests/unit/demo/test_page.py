"""The page: whole, self-contained, accessible, and true to the story."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgeagent.demo import page
from edgeagent.demo.page import Command
from edgeagent.demo.story import Story

VOID = {"meta", "img", "br", "link", "input", "hr"}
COMMANDS = [Command("Look <again>", "edgeagent outbox peek --data-dir '/a & b'")]


class Outline(HTMLParser):
    """Tags in order, and whether every one that opens also closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        if tag in self.open:
            while self.open.pop() != tag:
                pass


@pytest.fixture
def html(story: Story, told: Any, picture: Path) -> str:
    blob = {"sha256": "ab", "bytes": 1, "type": "image/jpeg"}
    told.event("belt", "cracked", (2.0, 3.5), blobs=[blob])
    told.event("face", "face", (0.5, 29.0))
    told.event("bearing", "anomaly", (19.0, 30.0))
    for second in range(30):
        score = 0.4 + second / 10
        data = {"label": "anomaly", "score": score, "threshold": 1.8, "alarming": score > 1.8}
        told.record("anomaly", "bearing", second, data=data)
        told.record(
            "result", "belt", second, data={"predictions": [{"label": "whole", "score": 0.9}]}
        )
    return page.render(story, told.arrivals(), {"ab": picture}, COMMANDS)


def test_it_is_well_formed_and_ids_are_unique(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    assert outline.faults == [] and outline.open == []
    ids = Counter(attrs["id"] for _, attrs in outline.tags if "id" in attrs)
    assert max(ids.values()) == 1
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        ElementTree.fromstring(svg)


def test_it_loads_nothing_from_anywhere(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    for tag, attrs in outline.tags:
        assert tag not in ("link", "iframe")
        for name in ("src", "href", "srcset", "action"):
            assert (attrs.get(name) or "data:").startswith(("data:", "#")), (tag, attrs)
    assert "url(" not in html and "@import" not in html and "http" not in html
    assert len(html) < 1_500_000


def test_it_can_be_heard_as_well_as_seen(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    tags = outline.tags
    assert ("html", {"lang": "en"}) in tags
    assert sum(tag == "h1" for tag, _ in tags) == 1
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    pictures = [attrs for tag, attrs in tags if tag == "svg" and "aria-hidden" not in attrs]
    assert pictures and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)
    named = {attrs["aria-labelledby"] for tag, attrs in tags if tag == "section"}
    assert named <= {attrs.get("id") for _, attrs in tags}


def test_it_knows_dark_and_narrow(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html
    assert html.count('<svg class="wide"') == html.count('<svg class="narrow"') >= 4


def test_what_it_says_is_what_was_seen(html: str) -> None:
    assert "12 records, none lost" in html
    assert "numbered 1 to 12: no number is missing, 1 came twice and were recognised" in html
    assert "belt@1.0.0/int8: litert 2.3.0, 5 of 5 operators on XNNPACK, 1 thread" in html
    assert "uplink was gone for 10" in html
    assert "1 event; 15 of 30 windows were over the threshold." in html
    assert "1 event; something was seen in 30 of 30 recorded samples." in html
    assert "mosquitto 2 on port 1" in html


def test_texts_from_outside_are_escaped(html: str) -> None:
    assert "killed &lt;now&gt;" in html and "<now>" not in html
    assert "&#x27;/a &amp; b&#x27;" in html


@pytest.mark.parametrize(
    ("account", "holes", "said"),
    [
        ({"delivered": 10, "pending": 2, "drained": False}, [], "2 records were still waiting"),
        ({"delivered": 10, "pending": 2}, [], "12 records, none lost"),
        ({"delivered": 10, "dropped": {"too large": 2}}, [], "2 dropped and accounted for"),
        ({}, [3, 4], "2 records are missing at the reader"),
        ({"delivered": 11}, [], "The account does not close"),
    ],
)
def test_trouble_is_the_headline(
    story: Story, told: Any, account: dict[str, Any], holes: list[int], said: str
) -> None:
    story.drained = account.pop("drained", True)
    story.account.update(account)
    story.reader["epochs"][0]["holes"] = holes
    told.record("result", "belt", 1, data={"predictions": []})
    assert said in page.verdict(story)
    assert said in page.render(story, told.arrivals(), {}, COMMANDS)


def test_a_pipeline_that_was_left_out_is_told(story: Story, told: Any) -> None:
    del story.pipelines["face"]
    story.missing = "the clip can't be fetched"
    told.record("result", "belt", 1, data={"predictions": []})
    html = page.render(story, told.arrivals(), {}, COMMANDS)
    assert "Left out: the clip can&#x27;t be fetched." in html
    assert 'id="p-face"' not in html


def test_captions_stay_inside_the_picture(story: Story, told: Any, picture: Path) -> None:
    blob = {"sha256": "ab", "bytes": 1, "type": "image/jpeg"}
    told.event("belt", "missing", (2.0, 3.0), blobs=[blob], box=[0.7, 0.0, 1.2, 0.4])
    html = page.render(story, told.arrivals(), {"ab": picture}, COMMANDS)
    assert 'class="box t3 low right" style="left:70.0%;top:0.0%;width:30.0%;height:40.0%"' in html
