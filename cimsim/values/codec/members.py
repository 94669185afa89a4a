"""A name of an axis, and how its options become a value and come back from one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from cimsim.values.codec.options import Option, options_of
from cimsim.values.display import brief

T = TypeVar("T")


@brief
@dataclass(frozen=True)
class Member(Generic[T]):
    """One name: what it is in a line, its options, and both directions.

    `build` makes the value from the options given, `values` tells those of a value that are not
    the default, None where the value is not of this name.
    """

    about: str
    options: Mapping[str, Option]
    build: Callable[[Mapping[str, Any]], T]
    values: Callable[[T], Mapping[str, Any] | None]

    @property
    def main(self) -> Option | None:
        """The option that may stand without its name, first: the marked one, or the only one."""
        marked = [option for option in self.options.values() if option.main]
        alone = list(self.options.values()) if len(self.options) == 1 else []
        return next(iter(marked or alone), None)


def member(of: Any, about: str | None = None) -> Member[Any]:
    """The member that a dataclass is, or a preset: a value whose parts have the options.

    `about` is the first line of the docstring of a dataclass if left out.
    """
    options = options_of(of)
    if isinstance(of, type):
        said = (inspect.getdoc(of) or "").partition("\n\n")[0].replace("\n", " ")
        return Member(
            said if about is None else about,
            options,
            lambda given: of(**{options[name].path[0]: value for name, value in given.items()}),
            lambda value: _changed(options, value) if type(value) is of else None,
        )
    return Member(
        about or "",
        options,
        lambda given: with_values(of, options, given),
        lambda value: _changed(options, value) if _is_of(of, value) else None,
    )


def _is_of(preset: Any, value: Any) -> bool:
    return type(value) is type(preset) and value.name == preset.name


def _changed(options: Mapping[str, Option], value: Any) -> dict[str, Any]:
    found = {name: option.of(value) for name, option in options.items()}
    return {name: entry for name, entry in found.items() if entry != options[name].default}


def with_values(preset: T, options: Mapping[str, Option], given: Mapping[str, Any]) -> T:
    """`preset` with other values of its options, which are fields of its parts."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        part, field = options[name].path
        parts.setdefault(part, {})[field] = value
    made = {part: replace(getattr(preset, part), **new) for part, new in parts.items()}
    return replace(preset, **made)  # type: ignore[type-var]
