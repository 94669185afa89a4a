"""Store: rows in one SQLite file, written as they come, kept whatever ends the program.

Every row is committed before the next one is taken. A file is of one study: what is fixed in it
(`Base.facts`, the outputs) and the version of cimsim stand in it, and it takes no rows of another.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from cimsim.errors import OutputError, SpecError
from cimsim.exploration.rows import Row, Status
from cimsim.exploration.space import Settings
from cimsim.files import require_place
from cimsim.values.display import shown
from cimsim.version import VERSION

FORMAT = 2
APPLICATION = 0x43494D53
"""Choice: what says that a SQLite file is cimsim's, the letters CIMS."""
WAIT_S = 60.0
"""Choice: how long a write waits for another process that writes into the same file."""
_TABLES = """
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE rows (
    place INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, settings TEXT NOT NULL,
    status TEXT NOT NULL, outputs TEXT NOT NULL, shortage TEXT NOT NULL, seconds REAL NOT NULL,
    bounds TEXT NOT NULL, beaten_by TEXT NOT NULL
);
"""
_ASKED = "CREATE TEMP TABLE asked (place INTEGER PRIMARY KEY, digest TEXT UNIQUE, settings TEXT)"
_COLUMNS = "digest, settings, status, outputs, shortage, seconds, bounds, beaten_by"
_ADD = f"""
INSERT INTO rows ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET
    status = excluded.status, outputs = excluded.outputs, shortage = excluded.shortage,
    seconds = excluded.seconds, bounds = excluded.bounds, beaten_by = excluded.beaten_by
WHERE rows.status = 'pruned'
"""


class Store:
    """An open store; use it in a `with`, or `close` it."""

    def __init__(self, path: Path | None, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Let the file go; what was added is in it."""
        self._connection.close()

    def add(self, row: Row) -> bool:
        """Write a row, and say whether it is new; raises OutputError where it cannot be written.

        Of two rows with one digest the first stays, unless it was pruned.
        """
        values = (
            row.digest, json.dumps(dict(row.settings)), row.status, json.dumps(dict(row.values)),
            row.shortage, row.seconds, json.dumps(dict(row.bounds)), row.beaten_by,
        )  # fmt: skip
        with self._told():
            done = self._connection.execute(_ADD, values)
        return done.rowcount == 1

    def has(self, digest: str) -> bool:
        """Whether the row of a point is there."""
        with self._told():
            found = self._connection.execute("SELECT 1 FROM rows WHERE digest = ?", (digest,))
            return found.fetchone() is not None

    def row(self, digest: str) -> Row | None:
        """The row of a point, None where it is not there."""
        with self._told():
            found = self._connection.execute(
                f"SELECT {_COLUMNS} FROM rows WHERE digest = ?", (digest,)
            )
            return next(map(_row, found), None)

    def rows(self) -> Iterator[Row]:
        """All rows, one at a time, in the order in which they came."""
        with self._told():
            for found in self._connection.execute(f"SELECT {_COLUMNS} FROM rows ORDER BY place"):
                yield _row(found)

    def ask(self, digest: str, settings: Settings) -> bool:
        """Note that a point is wanted, until the store is closed; False where it was before."""
        with self._told():
            done = self._connection.execute(
                "INSERT OR IGNORE INTO asked (digest, settings) VALUES (?, ?)",
                (digest, json.dumps(dict(settings))),
            )
        return done.rowcount == 1

    def asked(self) -> Iterator[Row]:
        """The rows of what was asked for, in that order, with the settings that asked for it."""
        columns = _COLUMNS.replace("digest, settings", "rows.digest, asked.settings", 1)
        query = f"SELECT {columns} FROM asked JOIN rows USING (digest) ORDER BY asked.place"
        with self._told():
            for found in self._connection.execute(query):
                yield _row(found)

    def __len__(self) -> int:
        with self._told():
            return int(self._connection.execute("SELECT count(*) FROM rows").fetchone()[0])

    @property
    def study(self) -> dict[str, str]:
        """What is fixed in the study, as text."""
        with self._told():
            return dict(self._connection.execute("SELECT name, value FROM study"))

    @contextmanager
    def _told(self) -> Iterator[None]:
        with _errors_of(self.path):
            yield


def open_store(path: str | Path | None, study: Mapping[str, str]) -> Store:
    """The store at `path`, made if it is not there; one that ends with the program for None.

    Raises SpecError, and leaves the file as it is, where it is no store of cimsim, of another
    version, or of a study that differs from `study`; OutputError where it cannot be written.
    """
    if path is None:
        store = Store(None, _connected(""))
        _begin(store, study)
        return store
    if os.path.isdir(path):
        raise SpecError(f"{path}: a store is a file, and this is a directory: name a file in it.")
    there = os.path.exists(path) and os.path.getsize(path) > 0
    if not there:
        require_place(path)
        with _errors_of(path):
            store = Store(Path(path), _connected(str(path)))
        return _checked(store, lambda: _begin(store, study))
    store = read_store(path)
    return _checked(store, lambda: _compare(store, study))


def read_store(path: str | Path) -> Store:
    """The store at `path`, to be read; raises SpecError where there is none, or one of another
    version.
    """
    if not os.path.isfile(path):
        raise SpecError(f"{path}: there is no such store: name the file that a sweep wrote.")
    with open(path, "rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise SpecError(f"{path}: this is no store of cimsim; it stays as it is.")
    with _errors_of(path):
        store = Store(Path(path), _connected(str(path)))
    return _checked(store, lambda: _known(store))


def _checked(store: Store, check: Callable[[], None]) -> Store:
    try:
        with _errors_of(store.path):
            check()
    except BaseException:
        store.close()
        raise
    return store


def _connected(name: str) -> sqlite3.Connection:
    found = sqlite3.connect(name, timeout=WAIT_S, isolation_level=None)
    found.execute(_ASKED)
    return found


def _begin(store: Store, study: Mapping[str, str]) -> None:
    """Make the tables of a new store, all or none."""
    run = store._connection.execute
    # With a log a commit costs no wait for the disk; where there can be none, a journal does.
    run("PRAGMA journal_mode = WAL")
    run("PRAGMA synchronous = NORMAL")
    facts = {"format": str(FORMAT), "version": VERSION, **study}
    run("BEGIN IMMEDIATE")
    try:
        run(f"PRAGMA application_id = {APPLICATION}")
        for statement in filter(str.strip, _TABLES.split(";")):
            run(statement)
        store._connection.executemany("INSERT INTO study VALUES (?, ?)", facts.items())
    except BaseException:
        run("ROLLBACK")
        raise
    run("COMMIT")


def _known(store: Store) -> None:
    run = store._connection.execute
    if run("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise SpecError(f"{store.path}: this SQLite file is no store of cimsim; it stays as it is.")
    run("PRAGMA synchronous = NORMAL")
    found = store.study
    for name, ours in (("format", str(FORMAT)), ("version", VERSION)):
        if found.get(name) != ours:
            raise SpecError(
                f"{store.path}: a store of another {name}, {shown(found.get(name))}; this cimsim "
                f"has {name} {ours}. Its rows stay: run that version, or name another store."
            )


def _compare(store: Store, study: Mapping[str, str]) -> None:
    found = store.study
    for name, asked in study.items():
        if (there := found.get(name)) != asked:
            raise SpecError(
                f"{store.path}: another study, its {name}: {there}; asked for: {asked}. Its rows "
                "stay as they are: name another store (--store)."
            )


def _row(found: tuple[str, str, Status, str, str, float, str, str]) -> Row:
    digest, settings, status, values, shortage, seconds, bounds, beaten_by = found
    return Row(
        digest, json.loads(settings), status, json.loads(values), shortage, seconds,
        json.loads(bounds), beaten_by,
    )  # fmt: skip


@contextmanager
def _errors_of(path: str | Path | None) -> Iterator[None]:
    """Errors of SQLite as OutputError; those of a file that is broken as SpecError."""
    try:
        yield
    except sqlite3.OperationalError as problem:
        raise OutputError(
            f"{path or 'temporary store'}: cannot write or read the store: {problem}. What was "
            "stored before is in it: make room or access, and start again."
        ) from None
    except sqlite3.DatabaseError as problem:
        raise SpecError(f"{path}: the store cannot be read: {problem}.") from None
