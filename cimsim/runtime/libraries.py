"""Packages that an extra of cimsim installs: loaded where they are needed, or asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cimsim.errors import CimsimError


def library(name: str, what: str, extra: str, error: type[CimsimError] = CimsimError) -> Any:
    """The module `name`; without it raises `error`, which says `what` and the extra to install."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise error(f"{what}: pip install '.[{extra}]'") from None
