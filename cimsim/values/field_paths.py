"""Other values at field paths of a machine, such as `rram.accuracy.device.kind`."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import Any, get_args

from pydantic import BaseModel

from cimsim.errors import SpecError
from cimsim.values.display import shown
from cimsim.values.keyed import keyed_blocks

Value = float | int | str | bool | list[Any] | None
_NOT_VALUES = ("sources", "format", "ranges")


def put_value(
    model: type[BaseModel], data: dict[str, Any], path: str, value: Value, why: str
) -> None:
    """Set the field at `path` in `data`, the content of a file of `model`; None takes it out, and
    an optional block.

    A number's source, or that of a device model, becomes `why`. Fields of a device model are free:
    another `kind` starts a model with defaults. Raises SpecError for a path that names no field,
    with the names near it.
    """
    *parents, field = path.split(".")
    block, kind, walked = data, model, ""
    pending = iter(parents)
    for part in pending:
        if (keyed := _keyed(kind, part)) is not None:
            keys, kind = (part, *islice(pending, keyed[0])), keyed[1]
            if len(keys) <= keyed[0]:
                raise SpecError(
                    f"{shown(path)} cannot be set: name one of its fields, behind "
                    f"{keyed[0]} {'key' if keyed[0] == 1 else 'keys'} of `{part}`"
                )
            for key in keys:
                walked = f"{walked}.{key}" if walked else key
                if not isinstance(block.get(key), dict):
                    raise SpecError(
                        f"{shown(path)} cannot be set: the machine has no `{walked}`. Add it to "
                        "the file."
                    )
                block = block[key]
            continue
        inner = _inside(kind, part, path, walked)
        walked = f"{walked}.{part}" if walked else part
        if inner is None:
            _put_free(block, path, walked, value, why)
            return
        if not isinstance(block.get(part), dict):
            raise SpecError(
                f"{shown(path)} cannot be set: the machine has no `{walked}` block. Add it to the "
                "file."
            )
        block, kind = block[part], inner
    optional = type(None) in get_args(getattr(kind.model_fields.get(field), "annotation", None))
    if value is None and optional and any(_blocks(kind, field, path, walked)):
        block.pop(field, None)
        return
    _check_leaf(kind, field, path, walked)
    block[field] = value
    sources = block.get("sources", {})
    sources.pop(field, None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        sources[field] = why
    if value is None:
        del block[field]


def _keyed(kind: type[BaseModel], field: str) -> tuple[int, type[BaseModel]] | None:
    """How many keys lead to a block of `field`, and its type; None for other fields."""
    found = kind.model_fields.get(field)
    return None if found is None else keyed_blocks(found.annotation)


def _put_free(block: dict[str, Any], path: str, walked: str, value: Value, why: str) -> None:
    """Set a field below the free object at `walked` in `block`."""
    first, *rest = path.split(".")[walked.count(".") :]
    if value is None or not all(rest):
        raise SpecError(f"{shown(path)} cannot be set to {shown(value)}: name a field and a value.")
    *parents, field = rest
    inner = _free(block, first, path)
    for part in parents:
        inner = _free(inner, part, path)
    if field == "kind" and inner.get("kind") != value:
        inner.clear()
    inner[field] = value
    block[f"{first}_source"] = why


def _free(block: dict[str, Any], part: str, path: str) -> dict[str, Any]:
    inner = block.get(part)
    if inner is None:
        inner = block[part] = {}
    if not isinstance(inner, dict):
        raise SpecError(
            f"{shown(path)} cannot be set: {part!r} is {shown(inner)}, not an object with fields."
        )
    return inner


def _inside(kind: type[BaseModel], part: str, path: str, walked: str) -> type[BaseModel] | None:
    """The block that field `part` of `kind` holds; None for an object with free fields."""
    blocks = _blocks(kind, part, path, walked)
    if not blocks:
        raise SpecError(
            f"{shown(path)} cannot be set: `{part}` of {_named(walked)} is a value without fields."
        )
    return blocks[0]


def _check_leaf(kind: type[BaseModel], field: str, path: str, walked: str) -> None:
    blocks = _blocks(kind, field, path, walked)
    if not blocks and field not in _NOT_VALUES:
        return
    inner = blocks[0] if blocks else None
    listed = f" ({_listed(inner, '')})" if inner is not None else ""
    raise SpecError(
        f"{shown(path)} cannot be set: `{field}` of {_named(walked)} is no single value. Set one "
        f"of its fields{listed}."
        if blocks
        else f"{shown(path)} cannot be set: it is a note of the file, not a value."
    )


def _blocks(
    kind: type[BaseModel], field: str, path: str, walked: str
) -> list[type[BaseModel] | None]:
    """The types of block that `field` may hold, None for a free object; empty for a value."""
    if field not in kind.model_fields:
        raise SpecError(
            f"there is no field {shown(path)} to set: {_named(walked)} has {_listed(kind, field)}"
        )
    annotation = kind.model_fields[field].annotation
    found: list[type[BaseModel] | None] = []
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            found.append(option)
        elif getattr(option, "__origin__", None) is dict and field not in _NOT_VALUES:
            found.append(None)
    return found


def _named(walked: str) -> str:
    return f"`{walked}`" if walked else "a machine"


def _listed(kind: type[BaseModel], near: str) -> str:
    """The fields nearest to `near`, else all."""
    names = [name for name in kind.model_fields if name not in _NOT_VALUES]
    return ", ".join(difflib.get_close_matches(near, names, n=3, cutoff=0.5) or names)
