"""How values show themselves: one short line at a prompt, a small table in a notebook.

A value says what matters about it in `_facts`; without that its fields are shown, long ones by
what they hold. Serialisation, equality and hashes know nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any, TypeVar

LINE = 480
"""Characters of a line at most."""
VALUE = 60
"""Characters of one value in it at most."""
ROWS = 40
"""Rows of a notebook table at most."""
_Class = TypeVar("_Class", bound=type)


def brief(kind: _Class) -> _Class:
    """Class decorator: the repr and the notebook table of a dataclass become short."""
    for name, shown in (("__repr__", _line), ("_repr_html_", _table)):
        setattr(kind, name, shown)
    return kind


class Brief:
    """A pydantic model with a short repr and a notebook table; comes before BaseModel."""

    def __repr__(self) -> str:
        return _line(self)

    def __str__(self) -> str:
        return _line(self)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What rich and other printers show."""
        for name, value in facts(self).items():
            yield name, _Plain(shown(value))

    def _repr_html_(self) -> str:
        return _table(self)


class _Plain(str):
    """Text that is its own repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def shown(value: Any) -> str:
    """`value` in at most 60 characters: itself, or what it is and how much of it there is."""
    if isinstance(value, float):
        return f"{float(value):.6g}"
    if isinstance(value, str):
        return _cut(repr(str(value)))
    if isinstance(value, bool | int | type(None)):
        return _cut(repr(value)) if abs(value or 0) < 10**20 else "<a large number>"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _cut(str(value)) if value.shape == () else f"<{value.dtype} {_shape(value)}>"
    if isinstance(value, Mapping | tuple | list | set | frozenset):
        return _contents(value)
    name = getattr(value, "name", None)
    kind = type(value).__name__
    return _cut(f"<{kind} {name!r}>" if isinstance(name, str) else f"<{kind}>")


def _contents(value: Any) -> str:
    """A short container of scalars as it stands, any other by its length."""
    plain = value.values() if isinstance(value, Mapping) else value
    if len(value) <= 8 and all(isinstance(v, bool | int | float | str | None) for v in plain):
        text = repr(value)
        if len(text) <= VALUE:
            return text
    return f"<{len(value)} {'entry' if len(value) == 1 else 'entries'}>"


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape))


def _cut(text: str) -> str:
    return text if len(text) <= VALUE else text[: VALUE - 3] + "..."


def facts(value: Any) -> dict[str, Any]:
    """What the value says of itself, else the fields that its class shows."""
    said = getattr(value, "_facts", None)
    if callable(said):
        found: dict[str, Any] = said()
        return found
    if is_dataclass(value):
        names = [item.name for item in fields(value) if item.repr]
    else:
        names = list(type(value).model_fields)
    return {name: getattr(value, name) for name in names}


def _line(value: Any) -> str:
    kind = type(value).__name__
    text = ""
    for name, item in facts(value).items():
        part = f"{', ' if text else ''}{name}={shown(item)}"
        if len(kind) + len(text) + len(part) > LINE - 10:
            text += ", ..."
            break
        text += part
    return f"{kind}({text})"


def _table(value: Any) -> str:
    """An HTML table of names and values, everything escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(str(name))}</th>"
        f"<td style='text-align:left'>{_cell(item)}</td></tr>"
        for name, item in list(facts(value).items())[:ROWS]
    )
    return f"<table><caption>{escape(type(value).__name__)}</caption>{rows}</table>"


def _cell(item: Any) -> str:
    if isinstance(item, str):
        return escape(_cut(item.encode("utf-8", "backslashreplace").decode()))
    return escape(shown(item))
