"""A task of the user's own from a data set on this machine, as the package `datasets` reads it.

A folder of Parquet, CSV, JSON or Arrow files whose names tell their splits, a folder that
`save_to_disk` wrote, or one such file. Nothing is downloaded, and what a README says is not read,
so that no address in it is opened. Behind a question mark, as in an address, stand the columns
that are taken for `text`, `label`, `pair`, `prompt` and `choices` where they are called otherwise,
the splits to train and to test on, and names of labels in the order of their numbers:

    reviews?text=sentence&labels=negative,positive&test=validation

Of evaluation harnesses this leaves prompts, few-shot examples and their filters to the user.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from cimsim.errors import TaskError
from cimsim.runtime.libraries import library
from cimsim.tasks.records import Line, Records, records_of
from cimsim.values.codec.hints import nearest
from cimsim.values.display import shown

MARK = "?"
_READERS = {
    ".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow",
}  # fmt: skip
"""Ends of files and what `datasets` reads them with."""
_SAVED = ("dataset_dict.json", "state.json")
"""Files that `save_to_disk` writes: of several splits, of one."""
_COLUMNS = ("text", "label", "pair", "prompt", "choices")
_OPTIONS = (*_COLUMNS, "labels", "train", "test")
_TESTS = ("test", "validation")
"""Splits to test on where none is named, the first that is there."""


@dataclass(frozen=True)
class _DataSet:
    """A data set and what was said about it."""

    path: Path
    options: Mapping[str, str]

    def problem(self, what: str) -> TaskError:
        return TaskError(f"{self.path}: {what}")


def is_table(source: str | Path) -> bool:
    """Whether `source` names a data set and no JSON Lines file."""
    path, mark, _ = str(source).partition(MARK)
    return bool(mark) or Path(path).is_dir() or Path(path).suffix in (".parquet", ".csv", ".arrow")


def read_table(source: str | Path) -> Records:
    """The examples of the data set that `source` names; raises TaskError with split and row."""
    asked = _asked(str(source))
    splits = _splits(asked)
    lines = list(_lines(asked, splits))
    if not lines:
        raise asked.problem("the data set has no rows.")
    return records_of(asked.path, lines)


def _asked(source: str) -> _DataSet:
    name, _, query = source.partition(MARK)
    path = Path(name)
    if not path.exists():
        raise TaskError(f"{name}: there is no such data set, neither a folder nor a file.")
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        given = [("", query)]
    for option, value in given:
        if option not in _OPTIONS or not value or [o for o, _ in given].count(option) > 1:
            raise TaskError(
                f"{source}: {option or value!r} is not understood{nearest(option, _OPTIONS)}: "
                f"behind {MARK} stand {', '.join(_OPTIONS)}, each with = and a value, once, and & "
                "between them."
            )
    return _DataSet(path, dict(given))


def _splits(asked: _DataSet) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The rows to train on and to test on; without the second all rows are one split."""
    found = _read(asked)
    known = ", ".join(found)
    wanted = {side: asked.options.get(side) for side in ("train", "test")}
    for side, split in wanted.items():
        if split is not None and split not in found:
            raise asked.problem(f"{side}={split}: there is no such split, but {known}.")
    test = wanted["test"] or next((name for name in _TESTS if name in found), None)
    train = wanted["train"] or ("train" if "train" in found and test != "train" else None)
    if test is None and wanted["train"] is None and len(found) > 1:
        raise asked.problem(
            f"which split is to test on? Say {MARK}test= one of {known}; train= alone holds out a "
            "fifth of it."
        )
    if test is not None and test == train:
        raise asked.problem(f"{test} is to train on and to test on: name two splits of {known}.")
    if test is None:
        return {"": found[train or known]}
    return {side: found[s] for side, s in (("train", train), ("test", test)) if s is not None}


def _read(asked: _DataSet) -> dict[str, Any]:
    """The splits by name, in memory."""
    path = asked.path
    datasets = library("datasets", f"{path}: a data set needs datasets", "datasets", TaskError)
    with _quiet(datasets), tempfile.TemporaryDirectory() as cache:
        try:
            if path.is_dir() and any((path / name).is_file() for name in _SAVED):
                found = datasets.load_from_disk(str(path), keep_in_memory=True)
            else:
                where = {"data_dir" if path.is_dir() else "data_files": str(path)}
                form = _form(asked)
                # Else pandas takes words such as NA and null for nothing.
                more = {"keep_default_na": False} if form == "csv" else {}
                found = datasets.load_dataset(
                    form, **where, **more, cache_dir=cache, keep_in_memory=True
                )
        except TaskError:
            raise
        except Exception as problem:
            reason = str(problem.__cause__ or problem).partition("\n")[0].rstrip(".")
            raise asked.problem(f"datasets cannot read it: {reason}.") from None
    return dict(found) if isinstance(found, dict) else {"train": found}


def _form(asked: _DataSet) -> str:
    """What reads the file, or all files of the folder that are data."""
    path = asked.path
    files = path.rglob("*") if path.is_dir() else [path]
    forms = sorted({_READERS[file.suffix] for file in files if file.suffix in _READERS})
    if len(forms) == 1:
        return forms[0]
    found = f"files of {', '.join(forms)}" if forms else "no such file"
    raise asked.problem(
        f"a data set is of files of one kind ({', '.join(_READERS)}); here: {found}."
    )


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Within, neither progress bars nor log lines of datasets."""
    level, bars = datasets.logging.get_verbosity(), datasets.is_progress_bar_enabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _lines(asked: _DataSet, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Line]:
    for side, rows in splits.items():
        columns = _columns(asked, rows)
        names = asked.options["labels"].split(",") if "labels" in asked.options else []
        for number, row in enumerate(rows, 1):
            data = {field: _value(row, column) for field, column in columns.items()}
            line = Line(f"{asked.path}: {side and side + ' '}row {number}", data)
            if str(data.get("label")) in names:
                data["label"] = names.index(str(data["label"]))
            elif isinstance(data.get("label"), str):
                line.fail(
                    f"label {shown(data['label'])} is a name: say labels= the names of all, with "
                    "commas, in the order of their numbers."
                )
            if side:
                data["split"] = side
            yield line


def _columns(asked: _DataSet, rows: Any) -> dict[str, str]:
    """Field of an example to the column that it is in; fields are those of one form."""
    there = rows.column_names
    named = {field: asked.options[field] for field in _COLUMNS if field in asked.options}
    for field, column in named.items():
        if any(top not in there for top in _tops(column)):
            raise asked.problem(
                f"{field}={column}: there is no such column, but {', '.join(there)}."
            )
    found = {field: field for field in _COLUMNS if field in there} | named
    if "prompt" in found or "choices" in found:
        wanted = ("prompt", "choices", "label")
    else:
        wanted = ("text", "label", "pair")
    found = {field: column for field, column in found.items() if field in wanted}
    first = wanted[0]
    if first not in found:
        raise asked.problem(
            f"no column is called {first}: say {MARK}{first}= one of {', '.join(there)}"
            + (", or prompt=, choices= and label= for a causal model." if first == "text" else ".")
        )
    return found


def _tops(column: str) -> list[str]:
    return [part.partition(".")[0] for part in column.split(",")]


def _value(row: Mapping[str, Any], column: str) -> Any:
    """What is in a column, in a field of it (a.b), or in several as a list (a,b)."""
    if "," in column:
        return [_value(row, part) for part in column.split(",")]
    found: Any = row
    for part in column.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
