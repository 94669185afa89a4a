"""Colours and hatches of pictures, told apart without colour vision too.

The colours are those of M. Okabe and K. Ito, Color Universal Design (2008), with greys beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
YELLOW, VERMILION, PURPLE, BLACK = "#F0E442", "#D55E00", "#CC79A7", "#000000"
GREY, PALE = "#999999", "#DDDDDD"


@dataclass(frozen=True, slots=True)
class Fill:
    """How an area is filled: a colour, and a hatch that tells it from others in grey."""

    colour: str
    hatch: str = ""


UNITS = {
    "rram": Fill(BLUE),
    "adc": Fill(SKY, "///"),
    "sram": Fill(GREEN, "\\\\\\"),
    "pmca": Fill(ORANGE),
    "dma": Fill(YELLOW, "..."),
    "link": Fill(PURPLE, "xxx"),
    "buffer": Fill("#BBBBBB", "|||"),
    "dram": Fill(VERMILION, "---"),
    "die_to_die": Fill("#44546A", "ooo"),
    "cluster_link": Fill(PURPLE, ".."),
    "rram_write": Fill(BLUE, "***"),
    "sram_write": Fill(GREEN, "OO"),
    "leakage": Fill(GREY),
}
"""Fill of each kind of unit."""
OTHER = Fill(GREY, "++")
"""Fill of a kind of unit of one's own."""


def fill_of(unit: str) -> Fill:
    """The fill of a kind of unit."""
    return UNITS.get(unit, OTHER)


LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Colours of lines, seen on white and on black."""
DASHES: tuple[Literal["-"], Literal["--"], Literal["-."], Literal[":"]] = ("-", "--", "-.", ":")
"""What tells lines of one colour apart."""
SYMBOLS = ("o", "s", "^", "D", "v", "P")
"""Markers of lines."""
