"""Pages as one line of text, and whether they say what was computed."""

from __future__ import annotations

from functools import cache

from small import ROOT


@cache
def page(name: str) -> str:
    """The text of a page, its lines joined."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def says(name: str, *figures: str) -> None:
    """Assert that the page has each of them as it is written."""
    for figure in figures:
        assert figure in page(name), f"{name} should say: {figure}"
