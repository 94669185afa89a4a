"""A user's own value by the module that holds it: `MODULE:NAME`, for the command line.

The module is found as Python finds any: installed, or in a folder of PYTHONPATH.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from cimsim.errors import CimsimError
from cimsim.values.arguments import lacking
from cimsim.values.display import shown

_ADDRESS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_address(text: str) -> bool:
    """Whether `text` reads MODULE:NAME."""
    return _ADDRESS.fullmatch(text) is not None


def imported(address: str, kind: type, error: type[CimsimError]) -> Any:
    """The value at `address`, MODULE:NAME, which has all members of the protocol `kind`.

    Raises `error` where the module is not found or does not load, or has no such value, and where
    the value is a class or lacks members.
    """
    module, _, name = address.partition(":")
    try:
        value = getattr(import_module(module), name)
    except ModuleNotFoundError as problem:
        raise error(
            f"{shown(address)}: {problem.msg}: install it, or put its folder into PYTHONPATH."
        ) from None
    except AttributeError as problem:
        raise error(f"{shown(address)}: {problem}.") from None
    except Exception as problem:
        raise error(
            f"{shown(address)}: importing {module} failed: {type(problem).__name__}: {problem}"
        ) from problem
    if isinstance(value, type):
        raise error(f"{shown(address)} is a class: name a value of it, such as X = {name}().")
    if missing := lacking(kind, value):
        raise error(
            f"{shown(address)} is no {kind.__name__}: it lacks {', '.join(sorted(missing))}."
        )
    return value
