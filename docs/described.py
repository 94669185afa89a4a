"""Fields of values in the Python API: a table of each class, from the descriptions in its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from griffe import Attribute, Class, Docstring, ExprCall, ExprKeyword, Extension, Module


class Described(Extension):
    """Adds to the docstring of every class of values what its fields are."""

    def on_package(self, *, pkg: Module, **more: Any) -> None:
        """Runs once the whole package is read, when classes know what they inherit."""
        del more
        classes = list(_classes(pkg))
        tables = [_table(found) for found in classes]
        for found, table in zip(classes, tables, strict=True):
            if table:
                text = found.docstring.value if found.docstring else ""
                found.docstring = Docstring(f"{text}\n\nAttributes:\n{table}", parent=found)


def _classes(within: Module | Class) -> Iterator[Class]:
    for member in within.members.values():
        if isinstance(member, Module | Class):
            if isinstance(member, Class):
                yield member
            yield from _classes(member)


def _table(value: Class) -> str:
    return "".join(
        f"    {name}: {' '.join(_description(field).split())}\n"
        for name, field in value.all_members.items()
        if _is_field(field)
    )


def _is_field(member: Any) -> bool:
    return (
        isinstance(member, Attribute)
        and not member.name.startswith("_")
        and member.annotation is not None
        and "ClassVar" not in str(member.annotation)
        and "property" not in member.labels
        and not member.has_docstring
    )


def _description(field: Attribute) -> str:
    if isinstance(field.value, ExprCall):
        for given in field.value.arguments:
            if isinstance(given, ExprKeyword) and given.name == "description":
                return str(ast.literal_eval(str(given.value)))
    return ""
