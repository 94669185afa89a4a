"""Reading and writing files: JSON with clear errors in, whole files or none out."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cimsim.errors import CimsimError


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number that a file may hold")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} stands twice in one object")
    return dict(pairs)


def load_json(path: str | Path, error: type[CimsimError], what: str) -> Any:
    """Parse the JSON file at `path`; raises `error` for a missing, unreadable or broken file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise error(f"{path}: cannot read the {what} file: {reason}.") from None
    try:
        return json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as problem:
        raise error(
            f"{path}: line {problem.lineno}, column {problem.colno}: the {what} file is not "
            f"valid JSON: {problem.msg}."
        ) from None
    except (ValueError, RecursionError) as problem:
        raise error(f"{path}: the {what} file is not valid JSON: {problem}.") from None


def describe_validation(path: str | Path, error: ValidationError) -> str:
    """One line a problem: file, field path, what is wrong and what stood there."""
    lines = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "(top level)"
        message = item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
        lines.append(f"{path}: {field}: {message}{shown}")
    return "\n".join(lines)


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
