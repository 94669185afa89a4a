"""Options of a frozen value, from the fields of its dataclass."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any

from cimsim.values.display import brief


@dataclass(frozen=True)
class Called:
    """In `Annotated[float, Called("sigma")]`: the option has another name than the field."""

    name: str


@dataclass(frozen=True)
class _Main:
    """See MAIN."""


MAIN = _Main()
"""In `Annotated[float, MAIN]`: the option that a value without a name is for."""


@brief
@dataclass(frozen=True)
class Option:
    """An option: what its field takes, where the field is (`path`), and its default.

    `default` is dataclasses.MISSING where the option must be given.
    """

    name: str
    hint: Any
    path: tuple[str, ...]
    default: Any
    main: bool = False

    def of(self, value: Any) -> Any:
        """What `value` has there."""
        for field in self.path:
            value = getattr(value, field)
        return value


def options_of(member: Any) -> dict[str, Option]:
    """Options of a dataclass: its fields but `name`; of a value: the fields of its parts.

    A value fixes its own fields; a part is a field that holds a dataclass.
    """
    if isinstance(member, type):
        found = list(fields_of(member))
    else:
        found = [
            option
            for item in fields(member)
            if is_dataclass(part := getattr(member, item.name))
            for option in fields_of(type(part), part, (item.name,))
        ]
    return {option.name: option for option in found}


def fields_of(kind: type, value: Any = None, at: tuple[str, ...] = ()) -> Iterator[Option]:
    """An option for each field of `kind` below `at`; defaults are those of `value`, if given."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        if item.name == "name" or not item.init:
            continue
        marks = marks_of(hint := hints[item.name])
        named = [mark.name for mark in marks if isinstance(mark, Called)]
        default = item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        yield Option(
            name=named[0] if named else item.name,
            hint=hint,
            path=(*at, item.name),
            default=default if value is None else getattr(value, item.name),
            main=MAIN in marks,
        )


def marks_of(hint: Any) -> tuple[Any, ...]:
    """What stands beside the type in `Annotated`."""
    return hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
