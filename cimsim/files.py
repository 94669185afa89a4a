"""Reading and writing files: JSON with clear errors in, whole files or none out."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cimsim.errors import CimsimError
from cimsim.parsing import parse_json, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def load_json(path: str | Path, error: type[CimsimError], what: str) -> Any:
    """Parse the JSON file at `path`; raises `error` for a missing, unreadable or broken file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise error(f"{path}: cannot read the {what} file: {reason}.") from None
    try:
        return parse_json(text)
    except json.JSONDecodeError as problem:
        raise error(
            f"{path}: line {problem.lineno}, column {problem.colno}: the {what} file is not "
            f"valid JSON: {problem.msg}."
        ) from None
    except ValueError as problem:
        raise error(f"{path}: the {what} file is not valid JSON: {problem}.") from None


PROBLEMS_SHOWN = 5
LINE_LENGTH = 320


def describe_validation(path: str | Path, error: ValidationError) -> str:
    """One line a problem, five at most: file, field path, what is wrong and what stood there."""
    lines = [line for item in error.errors(include_url=False) for line in _lines(item)]
    told = [f"{path}: {_cut(line)}" for line in lines[:PROBLEMS_SHOWN]]
    if len(lines) > PROBLEMS_SHOWN:
        told.append(f"{path}: and {len(lines) - PROBLEMS_SHOWN} more")
    return "\n".join(told)


def _lines(item: ErrorDetails) -> Iterator[str]:
    """The lines of one problem; a rule over the whole may have found several."""
    field = ".".join(_part(part) for part in item["loc"]) or "(top level)"
    given = item.get("input")
    told = f" (got {shown(given)})" if isinstance(given, str | int | float | bool) else ""
    for message in item["msg"].removeprefix("Value error, ").split("\n"):
        yield f"{field}: {message}{told}"


def _part(part: str | int) -> str:
    """A step of a field path; a key that is no name is quoted."""
    text = str(part)
    return text if len(text) <= 64 and text.isprintable() else shown(text)


def _cut(line: str) -> str:
    return line if len(line) <= LINE_LENGTH else f"{line[: LINE_LENGTH - 3]}..."


def write_bytes(path: str | Path, data: bytes, error: type[CimsimError]) -> None:
    """Write `data` to `path` through a temporary file beside it; raises `error` if it cannot."""
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as problem:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise error(f"{path}: cannot write: {problem.strerror}.") from None


def write_text(path: str | Path, text: str, error: type[CimsimError]) -> None:
    """Write `text` as UTF-8 to `path`, completely or not at all; raises `error` if it cannot."""
    write_bytes(path, text.encode("utf-8"), error)
