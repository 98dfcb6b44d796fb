"""The files of the live page: nothing of them is fetched from elsewhere, and those of uPlot are what npm has."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from bulkdel.core.page_access import FILES

PAGE = files("bulkdel.live.page")
OWN = ("index.html", "page.js", "page.css", "colours.css")


@pytest.mark.parametrize("name", ["uPlot.iife.min.js", "uPlot.min.css"])
def test_what_was_copied(name: str) -> None:
    told = PAGE.joinpath("vendor", "README.md").read_text()
    found = hashlib.sha256(PAGE.joinpath("vendor", name).read_bytes()).hexdigest()
    assert f"| SHA-256 of `{name}` | `{found}` |" in told
    assert "MIT" in PAGE.joinpath("vendor", "LICENSE").read_text()


@pytest.mark.parametrize("name", OWN)
def test_no_address_of_another_server(name: str) -> None:
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+|@import|url\(", PAGE.joinpath(name).read_text()) == []


def test_no_inline_script_or_style() -> None:
    """The Content-Security-Policy would block it."""
    index = PAGE.joinpath("index.html").read_text()
    assert re.findall(r"<style|style=|\son[a-z]+=|<script(?! src=)", index) == []
    named = set(re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', index))
    assert {f"/{path}" for path in named} == FILES


def test_a_text_never_becomes_html() -> None:
    assert (
        re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", PAGE.joinpath("page.js").read_text()
        )
        == []
    )


def test_page_and_report_use_only_colours_that_are_there_in_light_and_dark() -> None:
    light, dark = (
        set(re.findall(r"(--[a-z]+):", part)) for part in PAGE.joinpath("colours.css").read_text().split("@media")
    )
    assert light == dark
    own = {"--colour", "--light"}  # one of these for a class
    report = files("bulkdel.report").joinpath("report.html.j2").read_text()
    for text in (PAGE.joinpath("page.css").read_text(), report):
        assert set(re.findall(r"var\((--[a-z]+)\)", text)) <= light | own
