"""Standard output and error of any kind: every encoding, closed, full, or a pipe that nobody reads.

A character that a stream's encoding lacks is replaced by its equal in ASCII. What cannot be written
on standard output is an error (exit code 1); standard error that cannot be written is none, as
nobody would learn of it.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cimsim.errors import OutputError
from cimsim.values.plaintext import in_ascii, literal

REPLACE = "cimsim.ascii"
LEAST_COLUMNS, UNLIMITED = 20, 1_000_000
_OURS = ("strict", "surrogateescape", "backslashreplace")
"""Error handlers that are a default; another one was asked for (PYTHONIOENCODING)."""


def prepare() -> None:
    """Make the three streams usable; called once, before anything is opened or printed."""
    codecs.register_error(REPLACE, _replaced)
    _occupy()
    if sys.stdout is None:
        # Opened for reading: what is written fails, as it should on a closed stream.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in _OURS and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=REPLACE)


def _occupy() -> None:
    """Open the descriptors 0 to 2 that are closed: the next file must not become one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _replaced(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    return in_ascii(problem.object[problem.start : problem.end]), problem.end


@contextmanager
def writing() -> Iterator[None]:
    """Raise OutputError where standard output does not take what the body writes."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise OutputError(f"standard output: cannot write: {problem.strerror}.") from None


def say(text: str) -> None:
    """Print lines as they are."""
    emit(literal(text, keep="\n") + "\n")


def emit(text: str) -> None:
    """Print text that is made for programs, unchanged."""
    with writing():
        sys.stdout.write(text)


def complain(text: str) -> None:
    """Print lines on standard error, if it takes them."""
    with suppress(OSError, ValueError):
        sys.stderr.write(literal(text, keep="\n") + "\n")
        sys.stderr.flush()


def width_of(stream: Any) -> int | None:
    """Columns of a stream: those of COLUMNS, None for those of the terminal; a pipe has no end."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and 0 < len(asked) < 6:
        return max(LEAST_COLUMNS, int(asked))
    return None if stream.isatty() else UNLIMITED


def finish(code: int) -> int:
    """Write what is still held back, and return the exit code: 1 where that was lost."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or int(stream is sys.stdout)
            _drop(stream)
    return code


def _drop(stream: Any) -> None:
    """Let what a stream holds go nowhere, so that the interpreter does not try again at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
