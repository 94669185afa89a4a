"""What cimsim sweep prints and writes of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, get_args

from cimsim.cli.sheet import Sheet, show
from cimsim.cli.streams import emit
from cimsim.errors import SpecError
from cimsim.exploration.front import MOST, Front
from cimsim.exploration.outputs import ACCURACY, BOUND
from cimsim.exploration.rows import Row
from cimsim.exploration.sweep import Sweep
from cimsim.exploration.tables import Kind, csv_lines, json_lines, require_table, write_rows
from cimsim.values.display import shown

SHOWN = 40
"""Choice: rows printed; --json and -o have all."""


def check_table(to: str | None, output: Path | None, *, json: bool) -> None:
    """Raise SpecError, before anything runs, for a table that cannot be written."""
    if to is not None and to not in get_args(Kind):
        raise SpecError(f"--to takes csv, parquet or json, not {shown(to)}.")
    if to == "parquet" and output is None:
        raise SpecError("a Parquet table is no text: name its file with -o.")
    if json and (to is not None or output is not None):
        raise SpecError("--json prints the rows, --to and -o write them: give one of them.")
    if output is not None:
        require_table(output, to)  # type: ignore[arg-type]


def check_page(plan: Mapping[str, Any]) -> None:
    """Raise SpecError, before anything runs, for more outputs than a page draws as sought."""
    sought = [key for key in plan["outputs"] if key != BOUND]
    sought += [ACCURACY] * (plan["accuracy"] is not None and ACCURACY not in sought)
    if not plan["prune"] and len(sought) > MOST:
        raise SpecError(
            f"--html draws the front of at most {MOST} outputs, the sweep keeps {len(sought)}: "
            "name fewer with --output, or store them and say which are sought: cimsim front STORE "
            "--objectives KEY,... --html FILE."
        )


def write_page(front: Front, study: Mapping[str, str], path: Path) -> None:
    """Write the page of a front, as `cimsim front --html` does."""
    from cimsim.views.front.page import save_page
    from cimsim.views.front.scene import scene_of

    save_page(scene_of(front, study), path)


def write_table(rows: Iterable[Row], to: str | None, output: Path | None) -> None:
    """Write rows to a file, or as text on standard output; they are gone through twice."""
    if output is not None:
        write_rows(rows, output, to)  # type: ignore[arg-type]
        return
    for piece in csv_lines(rows) if to == "csv" else chain(json_lines(rows), "\n"):
        emit(piece)


def print_sweep(done: Sweep) -> None:
    """A table of rows, and how many points came to what."""
    rows = list(islice(done.each(), SHOWN))
    axes = list(done.space.axes)
    short = any(row.shortage for row in rows)
    by = {row.beaten_by for row in rows if row.beaten_by}
    places = (
        {row.digest: n for n, row in enumerate(done.each(), 1) if row.digest in by} if by else {}
    )
    more = ("shortage",) * short + ("beaten by",) * bool(by)
    columns = (*axes, *done.outputs, *more)
    texts = tuple(i for i in range(len(columns)) if not _numbers(rows, columns[i]))
    sheet = Sheet(_title(done), columns, texts=texts, keys=len(axes))
    for row in rows:
        cells = [_cell(row.settings.get(name)) for name in axes]
        cells += [_cell(row.values.get(key)) for key in done.outputs]
        cells += [_first(row.shortage)] * short
        place = places.get(row.beaten_by)
        cells += ["" if place is None else f"row {place}"] * bool(by)
        sheet.add(*cells)
    if done.reached.stored > len(rows):
        sheet.caption = f"the first {SHOWN} of {done.reached.stored}; -o rows.csv or --json has all"
    show(sheet)


def _first(shortage: str) -> str:
    """The first sentence of what is missing; the whole of it is in the rows."""
    return shortage.partition("\n")[0].partition(". ")[0]


def _title(done: Sweep) -> str:
    now = done.reached
    parts = [f"{now.total} points", f"{now.done} simulated"]
    parts += [f"{now.found} stored before"] if now.found else []
    parts += [f"{now.infeasible} do not fit"] if now.infeasible else []
    parts += [f"{now.pruned} pruned"] if now.pruned else []
    parts += [f"{now.same} make a design that others make too"] if now.same else []
    return ", ".join(parts)


def _numbers(rows: Sequence[Row], column: str) -> bool:
    """Whether a column holds numbers alone."""
    found = [row.settings.get(column, row.values.get(column)) for row in rows]
    given = [value for value in found if value is not None]
    return bool(given) and all(isinstance(v, int | float) for v in given)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
