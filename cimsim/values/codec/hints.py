"""One value of an option as text, read and written by the annotation of its field."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, Union

from cimsim.values.arguments import AtLeast, plain
from cimsim.values.codec.grammar import bare, enclosed, pieces, quoted, word
from cimsim.values.display import shown
from cimsim.values.parsing import parse_real, parse_whole

_WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a word",
    type(None): "none",
}  # fmt: skip
_TRUTH = {"true": True, "false": False}


class Nested(Protocol):
    """What reads and writes the values of a type that has names of its own."""

    @property
    def what(self) -> str:
        """What one of them is called."""

    def parse(self, text: str) -> Any:
        """The value; raises CimsimError."""

    def format(self, value: Any) -> str:
        """Its text; raises CimsimError."""


Inside = Mapping[Any, Nested]
"""Types of fields that hold named values, and what reads them."""


def read(hint: Any, text: str, inside: Inside) -> Any:
    """The value that `text` is for a field annotated `hint`; raises ValueError saying why not."""
    if hint in inside:
        return inside[hint].parse(bare(text))
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _bounded(hint, read(inner[0], text, inside))
    if origin in (Union, types.UnionType):
        if text == "none" and type(None) in inner:
            return None
        return read(_present(hint), text, inside)
    if origin is Literal:
        return _choice(inner, text)
    if origin is tuple:
        return _tuple(inner, text, inside)
    if hint is bool:
        return _choice(_TRUTH, text) == "true"
    found: Any = {int: parse_whole, float: parse_real, str: word}[hint](text)
    return found


def write(hint: Any, value: Any, inside: Inside) -> str:
    """The text that `read` turns back into `value`; raises ValueError where there is none."""
    if hint in inside:
        return enclosed(inside[hint].format(value))
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return write(inner[0], value, inside)
    if origin in (Union, types.UnionType):
        return "none" if value is None else write(_present(hint), value, inside)
    if origin is tuple:
        items = zip(_items(inner, len(value)), value, strict=True)
        written = [_item(item, entry, inside) for item, entry in items]
        return "+".join(written) if written else "()"
    return scalar(value)


def scalar(value: Any) -> str:
    """A number, a truth or a word as text; raises ValueError for anything else."""
    value = plain(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float) and math.isfinite(value):
        return repr(value).replace("e+", "e")
    if value is None:
        return "none"
    raise ValueError(f"{shown(value)} has no text")


def takes(hint: Any, inside: Inside) -> str:
    """What an option takes, in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in inside:
        return f"a {inside[hint].what}"
    if origin is Annotated:
        least = [f" of at least {m.least}" for m in hint.__metadata__ if isinstance(m, AtLeast)]
        return takes(inner[0], inside) + "".join(least)
    if origin in (Union, types.UnionType):
        return " or ".join(takes(option, inside) for option in inner)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return "values with + between them"
    return _WORDS[hint]


def choices(hint: Any) -> tuple[str, ...]:
    """The words that an option takes; none where it takes any number or text."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return choices(inner[0])
    if origin in (Union, types.UnionType):
        return tuple(
            word
            for option in inner
            for word in (("none",) if option is type(None) else choices(option))
        )
    if origin is Literal:
        return tuple(map(str, inner))
    return tuple(_TRUTH) if hint is bool else ()


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """`, nearest: X` for the known name closest to `name`; empty where none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", nearest: {close[0]}" if close else ""


def _present(hint: Any) -> Any:
    """The one annotation of `X | None` that is not None."""
    (option,) = (o for o in typing.get_args(hint) if o is not type(None))
    return option


def _bounded(hint: Any, value: Any) -> Any:
    for limit in hint.__metadata__:
        if isinstance(limit, AtLeast) and value < limit.least:
            raise ValueError(f"{shown(value)} is below {limit.least}")
    return value


def _choice(known: typing.Iterable[str], text: str) -> str:
    if text not in known:
        raise ValueError(f"{shown(text)} is none of them{nearest(text, known)}")
    return text


def _tuple(inner: tuple[Any, ...], text: str, inside: Inside) -> tuple[Any, ...]:
    entries = [] if text in ("", "()") else pieces(text, "+")
    hints = _items(inner, len(entries))
    if len(hints) != len(entries):
        raise ValueError(f"{len(hints)} values stand with + between them, got {shown(text)}")
    return tuple(_entry(*pair, inside) for pair in zip(hints, entries, strict=True))


def _entry(hint: Any, text: str, inside: Inside) -> Any:
    if typing.get_origin(hint) is not tuple:
        return read(hint, text, inside)
    if not (text.startswith("(") and text.endswith(")")):
        raise ValueError(f"a tuple within a tuple stands in parentheses, got {shown(text)}")
    return read(hint, text[1:-1], inside)


def _item(hint: Any, value: Any, inside: Inside) -> str:
    text = write(hint, value, inside)
    return f"({text})" if typing.get_origin(hint) is tuple else text


def _items(inner: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return (inner[0],) * count if inner[-1] is Ellipsis else inner
