"""Accuracies that were measured, in the store of a sweep: for all its processes and resumes."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from cimsim.exploration.store import WAIT_S
from cimsim.report import Accuracy

_TABLE = "CREATE TABLE IF NOT EXISTS measured (key TEXT PRIMARY KEY, accuracy TEXT NOT NULL)"


class StoredScores:
    """The accuracies in the store at `path`, by the digest of what they depend on.

    A process that cannot reach the file, or write into it, measures for itself: what is stored
    of its rows is the same.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))

    def get(self, key: str) -> Accuracy | None:
        """What was measured, by any process; None where nothing was."""
        found = self._run("SELECT accuracy FROM measured WHERE key = ?", key)
        return None if not found else Accuracy.model_validate_json(found[0][0])

    def add(self, key: str, accuracy: Accuracy) -> None:
        """Keep what was measured; of two with one key the first stays."""
        text = accuracy.model_dump_json()
        self._run("INSERT OR IGNORE INTO measured VALUES (?, ?)", key, text)

    def _run(self, statement: str, *values: str) -> list[Any]:
        where = f"file:{quote(str(self.path))}?mode=rw"  # no file is made where there is none
        try:
            with closing(sqlite3.connect(where, uri=True, timeout=WAIT_S)) as opened, opened:
                opened.execute(_TABLE)
                return opened.execute(statement, values).fetchall()
        except sqlite3.OperationalError:
            return []


def key_of(*parts: object) -> str:
    """The digest of values (numbers, texts, dataclasses, models), the same in every process."""
    return hashlib.sha256(json.dumps([_told(part) for part in parts]).encode()).hexdigest()


def content_of(path: str) -> str:
    """The digest of a file, or of all files below a directory; "" for what is neither."""
    found = hashlib.sha256()
    for file in _files(Path(path)):
        found.update(str(file.relative_to(path)).encode() + b"\0")
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest() if Path(path).exists() else ""


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())


def _told(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: _told(getattr(value, field.name)) for field in fields(value)}
        return [type(value).__qualname__, held]
    if isinstance(value, tuple | list):
        return [_told(one) for one in value]
    if isinstance(value, BaseModel):
        return [type(value).__qualname__, value.model_dump_json()]
    if isinstance(value, Mapping):
        return [[_told(key), _told(held)] for key, held in value.items()]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "tolist"):
        return _told(value.tolist())
    raise TypeError(f"no digest of {type(value).__name__} is known")
