"""Rows as a table: pandas, CSV, Parquet and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from cimsim.errors import SpecError
from cimsim.exploration.rows import Row
from cimsim.files import require_place, write_bytes, write_text
from cimsim.runtime.libraries import library
from cimsim.values.display import shown

if TYPE_CHECKING:
    from pandas import DataFrame

Kind = Literal["csv", "parquet", "json"]


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


def as_csv(rows: Sequence[Row]) -> str:
    """A table with a head; what a row lacks is empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
    table.writeheader()
    table.writerows({key: _cell(value) for key, value in row.flat().items()} for row in rows)
    return text.getvalue()


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects."""
    return json.dumps([row.flat() for row in rows], indent=2) + "\n"


def to_pandas(rows: Sequence[Row]) -> DataFrame:
    """A data frame, one row a design; raises CimsimError without pandas."""
    pandas = _library("pandas")
    flat = [{key: _column(value) for key, value in row.flat().items()} for row in rows]
    frame: DataFrame = pandas.DataFrame(flat, columns=columns_of(rows))
    return frame


def write_rows(rows: Sequence[Row], path: str | Path, kind: Kind | None = None) -> None:
    """Write rows, completely or not at all; the kind is that of the name if left out.

    Raises OutputError, and CimsimError without the packages that Parquet takes.
    """
    chosen = kind or kind_of(path)
    if chosen == "csv":
        write_text(path, as_csv(rows))
    elif chosen == "json":
        write_text(path, as_json(rows))
    else:
        _library("pyarrow")
        data = io.BytesIO()
        frame = to_pandas(rows)
        mixed = [name for name in frame if frame[name].map(type).nunique() > 1]
        texts = {name: frame[name].map(_text) for name in mixed if frame[name].dtype == object}
        frame.assign(**texts).to_parquet(data, index=False)
        write_bytes(path, data.getvalue())


def _library(name: str) -> Any:
    return library(name, f"tables need {name}", "tables")


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, bool | list | dict) else value


def _column(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _text(value: object) -> object:
    """A value of a column that holds several kinds: Parquet has one kind a column."""
    if value is None or value != value:  # what a row lacks is NaN in a data frame
        return None
    return value if isinstance(value, str) else json.dumps(value)
