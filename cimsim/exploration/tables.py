"""Rows as a table: pandas, CSV, Parquet and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from cimsim.errors import SpecError
from cimsim.exploration.rows import Row
from cimsim.files import replacing, require_place
from cimsim.runtime.libraries import library
from cimsim.values.display import shown

if TYPE_CHECKING:
    from pandas import DataFrame

Kind = Literal["csv", "parquet", "json"]
GROUP = 10_000
"""Choice: rows of a group of a Parquet file, which are held at once."""


@dataclass(frozen=True)
class Again:
    """Rows that are read anew each time that they are gone through."""

    read: Callable[[], Iterator[Row]]

    def __iter__(self) -> Iterator[Row]:
        return self.read()


def kind_of(path: str | Path) -> Kind:
    """The kind of table that a file's name ends in; raises SpecError."""
    ending = Path(path).suffix.removeprefix(".")
    if ending not in get_args(Kind):
        raise SpecError(
            f"{path}: a table ends in .csv, .parquet or .json, not {shown(ending)}: name it so, or "
            "say which it is (--to csv)."
        )
    return ending  # type: ignore[return-value]


def require_table(path: str | Path, kind: Kind | None = None) -> None:
    """Raise, before there are rows, what keeps a table of them from being written."""
    if (kind or kind_of(path)) == "parquet":
        _library("pandas"), _library("pyarrow")
    require_place(path)


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The columns of rows, settings first; a column that only some rows have is there once."""
    settings: dict[str, None] = {}
    others: dict[str, None] = {}
    for row in rows:
        settings |= dict.fromkeys(row.settings)
        others |= dict.fromkeys(row.flat())
    last = ("status", "shortage", "seconds", "digest", "beaten_by")
    values = [key for key in others if key not in settings and key not in last]
    return [*settings, *values, *(key for key in last if key in others or key != "beaten_by")]


def csv_lines(rows: Iterable[Row]) -> Iterator[str]:
    """A table with a head, in pieces; what a row lacks is empty. Rows are gone through twice."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
    table.writeheader()
    for row in rows:
        yield _taken(text)
        table.writerow({key: _cell(value) for key, value in row.flat().items()})
    yield _taken(text)


def _taken(text: io.StringIO) -> str:
    found = text.getvalue()
    text.seek(0)
    text.truncate()
    return found


def json_lines(rows: Iterable[Row], indent: str = "") -> Iterator[str]:
    """A list of objects, in pieces, as `json.dumps` writes it with an indent of 2."""
    before = "["
    for row in rows:
        yield f"{before}\n{indent}  {_object(row.flat(), f'{indent}  ')}"
        before = ","
    yield "[]" if before == "[" else f"\n{indent}]"


def _object(flat: Mapping[str, object], indent: str) -> str:
    """As `json.dumps` with an indent of 2, which leaves garbage of each call to the collector."""
    inner = f"{indent}  "
    lines = []
    for key, value in flat.items():
        told = json.dumps(value, indent=2 if isinstance(value, list | dict) else None)
        lines.append(f"{inner}{json.dumps(key)}: " + told.replace("\n", f"\n{inner}"))
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def to_pandas(rows: Iterable[Row]) -> DataFrame:
    """A data frame, one row a design; raises CimsimError without pandas."""
    pandas = _library("pandas")
    flat = [{key: _column(value) for key, value in row.flat().items()} for row in rows]
    frame: DataFrame = pandas.DataFrame(flat, columns=columns_of(rows))
    return frame


def write_rows(rows: Iterable[Row], path: str | Path, kind: Kind | None = None) -> None:
    """Write rows, completely or not at all; the kind is that of the name if left out.

    Rows are gone through more than once, and never all held. Raises OutputError, and CimsimError
    without the packages that Parquet takes.
    """
    chosen = kind or kind_of(path)
    if chosen == "parquet":
        _write_parquet(rows, path)
        return
    pieces = csv_lines(rows) if chosen == "csv" else chain(json_lines(rows), "\n")
    with replacing(path) as stream:
        for piece in pieces:
            stream.write(piece.encode("utf-8"))


def _write_parquet(rows: Iterable[Row], path: str | Path) -> None:
    """Groups of rows; each column has one kind, text where it would have several."""
    arrow = _library("pyarrow")
    parquet = _library("pyarrow.parquet")
    found: dict[str, set[type]] = {name: set() for name in columns_of(rows)}
    for row in rows:
        for name, value in row.flat().items():
            if value is not None:
                found[name].add(type(_column(value)))
    kinds = {name: _kind(arrow, types) for name, types in found.items()}
    schema = arrow.schema(list(kinds.items()))
    texts = {name for name, kind in kinds.items() if kind == arrow.string()}
    left = iter(rows)
    with replacing(path) as stream, parquet.ParquetWriter(stream, schema) as file:
        while group := [row.flat() for row in islice(left, GROUP)]:
            columns = {
                name: [_text(row.get(name)) if name in texts else row.get(name) for row in group]
                for name in kinds
            }
            file.write_table(arrow.table(columns, schema))


def _kind(arrow: Any, types: set[type]) -> Any:
    if not types:
        return arrow.null()
    if types == {bool}:
        return arrow.bool_()
    if types == {int}:
        return arrow.int64()
    return arrow.float64() if types <= {int, float} else arrow.string()


def _library(name: str) -> Any:
    return library(name, f"tables need {name}", "tables")


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, bool | list | dict) else value


def _column(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _text(value: object) -> object:
    """A value of a column of texts."""
    return value if value is None or isinstance(value, str) else json.dumps(value)
