"""Tables that fit: columns that do not go beside each other stand in bands below each other.

A text may be folded, a number never: its column is as wide as its longest number. A terminal (or
COLUMNS) sets the width; in a pipe every row is one line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cimsim.cli.streams import width_of, writing
from cimsim.values.display import brief
from cimsim.values.plaintext import literal

_FRAME = 3
"""Characters that a column takes beside its cells."""


@brief
@dataclass
class Sheet:
    """A table before it is laid out; the first `keys` columns stand in every band.

    `texts` are the columns that may be folded; all others hold numbers.
    """

    title: str
    columns: tuple[str, ...]
    texts: tuple[int, ...] = (0,)
    keys: int = 1
    caption: str = ""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    totals: set[int] = field(default_factory=set)

    def add(self, *cells: str, total: bool = False) -> None:
        """Add a row, in bold type if it is a total."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        if total:
            self.totals.add(len(self.rows))
        self.rows.append(tuple(literal(cell) for cell in cells))


class Terminal(Console):
    """A console on which a string is text: no markup, no emoji codes, no control characters."""

    def __init__(self, *, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        super().__init__(
            stderr=error, markup=False, emoji=False, highlight=False, width=width_of(stream)
        )

    def render_str(self, text: str, **given: Any) -> Text:
        """`text` as it stands."""
        return super().render_str(literal(text), **given)


def styled(*parts: str | tuple[str, str]) -> Text:
    """A line of texts, some of them as (text, style)."""
    pairs = [(part, "") if isinstance(part, str) else part for part in parts]
    return Text.assemble(*((literal(text), style) for text, style in pairs))


def show(*parts: Sheet | Text | str) -> None:
    """Print tables and lines on standard output."""
    out = Terminal()
    with writing():
        for part in parts:
            if isinstance(part, Sheet):
                _show_sheet(out, part)
            else:
                out.print(part)


def _show_sheet(out: Console, sheet: Sheet) -> None:
    out.print(Text(literal(sheet.title), style="bold"))
    for band, widths in _bands(sheet, out.width):
        out.print(_table(sheet, band, widths))
    if sheet.caption:
        out.print(Text(literal(sheet.caption), style="dim italic"))


def _bands(sheet: Sheet, width: int) -> list[tuple[list[int], dict[int, int]]]:
    """Columns that stand beside each other, and the widths of those with numbers."""
    everything = range(len(sheet.columns))
    for headers in (cell_len, _longest_word):
        needs = {i: _need(sheet, i, headers(sheet.columns[i]), width) for i in everything}
        if _total(needs.values()) <= width:
            return [(list(everything), needs)]
    keys = list(range(sheet.keys))
    others = [i for i in everything if i not in keys]
    if _total([*(needs[i] for i in keys), max(needs[i] for i in others)]) > width:
        keys, others = [0], list(everything)[1:]
    bands = [list(keys)]
    for i in others:
        if len(bands[-1]) > len(keys) and _total(needs[j] for j in [*bands[-1], i]) > width:
            bands.append(list(keys))
        bands[-1].append(i)
    return [(band, needs) for band in bands]


def _need(sheet: Sheet, column: int, header: int, width: int) -> int:
    """Least width of a column: that of its numbers, or a share of the terminal for a text."""
    natural = max([header, *(cell_len(row[column]) for row in sheet.rows)])
    return min(natural, max(6, min(20, width // 5))) if column in sheet.texts else natural


def _longest_word(text: str) -> int:
    return max((cell_len(word) for word in text.split()), default=0)


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _FRAME * len(found) + 1


def _table(sheet: Sheet, band: Sequence[int], needs: dict[int, int]) -> Table:
    table = Table()
    for i in band:
        text = i in sheet.texts
        table.add_column(
            sheet.columns[i], justify="left" if text else "right", overflow="fold",
            width=None if text else max(1, needs[i]),
        )  # fmt: skip
    for number, row in enumerate(sheet.rows):
        style = "bold" if number in sheet.totals else None
        table.add_row(*(row[i] for i in band), style=style)
    return table
