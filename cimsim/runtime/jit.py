"""`njit` with a cache that is never in the way: code is kept where it can be, or not at all.

numba keeps it in NUMBA_CACHE_DIR, beside the sources or in the user's cache directory, and raises
where none of them can be written. Here a directory of the user's own under the temporary directory
comes next, then no cache. One line tells which (logger `cimsim`, on standard error if nobody
listens). A cache that is full or broken costs the time to compile and nothing else.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache as once
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])
_config: Any = numba.config
LEVER = "NUMBA_CACHE_DIR names another directory"


def njit(
    *, cache: bool = False, counted: bool = True, **options: Any
) -> Callable[[Function], Function]:
    """`numba.njit` with the same options; `cache` keeps the code where that is possible.

    Not `counted` are references to the arrays that a function is given: it can make none, as
    nothing would free them. Counting takes two atomic operations for each array and call, most of
    the time of functions that are called for a few words of work.
    """
    if not counted:
        options["_nrt"] = False

    def compiled(function: Function) -> Function:
        dispatcher: Any = numba.njit(**options)(function)
        if cache and hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT leaves a function
            _keep(dispatcher)
        return dispatcher  # type: ignore[no-any-return]

    return compiled


def _keep(dispatcher: Any) -> None:
    """Give a compiled function the first cache that can be had."""
    if _kept(dispatcher, None):
        return
    place = own_directory()
    if place is not None and _kept(dispatcher, place):
        _tell(f"compiled code is kept in {place}, as no other place can be written; {LEVER}.")
    else:
        _tell(f"code is compiled anew in every run, as no cache can be written; {LEVER}.")


def _kept(dispatcher: Any, place: Path | None) -> bool:
    """Whether `dispatcher` now has a cache: in `place`, or where numba looks by itself."""
    if place is None and not (_config.CACHE_DIR or _has_home() or _writable_beside()):
        return False
    before = _config.CACHE_DIR
    try:
        _config.CACHE_DIR = before if place is None else str(place)
        dispatcher.enable_caching()
    except RuntimeError:  # no locator available
        return False
    finally:
        _config.CACHE_DIR = before
    dispatcher._cache = _Careful(dispatcher._cache)
    return True


def _has_home() -> bool:
    """False where numba would make a directory named `~`: no HOME, and a user without an entry."""
    return os.path.isabs(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~"))


def _writable_beside() -> bool:
    return os.access(Path(__file__).parent, os.W_OK)


def own_directory() -> Path | None:
    """A temporary directory that this user alone can enter; None if it cannot be had.

    Cached code is run as it is read, so a directory that somebody else can write is not taken.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        path = Path(tempfile.gettempdir()) / f"cimsim-numba-{user}"
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == user
    return path if mine and not stat.S_IMODE(found.st_mode) & 0o077 else None


class _Careful:
    """A function's cache in which a file that cannot be read or written is no error."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The code for a signature, None where there is none or its file is broken."""
        try:
            return self._cache.load_overload(signature, target)
        except Exception:  # unpickling a broken file raises anything
            try:
                self._cache.flush()
            except OSError as problem:
                _tell(f"a cache of compiled code is broken: {problem.strerror}; {LEVER}.")
            return None

    def save_overload(self, signature: Any, code: Any) -> None:
        """Keep the code for a signature, if that can be done."""
        try:
            self._cache.save_overload(signature, code)
        except OSError as problem:
            _tell(f"compiled code could not be kept: {problem.strerror}; {LEVER}.")


@once
def _tell(text: str) -> None:
    """One line, once; workers leave it to the process that started them."""
    if parent_process() is None:
        logging.getLogger("cimsim").warning("note: %s", text)
