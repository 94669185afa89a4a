"""The validation table as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cimsim.validation.judged import Judged

_HEAD = """# Validation

Made by `cimsim validate -o docs/validation.md`: published figures beside those that cimsim
computes, with their sources. *Fitted* rows are those on which a constant was calibrated; all others
are predictions. A row without a tolerance contradicts other figures
of its own source, or cannot be reproduced from it: it is shown and not judged.
"""


def validation_page(rows: Sequence[Judged]) -> str:
    """The page on `rows`, a section for each group."""
    return "".join(_lines(rows))


def _lines(rows: Sequence[Judged]) -> Iterator[str]:
    judged = [row for row in rows if row.tolerance is not None]
    predicted = sum(not row.fitted for row in judged)
    within = sum(row.passed for row in judged)
    yield f"{_HEAD}\n{len(rows)} rows, {len(judged)} of them judged ({predicted} predictions): "
    yield f"{within} within tolerance.\n"
    for group in dict.fromkeys(row.group for row in rows):
        yield f"\n## {group}\n\n"
        yield "| figure | published | cimsim | error | tolerance | fitted | source |\n"
        yield "|---|---|---|---|---|---|---|\n"
        found = [row for row in rows if row.group == group]
        sources = list(dict.fromkeys(row.source for row in found))
        for row in found:
            yield f"| {' | '.join(_cells(row, sources.index(row.source) + 1))} |\n"
        yield "\n"
        for number, source in enumerate(sources, 1):
            yield f"{number}. {source}\n"


def _cells(row: Judged, source: int) -> tuple[str, ...]:
    unit = f" {row.unit}" if row.unit else ""
    return (
        row.quantity.replace("|", "\\|"),
        f"{_number(row.published)}{unit}",
        f"{_number(row.simulated)}{unit}",
        f"{100.0 * row.error:+.1f} %",
        "-" if row.tolerance is None else f"{100.0 * row.tolerance:g} %",
        "yes" if row.fitted else "no",
        str(source),
    )


def _number(value: float) -> str:
    """Four digits; whole numbers in full."""
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:.4g}"
