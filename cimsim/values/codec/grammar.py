"""Where the text of a frozen value is cut; the only place that knows its marks.

All functions raise ValueError saying what is wrong.
"""

from __future__ import annotations

import json
import re

from cimsim.values.display import shown
from cimsim.values.parsing import parse_json

_OPTION = re.compile(r"\s*[A-Za-z_][\w-]*\s*=")
_BARE = re.compile(r'[^\s,+()"=]+')
_DEPTH_MAX = 100
Pair = tuple[str, str]
"""An option and the text of its value; the option is empty where only a value stands."""


def parts_of(text: str) -> tuple[str, list[Pair]]:
    """The name, and what stands between the commas after the colon, in order."""
    name, colon, rest = text.partition(":")
    if not colon:
        return name.strip(" "), []
    return name.strip(" "), [_pair(piece) for piece in pieces(rest, ",")]


def _pair(piece: str) -> Pair:
    if not piece.strip(" "):
        raise ValueError("an option is empty: after the colon stand option=value,option=value")
    if not _OPTION.match(piece):
        return "", piece.strip(" ")
    option, _, value = piece.partition("=")
    return option.strip(" "), value.strip(" ")


def several(text: str) -> list[str]:
    """The texts of values with commas between them: a piece `option=value` goes on with the last.

    Raises ValueError for an option without a value before it.
    """
    found: list[str] = []
    for piece in pieces(text, ","):
        if not _OPTION.match(piece):
            found.append(piece.strip(" "))
        elif found:
            found[-1] += f",{piece}"
        else:
            raise ValueError(f"{shown(piece)} is an option of nothing: a name comes first")
    return found


def pieces(text: str, mark: str) -> list[str]:
    """`text` cut at each `mark` that stands in no parentheses and no quotes."""
    found, depth = [""], 0
    for token in re.findall(r'"(?:[^"\\]|\\.)*"|.', text, re.DOTALL):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token == '"' or not 0 <= depth <= _DEPTH_MAX:
            raise ValueError(f"{shown(text)} has a quote or a parenthesis without its other end")
        if token == mark and not depth:
            found.append("")
        else:
            found[-1] += token
    if depth:
        raise ValueError(f"{shown(text)} has a parenthesis without its other end")
    return found


def bare(text: str) -> str:
    """What stands in the parentheses around the whole of `text`, else `text`."""
    inside = text[1:-1] if text.startswith("(") and text.endswith(")") else ""
    try:
        return inside if inside and pieces(inside, ",") else text
    except ValueError:
        return text


def enclosed(text: str) -> str:
    """`text` as one value: in parentheses where it has marks of its own."""
    return f"({text})" if re.search(r"[,+=()]", text) else text


def word(text: str) -> str:
    """The text that `text`, bare or in quotes, stands for."""
    if not text.startswith('"'):
        return text
    found = parse_json(text)
    if not isinstance(found, str):
        raise ValueError(f"{shown(text)} is no text in quotes")
    return found


def quoted(text: str) -> str:
    """What `word` reads as `text`: as it stands, or in quotes where it would be misread."""
    if _BARE.fullmatch(text) and text.isprintable() and text != "none":
        return text
    return json.dumps(text)
