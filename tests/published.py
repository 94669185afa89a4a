"""README's table of published figures: chosen rows of docs/validation.md.

`python tests/published.py` writes their numbers anew. A row is chosen by its group and figure in
the README; docs/validation.md is what `cimsim validate -o` writes.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "validation.md"
HEAD = "| group | figure | published | cimsim | error | fitted |"
_CUT = re.compile(r"(?<!\\)\|")


def cells(line: str) -> list[str]:
    """The cells of a row of a table."""
    return [cell.strip() for cell in _CUT.split(line)[1:-1]]


Key = tuple[str, str, str]
"""Group, figure and unit of a row."""


def key(row: list[str]) -> Key:
    """What tells a row of the README from all others."""
    group, figure, given, *_ = row
    return group, figure, given.partition(" ")[2]


def published(page: str) -> dict[Key, str]:
    """Every row of the page as it stands in the README."""
    found: dict[Key, str] = {}
    group = ""
    for line in page.splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| figure |"):
            figure, given, ours, error, _, fitted, _ = cells(line)
            row = [group, figure, given, ours, error, fitted]
            assert key(row) not in found, f"{PAGE} has {key(row)} twice"
            found[key(row)] = f"| {' | '.join(row)} |"
    return found


def renewed(readme: str, page: str) -> str:
    """The README with the numbers of the page; raises KeyError for a row that is not there."""
    before, head, rest = readme.partition(f"{HEAD}\n")
    assert head, f"README.md has no table {HEAD}"
    rule, *lines = rest.splitlines(keepends=True)
    known = published(page)
    count = next(n for n, line in enumerate(lines) if not line.startswith("|"))
    rows = [known[key(cells(line))] + "\n" for line in lines[:count]]
    return "".join((before, head, rule, *rows, *lines[count:]))


if __name__ == "__main__":
    new = renewed(README.read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8"))
    README.write_text(new, encoding="utf-8")
