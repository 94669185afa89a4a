"""The JSON schema of machine files, for editors that complete and check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from cimsim.costs.components import COMPONENTS, Entry
from cimsim.files import SCHEMA
from cimsim.machine_files.overlay import block_types
from cimsim.machine_files.reading import EXTENDS
from cimsim.machine_files.short_forms import OF_MODEL

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXTENDING = "Extending"


def file_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The schema of files of `kind`: of a whole machine, or where `extends` stands of a part."""
    whole = kind.model_json_schema()
    defs = whole.pop("$defs", {})
    for block, components in COMPONENTS.items():
        holder = defs[block_types(kind)[block].__name__]
        fields = holder["properties"]
        for name, kinds in components.items():
            fields.setdefault(name, _short_form(name, kinds, fields))
            given = {field for kind in kinds.values() for field in kind.gives}
            given |= {field for field in fields if field.startswith(f"{name}_")}
            holder["required"] = [field for field in holder["required"] if field not in given]
    whole["properties"][SCHEMA] = {"type": "string"}
    parts = {f"{_EXTENDING}{name}": _part(body) for name, body in defs.items()}
    part = _part(whole)
    part["properties"][EXTENDS] = {
        "type": "string",
        "description": "the machine that this one differs from: a shipped one's name, or a file",
    }
    part["required"] = [EXTENDS, "name"]
    top = {"Whole": whole, "Part": part}
    return {
        SCHEMA: DIALECT,
        "title": "cimsim machine",
        "type": "object",
        "if": {"required": [EXTENDS]},
        "then": {"$ref": "#/$defs/Part"},
        "else": {"$ref": "#/$defs/Whole"},
        "$defs": {**defs, **parts, **top},
    }


def _short_form(name: str, kinds: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a component's short form, from the fields that it stands for."""
    own = {
        key.removeprefix(f"{name}_"): value
        for key, value in fields.items()
        if key.startswith(f"{name}_")
    }
    parameters: dict[str, Any] = {}
    for component in kinds.values():
        for key in component.entry.model_fields.keys() - Entry.model_fields.keys():
            parameters[key] = {"type": ["number", "string", "null"]}
    others = {key: {"type": "object"} for key in (*OF_MODEL, "sources")}
    return {
        "type": "object",
        "description": f"short form: fields of the {name}, and the model that gives the rest",
        "properties": {
            "model": {"enum": [*kinds, None]},
            **own,
            **{key: {} for key in fields if key not in own},
            **parameters,
            **others,
        },
        "additionalProperties": False,
    }


def _part(body: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what differs: nothing is required, null takes a field out."""
    part = {key: value for key, value in _renamed(body).items() if key != "required"}
    fields = part.get("properties", {})
    part["properties"] = {key: _or_null(value) for key, value in fields.items()}
    return part


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    told = {"description": field["description"]} if "description" in field else {}
    return {**told, "anyOf": [field, {"type": "null"}]}


def _renamed(value: Any) -> Any:
    """`value` with references to the parts of what differs."""
    if isinstance(value, Mapping):
        return {
            key: inner.replace("#/$defs/", f"#/$defs/{_EXTENDING}")
            if key == "$ref" and isinstance(inner, str)
            else _renamed(inner)
            for key, inner in value.items()
        }
    return [_renamed(inner) for inner in value] if isinstance(value, list) else value
