"""Methods as JSON: all parts with all fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cimsim.errors import SpecError, TaskError
from cimsim.noise import device_from_json, device_to_json
from cimsim.training.methods import PARTS, Method
from cimsim.values.arguments import checked


@checked(TaskError)
def method_to_json(method: Method) -> dict[str, Any]:
    """All of a method; `method_from_json` turns it back into an equal one."""
    value: dict[str, Any] = {"name": method.name}
    for name, kind in PARTS.items():
        part = getattr(method, name)
        value[name] = None
        if part is not None:
            value[name] = {f.name: _plain(getattr(part, f.name)) for f in fields(kind)}
            if name == "injection":
                value[name]["noise"] = device_to_json(part.noise)
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@checked(TaskError)
def method_from_json(value: Any, where: str = "method") -> Method:
    """The method that `value` describes; raises TaskError that starts with `where`."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise TaskError(f"{where}: a method is an object with a name, got {value!r}.")
    for key in value:
        if key != "name" and key not in PARTS:
            raise TaskError(f"{where}: a method has no part {key!r}; parts: {', '.join(PARTS)}.")
    parts: dict[str, Any] = {
        name: None if value.get(name) is None else _part(name, value[name], f"{where}.{name}")
        for name in PARTS
    }
    try:
        return Method(value["name"], **parts)
    except TaskError as problem:
        raise TaskError(f"{where}: {problem}") from None


def _part(name: str, value: Any, where: str) -> Any:
    kind = PARTS[name]
    known = [f.name for f in fields(kind)]
    if not isinstance(value, Mapping):
        raise TaskError(f"{where}: expected an object, got {value!r}.")
    given: dict[str, Any] = {}
    for key, entry in value.items():
        if key not in known:
            raise TaskError(f"{where} has no field {key!r}; fields: {', '.join(known)}.")
        given[key] = tuple(entry) if isinstance(entry, list) else entry
    try:
        if "noise" in given:
            given["noise"] = device_from_json(given["noise"], f"{where}.noise")
        return kind(**given)
    except TaskError as problem:
        raise TaskError(f"{where}: {problem}") from None
    except SpecError as problem:
        raise TaskError(str(problem)) from None
