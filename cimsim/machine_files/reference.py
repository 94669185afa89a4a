"""Every field of a machine file with unit, limits and meaning, as a page of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from cimsim.costs.components import COMPONENTS
from cimsim.machine_files.overlay import block_types, keyed_types

_UNIT = re.compile(
    r"_(nm|ns|MHz|GHz|KiB|GiB|GBps|V|uA|mA|uS|ohm|uW|mW|mm2|um2|fF|[fpnum]?J|F2)"
    r"(?:_per_(\w+))?$|_(cycles|bytes|bits|sigma|ratio|elements)(?:_per_(\w+))?$"
)
_HEAD = """# Fields of a machine file

Made by `cimsim schema fields`. The unit is the last part of a field's name; a field without one is
a count, a name or a ratio. `required` fields have no default; where a component model gives a
field ([components.md](components.md)) it may be left out. Every number needs a line in the
`sources` of its block: a citation, or `assumed: why`. How to write a file that says only what
differs from another: [own_machine.md](own_machine.md).
"""


def fields_page(kind: type[BaseModel]) -> str:
    """The page on the fields of `kind`, a section for each block."""
    return _HEAD + "".join(_section("", kind))


def _section(path: str, kind: type[BaseModel]) -> Iterator[str]:
    fields = {name: field for name, field in kind.model_fields.items() if name != "sources"}
    title = f"`{path}`" if path else "The machine"
    doc = (kind.__doc__ or "").strip().partition("\n")[0]
    yield f"\n## {title}\n\n{doc}\n\n| field | unit | values | default | what |\n"
    yield "|---|---|---|---|---|\n"
    given = _given(path)
    schema = kind.model_json_schema()["properties"]
    for name, field in fields.items():
        if field.is_required():
            default = f"by `models.{given[name]}`, or required" if name in given else "required"
        else:
            default = _text(field.get_default(call_default_factory=True))
        cells = (f"`{name}`", unit_of(name), _values(schema[name]), default)
        yield f"| {' | '.join(cells)} | {field.description or ''} |\n"
    for name, inner in block_types(kind).items():
        yield from _section(f"{path}.{name}" if path else name, inner)
    for name, (depth, inner) in keyed_types(kind).items():
        keys = ".KEY" * depth
        yield from _section(f"{path}.{name}{keys}" if path else f"{name}{keys}", inner)


def unit_of(name: str) -> str:
    """The unit that ends the name of a field; empty where it has none."""
    found = _UNIT.search(name)
    if found is None:
        return ""
    unit, per, count, each = found.groups()
    return f"{unit or count}{f'/{per or each}' if per or each else ''}"


def _given(block: str) -> dict[str, str]:
    """Field -> component of the block whose model may give it."""
    return {
        name: component
        for component, kinds in COMPONENTS.get(block, {}).items()
        for kind in kinds.values()
        for name in kind.gives
    }


def _values(schema: Mapping[str, Any]) -> str:
    """What a field takes, from its JSON schema."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    found = options[0]
    if "enum" in found or "const" in found:
        return " or ".join(f"`{value}`" for value in found.get("enum", [found.get("const")]))
    if "$ref" in found or "allOf" in found:  # pydantic before 2.9 wraps what has a description
        return "block"
    low = found.get("minimum", found.get("exclusiveMinimum"))
    high = found.get("maximum", found.get("exclusiveMaximum"))
    if low is None:
        return {"string": "text", "object": "object"}.get(str(found.get("type")), "")
    if found["type"] == "integer":
        return f"whole, {low + ('exclusiveMinimum' in found)} to {high}"
    return f"{low:g} to {high:g}"


def _text(default: Any) -> str:
    if default is None or default == {}:
        return "none"
    return f"`{default}`"


def undescribed(kind: type[BaseModel], path: str = "") -> list[str]:
    """Fields that say nothing of themselves."""
    keyed = {name: inner for name, (_, inner) in keyed_types(kind).items()}
    inner = (
        text
        for name, block in (block_types(kind) | keyed).items()
        for text in undescribed(block, f"{path}{name}.")
    )
    own = (f"{path}{name}" for name, field in kind.model_fields.items() if not field.description)
    return [*own, *inner]
