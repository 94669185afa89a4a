"""Text to values: one grammar of numbers and of JSON for all files and options.

A number is ASCII: an optional sign, digits with at most one point, perhaps an exponent. No
underscores, no hexadecimal, no `nan` or `inf`, no digits of other scripts. Spaces around it are
ignored. What a float or 64 bits cannot hold is refused, never rounded to infinity or zero.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from cimsim.values.display import shown

_T = TypeVar("_T")

INTEGER_MAX = 2**63 - 1
"""Largest magnitude of a whole number in a file or an option."""
_DEPTH_MAX = 100
_WHOLE = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NO_NUMBER = re.compile(r"(?:nan|inf|infinity)", re.IGNORECASE)


def parse_whole(text: str) -> int:
    """A whole number within 64 bits; raises ValueError saying what is wrong with `text`."""
    stripped = text.strip(" ")
    if not _WHOLE.fullmatch(stripped):
        raise ValueError(f"{shown(text)} is no whole number")
    if len(stripped.lstrip("+-0")) > 19 or abs(int(stripped)) > INTEGER_MAX:
        raise ValueError(f"{shown(text)} is beyond 64 bits")
    return int(stripped)


def parse_real(text: str) -> float:
    """A finite number; raises ValueError saying what is wrong with `text`."""
    stripped = text.strip(" ")
    if not _REAL.fullmatch(stripped):
        raise ValueError(f"{shown(text)} is no number")
    value = float(stripped)
    if abs(value) == float("inf"):
        raise ValueError(f"{shown(text)} is too large for a floating-point number")
    if value == 0.0 and re.search("[1-9]", stripped.lower().partition("e")[0]):
        raise ValueError(f"{shown(text)} is too small for a floating-point number")
    return value


def parse_list(text: str, parse: Callable[[str], _T]) -> list[_T]:
    """The values of a list with commas between them; raises ValueError as `parse` does."""
    return [parse(part) for part in text.split(",")]


def parse_json(text: str) -> Any:
    """The value of JSON text; raises ValueError (a JSONDecodeError where it knows the place).

    Keys stand once in an object, numbers follow the grammar above, brackets nest at most 100 deep.
    """
    _check_depth(text)
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=parse_whole,
            parse_float=parse_real,
            object_pairs_hook=_unique_keys,
        )
    except RecursionError:
        raise ValueError(f"its brackets nest more than {_DEPTH_MAX} deep") from None


def parse_value(text: str) -> Any:
    """The value of an option `FIELD=VALUE`: a number, JSON, or a bare word as it stands.

    Raises ValueError for what looks like a number or JSON and is none.
    """
    stripped = text.strip(" ")
    if _WHOLE.fullmatch(stripped):
        return parse_whole(stripped)
    if _REAL.fullmatch(stripped):
        return parse_real(stripped)
    if stripped in ("true", "false", "null") or stripped[:1] in ("[", "{", '"'):
        return parse_json(stripped)
    if not stripped[:1].isalpha() or _NO_NUMBER.fullmatch(stripped):
        raise ValueError(f"{shown(text)} is no finite number and no word")
    return stripped


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser recurses; brackets within strings do not count."""
    depth = 0
    for mark in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', text):
        if mark[0] in "[{":
            depth += 1
            if depth > _DEPTH_MAX:
                raise ValueError(f"its brackets nest more than {_DEPTH_MAX} deep")
        elif mark[0] in "]}":
            depth -= 1


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number that a file may hold")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return found
