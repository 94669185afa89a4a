"""Reading and writing files: JSON with clear errors in, whole files or none out."""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from cimsim.errors import CimsimError, OutputError
from cimsim.values.codec.hints import nearest
from cimsim.values.display import shown
from cimsim.values.parsing import parse_json
from cimsim.values.plaintext import literal, shortened

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SCHEMA = "$schema"
"""Key of the schema of a file, for editors."""
LOCK = ".cimsim.lock"
"""Name of the file whose lock keeps a directory for one run."""


def load_json(path: str | Path, error: type[CimsimError], what: str) -> Any:
    """Parse the JSON file at `path`; raises `error` for a missing, unreadable or broken file.

    A `$schema` at the top is for editors and is left out.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise error(f"{path}: cannot read the {what} file: {reason}.") from None
    try:
        data = parse_json(text)
    except json.JSONDecodeError as problem:
        raise error(
            f"{path}: line {problem.lineno}, column {problem.colno}: the {what} file is not "
            f"valid JSON: {problem.msg}."
        ) from None
    except ValueError as problem:
        raise error(f"{path}: the {what} file is not valid JSON: {problem}.") from None
    if isinstance(data, dict) and isinstance(data.get(SCHEMA), str):
        del data[SCHEMA]
    return data


def beside(
    name: str, folder: Path | None, there: Callable[[Path], bool] = Path.is_file
) -> str | Path:
    """`name` as it is meant from `folder`, where such a file is `there`, else as it stands."""
    found = None if folder is None else folder / name
    return found if found is not None and there(found) else name


PROBLEMS_SHOWN = 5
LINE_LENGTH = 320


def describe_validation(path: str | Path, error: ValidationError, model: object = None) -> str:
    """One line a problem, five at most: file, field path, what is wrong and what stood there.

    Of `model`, the type that was validated, come the nearest names of a field that is none.
    """
    errors = error.errors(include_url=False)
    # a list of which every item is refused is empty afterwards: no second problem
    found = [
        item
        for item in errors
        if item["type"] != "too_short"
        or not any(_inside(other["loc"], item["loc"]) for other in errors)
    ]
    lines = [line for item in found for line in _lines(item, model)]
    told = [f"{path}: {shortened(literal(line), LINE_LENGTH)}" for line in lines[:PROBLEMS_SHOWN]]
    if len(lines) > PROBLEMS_SHOWN:
        told.append(f"{path}: and {len(lines) - PROBLEMS_SHOWN} more")
    return "\n".join(told)


def _inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _lines(item: ErrorDetails, model: object) -> Iterator[str]:
    """The lines of one problem; a rule over the whole may have found several."""
    field = ".".join(_part(part) for part in item["loc"]) or "(top level)"
    given = item.get("input")
    told = f" (got {shown(given)})" if isinstance(given, str | int | float | bool) else ""
    if item["type"] == "extra_forbidden":
        told += nearest(str(item["loc"][-1]), _fields_at(model, item["loc"][:-1]))
    for message in item["msg"].removeprefix("Value error, ").split("\n"):
        yield f"{field}: {message}{told}"


def _fields_at(model: object, loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that the part of `model` at `loc` has."""
    here = _models_in(model)
    for part in loc:
        # An index, a key or the tag of a union leads to no field: the models are inside already.
        fields = [one.model_fields[part] for one in here if part in one.model_fields]
        here = [one for field in fields for one in _models_in(field.annotation)] or here
    return list(dict.fromkeys(name for one in here for name in one.model_fields))


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """The models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for part in get_args(annotation) for one in _models_in(part)]


def _part(part: str | int) -> str:
    """A step of a field path; a key that is no name is quoted."""
    text = str(part)
    return text if len(text) <= 64 and text.isprintable() else shown(text)


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A stream to a temporary file beside `path`, which takes its place at the end of the `with`.

    Raises OutputError; whatever ends the `with` otherwise, `path` stays as it was.
    """
    target = Path(path)
    temporary = None
    try:
        handle, temporary = _temporary(target)
        with os.fdopen(handle, "wb") as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
        temporary = None
    except (OSError, ValueError) as problem:  # ValueError: a name that no file can have
        raise _unwritable(path, problem) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _temporary(target: Path) -> tuple[int, str]:
    """A new file beside `target`, whose folder is made: descriptor and name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.mkstemp(prefix=f".{target.name}."[:50], dir=target.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file beside it; raises OutputError."""
    with replacing(path) as stream:
        stream.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, completely or not at all; raises OutputError."""
    write_bytes(path, text.encode("utf-8"))


def require_place(path: str | Path) -> None:
    """Raise OutputError where no file could be written at `path`; what is there stays."""
    target = Path(path)
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        handle, temporary = _temporary(target)
        os.close(handle)
        os.unlink(temporary)
    except (OSError, ValueError) as problem:
        raise _unwritable(path, problem) from None


def remove(path: Path) -> None:
    """Remove a file, if it is there; raises OutputError if it cannot be."""
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        raise _unwritable(path, problem) from None


def _unwritable(path: str | Path, problem: OSError | ValueError) -> OutputError:
    reason = problem.strerror if isinstance(problem, OSError) else str(problem)
    return OutputError(f"{path}: cannot write: {reason}.")


@contextmanager
def reserved(directory: Path) -> Iterator[None]:
    """Make `directory` and keep it for this process; raises OutputError where it is taken.

    The lock is the operating system's, on a file in the directory: it ends with the
    process whatever ends that, so that a file left behind keeps nobody out. A directory that stays
    empty is removed.
    """
    made = _made(directory)
    try:
        path = directory / LOCK
        handle = _locked(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(handle)
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _made(directory: Path) -> list[Path]:
    """Make a directory; returns it and its parents as far as they are new, innermost first."""
    try:
        new = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(
            f"{directory}: cannot write there: it is a file, -o names a directory."
        ) from None
    except (OSError, ValueError) as problem:
        raise _unwritable(directory, problem) from None
    return new


def _locked(path: Path) -> int:
    """A descriptor that holds the lock on the file at `path`."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as problem:
            raise _unwritable(path.parent, problem) from None
        if not _take(handle):
            owner = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise OutputError(
                f"{path.parent}: another run (process {owner}) is writing there; its lock is "
                f"{path}. Wait until it ends, or name another directory with -o."
            )
        if _is_still(handle, path):
            with suppress(OSError):  # a full disk; the lock holds all the same
                os.truncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            return handle
        os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    """False where the run before removed this file between our opening and locking it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _take(handle: int) -> bool:
    """Whether the lock is ours now; also where the file system has no locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        reason = f"this file system has no locks ({problem.strerror})"
        logging.getLogger("cimsim").warning(
            "note: %s: let no other run write into the same directory.", reason
        )
    return True
