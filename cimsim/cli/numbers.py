"""Numbers on the command line: whole and finite, by the grammar that files follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import typer

from cimsim.errors import CimsimError
from cimsim.values.parsing import parse_list, parse_real, parse_whole

Number = TypeVar("Number", int, float)


def strict_numbers(parameters: Iterable[Any]) -> None:
    """Let number options refuse what Python reads and people do not: 1_000, nan, other digits."""
    for parameter in parameters:
        parse = _parser(parameter)
        if parse is not None:
            parameter.process_value = _strict(parameter, parse)


def numbers_of(
    text: str, parse: Callable[[str], Number], option: str, error: type[CimsimError]
) -> list[Number]:
    """The numbers of an option that takes several with commas between them."""
    try:
        return parse_list(text, parse)
    except ValueError as problem:
        raise error(f"{option} takes numbers with commas between them: {problem}.") from None


def _parser(parameter: Any) -> Callable[[str], float] | None:
    """What reads a number for `parameter`; typer tells its type in one of two ways, by version."""
    described = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    name = getattr(getattr(parameter, "type", None), "name", "")
    if described is int or name in ("integer", "integer range"):
        return parse_whole
    return parse_real if described is float or name in ("float", "float range") else None


def _strict(parameter: Any, parse: Callable[[str], float]) -> Callable[[Any, Any], Any]:
    loose = parameter.process_value

    def process_value(ctx: Any, value: Any) -> Any:
        if isinstance(value, str):
            try:
                value = parse(value)
            except ValueError as problem:
                raise typer.BadParameter(f"{problem}.", ctx=ctx, param=parameter) from None
        return loose(ctx, value)

    return process_value
